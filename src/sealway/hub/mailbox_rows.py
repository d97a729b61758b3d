# SPDX-License-Identifier: Apache-2.0
"""The SQL of mailboxes. No policy: who may ask is settled before."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Final, TypeAlias

Held: TypeAlias = tuple[str, int, bytes]
"""A mailbox, the sequence number of an envelope in it, and the envelope."""

Row: TypeAlias = tuple[int, int, int, bytes, int, bool]
"""A sequence number, a mailbox's number, a digest, an envelope, when it expires, whether that is before its time."""

Load: TypeAlias = tuple[int, int, int]
"""The number of a mailbox; how many envelopes it holds, of how many bytes."""

_INSERT: Final = "INSERT INTO envelopes (sequence, mailbox, digest, envelope, expires, early) VALUES (?, ?, ?, ?, ?, ?)"
_AT_ONCE: Final = 20  # rows of one statement: half the price of one statement each
_INSERT_MANY: Final = _INSERT + ", (?, ?, ?, ?, ?, ?)" * (_AT_ONCE - 1)
_WAITING: Final = """SELECT sequence, envelope FROM envelopes
    WHERE mailbox = (SELECT number FROM mailboxes WHERE id = ?) AND expires > ? ORDER BY sequence LIMIT ?"""
_FORGET: Final = "DELETE FROM envelopes WHERE sequence = ? AND mailbox = (SELECT number FROM mailboxes WHERE id = ?)"
_OLDEST: Final = 1000
_FORGET_OLDEST: Final = """DELETE FROM envelopes WHERE sequence IN (SELECT sequence FROM
    (SELECT sequence, expires FROM envelopes WHERE early = 0 ORDER BY sequence LIMIT ?) WHERE expires <= ?)"""


def make_mailbox(db: sqlite3.Connection, mailbox: str, name: str) -> None:
    """Make the mailbox of an endpoint, if it is not there."""
    db.execute("INSERT INTO mailboxes (id, name) VALUES (?, ?) ON CONFLICT DO NOTHING", (mailbox, name))


def load_of(db: sqlite3.Connection, mailbox: str) -> Load | None:
    """Return what a mailbox holds, or None if it does not exist."""
    row: Load | None = db.execute("SELECT number, held, bytes FROM mailboxes WHERE id = ?", (mailbox,)).fetchone()
    return row


def last_number(db: sqlite3.Connection) -> int:
    """Return the highest sequence number that was ever given."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'envelopes'").fetchone()
    return 0 if row is None else int(row[0])


def hold(db: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Put envelopes into mailboxes, under sequence numbers above ``last_number``."""
    whole = len(rows) - len(rows) % _AT_ONCE
    for at in range(0, whole, _AT_ONCE):
        db.execute(_INSERT_MANY, tuple(chain.from_iterable(rows[at : at + _AT_ONCE])))
    db.executemany(_INSERT, rows[whole:])


def add_load(db: sqlite3.Connection, number: int, envelopes: int, size: int) -> None:
    """Count what was put into a mailbox."""
    db.execute("UPDATE mailboxes SET held = held + ?, bytes = bytes + ? WHERE number = ?", (envelopes, size, number))


def expiry_if_held(db: sqlite3.Connection, sequence: int, mailbox: int, envelope: bytes) -> int | None:
    """Return when the envelope of this number expires, if it is this very one in this mailbox."""
    query = "SELECT expires FROM envelopes WHERE sequence = ? AND mailbox = ? AND envelope = ?"
    row = db.execute(query, (sequence, mailbox, envelope)).fetchone()
    return None if row is None else int(row[0])


def latest_expiry(db: sqlite3.Connection) -> int:
    """Return when the newest of those expires that wait their whole time, or 0: none of the older ones is later."""
    query = "SELECT expires FROM envelopes WHERE early = 0 ORDER BY sequence DESC LIMIT 1"
    row = db.execute(query).fetchone()
    return 0 if row is None else int(row[0])


def drop(db: sqlite3.Connection, sequence: int) -> None:
    """Delete one envelope."""
    db.execute("DELETE FROM envelopes WHERE sequence = ?", (sequence,))


def waiting(db: sqlite3.Connection, mailbox: str, now: int, most: int, most_bytes: int) -> list[Held]:
    """Return the oldest envelopes that wait in a mailbox: up to ``most``, no more once ``most_bytes`` is reached."""
    rows = db.execute(_WAITING, (mailbox, now, most))
    found: list[Held] = []
    for sequence, envelope in rows:
        found.append((mailbox, sequence, envelope))
        most_bytes -= len(envelope)
        if most_bytes <= 0:
            break
    rows.close()
    return found


def forget(db: sqlite3.Connection, mailbox: str, sequences: Iterable[int]) -> int:
    """Delete acknowledged envelopes; return how many there were."""
    return db.executemany(_FORGET, [(sequence, mailbox) for sequence in sequences]).rowcount


def forget_early(db: sqlite3.Connection, now: int) -> int:
    """Delete what its sender wanted to expire by now; return how many."""
    return db.execute("DELETE FROM envelopes WHERE early = 1 AND expires <= ?", (now,)).rowcount


def forget_oldest(db: sqlite3.Connection, now: int) -> int:
    """Delete the expired ones among the oldest that wait their whole time; return how many."""
    return db.execute(_FORGET_OLDEST, (_OLDEST, now)).rowcount


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
