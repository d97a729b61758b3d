# SPDX-License-Identifier: Apache-2.0
"""The SQL of admission: access tokens by their digest, and assertions that have been used."""

from __future__ import annotations

import sqlite3


def use_assertion(db: sqlite3.Connection, digest: bytes, expires: int) -> bool:
    """Record an assertion; False if it was used before."""
    done = db.execute(
        "INSERT INTO assertions (digest, expires) VALUES (?, ?) ON CONFLICT DO NOTHING", (digest, expires)
    )
    return done.rowcount == 1


def keep_token(db: sqlite3.Connection, digest: bytes, name: str, role: str, expires: int) -> None:
    """Keep an access token's digest and whom it stands for."""
    db.execute("INSERT INTO tokens (digest, name, role, expires) VALUES (?, ?, ?, ?)", (digest, name, role, expires))


def token_holder(db: sqlite3.Connection, digest: bytes) -> tuple[str, str, int] | None:
    """Return (name, role, expires) of a token, expired or not."""
    row: tuple[str, str, int] | None = db.execute(
        "SELECT name, role, expires FROM tokens WHERE digest = ?", (digest,)
    ).fetchone()
    return row


def forget_expired(db: sqlite3.Connection, now: int) -> None:
    """Delete what is no longer valid."""
    db.execute("DELETE FROM tokens WHERE expires <= ?", (now,))
    db.execute("DELETE FROM assertions WHERE expires <= ?", (now,))
