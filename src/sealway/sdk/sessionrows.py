# SPDX-License-Identifier: Apache-2.0
"""What is asked of the stored sessions. All of it reads what is durable; what is not durable yet, sessions.py keeps."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable
from typing import Any, Final, NamedTuple
from zlib import crc32

from sealway.protocol.sentlog import SentLog, SentRecord, Uptime
from sealway.wire.header import StartHeader

Ask = Callable[..., list[Any]]
"""Runs a query, with its parameters, at once; returns its rows."""


class StoredSession(NamedTuple):
    """The columns of a session that make it; see schema.py."""

    hash: bytes
    peer: str
    kid: bytes
    id: int
    slot: int
    state: bytes
    mailbox: str
    newest: bytes
    x5t: bytes
    resumed: int | None
    offered: int | None
    leaving: int
    opening: int
    sealed: int
    reported: int
    due: int | None
    shown: int


ADD: Final = (
    "INSERT INTO sessions (hash, peer, kid, mailbox, newest, x5t, created, id, slot, due, unanswered, peer_key)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
SEND_ON: Final = (
    "INSERT INTO peers (name, sending) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET sending = excluded.sending"
)
FORGET_STARTS: Final = (
    "DELETE FROM starts WHERE bundle NOT IN ({}) AND NOT EXISTS"
    " (SELECT 1 FROM sessions WHERE sessions.id = starts.session AND state IS NOT NULL)"
)
_OF_KID: Final = f"SELECT {', '.join(StoredSession._fields)} FROM sessions WHERE kid = ? AND state IS NOT NULL"  # noqa: S608 - ours


class SessionRows:
    """Questions about stored sessions."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def of_kid(self, kid: bytes) -> StoredSession | None:
        """Return the session that is found by an identifier."""
        rows = self._ask(_OF_KID, kid)
        return StoredSession._make(rows[0]) if rows else None

    def kid_of(self, digest: bytes) -> bytes | None:
        """Return the identifier of a session that is not closed."""
        rows = self._ask("SELECT kid FROM sessions WHERE hash = ? AND state IS NOT NULL", digest)
        return rows[0][0] if rows else None

    def has_kid(self, kid: bytes) -> bool:
        """Say whether a session, closed or not, has this identifier."""
        return bool(self._ask("SELECT 1 FROM sessions WHERE kid = ?", kid))

    def next_row(self) -> int:
        """Return a number that no session has, and none had of which anything else still speaks."""
        rows = self._ask(
            "SELECT max((SELECT coalesce(max(id), 0) FROM sessions),"
            " (SELECT coalesce(max(sending), 0) FROM peers), (SELECT coalesce(max(session), 0) FROM starts)) + 1"
        )
        return int(rows[0][0])

    def kid_lengths(self) -> dict[int, int]:
        """Return how many identifiers there are of each length."""
        return dict(self._ask("SELECT length(kid), count(*) FROM sessions GROUP BY 1"))

    def kids(self) -> list[bytes]:
        """Return the identifiers of all sessions that are not closed, the oldest first."""
        return _first(self._ask("SELECT kid FROM sessions WHERE state IS NOT NULL ORDER BY id"))

    def of_peer(self, peer: str) -> list[bytes]:
        """Return the identifiers of a peer's sessions that are not closed, the oldest first."""
        query = "SELECT kid FROM sessions WHERE peer_key = ? AND peer = ? AND state IS NOT NULL ORDER BY id"
        return _first(self._ask(query, peer_key(peer), peer))

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
        rows = self._ask("SELECT hash FROM peers JOIN sessions ON id = sending AND peer = name WHERE name = ?", peer)
        return rows[0][0] if rows else None

    def started(self, start: bytes) -> tuple[bool, bytes | None]:
        """Return (accepted before, the hash of its session if that is not forgotten) for a start."""
        rows = self._ask("SELECT hash FROM starts LEFT JOIN sessions ON id = session WHERE start = ?", start)
        return bool(rows), rows[0][0] if rows else None

    def log(self, digest: bytes) -> SentLog:
        """Return the log of a session, which is read when it is first needed."""
        return SentLog(stored=lambda: _records(self._ask(_SENT, digest)))


def peer_key(peer: str) -> int:
    """Return what a peer's sessions are found by; short, and now and then the same for another peer."""
    return crc32(peer.encode()) - (1 << 31)


def start_key(header: StartHeader) -> bytes:
    """Return what an accepted start is found by, so that it is never accepted again."""
    return hashlib.sha256(header.x5t + header.ephemeral).digest()[:16]


_SENT: Final = "SELECT number, tag, boot, uptime, sealed FROM sent WHERE session = ?"


def stored_log(connection: sqlite3.Connection, digest: bytes) -> SentLog:
    """Return what is stored of the messages that were sealed in a session."""
    return SentLog(_records(connection.execute(_SENT, (digest,)).fetchall()))


def _records(rows: list[Any]) -> list[tuple[int, SentRecord]]:
    return [(n, SentRecord(tag, Uptime(boot, uptime), sealed)) for n, tag, boot, uptime, sealed in rows]


def _first(rows: list[Any]) -> list[bytes]:
    return [row[0] for row in rows]
