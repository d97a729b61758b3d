# SPDX-License-Identifier: Apache-2.0
"""THREAT_MODEL.md says nothing that no test stands for: each test, attack and error that it names exists."""

from __future__ import annotations

import ast
import re

import sealway
from sealway.adversary.catalogue import ATTACKS
from tests.docs.documents import ROOT

PAGE = (ROOT / "THREAT_MODEL.md").read_text(encoding="utf-8")
CODE = re.findall(r"`([^`\n]+)`", PAGE)
ATTACKERS = PAGE.split("\n## Stolen keys\n")[0]  # what follows has a form, and a test, of its own
ROWS = [line for line in ATTACKERS.splitlines() if line.startswith("| ") and not line.startswith("| ---")]


def _tests_of(file: str) -> set[str]:
    """The names of the tests of a file, those in classes included."""
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, functions) and node.name.startswith("test_")}


def test_every_test_that_is_named_exists() -> None:
    named = [code.split("::") for code in CODE if ".py::" in code]
    assert len(named) > 60
    missing = [f"{file}::{test}" for file, test in named if not (ROOT / "tests" / file).exists()]
    missing += [
        f"{file}::{test}" for file, test in named if f"{file}::{test}" not in missing and test not in _tests_of(file)
    ]
    assert missing == []


def test_every_attack_that_is_named_exists() -> None:
    named = {code for code in CODE if re.fullmatch(r"[a-z]+(-[a-z]+)+", code)}
    assert named - ATTACKS.keys() == set()
    assert len(named) > 30


def test_every_error_and_event_that_is_named_exists() -> None:
    named = {code for code in CODE if re.fullmatch(r"([A-Z][a-z]+)+", code)}
    assert named - set(sealway.__all__) == set()
    assert {"Replayed", "Missing", "StateLost"} <= named


def test_every_row_names_what_stands_for_it() -> None:
    rows = [row.strip("| ").split(" | ") for row in ROWS if not re.match(r"\| (tries|what happens) ", row)]
    assert [row[0] for row in rows if len(row) != 4 or "`" not in row[3]] == []
    assert len(rows) > 50


def test_every_attack_is_named_or_like_one_that_is() -> None:
    """A new kind of attack wants a row; a further one of a kind that is there does not."""
    kinds = {name.split("-")[0] for name in ATTACKS}
    named = {code.split("-")[0] for code in CODE if code in ATTACKS}
    assert kinds - named - {"delay", "deny", "duplicate", "insert", "invent", "reorder", "strip", "swap"} == set()
