# SPDX-License-Identifier: Apache-2.0
"""All sessions of an endpoint, how they are found, and which one each peer is sent to on.

Invariant: a session is found by exactly one identifier; there is never a second candidate to try.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from enum import IntEnum

from sealway.protocol.allowance import Allowance, SharedAllowance
from sealway.protocol.peers import KnownSession, prefer
from sealway.protocol.policy import Policy
from sealway.protocol.sentlog import SentLog, SentRecord, Uptime
from sealway.protocol.session import Session
from sealway.protocol.snapshot import restore
from sealway.sdk.journal import Journal
from sealway.sdk.kidpool import KidPool
from sealway.sdk.schema import SESSION
from sealway.sdk.totals import Totals
from sealway.sdk.windows import Windows
from sealway.wire.header import StartHeader
from sealway.wire.message import FirstIdentity

_ADD = "INSERT INTO sessions (hash, peer, kid, mailbox, newest, x5t, created, slot) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


class Leaving(IntEnum):
    """Whether a session's unacknowledged messages go on in another one."""

    NO = 0
    WANTED = 1
    DONE = 2
    LOST = 3
    """As WANTED, and the peer may know numbers from ``resumed_at`` on with other contents: those begin a new
    identity."""


@dataclass(slots=True)
class Held:
    """A session and what only the endpoint needs to know of it. Times in Unix milliseconds.

    Args:
        mailbox: the peer's.
        newest: the newest session that its start named, or empty.
        x5t: SHA-256 of the peer's certificate.
        resumed_at: the lowest number sealed since an opening of the state that no receipt has confirmed yet: if the
        state
            was a copy, the peer may know these numbers with other contents. None if there is none.
        offered_ms: when a hop first took the start, None before.
        leaving: whether its messages move to another session.
        shown: digests of the grants that this end has shown in this session.
        sealed_ms: when the newest message was sealed.
        reported: the highest number that was reported as unacknowledged.
        slot: the vault's, of its snapshot.
    """

    session: Session
    mailbox: str
    newest: bytes
    x5t: bytes
    resumed_at: int | None = None
    offered_ms: int | None = None
    leaving: Leaving = Leaving.NO
    shown: set[bytes] = field(default_factory=set)
    sealed_ms: int = 0
    reported: int = -1
    slot: int = -1

    @property
    def owed(self) -> int:
        """How many of its messages the peer has neither acknowledged nor been told to forget."""
        send = self.session.send
        return send.next_number - send.acked.count - send.unkept.count


