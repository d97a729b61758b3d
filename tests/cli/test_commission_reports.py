# SPDX-License-Identifier: Apache-2.0
"""The report of a batch is that batch's: what another one has done counts for nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sealway.cli.commission_batch import Row, _Report
from sealway.cli.commissioning import Code
from sealway.cli.jsonlines import JsonLines
from sealway.crypto.secret import Secret
from sealway.errors import LocalMisuse, TransportFailed
from sealway.joining.channel import Resumption
from sealway.sdk.owner.joinings import Joined
from tests.identity.small_domain import NOW, name

TYPED = Row(Code(Secret(b"4719382556"), None), "coap://[::1]:5683", "cellar")
SCANNED = Row(Code(Secret(b"4719382557"), "TH-000002"), "unix:/run/serial", None)
ROWS = {2: TYPED, 3: SCANNED}
DONE = [
    {"row": 2, "address": TYPED.address, "label": "cellar", "outcome": "commissioned", "serial": "TH-000001"},
    {"row": 3, "address": SCANNED.address, "outcome": "commissioned", "serial": "TH-000002"},
]


def done(path: Path, rows: dict[int, Row]) -> set[int]:
    """The rows that a report says to be done."""
    lines = JsonLines(path)
    try:
        return _Report(lines, rows).done
    finally:
        lines.close()


def test_a_report_goes_on_with_its_batch_and_rows_may_be_added(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "report")
    report = _Report(lines, ROWS)
    resumption = Resumption(bytes(8), Secret(bytes(32)))
    for row, serial in ((2, "TH-000001"), (3, "TH-000002")):
        joined = Joined(
            birth=bytes(32), serial=serial, name=name(serial.lower()), csr=bytes(32), enrolment=b"enrolment",
            resumption=resumption, until=NOW,
        )  # fmt: skip
        report.add(row, joined)
    lines.close()
    assert done(tmp_path / "report", ROWS | {4: replace(SCANNED, address="unix:/run/other")}) == {2, 3}


@pytest.mark.parametrize(
    "rows",
    [
        {2: replace(TYPED, address="coap://[::1]:5684"), 3: SCANNED},
        {2: replace(TYPED, label="roof"), 3: SCANNED},
        {2: replace(TYPED, label=None), 3: SCANNED},
        {2: TYPED, 3: replace(SCANNED, label="roof")},
        {2: TYPED, 3: replace(SCANNED, code=Code(Secret(b"4719382558"), "TH-000003"))},
        {2: TYPED},
        {2: SCANNED, 3: TYPED},
    ],
)
def test_the_report_of_another_batch_is_refused(tmp_path: Path, rows: dict[int, Row]) -> None:
    (tmp_path / "report").write_text("".join(json.dumps(line) + "\n" for line in DONE))
    assert done(tmp_path / "report", ROWS) == {2, 3}
    with pytest.raises(LocalMisuse, match="report of another batch"):
        done(tmp_path / "report", rows)


def test_what_failed_says_nothing_of_a_batch(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "report")
    _Report(lines, ROWS).add(2, TransportFailed("no answer"))
    lines.close()
    assert done(tmp_path / "report", {2: SCANNED}) == set()


@pytest.mark.parametrize(
    "line", [{"outcome": "commissioned"}, {**DONE[0], "row": []}, [], {"outcome": "commissioned", "row": 2}]
)
def test_what_is_no_report_is_refused(tmp_path: Path, line: Any) -> None:
    (tmp_path / "report").write_text(json.dumps(line) + "\n")
    with pytest.raises(LocalMisuse, match="no report of a batch"):
        done(tmp_path / "report", ROWS)
