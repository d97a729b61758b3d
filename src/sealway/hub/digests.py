# SPDX-License-Identifier: Apache-2.0
"""Whether the same bytes wait in a mailbox already: exactly, in bounded memory, and cheaply for what is new.

Invariant: of every envelope that is held, a digest is in the table ``digests`` if its parcel's number is at most the
one in ``digested``, and a mark is in memory otherwise. Both may also name what has gone, so neither is believed
without a look at the parcel: what counts is the bytes in it.

A mark is Python's hash of the bytes, which is keyed anew in each process: nobody can bring about that two are the same.
A digest is the same in every process. It is random too, and an index over all of them would have almost every deposit
write a page of its own: so what is newest has marks only, what is collected in time is never indexed at all, and the
rest goes into the table thousands at a time, in order, where several share a page.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

from sealway.hub.parcels import numbered, unpacked

MOST_IN_MEMORY: Final = 131_072
"""Marks, of about 150 bytes each."""

_INDEXED_BYTES: Final = 8  # as an integer; two that share it are told apart by their bytes
_ASKED: Final = 100  # digests in one query
_READ: Final = 64  # parcels at a time

_UNINDEXED: Final = """SELECT last, id, number, sizes, content FROM parcels JOIN mailboxes ON number = mailbox
    WHERE last > ? ORDER BY last LIMIT ?"""
_INDEX: Final = "INSERT OR IGNORE INTO digests VALUES (?, ?)"
_FIND: Final = "SELECT digest, last FROM digests WHERE digest IN (?" + ", ?" * (_ASKED - 1) + ")"
_COUNT: Final = "SELECT (SELECT count(*) FROM digests), (SELECT coalesce(sum(held), 0) FROM mailboxes)"
_FORGET_GONE: Final = "DELETE FROM digests WHERE last NOT IN (SELECT last FROM parcels)"


def digest_of(mailbox: str, envelope: bytes) -> int:
    """Return what stands in the table for an envelope in a mailbox."""
    return int.from_bytes(hashlib.sha256(mailbox.encode() + envelope).digest()[:_INDEXED_BYTES], signed=True)


class Digests:
    """Belongs to whoever writes; every call is inside a transaction, which may yet be rolled back."""

    def __init__(self) -> None:
        self._newest: dict[int, dict[int, int]] = {}  # by mailbox: the parcel's number by mark
        self._order: deque[tuple[int, int, Sequence[int]]] = deque()  # (parcel, mailbox, marks), oldest first
        self._marks = 0
        self._last: int | None = None  # the highest number given, as far as memory knows
        self._has_older = True

    def begin(self, db: sqlite3.Connection, last: int) -> None:
        """Begin a piece of work, when ``last`` is the highest number given.

        Memory knows another one after a start, and after a rollback: then what it has to hold is read.
        """
        if last != self._last:
            self._read(db)
            self._last = last

    def candidates(
        self, db: sqlite3.Connection, mailbox: str, number: int, envelopes: Sequence[bytes], marks: Sequence[int]
    ) -> dict[bytes, list[int]]:
        """Return the envelopes that may be held already, each with the parcels to look into."""
        newest, found = self._newest.get(number, {}), dict[bytes, list[int]]()
        if not newest.keys().isdisjoint(marks):
            for envelope, mark in zip(envelopes, marks, strict=True):
                if mark in newest:
                    found[envelope] = [newest[mark]]
        if self._has_older:
            by_digest: dict[int, list[bytes]] = {}
            for envelope in envelopes:
                by_digest.setdefault(digest_of(mailbox, envelope), []).append(envelope)
            for digest, last in _found(db, list(by_digest)):
                for envelope in by_digest[digest]:
                    found.setdefault(envelope, []).append(last)
        return found

    def add(self, db: sqlite3.Connection, number: int, last: int, marks: Sequence[int]) -> None:
        """Know the parcel ``last`` that was put into a mailbox; index the oldest ones when there are too many."""
        self._note(number, last, marks)
        self._last = last
        if self._marks > MOST_IN_MEMORY:
            self._index_oldest(db)

    def _note(self, number: int, last: int, marks: Sequence[int]) -> None:
        self._newest.setdefault(number, {}).update(dict.fromkeys(marks, last))
        self._order.append((last, number, marks))
        self._marks += len(marks)

    def _read(self, db: sqlite3.Connection) -> None:
        self._newest, self._marks, self._has_older = {}, 0, True
        self._order.clear()
        (at,) = db.execute("SELECT last FROM digested").fetchone()
        while rows := db.execute(_UNINDEXED, (at, _READ)).fetchall():
            for last, _, number, sizes, content in rows:
                self._note(number, last, [hash(envelope) for envelope in unpacked(sizes, content) if envelope])
            at = rows[-1][0]
            if self._marks > MOST_IN_MEMORY:
                self._index_oldest(db)
        self._has_older = bool(db.execute(_COUNT).fetchone()[0])

    def _index_oldest(self, db: sqlite3.Connection) -> None:
        """Move an eighth of what memory holds, and what of it is still held, into the table."""
        last, most = 0, MOST_IN_MEMORY - MOST_IN_MEMORY // 8
        while self._marks > most:
            last, number, marks = self._order.popleft()
            self._marks -= len(marks)
            newest = self._newest[number]
            for mark in marks:
                if newest.get(mark) == last:  # not come again since
                    del newest[mark]
            if not newest:
                del self._newest[number]
        db.executemany(_INDEX, sorted(_unindexed(db, last)))
        db.execute("UPDATE digested SET last = ?", (last,))
        rows, held = db.execute(_COUNT).fetchone()
        if rows > 2 * held + MOST_IN_MEMORY:
            rows -= db.execute(_FORGET_GONE).rowcount
        self._has_older = rows > 0


def _unindexed(db: sqlite3.Connection, until: int) -> Iterator[tuple[int, int]]:
    """Give (digest, parcel) of what is held up to a number, and not in the table yet."""
    (at,) = db.execute("SELECT last FROM digested").fetchone()
    while at < until:
        rows = [row for row in db.execute(_UNINDEXED, (at, _READ)) if row[0] <= until]
        for last, mailbox, _, sizes, content in rows:
            for _, envelope in numbered(last, unpacked(sizes, content)):
                yield digest_of(mailbox, envelope), last
        at = rows[-1][0] if rows else until


def _found(db: sqlite3.Connection, digests: list[int]) -> Iterator[tuple[int, int]]:
    """Give (digest, parcel) of those that the table knows."""
    for at in range(0, len(digests), _ASKED):
        some = digests[at : at + _ASKED]
        yield from db.execute(_FIND, some + some[:1] * (_ASKED - len(some)))  # one more time makes no difference
