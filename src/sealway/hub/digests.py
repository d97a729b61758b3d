# SPDX-License-Identifier: Apache-2.0
"""Whether the same bytes wait in a mailbox already: exactly, in bounded memory, and cheaply for what is new.

Invariant: of every envelope that is held, the digest is in the table ``digests`` if its number is at most the one in
``digested``, and in memory otherwise. Both may also name what has gone, so neither is believed without a look at the
row: what counts is the bytes in it.

A digest is random: an index over all of them would have almost every deposit write a page of its own. Thousands at a
time, in their order, several of them share a page; and what is collected in time is never indexed at all.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from sealway.hub import mailbox_rows

MOST_IN_MEMORY: Final = 16_384
"""Digests, of about 200 bytes each."""

_DIGEST_BYTES: Final = 16
_INDEXED_BYTES: Final = 8  # as an integer; two that share it are told apart by their rows
_ASKED: Final = 100  # digests in one query

_NEWEST: Final = """SELECT sequence, id, envelope FROM envelopes JOIN mailboxes ON number = mailbox
    WHERE sequence > (SELECT sequence FROM digested) ORDER BY sequence LIMIT ?"""
_COMPLETE: Final = "UPDATE envelopes SET digest = ? WHERE sequence = ? AND digest IS NULL"  # of an older version
_INDEX: Final = """INSERT OR IGNORE INTO digests SELECT digest, sequence FROM envelopes
    WHERE sequence > (SELECT sequence FROM digested) AND sequence <= ? ORDER BY digest"""
_FIND_ONE: Final = "SELECT digest, sequence FROM digests WHERE digest = ?"
_FIND: Final = "SELECT digest, sequence FROM digests WHERE digest IN (?" + ", ?" * (_ASKED - 1) + ")"
_COUNT: Final = "SELECT (SELECT count(*) FROM digests), (SELECT coalesce(sum(held), 0) FROM mailboxes)"
_FORGET_GONE: Final = "DELETE FROM digests WHERE sequence NOT IN (SELECT sequence FROM envelopes)"


def digest_of(mailbox: str, envelope: bytes) -> bytes:
    """Return 16 bytes that tell an envelope in a mailbox from every other."""
    return hashlib.sha256(mailbox.encode() + envelope).digest()[:_DIGEST_BYTES]


def indexed(digest: bytes) -> int:
    """Return what stands for a digest in the tables."""
    return int.from_bytes(digest[:_INDEXED_BYTES], signed=True)


class Digests:
    """Belongs to whoever writes; every call is inside a transaction, which may yet be rolled back."""

    def __init__(self) -> None:
        self._newest: dict[bytes, int] = {}
        self._last: int | None = None  # the highest number given, as far as memory knows
        self._older: dict[int, list[int]] = {}  # what the table says of the digests looked up
        self._has_older = True

    def look_up(self, db: sqlite3.Connection, digests: Sequence[bytes], last: int) -> set[bytes]:
        """Begin a piece of work, when ``last`` is the highest number given; return the digests that may be held.

        Memory knows another one after a start, and after a rollback: then what it has to hold is read.
        """
        if last != self._last:
            self._read(db)
            self._last = last
        self._older = {}
        if not self._has_older:
            return self._newest.keys() & digests
        for index, sequence in _found(db, [indexed(digest) for digest in digests]):
            self._older.setdefault(index, []).append(sequence)
        older = {digest for digest in digests if indexed(digest) in self._older} if self._older else set()
        return (self._newest.keys() & digests) | older

    def is_held(self, db: sqlite3.Connection, digest: bytes, mailbox: int, envelope: bytes, now: int) -> bool:
        """Say whether these bytes, looked up, wait in the mailbox of this number; an expired copy is forgotten."""
        newest = self._newest.get(digest)
        for sequence in self._older.get(indexed(digest), ()) if newest is None else (newest,):
            expires = mailbox_rows.expiry_if_held(db, sequence, mailbox, envelope)
            if expires is not None and expires > now:
                return True
            if expires is not None:
                mailbox_rows.drop(db, sequence)
        return False

    def add(self, db: sqlite3.Connection, numbers: Mapping[bytes, int], last: int) -> None:
        """Know what was put into mailboxes, number by digest, up to the number ``last``; index it when it is much."""
        self._newest.update(numbers)
        self._last = last
        if len(self._newest) >= MOST_IN_MEMORY:
            self._index(db, last)

    def _read(self, db: sqlite3.Connection) -> None:
        self._has_older = True
        while True:
            rows = db.execute(_NEWEST, (MOST_IN_MEMORY,)).fetchall()
            self._newest = {digest_of(mailbox, envelope): sequence for sequence, mailbox, envelope in rows}
            db.executemany(_COMPLETE, [(indexed(digest), sequence) for digest, sequence in self._newest.items()])
            if len(rows) < MOST_IN_MEMORY:
                break
            self._index(db, rows[-1][0])
        self._has_older = bool(db.execute(_COUNT).fetchone()[0])

    def _index(self, db: sqlite3.Connection, last: int) -> None:
        """Move what memory holds, and what of it is still held, into the table."""
        db.execute(_INDEX, (last,))
        db.execute("UPDATE digested SET sequence = ?", (last,))
        self._newest = {}
        self._has_older = True
        rows, held = db.execute(_COUNT).fetchone()
        if rows > 2 * held + MOST_IN_MEMORY:
            db.execute(_FORGET_GONE)


def _found(db: sqlite3.Connection, digests: list[int]) -> Iterator[tuple[int, int]]:
    """Give (digest, number) of those that the table knows."""
    if len(digests) == 1:
        yield from db.execute(_FIND_ONE, digests)
        return
    for at in range(0, len(digests), _ASKED):
        some = digests[at : at + _ASKED]
        yield from db.execute(_FIND, some + some[:1] * (_ASKED - len(some)))  # one more time makes no difference
