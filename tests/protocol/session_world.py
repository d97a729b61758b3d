# SPDX-License-Identifier: Apache-2.0
"""Two ends, a bad channel, crashes and copies, with everything checked that the protocol promises.

Both the Hypothesis machine and the seeded runs drive this. An end commits snapshots; what it sealed leaves, and what it
opened counts, only with a commit, as in a state directory.
"""

from __future__ import annotations

import random as rng
from dataclasses import dataclass, field

from sealway.crypto.suites import SUITE_1, Suite
from sealway.errors import (
    GapTooLarge,
    LocalMisuse,
    Malformed,
    NotAuthentic,
    PeerForked,
    RateLimited,
    Replayed,
    SealwayError,
    StateLost,
    TooLarge,
)
from sealway.protocol.events import ForkSuspected, Missing
from sealway.protocol.outcome import Opened, Sealed
from sealway.protocol.policy import Policy
from sealway.protocol.receiptclock import ReceiptClock
from sealway.protocol.sentlog import SentLog, Uptime
from sealway.protocol.session import Session
from sealway.protocol.snapshot import restore, snapshot
from sealway.wire.envelope import Envelope
from sealway.wire.header import Opener
from sealway.wire.message import CODE_EMPTY, CODE_POST, FirstIdentity, Message
from tests.protocol.session_pair import BOOT, START_MS, KeyRecorder, copy_log, pair


def state_of(session: Session) -> bytes:
    """Return all of a session's state but what a refused message may change."""
    copy = restore(snapshot(session), SentLog(), session.policy, reopened=False)
    copy.clock, copy.failed_opens, copy.stopped, copy.forks_told = ReceiptClock(), 0, None, []
    return snapshot(copy)


@dataclass
class Disk:
    """What a state directory holds: the session, its log, what is still to be offered, what was received."""

    snapshot: bytes
    log: SentLog
    kept: dict[int, tuple[bytes, Message]] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)
    opened: set[int] = field(default_factory=set)
    identities: set[tuple[bytes, int]] = field(default_factory=set)
    delivered: list[bytes] = field(default_factory=list)
    void: set[int] = field(default_factory=set)

    def copy(self) -> Disk:
        return Disk(
            self.snapshot, copy_log(self.log), dict(self.kept), set(self.gone), set(self.opened), set(self.identities),
            list(self.delivered), set(self.void),
        )  # fmt: skip


