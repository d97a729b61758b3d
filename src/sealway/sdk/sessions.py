# SPDX-License-Identifier: Apache-2.0
"""All sessions of an endpoint, how they are found, and which one each peer is sent to on.

Invariant: a session is found by exactly one identifier; there is never a second candidate to try.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field

from sealway.protocol.peers import KnownSession, prefer
from sealway.protocol.policy import Policy
from sealway.protocol.ranges import RangeSet
from sealway.protocol.sentlog import SentLog, SentRecord, Uptime
from sealway.protocol.session import Session
from sealway.protocol.snapshot import restore, snapshot
from sealway.sdk.journal import Journal
from sealway.sdk.kidpool import KidPool
from sealway.wire import cbor
from sealway.wire.header import StartHeader
from sealway.wire.message import FirstIdentity


@dataclass(slots=True)
class Held:
    """A session and what only the endpoint needs to know of it.

    Args:
        mailbox: the peer's.
        newest: the newest session that its start named, or empty.
        x5t: SHA-256 of the peer's certificate.
        resumed_at: the next number when the state was opened; lower ones were sealed by an earlier process.
        grant_shown: the peer has been shown this end's grant in this session.
        left: the session is stopped and its messages have moved on.
        reported: numbers that were reported as unacknowledged.
    """

    session: Session
    mailbox: str
    newest: bytes
    x5t: bytes
    resumed_at: int = 0
    grant_shown: bool = False
    left: bool = False
    reported: set[int] = field(default_factory=set)


class Sessions:
    """The sessions in memory, and the notes that keep them in the database."""

    def __init__(self, journal: Journal, kids: KidPool, policy: Policy) -> None:
        self._journal = journal
        self._kids = kids
        self._policy = policy
        self._held: dict[bytes, Held] = {}
        self._by_kid: dict[bytes, Held] = {}
        self._by_start: dict[tuple[bytes, bytes], bytes] = {}
        self._sending: dict[str, bytes] = {}
        self._windows: dict[tuple[str, bytes], RangeSet] = {}

    def load(self, connection: sqlite3.Connection) -> None:
        """Read what an earlier process left; every session will reseed before it seals."""
        rows = connection.execute("SELECT hash, mailbox, newest, x5t, state FROM sessions WHERE state IS NOT NULL")
        for digest, mailbox, newest, x5t, state in rows.fetchall():
            session = restore(state, _log(connection, digest), self._policy)
            self._index(Held(session, mailbox, newest, x5t, session.send.next_number))
        for peer, sending in connection.execute("SELECT name, sending FROM peers WHERE sending IS NOT NULL"):
            self._sending[peer] = sending
        for x5t, ephemeral, digest in connection.execute("SELECT x5t, ephemeral, session FROM starts"):
            self._by_start[x5t, ephemeral] = digest
        for peer, digest, ranges in connection.execute("SELECT peer, session, ranges FROM windows"):
            edges = cbor.decode(ranges, limit=1 << 24)
            self._windows[peer, digest] = RangeSet(zip(edges[::2], edges[1::2], strict=True))

    # finding ---------------------------------------------------------------------------------------------------
    def by_kid(self, kid: bytes) -> Held | None:
        """Return the session that an envelope without a start header names."""
        return self._by_kid.get(kid)

    def started_by(self, header: StartHeader) -> tuple[bool, Held | None]:
        """Return (seen before, the session if it is still held) for a start."""
        digest = self._by_start.get((header.x5t, header.ephemeral))
        return digest is not None, self._held.get(digest) if digest is not None else None

    def by_hash(self, digest: bytes) -> Held | None:
        """Return a session that is held."""
        return self._held.get(digest)

    def sending_to(self, peer: str) -> Held | None:
        """Return the session to send on to this peer, or None if one must be begun."""
        held = self._held.get(self._sending.get(peer, b""))
        return held if held is not None and held.session.stopped is None else None

    def all(self) -> list[Held]:
        """Return every session held."""
        return list(self._held.values())

    # changes ---------------------------------------------------------------------------------------------------
    def add(self, held: Held) -> None:
        """Take in a new session, with the present group."""
        session = held.session
        self._index(held)
        row = (session.hash, session.peer, session.kid_in, held.mailbox, held.newest, held.x5t, session.created_ms)
        self._journal.note("INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?)", *row, snapshot(session))
        self._journal.touch(session)

    def record_start(self, header: StartHeader, session: Session, bundle: bytes) -> None:
        """Remember an accepted start, so that it is never accepted again."""
        self._by_start[header.x5t, header.ephemeral] = session.hash
        row = (header.x5t, header.ephemeral, session.hash, bundle, header.one_time)
        self._journal.note("INSERT INTO starts VALUES (?, ?, ?, ?, ?)", *row)

    def send_on(self, held: Held) -> None:
        """Send on this session from now on."""
        session = held.session
        self._sending[session.peer] = session.hash
        self._journal.note(
            "INSERT INTO peers (name, sending) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET sending = excluded.sending",
            session.peer, session.hash,
        )  # fmt: skip

    def choose(self, accepted: Held) -> None:
        """Decide, after a start of the peer was accepted, which session to send on."""
        current = self.sending_to(accepted.session.peer)
        digest = prefer(_known(current) if current is not None else None, _known(accepted))
        chosen = self._held[digest]
        self.send_on(chosen)

    def close(self, held: Held, now_ms: int) -> None:
        """Forget the keys of a session that has been idle for ``held_for``; remember which numbers it opened."""
        session = held.session
        del self._held[session.hash]
        self._by_kid.pop(session.kid_in, None)
        self._kids.release(session.kid_in)
        window = self._window(session.peer, session.hash)
        for first, last in session.receive.closed:
            window.add(first, last)
        for first, last in session.receive.void:
            window.remove(first, last)
        self._save_window(session.peer, session.hash, window, now_ms)
        self._journal.note("UPDATE sessions SET state = NULL WHERE hash = ?", session.hash)
        self._journal.note("DELETE FROM sent WHERE session = ?", session.hash)

    def forget_windows(self, before_ms: int) -> None:
        """Forget windows that were last changed before a time."""
        self._journal.note("DELETE FROM windows WHERE updated < ?", before_ms)

    # moved messages ----------------------------------------------------------------------------------------------
    def seen_before(self, peer: str, identity: FirstIdentity, here: FirstIdentity, now_ms: int) -> bool:
        """Say whether a message was opened before under its first identity or another; remember it if not.

        Args:
            identity: the message's first session hash and number.
            here: the session and number that it came with now, and with which it has been opened.
        """
        window = self._windows.get((peer, identity.session))
        if window is not None and identity.number in window:
            return True
        if identity == here:
            return False
        original = self._held.get(identity.session)
        if (
            original is not None
            and original.session.peer == peer
            and original.session.receive.was_opened(identity.number)
        ):
            return True
        window = self._window(peer, identity.session)
        window.add(identity.number)
        self._save_window(peer, identity.session, window, now_ms)
        return False

    def _window(self, peer: str, digest: bytes) -> RangeSet:
        return self._windows.setdefault((peer, digest), RangeSet())

    def _save_window(self, peer: str, digest: bytes, window: RangeSet, now_ms: int) -> None:
        edges = cbor.encode([edge for part in window for edge in part])
        self._journal.note("INSERT OR REPLACE INTO windows VALUES (?, ?, ?, ?)", peer, digest, edges, now_ms)

    def _index(self, held: Held) -> None:
        session = held.session
        self._held[session.hash] = held
        self._by_kid[session.kid_in] = held
        self._kids.take(session.kid_in)


def _known(held: Held) -> KnownSession:
    return KnownSession(held.session.hash, held.newest, held.session.start is not None)


def _log(connection: sqlite3.Connection, digest: bytes) -> SentLog:
    rows = connection.execute("SELECT number, tag, boot, uptime, sealed FROM sent WHERE session = ?", (digest,))
    return SentLog((n, SentRecord(tag, Uptime(boot, uptime), sealed)) for n, tag, boot, uptime, sealed in rows)
