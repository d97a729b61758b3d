# SPDX-License-Identifier: Apache-2.0
"""Many devices at once: rows of a CSV file, and a report with which an interrupted batch goes on.

Invariant: a setup code is in the CSV file, and in no report, line or error.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import typer

from sealway.cli import options
from sealway.cli.commissioning import Code, Plan, commission_all
from sealway.cli.files import read_file, read_input
from sealway.cli.jsonlines import JsonLines
from sealway.cli.messages import Refused, note, say
from sealway.cli.running import run_to_end
from sealway.errors import LocalMisuse, NotTrusted, SealwayError
from sealway.factory.setupcode import QrText, SetupCode
from sealway.sdk.owner.authority import OwnerHome
from sealway.sdk.owner.joinings import Joined
from sealway.wire.manifest import check_serial

_COLUMNS: Final = frozenset({"code", "qr", "serial", "address", "label"})
_MOST_ROWS: Final = 10_000
_DONE: Final = "commissioned"


@dataclass(frozen=True, slots=True)
class Row:
    """One device: what is on its label, where it is, what it shall be called (None: as its serial number)."""

    code: Code
    address: str
    label: str | None


def code_of(code: str | None, qr: Path | None, serial: str | None) -> Code:
    """Return what was typed or scanned, exactly one of them. Raises LocalMisuse, Mistyped.

    Args:
        serial: the serial number on the label, beside a typed code; the QR code has it.
    """
    if (code is None) == (qr is None):
        raise LocalMisuse("which device is to be taken in", hint="give the code on its label, or --qr FILE")
    if code is not None:
        return _typed(code, serial, "CODE")
    if serial is not None:
        raise LocalMisuse("--serial: the QR code has the serial number")
    return _scanned(read_input(qr or Path("-"), "the QR code", limit=256).decode("utf-8", "replace").strip(), "--qr")


def read_rows(file: Path, address: str) -> dict[int, Row]:
    """Return the rows of a CSV file by their line, from 2 on. Raises LocalMisuse, Mistyped; nothing has begun then."""
    text = read_file(file, "the batch").decode("utf-8", "replace")
    reader = csv.DictReader(io.StringIO(text), strict=True)
    try:
        columns, found = set(reader.fieldnames or ()), list(reader)
    except csv.Error as error:
        raise LocalMisuse(f"{file} is no CSV file: {error}") from None
    if not columns <= _COLUMNS or not columns & {"code", "qr"}:
        raise LocalMisuse(
            f"{file}: the columns are code or qr, and serial, address and label", hint="the first row names them"
        )
    if len(found) > _MOST_ROWS:
        raise LocalMisuse(f"{file} has more than {_MOST_ROWS} rows")
    return {number: _row(row, f"{file}, row {number}", address) for number, row in enumerate(found, start=2)}


def commission_rows(
    home: OwnerHome, key_file: Path | None, rows: Mapping[int, Row], report: Path,
    plan_for: Callable[[Code, str, str | None], Plan],
) -> None:  # fmt: skip
    """Take in what the report does not say to be done, and write down what became of each.

    Raises:
        Refused: some could not be taken in; the same command tries these again.
        LocalMisuse, InUse, StateLost: nothing can be done at all.
    """
    lines, passphrase = JsonLines(report), options.passphrase(key_file)
    try:
        written = _Report(lines, rows)
        left = sorted(rows.keys() - written.done)
        plans = {row: plan_for(rows[row].code, rows[row].address, rows[row].label) for row in left}
        run_to_end(lambda: commission_all(home, passphrase, plans, written.add))
    finally:
        lines.close()
    say(f"commissioned {len(written.done)} of {len(rows)}")
    if written.failed:
        hint = f"see {report}; the same command tries them again"
        raise Refused(f"{written.failed} could not be taken in", hint=hint)


class _Report:
    """What became of each row.

    Args:
        lines: of earlier runs, and of this one.
        rows: the batch.
    """

    def __init__(self, lines: JsonLines, rows: Mapping[int, Row]) -> None:
        self._lines, self._rows = lines, rows
        self.done = _done_in(lines, rows)
        self.failed = 0

    def add(self, row: int, outcome: Joined | SealwayError) -> None:
        """Write one down, and show how far it is."""
        line: dict[str, Any] = {"row": row, "address": self._rows[row].address}
        if (label := self._rows[row].label) is not None:
            line["label"] = label
        if isinstance(outcome, Joined):
            self.done.add(row)
            line |= {"outcome": _DONE, "serial": outcome.serial, "name": str(outcome.name)}
            what = f"{outcome.name}"
        else:
            self.failed += 1
            line |= {"outcome": "failed", "error": outcome.message}
            what = outcome.message
        self._lines.append([line])
        note(f"{len(self.done) + self.failed} of {len(self._rows)}, row {row}: {what}")


def _done_in(lines: JsonLines, rows: Mapping[int, Row]) -> set[int]:
    """Return the rows that the report says to be done. Raises LocalMisuse if it is not the report of these rows."""
    done: set[int] = set()
    try:
        for line in lines.lines():
            if line.get("outcome") == _DONE:
                _demand_same(line, rows.get(line["row"]), lines.path)
                done.add(line["row"])
    except (ValueError, KeyError, TypeError):
        raise LocalMisuse(f"{lines.path} is no report of a batch") from None
    return done


def _demand_same(line: Mapping[str, Any], row: Row | None, report: Path) -> None:
    """Return if a line is about this row: numbers alone would be those of any batch."""
    said = (line["address"], line.get("label"), line["serial"])
    if row is not None and said == (row.address, row.label, row.code.serial or line["serial"]):
        return
    hint = "give each batch a report of its own; rows that are done stay as they were"
    raise LocalMisuse(f"{report} is the report of another batch: see row {line['row']}", hint=hint)


def _row(row: Mapping[str, str | None], what: str, address: str) -> Row:
    code, qr = row.get("code") or None, row.get("qr") or None
    if (code is None) == (qr is None):
        raise LocalMisuse(f"{what}: either a code or a qr is needed")
    serial = row.get("serial") or None
    if code is None and serial is not None:
        raise LocalMisuse(f"{what}: the qr has the serial number")
    read = _typed(code, serial, what) if code is not None else _scanned(qr or "", what)
    return Row(read, row.get("address") or address, row.get("label") or None)


def agreed_by_person(serial: str) -> None:
    """Show the serial number of the device that has the typed code; at a terminal, ask. Raises NotTrusted.

    Whoever has photographed the label can have another genuine device answer to its code.
    """
    note(f"the device with this code proves the serial number {serial}: compare it with the label")
    if sys.stdin.isatty() and not typer.confirm("is it the one on the label?", err=True):
        raise NotTrusted(f"{serial} is not the device with this label")


def _typed(text: str, serial: str | None, what: str) -> Code:
    with options.argument(what):
        return Code(SetupCode.parse(text).password, None if serial is None else check_serial(serial))


def _scanned(text: str, what: str) -> Code:
    with options.argument(what):
        read = QrText.parse(text)
    return Code(read.code.password, read.serial)