class Node:
    """One end as a process over a disk. ``live`` is what the process has in memory; ``disk`` what it has committed."""

    def __init__(self, world: World, session: Session) -> None:
        self.world = world
        self.session = session
        self.live = Disk(snapshot(session), session.log)
        self.disk = self.live.copy()
        self.history = [self.disk.copy()]
        self.outgoing: list[bytes] = []
        self.unsent: list[bytes] = []
        self.receipts: dict[int, int] = {}
        self.reported: set[int] = set()

    def commit(self) -> None:
        self.live.snapshot = snapshot(self.session)
        self.live.log = self.session.log
        self.disk = self.live.copy()
        self.history.append(self.disk.copy())
        del self.history[:-6]
        self.world.flight[self.peer_index].extend(self.outgoing)
        self.world.sent.update(dict.fromkeys(self.unsent, self.peer_index))
        self.outgoing.clear()
        self.unsent.clear()

    def restart(self, disk: Disk | None = None) -> None:
        """Begin again from the disk: whatever was not committed never happened."""
        self.disk = (disk or self.disk).copy()
        self.live = self.disk.copy()
        self.outgoing.clear()
        self.unsent.clear()
        self.session = restore(self.live.snapshot, self.live.log, self.world.policy)

    @property
    def peer_index(self) -> int:
        return 1 if self.world.nodes[0] is self else 0

    @property
    def peer(self) -> Node:
        return self.world.nodes[self.peer_index]

    # sealing -------------------------------------------------------------------------------------------------------
    def may_seal(self) -> bool:
        """A responder's session exists only since it has opened something."""
        return self.session.initiator or self.session.receive.highest >= 0

    def seal(self, message: Message) -> Sealed | None:
        world = self.world
        try:
            sealed = self.session.seal(
                message, now_ms=world.now_ms, uptime=Uptime(BOOT, world.now_ms - START_MS), random=world.random
            )
        except LocalMisuse as refused:
            stopped = self.session.stopped is not None
            full = "unacknowledged" in refused.message and self.session.send.unacknowledged >= world.policy.window
            if not stopped and not full:
                raise
            return None
        world.recorder.sealed(sealed)
        self.outgoing.append(sealed.envelope)
        if sealed.kept:
            self.live.kept[sealed.number] = (sealed.envelope, message)
        return sealed

    def send(self) -> None:
        self.world.payloads += 1
        payload = b"%d from %d" % (self.world.payloads, self.peer_index)
        if self.seal(Message(CODE_POST, payload=payload)) is not None:
            self.unsent.append(payload)

    def reseal_gone(self) -> None:
        """Move what the peer cannot open any more to new numbers."""
        for number in sorted(self.live.gone):
            _, message = self.live.kept.get(number, (b"", None))
            if message is not None:
                identity = message.first_identity or FirstIdentity(self.session.hash, number)
                moved = Message(CODE_POST, payload=message.payload, first_identity=identity)
                if self.seal(moved) is None:
                    return
                del self.live.kept[number]
                self.session.send.give_up(number, number, tell=True)
            self.live.gone.discard(number)

    # opening -------------------------------------------------------------------------------------------------------
    def open(self, data: bytes, *, genuine: bool) -> str:
        """Open bytes from the channel and check everything; return what happened."""
        try:
            envelope = Envelope.decode(data)
        except (Malformed, TooLarge):
            assert not genuine
            return "malformed"
        before = state_of(self.session)
        highest, ranges = self.session.receive.highest, len(self.session.receive.closed)
        try:
            opened = self.session.open(envelope, now_ms=self.world.now_ms)
        except (PeerForked, StateLost) as fatal:
            if not self.world.forked:
                raise AssertionError("a fork was seen where none is") from fatal
            return "fatal"
        except SealwayError as refusal:
            if state_of(self.session) != before:
                raise AssertionError("a refused message changed something") from refusal
            if genuine and not self.world.forked:
                self._explain(refusal, envelope, highest, ranges)
            return type(refusal).__name__
        assert genuine, "an envelope was opened that nobody sealed"
        self._opened(opened)
        return "opened"

    def _explain(self, refusal: SealwayError, envelope: Envelope, highest: int, ranges: int) -> None:
        """A genuine message may only be refused for a reason that is known."""
        number, receive, policy = envelope.number, self.session.receive, self.world.policy
        known = number in self.live.opened or number in self.live.void or number in receive.gone
        if isinstance(refusal, Replayed):
            assert known, refusal
        elif isinstance(refusal, GapTooLarge):
            j = envelope.opener.reseed[0] if envelope.opener is not None and envelope.opener.reseed is not None else 0
            far = number - highest + j > policy.walk
            assert far or j > policy.skipped or ranges >= policy.gap_ranges, refusal
        elif isinstance(refusal, RateLimited):
            assert self.world.forged
        elif isinstance(refusal, NotAuthentic):
            assert known, refusal
        else:
            raise refusal

    def _opened(self, opened: Opened) -> None:
        number = opened.number
        assert number not in self.live.opened, "a number was opened twice"
        self.live.opened.add(number)
        assert opened.message is not None and opened.defect is None
        message = opened.message
        for first, last in message.void:
            self.live.void |= set(range(first, min(last, number - 1) + 1)) - self.live.opened
        self._check_receipt(opened)
        if message.code == CODE_EMPTY:
            return
        here = (self.session.hash, number)
        identity = (opened.identity.session, opened.identity.number)
        moved_before = identity != here and self.session.receive.was_opened(identity[1])
        if identity in self.live.identities or moved_before:
            return
        self.live.identities.add(identity)
        self.live.delivered.append(message.payload)

    def _check_receipt(self, opened: Opened) -> None:
        news = opened.acknowledgement
        if news is None or opened.message is None or opened.message.receipt is None:
            return
        for first, last in news.covered:
            for number in range(first, last + 1):
                really = number in self.peer.disk.opened or number in self.peer.disk.void
                assert really or self.world.forked, "acknowledged, but never opened"
                self.live.kept.pop(number, None)
        for first, last in news.gone:
            self.live.gone.update(range(first, last + 1))
        if not self.world.forked:
            self.receipts[opened.number] = opened.message.receipt.number
            ordered = [self.receipts[n] for n in sorted(self.receipts)]
            assert ordered == sorted(ordered), "a receipt fell"

    def look(self) -> None:
        for event in self.session.look(self.world.now_ms):
            if isinstance(event, Missing):
                numbers = {n for first, last in event.numbers for n in range(first, last + 1)}
                assert not numbers & self.live.opened, "reported missing, but opened"
                assert not numbers & self.reported or self.world.forked, "reported twice"
                self.reported |= numbers
            if isinstance(event, ForkSuspected):
                assert self.world.forked or self.world.forged, "a fork was suspected where none is"


