# SPDX-License-Identifier: Apache-2.0
"""Sealing and opening with durable state: every change of a session is noted in the journal with what caused it.

Invariants (spec/session.md, "State"): the advanced chain and the sealed bytes lie in one transaction, and only then
does the outbox get them; the advanced chain, the number and the opened message lie in one transaction, and only then
is the carrier told. No method here awaits, so each is one transaction or part of one.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable

from sealway.crypto.ports import Random
from sealway.crypto.suites import LONGEST_MESSAGE
from sealway.errors import LocalMisuse, Malformed, StateLost, TooLarge
from sealway.protocol.events import Event, Silent
from sealway.protocol.outcome import Opened, Sealed
from sealway.protocol.policy import Policy
from sealway.protocol.ranges import Range
from sealway.protocol.sealed_file import carried_key, key_message, new_file_key
from sealway.protocol.sending import Acknowledgement
from sealway.sdk.clock import Clock
from sealway.sdk.evidence import Evidence
from sealway.sdk.inbox import Received, just_received
from sealway.sdk.journal import Journal
from sealway.sdk.outbox import Outbox, Outgoing
from sealway.sdk.schema import SENT
from sealway.sdk.sessions import Held, Leaving, Sessions
from sealway.sdk.waitingkeys import WaitingKeys
from sealway.wire.address import Name
from sealway.wire.envelope import Envelope
from sealway.wire.header import Claims
from sealway.wire.message import CODE_EMPTY, FileKey, FirstIdentity, Message

_SENT = "INSERT INTO sent VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_WAITING = (
    "SELECT session, number, peer, mailbox, envelope, sent.slot IS NULL AND substr(message, 1, 1) >= x'40'"
    " FROM sent JOIN sessions ON hash = session AND state IS NOT NULL"
    " WHERE envelope IS NOT NULL ORDER BY sent.sealed, session, number"
)
_INBOX = (
    "INSERT INTO inbox"
    " (id, peer, via, session, number, received, sent_at, expires, envelope_bytes, message_bytes, event, message)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


# What the protocol adds to a message under the seal stays below this: receipt, void numbers, what a start has to show.
_MOST_ADDED = 2_048
MOST_CONTENT = LONGEST_MESSAGE - _MOST_ADDED
"""Bytes of an encoded message that an endpoint seals."""


class Engine:
    """The synchronous heart of an endpoint.

    Args:
        evidence: told which envelope brought a request.
        deliver: called, after the commit, with the new messages.
        report: called with each event.
        max_silence_s: declared to every peer: an empty message goes out before this end has been silent that long.
    """

    def __init__(
        self, sessions: Sessions, outbox: Outbox, journal: Journal, clock: Clock, random: Random, policy: Policy,
        evidence: Evidence, deliver: Callable[[list[Received]], None], report: Callable[[Event], None],
        max_silence_s: int | None = None,
    ) -> None:  # fmt: skip
        self.sessions = sessions
        self.outbox = outbox
        self.journal = journal
        self._clock = clock
        self._random = random
        self._policy = policy
        self._evidence = evidence
        self._deliver = deliver
        self._send = outbox.add_all
        self._report = report
        self.max_silence_s = max_silence_s
        self._listening_since_ms = clock.now_ms()
        self.files = WaitingKeys(journal)
        self._last_row = 0
        self.gone: list[tuple[Held, tuple[Range, ...]]] = []
        """Own messages that a peer can no longer open under their numbers; the endpoint moves them."""

    def load(self, connection: sqlite3.Connection) -> None:
        """Fill the outbox from what an earlier process left unacknowledged."""
        for session, number, peer, mailbox, envelope, answer in connection.execute(_WAITING):
            outgoing = Outgoing(mailbox or Name.parse(peer).mailbox, envelope, kept=True, answer=answer == 1)
            self.outbox.add_all([((session, number), outgoing)])
        (last,) = connection.execute("SELECT max(id) FROM inbox").fetchone()
        self._last_row = last or 0

    # sealing ---------------------------------------------------------------------------------------------------
    def seal(
        self, held: Held, message: Message, *, claims: Claims | None = None, identity: FirstIdentity | None = None
    ) -> FirstIdentity:
        """Seal a message and note it; the envelope is offered once the journal has committed.

        Args:
            identity: the message's first identity, if it had an earlier one.

        Returns:
            The message's first identity.

        Raises:
            LocalMisuse: the session is stopped, or too much is unacknowledged.
            TooLarge: no hop would carry it.
        """
        return self._seal(held, message, claims, identity)[0]

    def seal_file_key(self, held: Held, chunk: int) -> tuple[FileKey, bytes]:
        """Draw the key of a file and seal it as any message; return the key and the envelope.

        Args:
            chunk: bytes of content in a chunk.

        Raises:
            LocalMisuse, TooLarge: as ``seal``.
            Malformed: not a size that a chunk may have.
        """
        key = new_file_key(self._random, chunk)
        return key, self._seal(held, key_message(key, self._clock.now_ms()), None, None)[1]

    def _seal(
        self, held: Held, message: Message, claims: Claims | None, identity: FirstIdentity | None
    ) -> tuple[FirstIdentity, bytes]:
        session, now_ms, uptime = held.session, self._clock.now_ms(), self._clock.uptime()
        content = _checked(message)
        declared = self._declared(held)
        if identity is not None or declared is not None:
            message = message.having(first_identity=identity, max_silence=declared)
        sealed = session.seal(message, now_ms=now_ms, uptime=uptime, random=self._random, claims=claims)
        held.sealed_ms, held.sealed_unlooked = now_ms, True
        if self._policy.rotation.session_is_due(
            created_ms=session.created_ms, sealed_ms=now_ms, sent=sealed.number + 1, initiator=session.initiator
        ):
            self.sessions.to_renew.add(session.kid_in)
        first, first_number = (identity.session, identity.number) if identity is not None else (None, None)
        kept = self._kept(message, content, sealed.envelope) if sealed.kept else (None, None, None)
        self.journal.note(
            _SENT, session.hash, sealed.number, sealed.tag, uptime.boot, uptime.ms, now_ms, first, first_number, *kept
        )
        self.sessions.touch(held)
        self._offer(held, sealed, message)
        return identity or FirstIdentity.proven(session.hash, sealed.number), sealed.envelope

    def _kept(self, message: Message, content: bytes, envelope: bytes) -> tuple[bytes, bytes, int | None]:
        """What is stored until a receipt covers it; a key only so that it can be forgotten then."""
        if message.file_key is None:
            return content, envelope, None
        slot = self.journal.vault.allocate()
        return self.journal.vault.wrap(slot, SENT, content), envelope, slot

    def _declared(self, held: Held) -> int | None:
        """What this end says of its silence, until the peer has acknowledged something that said it."""
        return self.max_silence_s if held.session.send.highest_acked < 0 else None

    def _offer(self, held: Held, sealed: Sealed, message: Message) -> None:
        outgoing = Outgoing(held.address, sealed.envelope, sealed.kept, message.code >= 0x40)
        self.journal.tell(self._send, ((held.session.hash, sealed.number), outgoing))

    def seal_if_due(self, held: Held, now_ms: int) -> None:
        """Seal a bare receipt if its time has come, and a sign of life where this end has been silent for half of what
        it declared."""
        at = held.session.receipt_at()
        if (at is not None and at <= now_ms) or self._is_quiet(held, now_ms):
            self._seal_empty(held)

    def _is_quiet(self, held: Held, now_ms: int) -> bool:
        if self.max_silence_s is None or now_ms - held.sealed_ms < self.max_silence_s * 500:
            return False
        return held.leaving is Leaving.NO and self.sessions.sending_to(held.session.peer) is held

    def _seal_empty(self, held: Held) -> None:
        with contextlib.suppress(LocalMisuse):  # no number is left in this session
            self.seal(held, Message(CODE_EMPTY))

    # opening ---------------------------------------------------------------------------------------------------
    def open(self, held: Held, envelope: Envelope) -> None:
        """Open an envelope of a known session and note what it changed.

        Raises:
            PeerMisbehaved: as ``Session.open``; a session that was stopped by it is noted as such.
        """
        session, now_ms = held.session, self._clock.now_ms()
        try:
            opened = session.open(envelope, now_ms=now_ms)
        except StateLost:
            self.sessions.leave(held, lost=True)
            raise
        finally:
            self.sessions.touch(held)  # what it counts when it refuses is durable too
            if session.stopped is not None:
                self.sessions.leave(held)
            if session.events:
                self._drain_events(held)
        if self.sessions.shared.was_asked:
            self.sessions.keep_within(held)
        self.take(held, opened, envelope)

    def take(self, held: Held, opened: Opened, envelope: Envelope) -> None:
        """Note what an opened message brings: acknowledgements, and content to be handled."""
        if opened.acknowledgement is not None:
            self._acknowledged(held, opened.acknowledgement)
        message, now_ms = opened.message, self._clock.now_ms()
        if message is None or message.code == CODE_EMPTY:
            self.journal.count("opened_empty" if opened.defect is None else "opened_defective")
            return
        session, moved = held.session, message.first_identity
        here = FirstIdentity.proven(session.hash, opened.number)
        identity = moved if moved is not None else here
        if self.sessions.seen_before(session.peer, identity, here, now_ms):
            self.journal.count("opened_again")
            return
        if message.file_key is not None:
            self._keep_file_key(session.peer, message, now_ms)
            return
        self._last_row += 1
        expires = envelope.claims.expires if envelope.claims is not None else None
        received = just_received(session.peer, message, identity, session.hash, now_ms, self._last_row, expires)
        event = message.code < 0x40 and message.request_id is None
        if message.request_id is not None:
            self._evidence.opened(self._last_row, envelope.encode())
        self.journal.note(
            _INBOX, self._last_row, session.peer, session.hash, identity.session, identity.number, now_ms,
            message.sent_at, expires, envelope.size, opened.message_bytes, event, message.encode(),
        )  # fmt: skip
        message.forget_encoding()  # or what waits in memory to be handled would be there twice
        self.journal.count("opened")
        self.journal.tell(self._deliver, received)

    def _keep_file_key(self, peer: str, message: Message, now_ms: int) -> None:
        """A file's key is handed to nobody: it waits for its file, whichever of the two came first."""
        try:
            key = carried_key(message)
        except Malformed:
            self.journal.count("opened_defective")
            return
        if key is not None:
            self.files.add(peer, key, now_ms)
            self.journal.count("opened_file_keys")

    def _acknowledged(self, held: Held, news: Acknowledgement) -> None:
        session = held.session
        for first, last in news.covered:
            self.journal.note(
                "UPDATE sent SET envelope = NULL, message = NULL WHERE session = ? AND number BETWEEN ? AND ?",
                session.hash, first, last,
            )  # fmt: skip
        if news.covered:
            self.outbox.cover(session.hash, news.covered)
            self._prune(held)
        if held.resumed_at is not None and session.send.highest_acked >= held.resumed_at:
            self.sessions.confirm(held)
        if news.missing:
            self.outbox.reoffer(session.hash, news.missing, self._clock.uptime().ms)
        if news.gone:
            self.gone.append((held, news.gone))

    def _prune(self, held: Held) -> None:
        session = held.session
        below = session.send.next_number - self._policy.freshness_references
        forgotten = session.log.prune(session.send.acked, below=below) if below > 0 else []
        if forgotten:
            self.journal.note(
                "DELETE FROM sent WHERE session = ? AND number <= ? AND envelope IS NULL", session.hash, forgotten[-1]
            )

    # moving ----------------------------------------------------------------------------------------------------
    def move(
        self, origin: Held, target: Held, rows: list[tuple[int, bytes, int | None, bytes | None, int | None]]
    ) -> None:
        """Seal messages anew, with their first identities, that the peer cannot open under their old numbers.

        Args:
            rows: (number, encoded message, its slot or None, first session or None, first number or None) in order.
        """
        session = origin.session
        for number, stored, slot, first_session, first_number in rows:
            if number in session.send.acked:
                continue  # a receipt has come in the meantime
            content = stored if slot is None else self.journal.vault.unwrap(slot, SENT, stored)
            identity: FirstIdentity | None = FirstIdentity(session.hash, number)
            if first_session is not None and first_number is not None:
                identity = FirstIdentity(first_session, first_number)
            elif origin.leaving is Leaving.LOST and origin.resumed_at is not None and number >= origin.resumed_at:
                identity = None  # the peer may know another message under this number
            self.seal(target, Message.decode(content), identity=identity)
            self.outbox.cover(session.hash, ((number, number),))
            self.journal.note(
                "UPDATE sent SET envelope = NULL, message = NULL WHERE session = ? AND number = ?", session.hash, number
            )
            session.send.give_up(number, number, tell=True)
            self.sessions.touch(origin)

    # events ----------------------------------------------------------------------------------------------------
    def look(self, held: Held, now_ms: int) -> None:
        """Report what time has brought to a session: missing numbers, silence."""
        for event in held.session.look(now_ms):
            if not isinstance(event, Silent) or self._is_silent(held, now_ms):
                self._report(event)

    def _is_silent(self, held: Held, now_ms: int) -> bool:
        """The peer may have gone on in another session; and while this end did not listen it could not hear."""
        session = held.session
        heard = max(h.session.heard_ms for h in self.sessions.with_peer(session.peer))
        since = max(heard, self._listening_since_ms)
        if now_ms - since > (session.max_silence_s or 0) * 1_000:
            return True
        session.silence_told = False  # to be looked at again
        return False

    def tell(self, event: Event) -> None:
        """Report an event."""
        self._report(event)

    def _drain_events(self, held: Held) -> None:
        session = held.session
        happened, session.events = session.events, []
        for event in happened:
            self._report(event)


def _checked(message: Message) -> bytes:
    content = message.encode_once()
    if len(content) > MOST_CONTENT:
        raise TooLarge(f"a message of {len(content)} bytes; an envelope holds {MOST_CONTENT}")
    return content
