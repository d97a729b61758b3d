# SPDX-License-Identifier: Apache-2.0
"""Whether the same bytes wait in a mailbox already: exactly, in bounded memory, and cheaply for what is new.

Invariant: of every envelope that is held, the digest is in the table ``digests`` if its number is at most the one in
``digested``, and in memory otherwise. Memory does not hear of deletions; so it is not believed without a look at the
row that it names.

A digest is random: an index over all of them would have almost every deposit read and write a page of its own.
Thousands at a time, in their order, several of them share a page; and a filter, one bit for each value of a digest's
first 24 bits, spares what is new the look into the table.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

Key: TypeAlias = tuple[str, bytes]
"""A mailbox and the digest of an envelope."""

MOST_IN_MEMORY: Final = 16_384
"""Digests, of about 200 bytes each."""

_DIGEST_BYTES: Final = 16
_FILTER_BYTES: Final = 1 << 21
_MOST_MARKED: Final = 1 << 22  # a quarter of the bits: then those of envelopes that have gone are dropped

_FIND: Final = "SELECT sequence FROM digests WHERE mailbox = ? AND digest = ?"
_LOOK: Final = "SELECT expires FROM envelopes WHERE sequence = ? AND mailbox = ? AND digest = ?"
_NEWEST: Final = """SELECT mailbox, digest, sequence FROM envelopes
    WHERE sequence > (SELECT sequence FROM digested) ORDER BY mailbox, digest"""
_MERGE: Final = f"INSERT OR REPLACE INTO digests {_NEWEST}"


def digest_of(envelope: bytes) -> bytes:
    """Return what tells an envelope from every other: the first 16 bytes of its SHA-256."""
    return hashlib.sha256(envelope).digest()[:_DIGEST_BYTES]


class Digests:
    """Belongs to whoever writes; every call is inside a transaction, which may yet be rolled back."""

    def __init__(self) -> None:
        self._newest: dict[Key, int] = {}
        self._last: int | None = None  # the highest number given, as far as memory knows
        self._filter = bytearray()
        self._marked = 0  # bits are set by so many, of which some may have gone

    def catch_up(self, db: sqlite3.Connection, last: int) -> None:
        """Begin a piece of work, when ``last`` is the highest number given.

        It is another one than memory knows after a start, and after a rollback: then what memory has to hold is read.
        """
        if last == self._last:
            return
        rows = db.execute(_NEWEST)
        self._newest = {(mailbox, digest): sequence for mailbox, digest, sequence in rows}
        self._mark_anew(db)
        self._last = last

    def held(self, db: sqlite3.Connection, key: Key, now: int) -> bool:
        """Say whether these bytes wait in the mailbox; an expired copy is forgotten first."""
        sequence = self._newest.get(key) or self._indexed(db, key)
        if sequence is None:
            return False
        row = db.execute(_LOOK, (sequence, *key)).fetchone()
        if row is not None and row[0] <= now:
            db.execute("DELETE FROM envelopes WHERE sequence = ?", (sequence,))
        return row is not None and row[0] > now

    def add(self, db: sqlite3.Connection, held: Mapping[Key, int], last: int) -> None:
        """Know what was put into mailboxes under numbers up to ``last``; merge when memory is full."""
        self._newest.update(held)
        self._last = last
        if len(self._newest) >= MOST_IN_MEMORY:
            self._merge(db)

    def _merge(self, db: sqlite3.Connection) -> None:
        db.execute(_MERGE)
        db.execute("UPDATE digested SET sequence = ?", (self._last,))
        if self._marked > _MOST_MARKED:
            self._mark_anew(db)
        else:
            self._mark(digest for _, digest in self._newest)
        self._newest = {}

    def _mark_anew(self, db: sqlite3.Connection) -> None:
        self._filter, self._marked = bytearray(_FILTER_BYTES), 0
        self._mark(digest for (digest,) in db.execute("SELECT digest FROM digests"))

    def _mark(self, digests: Iterable[bytes]) -> None:
        for digest in digests:
            self._filter[digest[0] << 13 | digest[1] << 5 | digest[2] >> 3] |= 1 << (digest[2] & 7)
            self._marked += 1

    def _indexed(self, db: sqlite3.Connection, key: Key) -> int | None:
        digest = key[1]
        if not self._filter[digest[0] << 13 | digest[1] << 5 | digest[2] >> 3] >> (digest[2] & 7) & 1:
            return None
        row = db.execute(_FIND, key).fetchone()
        return None if row is None else int(row[0])