class World:
    """The two ends, what flies between them, and the clock."""

    def __init__(self, seed: int, policy: Policy, recorder: KeyRecorder, suite: Suite = SUITE_1) -> None:
        self.rng = rng.Random(seed)
        self.random = self.rng.randbytes
        self.policy = policy
        self.recorder = recorder
        self.now_ms = START_MS
        self.flight: tuple[list[bytes], list[bytes]] = ([], [])
        self.sent: dict[bytes, int] = {}
        self.payloads = 0
        self.forked = self.forged = False
        first, second = pair(self.random, policy, suite)
        self.nodes: list[Node] = []
        self.nodes.append(Node(self, first))
        self.nodes.append(Node(self, second))
        self.clones: list[Node] = []
        self.tally: dict[str, int] = {}

    # what can happen ---------------------------------------------------------------------------------------------
    def send(self, who: int, count: int = 1, *, commit: bool = True) -> None:
        node = self.nodes[who]
        if node.may_seal():
            for _ in range(count):
                node.send()
            if commit:
                node.commit()

    def receipt(self, who: int) -> None:
        node = self.nodes[who]
        at = node.session.receipt_at()
        if at is not None and at <= self.now_ms:
            node.seal(Message(CODE_EMPTY))
            node.commit()

    def heartbeat(self, who: int) -> None:
        node = self.nodes[who]
        if node.may_seal():
            node.seal(Message(CODE_EMPTY))
            node.commit()

    def deliver(self, to: int, index: int, *, again: bool = False, commit: bool = True) -> str:
        waiting = self.flight[to]
        if not waiting:
            return "nothing"
        index %= len(waiting)
        data = waiting[index] if again else waiting.pop(index)
        node = self.nodes[to]
        happened = node.open(data, genuine=True)
        self.tally[happened] = self.tally.get(happened, 0) + 1
        if commit:
            node.commit()
        elif happened == "opened" and not again:
            waiting.append(data)  # the carrier was not told, so it brings it again
        return happened

    def lose(self, to: int, index: int) -> None:
        if self.flight[to]:
            self.flight[to].pop(index % len(self.flight[to]))

    def corrupt(self, to: int, index: int, position: int, bit: int) -> None:
        waiting = self.flight[to]
        if waiting:
            data = bytearray(waiting[index % len(waiting)])
            data[position % len(data)] ^= 1 << bit
            self._forge(to, bytes(data))

    def truncate(self, to: int, index: int, length: int) -> None:
        waiting = self.flight[to]
        if waiting:
            data = waiting[index % len(waiting)]
            self._forge(to, data[: length % len(data)])

    def invent(self, to: int, number: int, opener: Opener | None) -> None:
        if opener is not None and opener.chain_first > number:
            return
        session = self.nodes[to].session
        envelope = Envelope(session.kid_in, number, self.random(20), session.suite.cose_alg, opener=opener)
        self._forge(to, envelope.encode())

    def reflect(self, who: int, index: int) -> None:
        waiting = self.flight[1 - who]
        if waiting:
            self._forge(who, waiting[index % len(waiting)])

    def _forge(self, to: int, data: bytes) -> None:
        self.forged = True
        self.nodes[to].open(data, genuine=False)
        self.nodes[to].commit()

    def restart(self, who: int) -> None:
        self.nodes[who].restart()

    def restore_older(self, who: int, back: int) -> None:
        self.forked = True
        node = self.nodes[who]
        node.restart(node.history[-1 - back % len(node.history)])
        self.receipts_may_fall()

    def clone(self, who: int, back: int, count: int) -> None:
        """A copy of a state directory, of now or older, seals beside the original."""
        self.forked = True
        node = self.nodes[who]
        original, live, disk, outgoing = node.session, node.live, node.disk, list(node.outgoing)
        node.restart(node.history[-1 - back % len(node.history)])
        if node.may_seal():
            for _ in range(count):
                node.send()
        self.flight[node.peer_index].extend(node.outgoing)
        node.session, node.live, node.disk, node.outgoing = original, live, disk, outgoing

    def receipts_may_fall(self) -> None:
        for node in self.nodes:
            node.receipts.clear()

    def pass_time(self, ms: int) -> None:
        self.now_ms += ms
        for node in self.nodes:
            node.look()
            node.commit()

    # the end -------------------------------------------------------------------------------------------------------
    def settle(self) -> None:
        """From now on the channel is reliable: everything has to arrive, once, and be acknowledged."""
        if self.forked:
            return
        for waiting in self.flight:
            waiting.clear()
        for node in self.nodes:
            node.commit()
        for waiting in self.flight:
            waiting.clear()
        for _ in range(60):
            if self._settled():
                break
            self._offer_everything()
        assert self._settled(), ("never settled", [sorted(n.live.kept) for n in self.nodes])
        for payload in self.sent:
            times = sum(node.live.delivered.count(payload) for node in self.nodes)
            assert times == 1, ("lost" if times == 0 else "delivered twice", payload)

    def _settled(self) -> bool:
        return all(not n.live.kept and not n.live.gone for n in self.nodes)

    def _offer_everything(self) -> None:
        self.now_ms += max(self.policy.ack_delay_ms, 60_000)
        for to in (0, 1):
            peer = self.nodes[1 - to]
            peer.reseal_gone()
            peer.commit()
            for data in [data for _, (data, _) in sorted(peer.live.kept.items())]:
                self.nodes[to].open(data, genuine=True)
                self.nodes[to].commit()
            self._drain(to)
        for who in (0, 1):
            self.now_ms += self.policy.ack_delay_ms
            self.receipt(who)
            self._drain(1 - who)

    def _drain(self, to: int) -> None:
        while self.flight[to]:
            self.deliver(to, 0)
