# SPDX-License-Identifier: Apache-2.0
"""The SQL of mailboxes. No policy: who may ask is settled before."""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeAlias

from sealway.hub.parcels import numbered, packed, unpacked

Held: TypeAlias = tuple[str, int, bytes]
"""A mailbox, the sequence number of an envelope in it, and the envelope."""

Row: TypeAlias = tuple[int, int, int, bool, int, str, bytes]
"""A parcel: its number, its mailbox's, when it expires, whether that is before its time, how many envelopes are in it,
their sizes, and all of them joined."""

Load: TypeAlias = tuple[int, int, int]
"""The number of a mailbox; how many envelopes it holds, of how many bytes."""

_INSERT: Final = """INSERT INTO parcels (last, mailbox, expires, early, held, sizes, content)
    VALUES (?, ?, ?, ?, ?, ?, ?)"""
_WAITING: Final = """SELECT last, sizes, content FROM parcels
    WHERE mailbox = (SELECT number FROM mailboxes WHERE id = ?) AND expires > ? ORDER BY last"""
_NEXT: Final = """SELECT last, sizes, content FROM parcels
    WHERE mailbox = (SELECT number FROM mailboxes WHERE id = ?) AND last >= ? ORDER BY last LIMIT 1"""
_THIN: Final = "UPDATE parcels SET held = ?, sizes = ?, content = ? WHERE last = ?"
_DROP: Final = "DELETE FROM parcels WHERE last = ?"
_OLDEST: Final = 100  # parcels of one piece of work
_FORGET_EARLY: Final = "DELETE FROM parcels WHERE early = 1 AND expires <= ? RETURNING held"
_FORGET_OLDEST: Final = """DELETE FROM parcels WHERE last IN (SELECT last FROM
    (SELECT last, expires FROM parcels WHERE early = 0 ORDER BY last LIMIT ?) WHERE expires <= ?) RETURNING held"""


def make_mailbox(db: sqlite3.Connection, mailbox: str, name: str) -> None:
    """Make the mailbox of an endpoint, if it is not there."""
    db.execute("INSERT INTO mailboxes (id, name) VALUES (?, ?) ON CONFLICT DO NOTHING", (mailbox, name))


def load_of(db: sqlite3.Connection, mailbox: str) -> Load | None:
    """Return what a mailbox holds, or None if it does not exist."""
    row: Load | None = db.execute("SELECT number, held, bytes FROM mailboxes WHERE id = ?", (mailbox,)).fetchone()
    return row


def last_number(db: sqlite3.Connection) -> int:
    """Return the highest sequence number that was ever given."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'parcels'").fetchone()
    return 0 if row is None else int(row[0])


def hold(db: sqlite3.Connection, parcels: Iterable[Row]) -> None:
    """Put parcels into mailboxes, under numbers above ``last_number``."""
    db.executemany(_INSERT, parcels)


def add_load(db: sqlite3.Connection, number: int, envelopes: int, size: int) -> None:
    """Count what was put into a mailbox."""
    db.execute("UPDATE mailboxes SET held = held + ?, bytes = bytes + ? WHERE number = ?", (envelopes, size, number))


def parcel(db: sqlite3.Connection, last: int, mailbox: int) -> tuple[int, list[bytes]]:
    """Return (when it expires, its envelopes) of a parcel in this mailbox; (0, []) if it is not there."""
    query = "SELECT expires, sizes, content FROM parcels WHERE last = ? AND mailbox = ?"
    row = db.execute(query, (last, mailbox)).fetchone()
    return (0, []) if row is None else (int(row[0]), unpacked(row[1], row[2]))


def latest_expiry(db: sqlite3.Connection) -> int:
    """Return when the newest of those expires that wait their whole time, or 0: none of the older ones is later."""
    row = db.execute("SELECT expires FROM parcels WHERE early = 0 ORDER BY last DESC LIMIT 1").fetchone()
    return 0 if row is None else int(row[0])


def waiting(db: sqlite3.Connection, mailbox: str, now: int, most: int, most_bytes: int) -> list[Held]:
    """Return the oldest envelopes that wait in a mailbox: up to ``most``, no more once ``most_bytes`` is reached."""
    found: list[Held] = []
    rows = db.execute(_WAITING, (mailbox, now))
    for last, sizes, content in rows:
        for number, envelope in numbered(last, unpacked(sizes, content)):
            if len(found) == most or most_bytes <= 0:
                rows.close()
                return found
            found.append((mailbox, number, envelope))
            most_bytes -= len(envelope)
    return found


def forget(db: sqlite3.Connection, mailbox: str, sequences: Iterable[int]) -> int:
    """Delete acknowledged envelopes; return how many there were."""
    left, gone = sorted(set(sequences)), 0
    while left and (row := db.execute(_NEXT, (mailbox, left[0])).fetchone()) is not None:
        last, sizes, content = row
        mine = bisect_right(left, last)
        gone += thin(db, last, unpacked(sizes, content), left[:mine])
        left = left[mine:]
    return gone


def thin(db: sqlite3.Connection, last: int, envelopes: Sequence[bytes], numbers: Iterable[int]) -> int:
    """Take the envelopes with these numbers, all up to ``last``, out of a parcel; return how many were in it."""
    first, kept = last - len(envelopes) + 1, list(envelopes)
    for number in numbers:
        if number >= first:
            kept[number - first] = b""
    held = sum(map(bool, kept))
    gone = sum(map(bool, envelopes)) - held
    if not held:
        db.execute(_DROP, (last,))
    elif gone:
        db.execute(_THIN, (held, *packed(kept), last))
    return gone


def forget_early(db: sqlite3.Connection, now: int) -> int:
    """Delete what its sender wanted to expire by now; return how many."""
    return _sum(db.execute(_FORGET_EARLY, (now,)))


def forget_oldest(db: sqlite3.Connection, now: int) -> int:
    """Delete the expired ones among the oldest that wait their whole time; return how many."""
    return _sum(db.execute(_FORGET_OLDEST, (_OLDEST, now)))


def _sum(rows: Iterator[tuple[int]]) -> int:
    return sum(held for (held,) in rows)


def consented(db: sqlite3.Connection, mailbox: str, gateway: str, now: int) -> bool:
    """Say whether the mailbox's device has a consent on file for this gateway that has not expired."""
    query = "SELECT 1 FROM consents WHERE mailbox = ? AND gateway = ? AND expires > ?"
    return db.execute(query, (mailbox, gateway, now)).fetchone() is not None


def totals(db: sqlite3.Connection) -> dict[str, int]:
    """Return the gauges: mailboxes, envelopes and bytes held."""
    mailboxes, held, size = db.execute(
        "SELECT count(*), coalesce(sum(held), 0), coalesce(sum(bytes), 0) FROM mailboxes"
    ).fetchone()
    return {"sealway_hub_mailboxes": mailboxes, "sealway_hub_held": held, "sealway_hub_held_bytes": size}
