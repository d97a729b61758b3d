# SPDX-License-Identifier: Apache-2.0
"""The SQL of mailboxes. No policy: who may ask is settled before."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import TypeAlias

Held: TypeAlias = tuple[str, int, bytes]
"""A mailbox, the sequence number of an envelope in it, and the envelope."""

Row: TypeAlias = tuple[int, str, bytes, bytes, int]
"""A sequence number, a mailbox, the envelope's digest, the envelope, and when it expires."""


def make_mailbox(db: sqlite3.Connection, mailbox: str, name: str) -> None:
    """Make the mailbox of an endpoint, if it is not there."""
    db.execute("INSERT INTO mailboxes (id, name) VALUES (?, ?) ON CONFLICT DO NOTHING", (mailbox, name))


def load_of(db: sqlite3.Connection, mailbox: str) -> tuple[int, int] | None:
    """Return (envelopes, bytes) that a mailbox holds, or None if it does not exist."""
    row: tuple[int, int] | None = db.execute("SELECT held, bytes FROM mailboxes WHERE id = ?", (mailbox,)).fetchone()
    return row


def last_number(db: sqlite3.Connection) -> int:
    """Return the highest sequence number that was ever given."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'envelopes'").fetchone()
    return 0 if row is None else int(row[0])


def hold(db: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Put envelopes into mailboxes, under sequence numbers above ``last_number``."""
    insert = "INSERT INTO envelopes (sequence, mailbox, digest, envelope, expires) VALUES (?, ?, ?, ?, ?)"
    db.executemany(insert, rows)


def add_load(db: sqlite3.Connection, mailbox: str, envelopes: int, size: int) -> None:
    """Count what was put into a mailbox."""
    db.execute("UPDATE mailboxes SET held = held + ?, bytes = bytes + ? WHERE id = ?", (envelopes, size, mailbox))


def waiting(db: sqlite3.Connection, mailbox: str, now: int, most: int, most_bytes: int) -> list[Held]:
    """Return the oldest envelopes that wait in a mailbox: up to ``most``, no more once ``most_bytes`` is reached."""
    rows = db.execute(
        "SELECT mailbox, sequence, envelope FROM envelopes WHERE mailbox = ? AND expires > ? ORDER BY sequence LIMIT ?",
        (mailbox, now, most),
    )
    found: list[Held] = []
    for row in rows:
        found.append(row)
        most_bytes -= len(row[2])
        if most_bytes <= 0:
            break
    rows.close()
    return found


def forget(db: sqlite3.Connection, mailbox: str, sequences: Iterable[int]) -> int:
    """Delete acknowledged envelopes; return how many there were."""
    return db.executemany(
        "DELETE FROM envelopes WHERE mailbox = ? AND sequence = ?", [(mailbox, sequence) for sequence in sequences]
    ).rowcount


def forget_expired(db: sqlite3.Connection, now: int) -> int:
    """Delete what nobody collected in time; return how many."""
    return db.execute("DELETE FROM envelopes WHERE expires <= ?", (now,)).rowcount


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
