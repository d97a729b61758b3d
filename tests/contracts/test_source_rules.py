# SPDX-License-Identifier: Apache-2.0
"""Rules of the house for all source files."""

from __future__ import annotations

import ast
import statistics
from pathlib import Path

import pytest

from tests.contracts.source_rules import ROOT, forbidden_words, function_lengths, missing_docstrings, modules, parse

LICENCE = "# SPDX-License-Identifier: Apache-2.0"
LONGEST_FILE = 400  # lines


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


every_module = pytest.mark.parametrize("path", modules(), ids=_name)


@every_module
def test_nothing_forbidden(path: Path) -> None:
    assert list(forbidden_words(parse(path))) == []


@every_module
def test_everything_public_says_what_it_is(path: Path) -> None:
    assert list(missing_docstrings(parse(path))) == []


@every_module
def test_a_file_is_about_one_thing(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) < LONGEST_FILE
    assert not [number for number, line in enumerate(lines, 1) if "TODO" in line or "FIXME" in line]


def test_every_file_names_its_licence() -> None:
    files = [path for folder in ("src", "tests", "scripts") for path in (ROOT / folder).rglob("*.py")]
    assert len(files) > 50
    assert [_name(path) for path in files if not path.read_text(encoding="utf-8").startswith(LICENCE)] == []


def test_functions_are_small() -> None:
    lengths = sorted(length for path in modules() for _, _, length in function_lengths(parse(path)))
    assert statistics.median(lengths) <= 12
    assert lengths[len(lengths) * 95 // 100] < 50


@pytest.mark.parametrize(
    "bad",
    [
        "def f(x):\n    assert isinstance(x, int)",
        "try:\n    pass\nexcept:\n    pass",
        "def f():\n    raise NotImplementedError",
        "def f():\n    raise NotImplementedError('later')",
        "def get_key(): ...",
        "def process(x): ...",
        "class A:\n    def __del__(self): ...",
    ],
)
def test_the_checker_sees_what_is_forbidden(bad: str) -> None:
    assert list(forbidden_words(ast.parse(bad))) != []


def test_the_checker_sees_what_is_undocumented() -> None:
    source = (
        '"""Doc."""\nclass A:\n    """Doc."""\n    def a(self): ...\n    def _b(self): ...\ndef c():\n    """Doc."""\n'
    )
    assert [name for _, name in missing_docstrings(ast.parse(source))] == ["a"]
    assert [name for _, name in missing_docstrings(ast.parse("def c(): ..."))] == ["module", "c"]
