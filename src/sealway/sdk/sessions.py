# SPDX-License-Identifier: Apache-2.0
"""All sessions of an endpoint, how they are found, and which one each peer is sent to on.

Invariant: a session is found by exactly one identifier; there is never a second candidate to try.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from zlib import crc32

from sealway.crypto.ports import Random
from sealway.protocol.allowance import Allowance, SharedAllowance
from sealway.protocol.peers import KnownSession, prefer
from sealway.protocol.policy import Policy
from sealway.protocol.snapshot import refuse_damaged
from sealway.sdk.due import after_looking, soonest
from sealway.sdk.held import Held, Leaving, Thaw
from sealway.sdk.journal import Journal
from sealway.sdk.kidpool import KidPool
from sealway.sdk.schema import SESSION
from sealway.sdk.sessioncache import IN_MEMORY, SessionCache
from sealway.sdk.sessionrows import ADD, FORGET_STARTS, SEND_ON, Ask, SessionRows, peer_key, start_key, stored_log
from sealway.sdk.totals import Totals
from sealway.sdk.windows import Windows
from sealway.wire.address import Name
from sealway.wire.header import StartHeader
from sealway.wire.message import FirstIdentity

__all__ = ["IN_MEMORY", "Held", "Leaving", "Sessions", "stored_log"]

_MOST_PEERS = 4_096
_DUE_AT_ONCE = 256
_TO_CHECK = "SELECT hash, peer, kid, slot, state, leaving, typeof(mailbox) FROM sessions WHERE state IS NOT NULL"
_TIMERS = "session_timers"


class Sessions:
    """The sessions, and the notes that keep them in the database.

    Args:
        ask: runs a query at once, on what is durable.
        random: fresh randomness.
        in_memory: how many sessions are kept in memory while nothing is done with them.
    """

    def __init__(
        self, journal: Journal, kids: KidPool, policy: Policy, ask: Ask, random: Random, *, in_memory: int = IN_MEMORY
    ) -> None:  # fmt: skip
        self._journal = journal
        self._kids = kids
        self._policy = policy
        self._rows = SessionRows(ask)
        self.opening = int.from_bytes(random(6)) >> 1
        """Drawn anew for each opening of the directory: what carries it was written by this process."""
        self.shared = SharedAllowance(policy)
        thaw = Thaw(policy, self.opening, journal.vault.unwrap, self._rows.log)
        self.cache = SessionCache(self._rows, thaw, self.shared, in_memory)
        self._starts: dict[bytes, bytes] = {}
        self._sending: dict[str, bytes | None] = {}
        self._sending_unsaved: dict[str, bytes] = {}
        self._unoffered: set[bytes] = set()
        self._next_row = 1
        self._forgotten_ms = 0
        self._bundles: set[bytes] | None = None
        self.to_leave: set[bytes] = set()
        """Identifiers of sessions whose messages have to move, or perhaps have to."""
        self.to_renew: set[bytes] = set()
        """Identifiers of sessions in which something was sealed when they were due to be followed by another one."""
        self.windows = Windows(journal)
        self.totals = Totals(policy, self._surely)
        self.by_kid = self.cache.by_kid
        self.by_hash = self.cache.by_hash
        kids.look_up(self._rows.has_kid)
        journal.saves(self.opening, self._before_saving, self.cache.make_room)

    def load(self, connection: sqlite3.Connection, silence_s: int | None) -> None:
        """Look at what an earlier process left; each session will reseed before it seals. Raises StateLost."""
        self._heed_other_timers(connection, crc32(repr((self._policy, silence_s)).encode()))
        unwrap = self._journal.vault.unwrap
        for digest, peer, kid, slot, state, leaving, kind in connection.execute(_TO_CHECK):
            refuse_damaged(unwrap(slot, SESSION, state), (digest, peer, kid))
            if Leaving(leaving) is None or kind != "text":
                raise ValueError("a stored session does not say whose it is")
        self.to_leave.update(self._rows.to_leave())
        self._unoffered.update(self._rows.unoffered())
        self._next_row = self._rows.next_row()
        self._kids.load(self._rows.kid_lengths())
        for digest, peer, stored in self._rows.storing():
            self.totals.count(peer, digest, stored)
        self._give_up_excess()
        self.windows.load(connection)

    def _heed_other_timers(self, connection: sqlite3.Connection, timers: int) -> None:
        """Times that were worked out under another policy, or another promise to be heard, do not hold."""
        before = connection.execute("SELECT value FROM marks WHERE name = ?", (_TIMERS,)).fetchone()
        if before is None or before[0] != timers:
            self._journal.note("INSERT OR REPLACE INTO marks VALUES (?, ?)", _TIMERS, timers)
            self._journal.note("UPDATE sessions SET due = 0 WHERE state IS NOT NULL")

    # finding ---------------------------------------------------------------------------------------------------
    def started_by(self, header: StartHeader) -> tuple[bool, Held | None]:
        """Return (seen before, the session if it is still held) for a start."""
        start = start_key(header)
        seen, digest = (True, self._starts[start]) if start in self._starts else self._rows.started(start)
        return seen, self.by_hash(digest) if digest is not None else None

    def _surely(self, digest: bytes) -> Held:
        held = self.by_hash(digest)
        if held is None:
            raise LookupError("a session that is not held")
        return held

    def sending_to(self, peer: str) -> Held | None:
        """Return the session to send on to this peer, or None if one must be begun."""
        digest = self._sending_unsaved.get(peer) or self._sending.get(peer)
        if digest is None:
            digest = self._rows.sending_to(peer)
            if len(self._sending) >= _MOST_PEERS:
                self._sending.clear()
            self._sending[peer] = digest
        held = self.by_hash(digest) if digest is not None else None
        return held if held is not None and held.session.stopped is None else None

    def with_peer(self, peer: str) -> list[Held]:
        """Return the sessions held with a peer, the oldest first."""
        new = (held.session.kid_in for held in self.cache.unsaved() if held.session.peer == peer)
        return list(self._each((*self._rows.of_peer(peer), *new)))

    def all(self) -> list[Held]:
        """Return every session held, the oldest first. All of them are in memory then: for few, and for tests."""
        return list(self.one_by_one())

    def one_by_one(self) -> Iterator[Held]:
        """Give every session held, the oldest first."""
        return self._each((*self._rows.kids(), *self._unsaved_kids()))

    def due(self, now_ms: int) -> Iterator[Held]:
        """Give the sessions that time has something to do with; ``settle`` each of them."""
        early = [h.session.kid_in for h in self.cache.unsaved() if h.due_ms is not None and h.due_ms <= now_ms]
        for held in self._each((*self._rows.due(now_ms, _DUE_AT_ONCE), *early)):
            if held.due_ms is not None and held.due_ms <= now_ms:
                yield held

    def _unsaved_kids(self) -> list[bytes]:
        return [held.session.kid_in for held in self.cache.unsaved()]

    def _each(self, kids: Iterable[bytes]) -> Iterator[Held]:
        for kid in dict.fromkeys(kids):
            held = self.by_kid(kid)
            if held is not None:
                yield held

    def for_strangers(self) -> Allowance:
        """Return what pays for a start until it has opened."""
        return Allowance(shared=self.shared)

    # changes ---------------------------------------------------------------------------------------------------
    def add(self, held: Held) -> None:
        """Take in a new session, with the present group."""
        session = held.session
        held.row, self._next_row = self._next_row, self._next_row + 1
        held.slot = self._journal.vault.allocate()
        held.due_ms = session.created_ms + self._policy.held_for_ms + 1
        held.unanswered = session.start is not None
        if held.unanswered:
            self._unoffered.add(session.hash)
        self.cache.own(held)
        self._kids.take(session.kid_in)
        self._journal.then(lambda: self._kids.stored(session.kid_in))
        if held.mailbox == Name.parse(session.peer).mailbox:
            held.mailbox = ""
        row = (session.hash, session.peer, session.kid_in, held.mailbox, held.newest, held.x5t, session.created_ms)
        more = (held.row, held.slot, held.due_ms, held.unanswered, peer_key(session.peer))
        self._journal.note(ADD, *row, *more)
        self.keep_within(held)
        self.touch(held)

    def touch(self, held: Held) -> None:
        """Write a session with the present group; to be called whenever something about it has changed. One that
        was closed is not written: whoever held it meanwhile may be late."""
        if held.closed:
            return
        is_kept = held.dirty  # what is not durable yet makes no room
        self._journal.touch(held)
        if not is_kept:
            self.cache.keep(held)

    def _before_saving(self, held: Held) -> None:
        """Note what its row says besides its state, if it is something else now."""
        if held.unanswered and held.session.start is None:
            held.unanswered = False
            self._journal.note("UPDATE sessions SET unanswered = 0 WHERE id = ?", held.row)
        due = soonest(held, self._policy)
        if due is not None and (held.due_ms is None or due < held.due_ms):
            self._set_due(held, due)

    def _set_due(self, held: Held, due_ms: int | None) -> None:
        held.due_ms = due_ms
        self._journal.note("UPDATE sessions SET due = ? WHERE id = ?", due_ms, held.row)

    def settle(self, held: Held, now_ms: int, silence_s: int | None) -> None:
        """Note when a session has to be looked at again, that was looked at just now, and what looking has changed."""
        held.sealed_unlooked = False
        in_use = self.sending_to(held.session.peer) is held
        self._set_due(held, after_looking(held, self._policy, now_ms, in_use=in_use, silence_s=silence_s))
        self.touch(held)

    def record_start(self, header: StartHeader, held: Held, bundle: bytes) -> None:
        """Remember an accepted start, so that it is never accepted again."""
        start = start_key(header)
        self._starts[start] = held.session.hash
        self._journal.note("INSERT INTO starts VALUES (?, ?, ?, ?)", start, held.row, bundle, header.one_time)
        self._journal.then(lambda: self._starts.__delitem__(start))

    def send_on(self, held: Held) -> None:
        """Send on this session from now on."""
        session, before = held.session, self.sending_to(held.session.peer)
        if before is not None and before is not held:
            self._set_due(before, 0)  # it may be closed some time
            self.touch(before)
        self._sending.pop(session.peer, None)
        self._sending_unsaved[session.peer] = session.hash
        self._journal.note(SEND_ON, session.peer, held.row)
        self._journal.then(lambda: self._sending_is_saved(session.peer, session.hash))

    def _sending_is_saved(self, peer: str, digest: bytes) -> None:
        if self._sending_unsaved.get(peer) == digest:
            del self._sending_unsaved[peer]

    def choose(self, accepted: Held, forked: bytes | None) -> None:
        """Decide, after a start of the peer was accepted, which session to send on.

        Args:
            forked: the session in which the peer says that it found this end to be forked: this state is a copy.
        """
        current = self.sending_to(accepted.session.peer)
        digest = prefer(_known(current) if current is not None else None, _known(accepted))
        self.send_on(self._surely(digest))
        if current is not None and digest == accepted.session.hash and _unknown_to_peer(current, accepted):
            self.leave(current, lost=forked == current.session.hash)

    def keep_within(self, held: Held) -> None:
        """Give up stored secrets, of the peer that has most, if a session now stores too many for all of them."""
        self.shared.was_asked = False
        if self.totals.note(held):
            self._note_stored(held)
        self._give_up_excess()

    def _give_up_excess(self) -> None:
        for held in self.totals.give_up():
            self._journal.count("given_up_in_all")
            self._note_stored(held)
            self.touch(held)

    def _note_stored(self, held: Held) -> None:
        self._journal.note("UPDATE sessions SET stored = ? WHERE id = ?", self.totals.of(held), held.row)

    def leave(self, held: Held, *, lost: bool = False) -> None:
        """Let a session's unacknowledged messages go on in another one.

        Args:
            lost: this state may be a copy, so that the peer knows some numbers with other contents.
        """
        if held.leaving is Leaving.NO:
            self._mark(held, Leaving.LOST if lost else Leaving.WANTED)
            self.to_leave.add(held.session.kid_in)

    def left(self, held: Held) -> None:
        """Note that they have."""
        self.to_leave.discard(held.session.kid_in)
        self._mark(held, Leaving.DONE)

    def _mark(self, held: Held, leaving: Leaving) -> None:
        held.leaving = leaving
        self._journal.note("UPDATE sessions SET leaving = ? WHERE id = ?", int(leaving), held.row)
        self.touch(held)

    def stands_for(self, held: Held, x5t: bytes) -> None:
        """Note under which certificate the peer was proven last: it may have been renewed."""
        if held.x5t != x5t:
            held.x5t = x5t
            self._journal.note("UPDATE sessions SET x5t = ? WHERE id = ?", x5t, held.row)
            self.touch(held)

    def confirm(self, held: Held) -> None:
        """Note that the peer follows this state, and no copy of it: it acknowledged what was sealed since the
        opening."""
        held.resumed_at = None
        self.touch(held)

    def shown(self, held: Held) -> None:
        """Note that a grant was shown in a session."""
        self._journal.note("UPDATE sessions SET shown = 1 WHERE id = ?", held.row)
        self.touch(held)

    def reported(self, held: Held, number: int) -> None:
        """Note up to which number was reported that nothing is acknowledged."""
        held.reported = number
        self._journal.note("UPDATE sessions SET reported = ? WHERE id = ?", number, held.row)
        self.touch(held)

    def offered(self, digest: bytes, now_ms: int) -> None:
        """Note that a hop took a message of this session, if its start is unanswered and this is the first time."""
        if digest not in self._unoffered:
            return
        self._unoffered.discard(digest)
        held = self.by_hash(digest)
        if held is not None and held.session.start is not None and held.offered_ms is None:
            held.offered_ms = now_ms
            self._journal.note("UPDATE sessions SET offered = ? WHERE id = ?", now_ms, held.row)
            self.touch(held)

    def leave_unanswered(self) -> None:
        """Try every unanswered start anew: who keeps the directory has lost the bundle that it names."""
        for held in self._each((*self._rows.unanswered(), *self._unsaved_kids())):
            if held.session.start is not None:
                self.leave(held)

    def stop_all(self, reason: str) -> None:
        """Use none of these sessions any more: this state is not the one that their peers know."""
        for held in self.one_by_one():
            held.session.stopped = held.session.stopped or reason
            self.touch(held)
            self.leave(held, lost=True)

    def close(self, held: Held, now_ms: int) -> None:
        """Forget the keys of a session that has been idle for ``held_for``; remember which numbers it opened."""
        session, held.closed = held.session, True
        kid = session.kid_in
        self.cache.close(held)
        self._journal.then(lambda: self.cache.closed(kid))
        self.to_leave.discard(kid)
        self._unoffered.discard(session.hash)
        self.totals.forget(held)
        self.windows.keep(session, now_ms)
        self._journal.leave_out(held)
        self._journal.note("UPDATE sessions SET state = NULL, closed = ?, due = NULL WHERE id = ?", now_ms, held.row)
        self._journal.note("DELETE FROM sent WHERE session = ?", session.hash)
        self._bundles = None

    def forget(self, before_ms: int) -> None:
        """Forget what was closed before a time: the identifiers become free, the windows of opened numbers go."""
        if before_ms > self._forgotten_ms:
            for kid in self._rows.closed_between(self._forgotten_ms, before_ms):
                self._kids.release(kid)
            self._journal.note("DELETE FROM sessions WHERE state IS NULL AND closed < ?", before_ms)
            self._forgotten_ms = before_ms
        self.windows.forget(before_ms)

    def forget_allowances(self, now_ms: int) -> None:
        """Forget who has cost nothing for a while."""
        self.shared.forget_full(now_ms)

    def forget_starts(self, bundles: set[bytes]) -> None:
        """Forget closed sessions' starts to other bundles than these: without private halves none can be accepted
        again."""
        if bundles != self._bundles:  # or a session was closed
            self._bundles = set(bundles)
            self._journal.note(FORGET_STARTS.format(", ".join("?" * len(bundles))), *bundles)

    def seen_before(self, peer: str, identity: FirstIdentity, here: FirstIdentity, now_ms: int) -> bool:
        """Say whether a message was opened before under its first identity or another; remember it if not.

        Args:
            identity: the message's first session hash and number.
            here: the session and number that it came with now, and with which it has been opened.
        """
        if self.windows.holds(peer, identity):
            return True
        if identity is here or identity == here:  # the very object, mostly
            return False
        original = self.by_hash(identity.session)
        known = original.session if original is not None and original.session.peer == peer else None
        if known is not None and known.receive.was_opened(identity.number):
            return True
        self.windows.add(peer, identity, now_ms)
        return False


def _unknown_to_peer(current: Held, accepted: Held) -> bool:
    """A start that names another session than the answered one in use: its sender does not use that one, or did not
    know of it yet."""
    return current.session.start is None and accepted.newest != current.session.hash


def _known(held: Held) -> KnownSession:
    return KnownSession(held.session.hash, held.newest, held.session.start is not None)
