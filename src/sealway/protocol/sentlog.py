# SPDX-License-Identifier: Apache-2.0
"""What an end remembers of its own sealed messages: the tag (for receipts) and when it sealed (for freshness).

Times are of a clock that runs on while the machine sleeps and that starts anew at a reboot (CLOCK_BOOTTIME), with the
boot's identity beside it: a killed process is not a reboot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from sealway.protocol.ranges import RangeSet


class Uptime(NamedTuple):
    """A moment on the boot clock: milliseconds since the boot that ``boot`` (16 bytes) names."""

    boot: bytes
    ms: int


class SentRecord(NamedTuple):
    """One sealed message: the first 4 bytes of its tag, when it was sealed (boot clock; Unix milliseconds)."""

    tag: bytes
    at: Uptime
    sealed_ms: int


class SentLog:
    """Records by number. Unacknowledged ones are kept, and of the others the newest ``keep``.

    Args:
        records: what is remembered.
        stored: returns what is remembered besides; asked when it is first needed, which sealing and opening mostly
            do not.
    """

    __slots__ = ("_known", "_stored")

    def __init__(
        self, records: Iterable[tuple[int, SentRecord]] = (),
        *, stored: Callable[[], Iterable[tuple[int, SentRecord]]] | None = None,
    ) -> None:  # fmt: skip
        self._known: dict[int, SentRecord] = dict(sorted(records))
        self._stored = stored

    @property
    def _records(self) -> dict[int, SentRecord]:
        if self._stored is not None:
            self._known = dict(sorted((dict(self._stored()) | self._known).items()))
            self._stored = None
        return self._known

    def add(self, number: int, record: SentRecord) -> None:
        """Remember a message just sealed; numbers come in rising order."""
        self._known[number] = record

    def find(self, number: int) -> SentRecord | None:
        """Return the record of ``number``, or None if it was never sealed or is no longer remembered."""
        return self._records.get(number)

    def tag_of(self, number: int) -> bytes | None:
        """Return the first 4 bytes of the tag of ``number``, or None."""
        record = self._records.get(number)
        return record.tag if record is not None else None

    def sealed_ms(self, number: int) -> int:
        """Return when ``number`` was sealed, Unix milliseconds; 0 if it is no longer remembered."""
        record = self._records.get(number)
        return record.sealed_ms if record is not None else 0

    def prune(self, acked: RangeSet, *, below: int) -> list[int]:
        """Forget acknowledged records below ``below``; return their numbers."""
        forgotten: list[int] = []
        records = self._records
        for number in records:
            if number >= below:
                break
            if number in acked:
                forgotten.append(number)
        for number in forgotten:
            del records[number]
        return forgotten

    def older_than(self, sealed_before_ms: int, acked: RangeSet) -> RangeSet:
        """Return the unacknowledged numbers that were sealed before a Unix time in milliseconds."""
        found = RangeSet()
        for number, record in self._records.items():
            if record.sealed_ms >= sealed_before_ms:
                break
            if number not in acked:
                found.add(number)
        return found