class Sessions:
    """The sessions in memory, and the notes that keep them in the database."""

    def __init__(self, journal: Journal, kids: KidPool, policy: Policy) -> None:
        self._journal = journal
        self._kids = kids
        self._policy = policy
        self._held: dict[bytes, Held] = {}
        self._by_kid: dict[bytes, Held] = {}
        self._by_start: dict[tuple[bytes, bytes], tuple[bytes, bytes]] = {}
        self._sending: dict[str, bytes] = {}
        self._closed_kids: dict[bytes, int] = {}
        self.windows = Windows(journal)
        self.shared = SharedAllowance(policy)
        self.totals = Totals(policy, lambda digest: self._held[digest].session)

    def load(self, connection: sqlite3.Connection) -> None:
        """Read what an earlier process left; every session will reseed before it seals."""
        rows = connection.execute(
            "SELECT hash, slot, state, mailbox, newest, x5t, resumed, offered, leaving FROM sessions"
            " WHERE state IS NOT NULL"
        )
        unwrap = self._journal.vault.unwrap
        for digest, slot, state, mailbox, newest, x5t, resumed, offered, leaving in rows.fetchall():
            session = restore(unwrap(slot, SESSION, state), stored_log(connection, digest), self._policy)
            if resumed is None:
                resumed = session.send.next_number
                self._journal.note("UPDATE sessions SET resumed = ? WHERE hash = ?", resumed, digest)
            held = Held(session, mailbox, newest, x5t, resumed, offered, Leaving(leaving), slot=slot)
            held.sealed_ms = session.log.newest_ms
            self._index(held)
        for kid, closed in connection.execute("SELECT kid, closed FROM sessions WHERE state IS NULL"):
            self._kids.take(kid)
            self._closed_kids[kid] = closed
        for peer, sending in connection.execute("SELECT name, sending FROM peers WHERE sending IS NOT NULL"):
            self._sending[peer] = sending
        for x5t, ephemeral, digest, bundle in connection.execute("SELECT x5t, ephemeral, session, bundle FROM starts"):
            self._by_start[x5t, ephemeral] = digest, bundle
        self.windows.load(connection)

    # finding ---------------------------------------------------------------------------------------------------
    def by_kid(self, kid: bytes) -> Held | None:
        """Return the session that an envelope without a start header names."""
        return self._by_kid.get(kid)

    def started_by(self, header: StartHeader) -> tuple[bool, Held | None]:
        """Return (seen before, the session if it is still held) for a start."""
        known = self._by_start.get((header.x5t, header.ephemeral))
        return known is not None, self._held.get(known[0]) if known is not None else None

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

    def for_strangers(self) -> Allowance:
        """Return what pays for a start until it has opened."""
        return Allowance(shared=self.shared)

    # changes ---------------------------------------------------------------------------------------------------
    def add(self, held: Held) -> None:
        """Take in a new session, with the present group."""
        session = held.session
        self._index(held)
        held.slot = self._journal.vault.allocate()
        row = (session.hash, session.peer, session.kid_in, held.mailbox, held.newest, held.x5t, session.created_ms)
        self._journal.note(_ADD, *row, held.slot)
        self._journal.touch(session, held.slot)

    def record_start(self, header: StartHeader, session: Session, bundle: bytes) -> None:
        """Remember an accepted start, so that it is never accepted again."""
        self._by_start[header.x5t, header.ephemeral] = session.hash, bundle
        row = (header.x5t, header.ephemeral, session.hash, bundle, header.one_time)
        self._journal.note("INSERT INTO starts VALUES (?, ?, ?, ?, ?)", *row)

    def send_on(self, held: Held) -> None:
        """Send on this session from now on."""
        session = held.session
        self._sending[session.peer] = session.hash
        self._journal.note(
            "INSERT INTO peers (name, sending) VALUES (?, ?)"
            " ON CONFLICT (name) DO UPDATE SET sending = excluded.sending",
            session.peer, session.hash,
        )  # fmt: skip

    def choose(self, accepted: Held, forked: bytes | None) -> None:
        """Decide, after a start of the peer was accepted, which session to send on.

        Args:
            forked: the session in which the peer says that it found this end to be forked: this state is a copy.
        """
        current = self.sending_to(accepted.session.peer)
        digest = prefer(_known(current) if current is not None else None, _known(accepted))
        self.send_on(self._held[digest])
        if current is not None and digest == accepted.session.hash and _unknown_to_peer(current, accepted):
            self.leave(current, lost=forked == current.session.hash)

    def keep_within(self, held: Held) -> None:
        """Give up stored secrets, of the peer that has most, if a session now stores too many for all of them."""
        self.shared.was_asked = False
        for session in self.totals.note(held.session):
            self._journal.count("given_up_in_all")
            self._journal.touch(session, self._held[session.hash].slot)

    def leave(self, held: Held, *, lost: bool = False) -> None:
        """Let a session's unacknowledged messages go on in another one.

        Args:
            lost: this state may be a copy, so that the peer knows some numbers with other contents.
        """
        if held.leaving is Leaving.NO:
            self._mark(held, Leaving.LOST if lost else Leaving.WANTED)

    def left(self, held: Held) -> None:
        """Note that they have."""
        self._mark(held, Leaving.DONE)

    def _mark(self, held: Held, leaving: Leaving) -> None:
        held.leaving = leaving
        self._journal.note("UPDATE sessions SET leaving = ? WHERE hash = ?", int(leaving), held.session.hash)

    def stands_for(self, held: Held, x5t: bytes) -> None:
        """Note under which certificate the peer was proven last: it may have been renewed."""
        if held.x5t != x5t:
            held.x5t = x5t
            self._journal.note("UPDATE sessions SET x5t = ? WHERE hash = ?", x5t, held.session.hash)

    def confirm(self, held: Held) -> None:
        """Note that the peer follows this state, and no copy of it: it acknowledged what was sealed since the
        opening."""
        held.resumed_at = None
        self._journal.note("UPDATE sessions SET resumed = NULL WHERE hash = ?", held.session.hash)

    def offered(self, digest: bytes, now_ms: int) -> None:
        """Note that a hop took a message of this session, if its start is unanswered and this is the first time."""
        held = self._held.get(digest)
        if held is not None and held.session.start is not None and held.offered_ms is None:
            held.offered_ms = now_ms
            self._journal.note("UPDATE sessions SET offered = ? WHERE hash = ?", now_ms, digest)

    def leave_unanswered(self) -> None:
        """Try every unanswered start anew: who keeps the directory has lost the bundle that it names."""
        for held in self._held.values():
            if held.session.start is not None:
                self.leave(held)

    def stop_all(self, reason: str) -> None:
        """Use none of these sessions any more: this state is not the one that their peers know."""
        for held in self._held.values():
            held.session.stopped = held.session.stopped or reason
            self._journal.touch(held.session, held.slot)
            self.leave(held, lost=True)

    def close(self, held: Held, now_ms: int) -> None:
        """Forget the keys of a session that has been idle for ``held_for``; remember which numbers it opened."""
        session = held.session
        del self._held[session.hash]
        self._by_kid.pop(session.kid_in, None)
        self.totals.forget(session)
        self._journal.leave_out(session)
        self._closed_kids[session.kid_in] = now_ms
        self.windows.keep(session, now_ms)
        self._journal.note("UPDATE sessions SET state = NULL, closed = ? WHERE hash = ?", now_ms, session.hash)
        self._journal.note("DELETE FROM sent WHERE session = ?", session.hash)

    def forget(self, before_ms: int) -> None:
        """Forget what was closed before a time: the identifiers become free, the windows of opened numbers go."""
        for kid in [kid for kid, closed in self._closed_kids.items() if closed < before_ms]:
            del self._closed_kids[kid]
            self._kids.release(kid)
        self._journal.note("DELETE FROM sessions WHERE state IS NULL AND closed < ?", before_ms)
        self.windows.forget(before_ms)

    def forget_allowances(self, now_ms: int) -> None:
        """Forget who has cost nothing for a while."""
        self.shared.forget_full(now_ms)

    def forget_starts(self, bundles: set[bytes]) -> None:
        """Forget closed sessions' starts to other bundles than these: without private halves none can be accepted
        again."""
        for start, (digest, bundle) in list(self._by_start.items()):
            if bundle not in bundles and digest not in self._held:
                del self._by_start[start]
                self._journal.note("DELETE FROM starts WHERE x5t = ? AND ephemeral = ?", *start)

    def seen_before(self, peer: str, identity: FirstIdentity, here: FirstIdentity, now_ms: int) -> bool:
        """Say whether a message was opened before under its first identity or another; remember it if not.

        Args:
            identity: the message's first session hash and number.
            here: the session and number that it came with now, and with which it has been opened.
        """
        if self.windows.holds(peer, identity):
            return True
        if identity == here:
            return False
        original = self._held.get(identity.session)
        known = original.session if original is not None and original.session.peer == peer else None
        if known is not None and known.receive.was_opened(identity.number):
            return True
        self.windows.add(peer, identity, now_ms)
        return False

    def _index(self, held: Held) -> None:
        session = held.session
        session.allowance.shared, session.allowance.payer = self.shared, session.peer
        self._held[session.hash] = held
        self._by_kid[session.kid_in] = held
        self.keep_within(held)
        self._kids.take(session.kid_in)


def _unknown_to_peer(current: Held, accepted: Held) -> bool:
    """A start that names another session than the answered one in use: its sender does not use that one, or did not
    know of it yet."""
    return current.session.start is None and accepted.newest != current.session.hash


def _known(held: Held) -> KnownSession:
    return KnownSession(held.session.hash, held.newest, held.session.start is not None)


def stored_log(connection: sqlite3.Connection, digest: bytes) -> SentLog:
    """Return what is stored of the messages that were sealed in a session."""
    rows = connection.execute("SELECT number, tag, boot, uptime, sealed FROM sent WHERE session = ?", (digest,))
    return SentLog((n, SentRecord(tag, Uptime(boot, uptime), sealed)) for n, tag, boot, uptime, sealed in rows)
