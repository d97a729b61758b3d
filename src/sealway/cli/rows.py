# SPDX-License-Identifier: Apache-2.0
"""A user's rows as messages: each row of a CSV or JSONL file is one payload of UTF-8 JSON.

JSONL: the bytes of the line without its newline, once it is known to be JSON; blank lines are no rows.
CSV (RFC 4180, the first record names the columns): ``json.dumps(row, ensure_ascii=False, separators=(",", ":"))`` of
the cells as strings, in column order; cells that a short row lacks are empty, a row with more cells than columns is
refused. A byte order mark is not data.
"""

from __future__ import annotations

import csv
import io
import json
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final, Literal, TypeAlias

from sealway.cli.files import chunks_of, lines_in, usable
from sealway.errors import LocalMisuse

Format: TypeAlias = Literal["csv", "jsonl"]

MAX_ROW_BYTES: Final = 63_000
"""Largest payload: with its options and what the protocol adds it has to fit an envelope of suite 1 (65 535 bytes)."""

_BOM: Final = b"\xef\xbb\xbf"
_SUFFIXES: Final[dict[str, Format]] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


@dataclass(frozen=True, slots=True)
class Row:
    """One row: ``index`` counts from 0 over the whole input; ``payload`` is what is sealed."""

    index: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Deal:
    """Which rows are this device's: every ``of``-th, beginning with ``first``."""

    first: int = 0
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> Deal:
        """Read K/N with 0 ≤ K < N. Raises ValueError."""
        first, _, of = text.partition("/")
        deal = cls(int(first), int(of))
        if not 0 <= deal.first < deal.of:
            raise ValueError(text)
        return deal

    def place(self, index: int) -> int | None:
        """Return which one of this device's rows it is, from 0; None if it is another's."""
        place, other = divmod(index - self.first, self.of)
        return place if other == 0 and place >= 0 else None


EVERY_ROW: Final = Deal()


class Source:
    """The rows of one input, read as they are asked for.

    Args:
        path: a file, or ``-`` for standard input.
        form: how it is written; None tells by the name, or by the first byte.
    """

    def __init__(self, path: Path, form: Format | None = None) -> None:
        self.path = path
        self._form = form

    @property
    def is_file(self) -> bool:
        """Whether it can be read again from its beginning."""
        if str(self.path) == "-":
            return False
        with usable(self.path, "the input"):
            return stat.S_ISREG(self.path.stat().st_mode)

    @property
    def name(self) -> str:
        """What progress is remembered under."""
        return "-" if str(self.path) == "-" else str(self.path.resolve())

    def check(self) -> int:
        """Read a file once from beginning to end and return how many rows it has. Raises LocalMisuse."""
        return sum(1 for _ in self.rows())

    def rows(self) -> Iterator[Row]:
        """Yield the rows. Raises LocalMisuse that names the row and its line."""
        descriptor = self._open()
        try:
            lines = _without_mark(lines_in(chunks_of(descriptor), limit=2 * MAX_ROW_BYTES))
            form, lines = self._told(lines)
            yield from map(_checked, _FORMS[form](lines))
        finally:
            os.close(descriptor)

    def _open(self) -> int:
        if str(self.path) == "-":
            return os.dup(0)
        with usable(self.path, "the input"):
            return os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)

    def _told(self, lines: Iterator[bytes]) -> tuple[Format, Iterator[bytes]]:
        form = self._form or _SUFFIXES.get(self.path.suffix.lower())
        if form is not None:
            return form, lines
        first = next(lines, b"")
        return ("jsonl" if first.lstrip()[:1] == b"{" else "csv"), chain([first], lines)


def _without_mark(lines: Iterator[bytes]) -> Iterator[bytes]:
    first = next(lines, b"").removeprefix(_BOM)
    return chain([first], lines) if first else lines


def _checked(row: Row) -> Row:
    if len(row.payload) > MAX_ROW_BYTES:
        raise LocalMisuse(f"row {row.index} is larger than {MAX_ROW_BYTES} bytes")
    return row


def _jsonl_rows(lines: Iterator[bytes]) -> Iterator[Row]:
    index = 0
    for number, line in enumerate(lines, start=1):
        payload = line.removesuffix(b"\n").removesuffix(b"\r")
        if not payload.strip():
            continue
        try:
            json.loads(_text(payload, index, number))
        except (ValueError, RecursionError):
            raise LocalMisuse(f"row {index} (line {number}) is not JSON") from None
        yield Row(index, payload)
        index += 1


def _csv_rows(lines: Iterator[bytes]) -> Iterator[Row]:
    place = _Place()
    csv.field_size_limit(MAX_ROW_BYTES)
    reader = csv.reader(place.text_lines(lines))
    try:
        header = next((record for record in reader if record), [])
        if len(set(header)) != len(header):
            raise LocalMisuse("two columns of the CSV have the same name")
        for record in reader:
            if record:  # a blank line is no row
                yield Row(place.index, _record(header, record, place))
                place.index += 1
    except csv.Error as error:
        raise LocalMisuse(f"row {place.index} (line {place.line}) is not CSV: {error}") from None


def _record(header: list[str], record: list[str], place: _Place) -> bytes:
    if len(record) > len(header):
        raise LocalMisuse(
            f"row {place.index} (line {place.line}) has {len(record)} cells, and there are {len(header)} columns"
        )
    cells = record + [""] * (len(header) - len(record))
    row = dict(zip(header, cells, strict=True))
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()


class _Place:
    """Where a CSV reader is: the row that comes next, and the line that was read last."""

    def __init__(self) -> None:
        self.index = 0
        self.line = 0

    def text_lines(self, lines: Iterator[bytes]) -> Iterator[str]:
        """Yield lines as csv wants them: split at every kind of line end, with the ends left as they are."""
        for line in lines:
            self.line += 1
            yield from io.StringIO(_text(line, self.index, self.line), newline="")


def _text(line: bytes, index: int, number: int) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise LocalMisuse(f"row {index} (line {number}) is not UTF-8", hint="convert the input to UTF-8") from None


_FORMS: Final[dict[Format, Callable[[Iterator[bytes]], Iterator[Row]]]] = {"csv": _csv_rows, "jsonl": _jsonl_rows}
