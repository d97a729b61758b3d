# SPDX-License-Identifier: Apache-2.0
"""A session between two ends: seals, opens, steps, acknowledges. Pure: time and randomness are arguments.

Invariants: one key and nonce per message; nothing changes before a tag has verified; what was opened once is never
opened again; after ``stopped`` is set the session neither seals nor opens. After any exception of ``seal`` it must be
dropped and restored from its last snapshot. spec/session.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag

from sealway.crypto.ports import Random
from sealway.crypto.suites import LONGEST_MESSAGE, Suite
from sealway.errors import (
    GapTooLarge,
    LocalMisuse,
    Malformed,
    NotAuthentic,
    PeerForked,
    PeerMisbehaved,
    RateLimited,
    Replayed,
    SealwayError,
    StateLost,
    TooLarge,
)
from sealway.protocol import schedule
from sealway.protocol.allowance import Allowance
from sealway.protocol.chains import Candidate, Contradicts, Epoch, Step
from sealway.protocol.events import Event, ForkSuspected, Missing, Silent
from sealway.protocol.outcome import Opened, Sealed
from sealway.protocol.policy import DEFAULT_POLICY, HOUR_MS, Policy
from sealway.protocol.ranges import Range, RangeSet
from sealway.protocol.receiptclock import ReceiptClock
from sealway.protocol.receiving import Receiving
from sealway.protocol.sending import Acknowledgement, Sending
from sealway.protocol.sentlog import SentLog, SentRecord, Uptime
from sealway.wire.envelope import Envelope, assemble, enc_structure, nonce, protected_bytes, tag_prefix
from sealway.wire.header import Claims, Opener, StartHeader
from sealway.wire.message import CODE_EMPTY, Freshness, Message, Receipt

VOID_RANGES = 64
_new = tuple.__new__  # makes a NamedTuple of all its fields at half the price
_STEP_COST = 64  # what an agreement costs, in chain steps


@dataclass(slots=True, repr=False)
class Start:
    """What an initiator shows on every message until the first reply: the header, and under the seal the rest."""

    header: StartHeader
    signature: bytes
    newest_session: bytes
    forked_session: bytes | None = None
    """The newest session in which this peer was found to be forked, if there is one."""


@dataclass(slots=True, repr=False)
class Session:
    """One end of a session. Made by start.py, or restored by snapshot.py.

    Args:
        suite: what it is sealed with, from its first message to its last.
        hash: the session hash, 32 bytes.
        peer: the peer's name, as text.
        initiator: this end sent the start.
        root: 32 bytes, from which the next step derives.
        kid_in: the identifier that this end chose and finds the session by.
        kid_out: the identifier that the peer chose, or the peer's bundle id while the start is unanswered.
    """

    suite: Suite
    hash: bytes
    peer: str
    initiator: bool
    root: bytes
    my_turn: bool
    peer_x: bytes
    kid_in: bytes
    kid_out: bytes
    created_ms: int
    send: Sending
    receive: Receiving
    log: SentLog
    start: Start | None = None
    announce_kid: bool = False
    stepped_ms: int = 0
    since_step: int = 0
    clock: ReceiptClock = field(default_factory=ReceiptClock)
    heard_ms: int = 0
    max_silence_s: int | None = None
    silence_told: bool = False
    failed_opens: int = 0
    stopped: str | None = None
    peer_forked: bool = False
    """It was stopped since two copies of the peer's state are in use."""
    policy: Policy = DEFAULT_POLICY
    events: list[Event] = field(default_factory=list)
    allowance: Allowance = field(default_factory=Allowance)
    forks_told: list[int] = field(default_factory=list)  # when, in milliseconds since the Unix epoch

    # sealing ---------------------------------------------------------------------------------------------------
    def seal(
        self, message: Message, *, now_ms: int, uptime: Uptime, random: Random, claims: Claims | None = None
    ) -> Sealed:
        """Seal a message under the next number.

        Control options (receipt, void, kid, start) are added here; the caller must leave them empty. The returned bytes
        may leave this end only after the session's snapshot is durable.

        Raises:
            LocalMisuse: the session is stopped or exhausted, or too much is unacknowledged (``window``).
            TooLarge: with its control options it is longer than the suite allows.
        """
        self._refuse_if_stopped(LocalMisuse)
        suite, bare = self.suite, message.code == CODE_EMPTY
        self._refuse_if_too_far(message)
        self.send.refuse_if_used_up()
        if self.my_turn:
            self._step_if_due(now_ms, random, bare=bare)
        plaintext = self._with_control(message, now_ms).encode()
        if len(plaintext) > LONGEST_MESSAGE:
            raise TooLarge(f"a message of {len(plaintext)} bytes; at most {LONGEST_MESSAGE} are sealed")
        number, secret = self.send.take(random)
        header, opener = self._shown()
        protected = protected_bytes(suite.cose_alg, self.kid_out, number, claims, header, opener)
        key, base_iv = schedule.split(secret, suite)
        ciphertext = suite.aead(key).encrypt(nonce(base_iv, number), plaintext, enc_structure(protected))
        envelope, tag = assemble(protected, ciphertext), tag_prefix(suite.cose_alg, ciphertext)
        if bare:
            self.send.give_up(number, number)
        self.log.add(number, _new(SentRecord, (tag, uptime, now_ms)))
        self.since_step += 1
        return _new(Sealed, (number, envelope, tag, len(plaintext), not bare))

    def _step_if_due(self, now_ms: int, random: Random, *, bare: bool) -> None:
        policy = self.policy
        due = self.since_step >= policy.step_after_messages or now_ms - self.stepped_ms >= policy.step_after_ms
        if self.send.epoch is None or (due and not bare):
            self.root = self.send.step(self.root, self.peer_x, random, self.suite.curve)
            self.my_turn, self.since_step, self.stepped_ms = False, 0, now_ms

    def _first_epoch_is_known(self) -> bool:
        """A reply was opened, so the responder has accepted the start, whose ephemeral key is the first epoch's x."""
        epoch = self.send.epoch
        return epoch is not None and epoch.first == 0 and bool(self.receive.epochs)

    def _shown(self) -> tuple[StartHeader | None, Opener | None]:
        """Return what the next envelope must show of the start and of the chain: mostly nothing any more."""
        send, start = self.send, self.start
        if start is None and send.chain_is_acknowledged:
            return None, None
        opener = send.opener(x_is_known=self.initiator and (start is not None or self._first_epoch_is_known()))
        return (start.header if start is not None else None), opener

    def _with_control(self, message: Message, now_ms: int) -> Message:
        receipt, code = None, message.code
        if code == CODE_EMPTY or self.clock.rides(now_ms, self.policy, response=code >= 0x40):
            receipt = self.receive.receipt()
        start, unsaid = self.start, self.send.void
        if receipt is None and start is None and not self.announce_kid and not unsaid and not message.has_control:
            return message  # the common case: there is nothing to say
        if receipt is not None:
            self.clock.sent(now_ms, receipt.missing + receipt.gone)
        void = tuple(unsaid)[:VOID_RANGES]
        for first, last in void:
            unsaid.remove(first, last)  # told once; a later receipt that still lists them brings them back
        return message.having(
            receipt=receipt,
            void=void,
            receive_kid=self.kid_in if self.announce_kid else None,
            start_signature=start.signature if start is not None else None,
            newest_session=start.newest_session if start is not None else None,
            forked_session=start.forked_session if start is not None else None,
        )

    def resume(self) -> None:
        """Note that the state was opened anew: nothing is sealed before a reseed."""
        if self.send.epoch is not None:
            self.send.must_reseed = True

    def reference(self, max_age_s: int) -> Freshness | None:
        """Return a command's freshness reference: the newest message opened, and the age allowed; None before any."""
        number = self.receive.highest
        return Freshness(number, self.receive.marks[number], max_age_s) if number >= 0 else None

    # opening ---------------------------------------------------------------------------------------------------
    def open(self, envelope: Envelope, *, now_ms: int) -> Opened:
        """Open an envelope, once.

        Raises:
            Replayed: opened before; a receipt is due, since the sender seems not to know.
            NotAuthentic: the tag does not verify; nothing changed but the count of failures. Or it is another suite's.
            GapTooLarge, RateLimited: nothing changed; it may be offered again.
            TooLarge: longer than the suite allows, so nobody sealed it.
            PeerForked, StateLost: authentic, and proof that a state was forked or lost; the session is stopped.
        """
        self._refuse_if_stopped(PeerForked)
        if envelope.alg != self.suite.cose_alg:  # before any key is derived: no key serves two algorithms
            raise NotAuthentic(f"an envelope with alg {envelope.alg} in a session of suite {self.suite.number}")
        if len(envelope.ciphertext) > self.suite.longest_ciphertext:
            raise TooLarge("a ciphertext longer than the suite allows")
        if envelope.start is not None and self.initiator:
            raise NotAuthentic("a start header from the responder")
        tag = envelope.tag_prefix
        chain = self.receive.in_a_row(envelope.number) if envelope.opener is None and envelope.start is None else None
        if chain is not None and chain.key is not None:  # what is here does what _open_any would; a test says so
            secret, key_after = schedule.advance(chain.key)
            plaintext = self._decrypt(secret, 0, envelope)
            self.receive.take_next(chain, envelope.number, key_after, tag)
        else:
            plaintext = self._open_any(envelope, tag, now_ms)
        self._heard(envelope, now_ms)
        return self._read(envelope, plaintext, tag, now_ms)

    def _open_any(self, envelope: Envelope, tag: bytes, now_ms: int) -> bytes:
        try:
            found = self._candidate(envelope, now_ms)
            plaintext = self._decrypt(found.secret, found.cost, envelope)
        except Replayed:
            self.clock.due(now_ms)
            raise
        self._take(found, envelope.number, tag, now_ms)
        return plaintext

    def _candidate(self, envelope: Envelope, now_ms: int) -> Candidate:
        number, opener = envelope.number, envelope.opener
        if envelope.start is not None and opener is None:
            opener = Opener(0, envelope.start.ephemeral, 0, None)  # the start header stands for x and epoch 0
        affordable, policy = self.allowance.left(now_ms, self.policy)
        try:
            return self.receive.candidate(number, opener, self._peer_step(opener, affordable=affordable), policy)
        except Contradicts as refused:
            self._suspect_fork(refused.message, now_ms)
            raise
        except NotAuthentic:
            if number in self.receive.closed:  # its chain is forgotten, and the peer has not heard that it was opened
                raise Replayed("this number was opened before") from None
            raise
        except GapTooLarge:
            if policy is self.policy:
                raise
            raise RateLimited("too much that was costly") from None

    def _peer_step(self, opener: Opener | None, *, affordable: bool) -> Step | None:
        """Derive the step that an unknown x would be. Only the holder of the turn may step: one x is possible."""
        if opener is None or opener.x is None or opener.epoch_first is None:
            return None
        if any(epoch.x == opener.x for epoch in self.receive.epochs):
            return None
        if self.receive.epochs and opener.epoch_first < self.receive.epochs[0].first:
            raise NotAuthentic("an epoch that is no longer remembered")
        mine = self.send.epoch
        if self.my_turn or mine is None:
            raise Contradicts("a new key out of turn")
        if not affordable:
            raise RateLimited("too many failed opens that were costly")
        self.allowance.spend(_STEP_COST)
        agreed = self.suite.curve.agree(mine.x_secret, opener.x)
        keys = schedule.step_keys(self.root, agreed.reveal(), opener.x, opener.epoch_first)
        return Step(Epoch(opener.x, opener.epoch_first, keys.reseed_root), keys.chain, keys.root)

    def _decrypt(self, secret: bytes, cost: int, envelope: Envelope) -> bytes:
        key, base_iv = schedule.split(secret, self.suite)
        try:
            # RFC 9052 §5.3: nonce = Base IV XOR Partial IV; the AAD is the Enc_structure over the protected bytes.
            return self.suite.aead(key).decrypt(nonce(base_iv, envelope.number), envelope.ciphertext, envelope.aad)
        except InvalidTag:
            self._count_failure(cost)
        raise NotAuthentic("the envelope does not open")

    def _count_failure(self, cost: int) -> None:
        self.allowance.spend(cost)
        self.failed_opens += 1
        if self.failed_opens >= self.policy.failed_opens:
            self.stopped = "too many failed opens"

    def _take(self, found: Candidate, number: int, tag: bytes, now_ms: int) -> None:
        try:
            self.receive.check(found, number, self.policy)
        except PeerForked:
            self.stopped, self.peer_forked = "the peer's state was forked", True
            raise
        self.receive.take(found, number, tag, now_ms, self.policy)
        self.allowance.walked(found.cost + (found.chain.next - number - 1 if found.new_chain else 0))
        if found.new_epoch and found.new_root is not None:
            self.allowance.spend(-_STEP_COST)  # it was genuine: only failures are to count
            self.root, self.my_turn, self.peer_x = found.new_root, True, found.epoch.x

    def _heard(self, envelope: Envelope, now_ms: int) -> None:
        self.heard_ms, self.silence_told = now_ms, False
        self.since_step += 1
        if envelope.start is None:
            self.announce_kid = False  # it came to the kid that was announced
        if envelope.opener is not None or envelope.start is not None:
            self.clock.due(now_ms)  # new: the peer waits to leave it out; known: its receipt was lost

    def _read(self, envelope: Envelope, plaintext: bytes, tag: bytes, now_ms: int) -> Opened:
        number, size = envelope.number, len(plaintext)
        try:
            message = Message.decode(plaintext)
            if not message.plain or envelope.start is not None or self.start is not None:
                self._check_control(message, envelope)
        except PeerMisbehaved as defect:
            self.clock.opened(now_ms)
            return Opened(self.hash, number, tag, size, None, defect)
        self.clock.opened(now_ms, bare=message.code == CODE_EMPTY)
        if message.plain:
            return _new(Opened, (self.hash, number, tag, size, message, None, None))  # nothing in it is for the session
        if message.max_silence is not None:
            self.max_silence_s = message.max_silence
        self._answered(message)
        self.receive.drop(message.void, number, self.policy)
        acknowledgement = self._acknowledged(message.receipt, number, now_ms)
        return Opened(self.hash, number, tag, size, message, None, acknowledgement)

    def _check_control(self, message: Message, envelope: Envelope) -> None:
        starting = envelope.start is not None
        if starting != (message.start_signature is not None) or starting != (message.newest_session is not None):
            raise Malformed("the options of a start belong into the messages of a start, and only there")
        if message.forked_session is not None and not starting:
            raise Malformed("a forked session is named in a start only")
        if self.start is not None and message.receive_kid is None:
            raise Malformed("a first reply must name the kid that it wants to be found by")

    def _answered(self, message: Message) -> None:
        if self.start is not None and message.receive_kid is not None:
            self.kid_out, self.start = message.receive_kid, None

    def _acknowledged(self, receipt: Receipt | None, number: int, now_ms: int) -> Acknowledgement | None:
        if receipt is None:
            return None
        try:
            news = self.send.acknowledge(receipt, number, self.log.tag_of(receipt.number))
        except (StateLost, PeerForked) as fatal:
            self.stopped, self.peer_forked = fatal.message, isinstance(fatal, PeerForked)
            self.receive.void.add(number)  # not handed out: when it moves to another session it is no repetition
            raise
        if self.send.void:
            self.clock.due(now_ms)  # the peer waits for what will not come: tell it, before it reports that as missing
        return news

    # time ------------------------------------------------------------------------------------------------------
    def receipt_at(self) -> int | None:
        """Return when a bare receipt has to go out (Unix milliseconds), or None if none is due."""
        if self.stopped is not None or not self.receive.marks:
            return None
        return self.clock.bare_at(self.policy)

    def seal_receipt(self, *, now_ms: int, uptime: Uptime, random: Random) -> Sealed:
        """Seal a bare receipt. It is offered once and not kept."""
        return self.seal(Message(CODE_EMPTY), now_ms=now_ms, uptime=uptime, random=random)

    def look(self, now_ms: int) -> list[Event]:
        """Return what has happened or failed to happen by now, each once: Missing, Silent, ForkSuspected."""
        if self.stopped is None:
            missing = self.clock.missing(RangeSet(self.receive.missing()), now_ms, self.policy)
            if missing:
                self.events.append(Missing(self.peer, self.hash, missing))
            self._listen(now_ms)
            self.receive.forget(now_ms, self.policy)
        happened, self.events = self.events, []
        return happened

    def _listen(self, now_ms: int) -> None:
        limit = self.max_silence_s
        if limit is not None and not self.silence_told and now_ms - self.heard_ms > limit * 1_000:
            self.silence_told = True
            self.events.append(Silent(self.peer, self.hash, self.heard_ms))

    def unacknowledged(self, now_ms: int) -> tuple[Range, ...]:
        """Return the numbers sealed longer than ``unacknowledged_after_ms`` ago that no receipt covers."""
        old = self.log.older_than(now_ms - self.policy.unacknowledged_after_ms, self.send.acked)
        for first, last in self.send.unkept:
            old.remove(first, last)
        return tuple(old)

    # limits ----------------------------------------------------------------------------------------------------
    def _refuse_if_stopped(self, kind: type[SealwayError]) -> None:
        if self.stopped is not None:
            raise kind(f"this session is stopped: {self.stopped}", hint="a new session is begun at the next message")

    def _refuse_if_too_far(self, message: Message) -> None:
        """New content stops at the window; what moves from a number that is gone may go on, since it makes room."""
        if message.code == CODE_EMPTY:
            return
        limit = self.policy.window if message.first_identity is None else self.policy.walk
        if self.send.unacknowledged >= limit:
            raise LocalMisuse("too many messages are unacknowledged", hint="wait for the peer, or begin a new session")

    def _suspect_fork(self, reason: str, now_ms: int) -> None:
        self.clock.due(now_ms)  # a peer that goes on with a copy of its state learns it from the receipt
        self.forks_told = [at for at in self.forks_told if now_ms - at < HOUR_MS]
        if len(self.forks_told) < self.policy.fork_events_per_hour:
            self.forks_told.append(now_ms)
            self.events.append(ForkSuspected(self.peer, self.hash, reason))
