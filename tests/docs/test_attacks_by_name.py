# SPDX-License-Identifier: Apache-2.0
"""The table of THREAT_MODEL.md that maps each attack on the protocol to the tests that try it."""

from __future__ import annotations

import re

from tests.docs.documents import ROOT
from tests.docs.test_threat_model import _tests_of

PAGE = (ROOT / "THREAT_MODEL.md").read_text(encoding="utf-8")
SECTION = PAGE.split("\n## Attacks on the protocol, by name\n")[1].split("\n## ")[0]
ROWS = [line.strip("| ").split(" | ") for line in SECTION.splitlines() if line.startswith("| ")][2:]
NAMES = [
    "invalid curve", "small order", "identity misbinding", "unknown key share", "key-compromise impersonation",
    "reflection", "cross-suite", "cross-domain", "version roll-back",
]  # fmt: skip


def test_every_attack_has_a_row_of_three_columns() -> None:
    assert [row[0] for row in ROWS] == NAMES
    assert {len(row) for row in ROWS} == {3}


def test_every_row_names_tests_that_exist() -> None:
    for name, _, tests in ROWS:
        named = [test.split("::") for test in re.findall(r"`([^`]+)`", tests)]
        assert named, name
        assert [test for file, test in named if test not in _tests_of(file)] == []
