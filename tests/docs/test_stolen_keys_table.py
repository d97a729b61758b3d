# SPDX-License-Identifier: Apache-2.0
"""The table of stolen keys in THREAT_MODEL.md: every cell that claims something names a test, and the tests exist."""

from __future__ import annotations

import re

from tests.docs.documents import ROOT
from tests.docs.test_threat_model import _tests_of

SECTION = (ROOT / "THREAT_MODEL.md").read_text(encoding="utf-8").split("\n## Stolen keys\n")[1].split("\n## ")[0]
ROWS = [line.strip("| ").split(" | ") for line in SECTION.splitlines() if line.startswith("| ")][2:]
NOTES = dict(re.findall(r"^(\d+)\. (.+)$", SECTION, re.M))
CLAIMS_NOTHING = re.compile(r"–|nothing: .*|there is nothing to heal; .*")
STOLEN = [
    "certificate key", "agreement key", "signed prekey", "one-time key", "ML-KEM key", "private halves of a bundle",
    "a session's state, of a device", "a session's state, of an application", "owner's root key", "issuing CA's key",
    "grant key", "gateway's hop key", "hub's hop key", "keystore's passphrase", "the files, without the passphrase",
    "the files and the passphrase", "key of a sealed file",
]  # fmt: skip


def test_every_key_that_there_is_has_a_row_with_all_columns() -> None:
    assert len(ROWS) == len(STOLEN)
    assert [row[0] for row, key in zip(ROWS, STOLEN, strict=True) if not row[0].startswith(key)] == []
    assert {len(row) for row in ROWS} == {6}


def test_every_cell_that_claims_something_names_a_test() -> None:
    cells = [cell for row in ROWS for cell in row[1:] if not CLAIMS_NOTHING.fullmatch(cell)]
    assert [cell for cell in cells if not re.search(r"\[\d+\]", cell)] == []


def test_every_test_of_the_table_exists_and_stands_for_a_cell() -> None:
    used = {number for row in ROWS for cell in row for number in re.findall(r"\[(\d+)\]", cell)}
    assert used == set(NOTES)
    named = [test.split("::") for note in NOTES.values() for test in re.findall(r"`([^`]+)`", note)]
    assert all(test in _tests_of(file) for file, test in named)
    assert all("`" in note for note in NOTES.values())
