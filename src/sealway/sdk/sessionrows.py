# SPDX-License-Identifier: Apache-2.0
"""What is asked of the stored sessions. All of it reads what is durable; what is not durable yet, sessions.py keeps."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, Final

from sealway.protocol.sentlog import SentLog, SentRecord, Uptime

Ask = Callable[..., list[Any]]
"""Runs a query, with its parameters, at once; returns its rows."""

COLUMNS: Final = (
    "id, slot, state, mailbox, newest, x5t, resumed, offered, leaving, opening, sealed, reported, due, shown"
)
ADD: Final = (
    "INSERT INTO sessions (hash, peer, kid, mailbox, newest, x5t, created, id, slot, due, unanswered)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
SEND_ON: Final = (
    "INSERT INTO peers (name, sending) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET sending = excluded.sending"
)
FORGET_STARTS: Final = (
    "DELETE FROM starts WHERE bundle NOT IN ({}) AND NOT EXISTS"
    " (SELECT 1 FROM sessions WHERE sessions.hash = starts.session AND state IS NOT NULL)"
)
_OF_KID: Final = f"SELECT {COLUMNS} FROM sessions WHERE kid = ? AND state IS NOT NULL"  # noqa: S608 - columns of ours


class SessionRows:
    """Questions about stored sessions."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def of_kid(self, kid: bytes) -> tuple[Any, ...] | None:
        """Return the columns of the session that is found by an identifier."""
        rows = self._ask(_OF_KID, kid)
        return rows[0] if rows else None

    def kid_of(self, digest: bytes) -> bytes | None:
        """Return the identifier of a session that is not closed."""
        rows = self._ask("SELECT kid FROM sessions WHERE hash = ? AND state IS NOT NULL", digest)
        return rows[0][0] if rows else None

    def has_kid(self, kid: bytes) -> bool:
        """Say whether a session, closed or not, has this identifier."""
        return bool(self._ask("SELECT 1 FROM sessions WHERE kid = ?", kid))

    def kid_lengths(self) -> dict[int, int]:
        """Return how many identifiers there are of each length."""
        return dict(self._ask("SELECT length(kid), count(*) FROM sessions GROUP BY 1"))

    def kids(self) -> list[bytes]:
        """Return the identifiers of all sessions that are not closed, the oldest first."""
        return _first(self._ask("SELECT kid FROM sessions WHERE state IS NOT NULL ORDER BY id"))

    def of_peer(self, peer: str) -> list[bytes]:
        """Return the identifiers of a peer's sessions that are not closed, the oldest first."""
        return _first(self._ask("SELECT kid FROM sessions WHERE peer = ? AND state IS NOT NULL ORDER BY id", peer))

    def unanswered(self) -> list[bytes]:
        """Return the identifiers of sessions whose start nobody has answered."""
        return _first(self._ask("SELECT kid FROM sessions WHERE unanswered AND state IS NOT NULL ORDER BY id"))

    def unoffered(self) -> list[bytes]:
        """Return the hashes of those of them that no hop has taken."""
        query = "SELECT hash FROM sessions WHERE unanswered AND offered IS NULL AND state IS NOT NULL"
        return _first(self._ask(query))

    def to_leave(self) -> list[bytes]:
        """Return the identifiers of sessions whose messages have to move."""
        return _first(self._ask("SELECT kid FROM sessions WHERE leaving IN (1, 3) AND state IS NOT NULL ORDER BY id"))

    def due(self, now_ms: int, most: int) -> list[bytes]:
        """Return the identifiers of sessions that time has something to do with, the most urgent first."""
        query = "SELECT kid FROM sessions WHERE due <= ? AND state IS NOT NULL ORDER BY due LIMIT ?"
        return _first(self._ask(query, now_ms, most))

    def storing(self) -> list[tuple[bytes, str, int]]:
        """Return (hash, peer, secrets) of the sessions that store secrets for what was jumped over."""
        return self._ask("SELECT hash, peer, stored FROM sessions WHERE stored > 0 AND state IS NOT NULL")

    def closed_between(self, from_ms: int, before_ms: int) -> list[bytes]:
        """Return the identifiers of sessions that were closed in this time."""
        query = "SELECT kid FROM sessions WHERE state IS NULL AND closed >= ? AND closed < ?"
        return _first(self._ask(query, from_ms, before_ms))

    def sending_to(self, peer: str) -> bytes | None:
        """Return the hash of the session that this peer is sent to on."""
        rows = self._ask("SELECT sending FROM peers WHERE name = ?", peer)
        return rows[0][0] if rows else None

    def started(self, x5t: bytes, ephemeral: bytes) -> bytes | None:
        """Return the hash of the session that a start has begun, None if it was never accepted."""
        rows = self._ask("SELECT session FROM starts WHERE x5t = ? AND ephemeral = ?", x5t, ephemeral)
        return rows[0][0] if rows else None

    def log(self, digest: bytes) -> SentLog:
        """Return the log of a session, which is read when it is first needed."""
        return SentLog(stored=lambda: _records(self._ask(_SENT, digest)))


_SENT: Final = "SELECT number, tag, boot, uptime, sealed FROM sent WHERE session = ?"


def stored_log(connection: sqlite3.Connection, digest: bytes) -> SentLog:
    """Return what is stored of the messages that were sealed in a session."""
    return SentLog(_records(connection.execute(_SENT, (digest,)).fetchall()))


def _records(rows: list[Any]) -> list[tuple[int, SentRecord]]:
    return [(n, SentRecord(tag, Uptime(boot, uptime), sealed)) for n, tag, boot, uptime, sealed in rows]


def _first(rows: list[Any]) -> list[bytes]:
    return [row[0] for row in rows]
