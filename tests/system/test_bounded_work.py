# SPDX-License-Identifier: Apache-2.0
"""Each row of the table of bounds, and an attacker with a valid certificate who tries to exceed it.

The attacker's sessions are real ones, of a certified device; only what it seals in them is of its own making. Work is
counted in derivations, memory in what is held, disk in rows and bytes; time passes only where a test turns the clock.
Each test ends with an honest peer that gets through.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from sealway.crypto.curves import P256
from sealway.errors import GapTooLarge, LocalMisuse
from sealway.protocol import schedule
from sealway.protocol.events import Event, Missing, Unacknowledged, WithoutOneTimeKey
from sealway.protocol.policy import DAY_MS, DEFAULT_POLICY, HOUR_MS
from sealway.protocol.ranges import RangeSet
from sealway.protocol.sending import Sending
from sealway.protocol.session import Session
from sealway.sdk import Application, Device
from sealway.sdk.links import SESSIONS_PER_PEER
from sealway.sdk.windows import MOST_WINDOWS
from sealway.transports.memory import _Published
from sealway.transports.ports import Collected
from sealway.wire.envelope import Envelope
from sealway.wire.header import Opener
from sealway.wire.message import CODE_POST, FirstIdentity, Message
from tests.protocol.session_pair import ends
from tests.protocol.test_session_spec import BOUNDS
from tests.sdk.test_endpoint_state import count
from tests.system.world import World, counters, forget_sessions, ready, until

FREE = 64
"""Chain steps that any envelope may cost (spec/session.md)."""


@dataclass
class Work:
    """Derivations of this process since the last ``reset``."""

    steps: int = 0
    roots: int = 0
    ratchets: int = 0

    def reset(self) -> None:
        self.steps = self.roots = self.ratchets = 0


@pytest.fixture(autouse=True)
def one_session_in_memory() -> None:
    """Here all of them stay: the tests keep hold of sessions, and look at them in the middle of things."""


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    work, advance, next_root, step = Work(), schedule.advance, schedule.next_reseed_root, Sending.step

    def counted_advance(key: bytes) -> tuple[bytes, bytes]:
        work.steps += 1
        return advance(key)

    def counted_root(root: bytes) -> bytes:
        work.roots += 1
        return next_root(root)

    def counted_step(self: Sending, *arguments: Any) -> bytes:
        work.ratchets += 1
        return step(self, *arguments)

    monkeypatch.setattr(schedule, "advance", counted_advance)
    monkeypatch.setattr(schedule, "next_reseed_root", counted_root)
    monkeypatch.setattr(Sending, "step", counted_step)
    return work


@dataclass
class Attacker:
    """A certified device whose program is not ours: it seals what it likes, and numbers it as it likes."""

    world: World
    device: Device
    sent: list[bytes] = field(default_factory=list)

    @property
    def session(self) -> Session:
        held = self.device.endpoint.sessions.sending_to(str(self.world.ops))
        assert held is not None
        held.session.policy = replace(DEFAULT_POLICY, walk=1 << 33, step_after_messages=1 << 40)
        return held.session

    def seal(self, message: Message | None = None, *, at: int | None = None, reseed: bool = False) -> bytes:
        """Seal under a number of its choice; a jump costs the attacker one derivation, since it reseeds there."""
        session, clock = self.session, self.world.clock
        if at is not None:
            session.send.next_number = at
        session.send.must_reseed |= reseed or at is not None
        plain = message or Message(CODE_POST, ("readings",), payload=b"m")
        sealed = session.seal(plain, now_ms=clock.now_ms(), uptime=clock.uptime(), random=os.urandom)
        self.sent.append(sealed.envelope)
        return sealed.envelope

    def skip_reseeds(self, count: int) -> None:
        """Pass over reseeds of the present epoch."""
        epoch = self.session.send.epoch
        assert epoch is not None
        for _ in range(count):
            epoch.j, epoch.reseed_root = epoch.j + 1, schedule.next_reseed_root(epoch.reseed_root)

    def step(self) -> None:
        """Step, if it holds the turn."""
        session = self.session
        if session.my_turn:
            session.root = session.send.step(session.root, session.peer_x, os.urandom, session.suite.curve)
            session.my_turn = False

    def skip(self, numbers: int) -> None:
        """Pass over numbers in the same chain."""
        for _ in range(numbers):
            self.session.send.take(os.urandom)


@dataclass
class Scene:
    """A victim, an honest peer, an attacker who has a session with the victim."""

    world: World
    ops: Application
    meter: Device
    mallory: Attacker
    events: list[Event] = field(default_factory=list)

    @property
    def victim(self) -> Session:
        """The victim's end of the attacker's newest session."""
        held = self.ops.endpoint.sessions.by_hash(self.mallory.session.hash)
        assert held is not None
        return held.session

    async def feed(self, *envelopes: bytes) -> Counter[str]:
        """Let the victim open these; return how often it refused, by kind."""
        before = counters(self.ops)
        mailbox = self.world.members["ops"].mailbox.mailbox
        await self.ops.endpoint.intake.open_all([Collected(mailbox, 1 << 40, envelope) for envelope in envelopes])
        await self.ops.endpoint.journal.commit()
        return +Counter({name: value - before[name] for name, value in counters(self.ops).items()})

    async def tell(self, payload: bytes) -> None:
        """Let the victim seal a message to the attacker."""
        name = self.world.member("device", "mallory").name
        await self.ops.endpoint.send(name, Message(CODE_POST, ("x",), payload=payload))

    async def honest(self, *, commands: bool = True) -> None:
        """An honest peer gets through, with three messages and a request of the victim."""
        for n in range(3):
            await self.meter.send(self.world.ops, "readings", b"honest %d" % n)
        await until(lambda: {b"honest %d" % n for n in range(3)} <= set(self.world.got))
        if commands:
            assert (await self.ops.request(self.world.meter, "valve", b"x")).payload == b"did x"

    def bare_receipts(self) -> int:
        """How many messages the victim has sealed in the attacker's session."""
        return self.victim.send.next_number


@contextlib.asynccontextmanager
async def scene(path: Path, **policy: Any) -> AsyncIterator[Scene]:
    """Time stands still in it."""
    world = World(path, speed=0.0)
    chosen = replace(DEFAULT_POLICY, **policy)
    async with (
        world.application(policy=chosen) as ops, world.watching(ops), world.device() as meter,
        world.device("mallory") as mallory,
    ):  # fmt: skip
        await ready(ops, meter, mallory)
        told: list[Event] = []
        ops.endpoint.on_event = told.append
        for device, name in ((mallory, b"hello"), (meter, b"before")):
            await device.send(world.ops, "readings", name)
            await until(lambda name=name: name in world.got)  # type: ignore[misc]
            world.clock.turn(2)
            await until(lambda device=device: not len(device.endpoint.outbox))  # type: ignore[misc]
        mallory.endpoint.mover.look = _nothing  # type: ignore[method-assign]
        mallory.endpoint.engine.seal_if_due = lambda held, now_ms: None  # type: ignore[method-assign]
        yield Scene(world, ops, meter, Attacker(world, mallory), told)


async def _nothing() -> None:
    """The attacker's program does nothing of its own accord."""


def stored(session: Session) -> int:
    return session.receive.stored


# memory of a direction -----------------------------------------------------------------------------------------------
async def test_skipped(tmp_path: Path, work: Work) -> None:
    async with scene(tmp_path, skipped=50) as at:
        for _ in range(10):
            at.mallory.skip(40)
            await at.feed(at.mallory.seal())
            assert stored(at.victim) <= 50
        for _ in range(10):  # and roots, which are jumped over by reseeds
            at.mallory.skip_reseeds(20)
            assert (await at.feed(at.mallory.seal(reseed=True)))["opened"] == 1
            assert 20 <= stored(at.victim) <= 2 * 50
        (size,) = at.ops.endpoint.store.read_now(
            lambda c: c.execute("SELECT max(length(state)) FROM sessions").fetchone()
        )
        assert size < 2 * 50 * 50 + 8_192
        await at.honest()


async def test_skipped_in_all(tmp_path: Path, work: Work) -> None:
    """Sessions of the attacker give up what they store; the honest peer's late messages still open."""
    async with scene(tmp_path, skipped=60, skipped_in_all=100) as at:
        (held,) = at.meter.endpoint.sessions.all()
        late = []
        for _ in range(8):
            clock = at.world.clock
            sealed = held.session.seal(
                Message(CODE_POST, ("readings",), payload=b"late"),
                now_ms=clock.now_ms(), uptime=clock.uptime(), random=os.urandom,
            )  # fmt: skip
            late.append(sealed.envelope)
        await at.meter.send(at.world.ops, "readings", b"newer")
        await until(lambda: b"newer" in at.world.got)
        totals = at.ops.endpoint.sessions.totals
        assert totals.stored == 8
        for _ in range(6):
            at.mallory.skip(60)
            await at.feed(at.mallory.seal())
            await _another_session(at)
            assert totals.stored <= 100
            assert totals.stored == sum(stored(h.session) for h in at.ops.endpoint.sessions.all())
        assert counters(at.ops)["given_up_in_all"] >= 1
        await at.feed(*late)
        await until(lambda: at.world.got.count(b"late") == 8)
        await at.honest()
    async with at.world.application(policy=replace(DEFAULT_POLICY, skipped_in_all=10)) as ops:  # counted anew at start
        assert ops.endpoint.sessions.totals.stored <= 10


async def _another_session(at: Scene) -> None:
    endpoint = at.mallory.device.endpoint
    held = endpoint.sessions.sending_to(str(at.world.ops))
    assert held is not None
    await endpoint.links.instead_of(held)
    await at.mallory.device.send(at.world.ops, "readings", os.urandom(8))
    await until(lambda: at.mallory.session.hash in {h.session.hash for h in at.ops.endpoint.sessions.all()})
    at.world.clock.turn(6)
    await until(lambda: at.mallory.session.start is None)


async def test_gaps(tmp_path: Path, work: Work) -> None:
    async with scene(tmp_path, gap_ranges=20) as at:
        refused: Counter[str] = Counter()
        for _ in range(40):
            at.mallory.skip(1)
            refused += await at.feed(at.mallory.seal())
            assert len(at.victim.receive.closed) <= 20
        assert refused["refused_GapTooLarge"] >= 19 and len(at.victim.receive.marks) <= 20
        await at.honest()


async def test_void(tmp_path: Path, work: Work) -> None:
    async with scene(tmp_path, void_ranges=10) as at:
        start = at.mallory.session.send.next_number
        at.mallory.skip(200)
        for part in range(3):
            first = start + 64 * part
            at.mallory.session.send.void = RangeSet((n, n) for n in range(first, first + 64, 2))
            await at.feed(at.mallory.seal())
            assert len(at.victim.receive.void) <= 10
        await at.honest()


async def test_chains(tmp_path: Path, work: Work) -> None:
    async with scene(tmp_path, chains=20) as at:
        for _ in range(60):
            await at.feed(at.mallory.seal(reseed=True))
            assert sum(len(e.chains) for e in at.victim.receive.epochs) <= 20
        await at.honest()


async def test_epochs(tmp_path: Path, work: Work) -> None:
    """Epochs need turns: the attacker answers each step of the victim with one of its own, as often as it can."""
    async with scene(tmp_path, epochs=4, step_after_messages=1) as at:
        for n in range(12):
            await at.tell(b"%d" % n)
            await until(lambda: at.mallory.session.my_turn)
            at.mallory.step()
            await at.feed(at.mallory.seal())
            assert len(at.victim.receive.epochs) <= 4
        assert at.victim.receive.epochs[0].first > 0
        await at.honest()


# work -----------------------------------------------------------------------------------------------------------------
async def test_walk(tmp_path: Path, work: Work) -> None:
    """A jump costs the attacker one derivation, and the victim never more than the walk."""
    async with scene(tmp_path, walk=1_000) as at:
        at.mallory.session  # noqa: B018 - sets the attacker's policy
        work.reset()
        for far in (5_000, 1 << 20, (1 << 32) - 1):
            assert (await at.feed(at.mallory.seal(at=far)))["refused_GapTooLarge"] == 1
        assert work.steps <= 2 * 3
        at.mallory.skip_reseeds(10)
        near = at.victim.receive.highest + 900
        sealed = at.mallory.seal(at=near)
        work.reset()
        assert (await at.feed(sealed))["opened"] == 1
        assert work.steps <= 1_000 + 2 and work.roots <= 1_000
        await at.honest()


async def test_a_reseed_that_comes_late_costs_no_more_than_a_walk_either(tmp_path: Path, work: Work) -> None:
    """It is learned between two chains that are far apart, and the numbers up to the next one are walked."""
    async with scene(tmp_path, walk=1_000) as at:
        session, base = at.mallory.session, at.mallory.session.send.next_number
        early = at.mallory.seal(at=base + 1)
        late = at.mallory.seal(at=base + 990)
        assert session.send.epoch is not None
        await at.feed(late)
        work.reset()
        before = _spent(at)
        assert (await at.feed(early))["opened"] == 1
        assert 900 < work.steps <= 1_000 + 2
        assert _spent(at) - before >= work.steps - 2
        await at.honest()


def _spent(at: Scene) -> float:
    """What all sessions have cost together."""
    policy = at.ops.endpoint.sessions._policy
    return policy.walk_in_all - at.ops.endpoint.sessions.shared.everybody.steps


async def test_a_first_reply_from_far_away_costs_no_more_than_a_walk(work: Work) -> None:
    """Nothing is known yet in this direction, and between the step and the reseed lie numbers without end."""
    a, b = ends()
    b.open(a.seal())
    session = b.session
    session.policy = replace(DEFAULT_POLICY, walk=1 << 33)
    session.root, session.my_turn = session.send.step(session.root, session.peer_x, b.random, P256), False
    for far in (65_537, (1 << 32) - 2):
        session.send.next_number, session.send.must_reseed = far, True
        sealed = b.seal()
        work.reset()
        with pytest.raises(GapTooLarge):
            a.open(sealed)
        assert work.steps == 0


async def test_walk_in_all_of_one_peer(tmp_path: Path, work: Work) -> None:
    """Messages that open cost too: one peer may have the victim walk twice at once, however many sessions it has."""
    async with scene(tmp_path, walk=1_000) as at:
        work.reset()
        refused: Counter[str] = Counter()
        for n in range(12):
            refused += await at.feed(at.mallory.seal(at=at.victim.receive.highest + 900))
            if n % 4 == 3:
                await _another_session(at)
        # the clock was turned three times for a new session: 6 s, which refill everything
        assert work.steps <= 4 * (2 * 1_000 + 1_000) + 200
        assert refused["refused_RateLimited"] >= 1
        await at.honest()


async def test_walk_in_all_of_many_peers(tmp_path: Path, work: Work) -> None:
    """More certificates do not help: what all may cost is bounded, and whoever follows its peer gets through."""
    async with scene(tmp_path, walk=1_000, walk_in_all=3_000, refill_in_all_per_ms=0.0) as at:
        world = at.world
        async with contextlib.AsyncExitStack() as stack:
            gang = [at.mallory]
            for n in range(4):
                device = await stack.enter_async_context(world.device(f"mallory-{n}"))
                await ready(device)
                await device.send(world.ops, "readings", b"gang %d" % n)
                await until(lambda n=n: b"gang %d" % n in world.got)  # type: ignore[misc]
                gang.append(Attacker(world, device))
            world.clock.turn(6)
            await until(lambda: all(one.session.start is None for one in gang))
            work.reset()
            fed, refused = 0, Counter[str]()
            for _ in range(2):
                for one in gang:
                    refused += await at.feed(one.seal(at=one.session.send.next_number + 900))
                    fed += 1
            assert work.steps <= 3_000 + 1_000 + fed * FREE
            assert refused["refused_RateLimited"] >= 5
            await at.honest()


async def test_refill_in_all(tmp_path: Path, work: Work) -> None:
    policy = {"walk": 1_000, "walk_in_all": 500, "refill_in_all_per_ms": 0.1}
    async with scene(tmp_path, **policy) as at:
        at.world.clock.turn(60)
        assert (await at.feed(at.mallory.seal(at=at.victim.receive.highest + 900)))["opened"] == 1
        far = at.mallory.seal(at=at.victim.receive.highest + 900)
        assert (await at.feed(far))["refused_RateLimited"] == 1
        work.reset()
        at.world.clock.turn(3)  # 300 steps: not enough for what is owed
        assert (await at.feed(far))["refused_RateLimited"] == 1 and work.steps <= FREE
        await at.honest()
        at.world.clock.turn(30)
        assert (await at.feed(far))["opened"] == 1  # nothing was lost
        await at.honest()


async def test_refill(tmp_path: Path, work: Work) -> None:
    """Envelopes that do not open cost twice the walk at once, and then what time gives."""
    async with scene(tmp_path, walk=1_000) as at:
        kid, highest = at.victim.kid_in, at.victim.receive.highest
        forged = [Envelope(kid, highest + 990, os.urandom(24)).encode() for _ in range(40)]
        work.reset()
        refused = await at.feed(*forged)
        assert work.steps <= 2 * 1_000 + 1_000 and refused["refused_RateLimited"] >= 30
        work.reset()
        at.world.clock.turn(0.2)  # 400 steps
        await at.feed(*forged)
        assert work.steps <= 400 + 1_000
        assert (await at.feed(at.mallory.seal()))["opened"] == 1  # who follows its peer is not shut out
        await at.honest()


async def test_unknown_epochs(tmp_path: Path, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each costs an agreement, which counts as 64 steps."""
    async with scene(tmp_path, walk=1_000) as at:
        assert not at.victim.my_turn or at.victim.send.epoch is not None
        await at.tell(b"a step of the victim")
        await until(lambda: at.mallory.session.receive.highest >= 0)
        at.victim.my_turn = False
        x = at.meter.endpoint.sessions.all()[0].session.send.epoch.x  # type: ignore[union-attr]
        tried: list[bytes] = []
        step = schedule.step_keys

        def counted(root: bytes, agreed: bytes, key: bytes, first: int) -> schedule.EpochKeys:
            tried.append(key)
            return step(root, agreed, key, first)

        monkeypatch.setattr(schedule, "step_keys", counted)
        number = at.victim.receive.highest + 1
        forged = Envelope(at.victim.kid_in, number, os.urandom(24), opener=Opener(number, x, number)).encode()
        refused = await at.feed(*[forged] * 60)
        assert 0 < len(tried) <= 2 * 1_000 // 64 + 1 and refused["refused_RateLimited"] >= 20
        await at.honest()


async def test_starts_of_strangers(tmp_path: Path, work: Work) -> None:
    """A start that does not open leaves no session behind that could pay: strangers pay together."""
    async with scene(tmp_path, walk=1_000) as at:
        endpoint = at.mallory.device.endpoint
        held = endpoint.sessions.sending_to(str(at.world.ops))
        assert held is not None
        other = await endpoint.links.instead_of(held)
        header = other.session.start.header  # type: ignore[union-attr]
        kid = other.session.kid_out
        forged = [Envelope(kid, 990, os.urandom(40), start=header).encode() for _ in range(30)]
        work.reset()
        refused = await at.feed(*forged)
        assert work.steps <= 2 * 1_000 + 1_000 + 30 and refused["refused_RateLimited"] >= 25
        assert len(at.ops.endpoint.sessions.all()) == 2 and count(at.ops, "starts") == 2
        async with at.world.device("newcomer") as newcomer:  # whose first message is near
            await ready(newcomer)
            await newcomer.send(at.world.ops, "readings", b"new")
            await until(lambda: b"new" in at.world.got)
        await at.honest()


async def test_failed_opens(tmp_path: Path, work: Work) -> None:
    """The attacker's session ends, and only that; the count survives a restart."""
    async with scene(tmp_path, failed_opens=30) as at:
        forged = Envelope(at.victim.kid_in, at.victim.receive.highest + 5, os.urandom(24)).encode()
        await at.feed(*[forged] * 20)
        assert at.victim.stopped is None and at.victim.failed_opens == 20
        kid = at.victim.hash
        await at.honest()
        policy, world = at.ops.endpoint.sessions._policy, at.world
        await at.ops.close()
        async with world.application(policy=policy) as ops, world.watching(ops):
            again = replace(at, ops=ops)
            session = ops.endpoint.sessions.by_hash(kid)
            assert session is not None and session.session.failed_opens == 20
            refused = await again.feed(*[forged] * 20)
            assert refused["refused_NotAuthentic"] == 10 and refused["refused_PeerForked"] == 10
            assert session.session.stopped is not None
            await again.honest()


# what the victim itself seals ----------------------------------------------------------------------------------------
async def test_window(tmp_path: Path, work: Work) -> None:
    """A peer that acknowledges nothing does not make this end walk away from it: it stops."""
    async with scene(tmp_path, walk=40) as at:
        forget_sessions(at.mallory.device)  # it opens nothing any more
        held = at.ops.endpoint.sessions.by_hash(at.victim.hash)
        assert held is not None
        with contextlib.suppress(LocalMisuse):
            for _ in range(100):
                at.ops.endpoint.engine.seal(held, Message(CODE_POST, ("x",)))
        assert held.session.send.unacknowledged == 30 == replace(DEFAULT_POLICY, walk=40).window
        await at.honest()


async def test_step_messages_and_step_time(tmp_path: Path, work: Work) -> None:
    """However often the attacker steps, the victim steps after 64 messages or a day."""
    async with scene(tmp_path) as at:
        victim, steps = at.victim, 0

        async def turn(n: int) -> bool:
            at.mallory.step()
            await at.feed(at.mallory.seal())
            before = victim.since_step
            await at.tell(b"%d" % n)
            received = victim.send.next_number - 1
            await until(lambda: at.mallory.session.receive.highest >= received)
            return victim.since_step <= before

        for n in range(200):
            steps += await turn(n)
        assert 1 <= steps <= 400 // 64 + 1
        at.world.clock.turn(DAY_MS / 1_000)
        assert sum([await turn(n) for n in range(10)]) == 1
        await at.honest(commands=False)  # its grant was for a day


async def test_t_ack_and_ack_soon(tmp_path: Path, work: Work) -> None:
    """Openers and replays make a receipt due; it goes once in 5 s, however many come."""
    async with scene(tmp_path) as at:
        at.world.clock.turn(20)
        await at.ops.endpoint.tick()
        before, replayed = at.bare_receipts(), at.mallory.seal()
        for _ in range(30):
            await at.feed(at.mallory.seal(reseed=True), replayed)
            await at.ops.endpoint.tick()
        assert at.bare_receipts() == before  # it waits for a message to ride on
        at.world.clock.turn(DEFAULT_POLICY.ack_soon_ms / 1_000)
        await at.ops.endpoint.tick()
        assert at.bare_receipts() == before + 1
        for _ in range(40):  # 4 s
            at.world.clock.turn(0.1)
            await at.feed(at.mallory.seal(reseed=True), replayed)
            await at.ops.endpoint.tick()
        assert at.bare_receipts() == before + 1
        at.world.clock.turn(2)
        await at.ops.endpoint.tick()
        assert at.bare_receipts() == before + 2
        await at.honest()


async def test_ack_messages_and_ack_time(tmp_path: Path, work: Work) -> None:
    async with scene(tmp_path) as at:
        await at.feed(at.mallory.seal())
        at.world.clock.turn(10)
        await at.ops.endpoint.tick()
        before = at.bare_receipts()
        for _ in range(5 * 64):
            await at.feed(at.mallory.seal())
            await at.ops.endpoint.tick()
        assert before + 4 <= at.bare_receipts() <= before + 6
        before = at.bare_receipts()
        for _ in range(23):  # one message an hour
            at.world.clock.turn(HOUR_MS / 1_000)
            await at.feed(at.mallory.seal())
            await at.ops.endpoint.tick()
        assert at.bare_receipts() <= before + 1
        await at.honest()


async def test_references(tmp_path: Path, work: Work) -> None:
    """The attacker acknowledges everything at once, so that much is sent; what is remembered of it is bounded."""
    async with scene(tmp_path, freshness_references=20) as at:
        for n in range(80):
            await at.tell(b"%d" % n)
        victim = at.victim
        await until(lambda: at.mallory.session.receive.highest >= victim.send.next_number - 1)
        receipt = Message(CODE_POST, ("readings",), receipt=None)
        at.mallory.session.clock.due(at.world.clock.now_ms())
        await at.feed(at.mallory.seal(receipt))
        remembered = count(at.ops, "sent", f"hex(session) = '{victim.hash.hex().upper()}'")
        assert remembered <= 20 + victim.send.unacknowledged
        assert victim.send.unacknowledged <= 1
        await at.honest()


# what is reported, and for how long things are remembered ------------------------------------------------------------
async def test_t_missing(tmp_path: Path, work: Work) -> None:
    async with scene(tmp_path) as at:
        at.mallory.skip(5)
        await at.feed(at.mallory.seal(reseed=True))
        for _ in range(8):
            at.world.clock.turn(HOUR_MS / 1_000)
            at.mallory.skip(1)
            await at.feed(at.mallory.seal(reseed=True))
            await at.ops.endpoint.tick()
        told = [
            n for e in at.events if isinstance(e, Missing) for part in e.numbers for n in range(part[0], part[1] + 1)
        ]
        assert told and len(told) == len(set(told))
        await at.honest()


async def test_unacknowledged_after(tmp_path: Path, work: Work) -> None:
    async with scene(tmp_path) as at:
        forget_sessions(at.mallory.device)
        for n in range(5):
            await at.tell(b"%d" % n)
        for _ in range(12):
            at.world.clock.turn(HOUR_MS / 2_000)
            await at.ops.endpoint.tick()
        told = [e for e in at.events if isinstance(e, Unacknowledged) and "mallory" in e.peer]
        numbers = [n for e in told for first, last in e.numbers for n in range(first, last + 1)]
        assert len(numbers) == len(set(numbers)) >= 5
        await at.honest()


async def test_held_for(tmp_path: Path, work: Work) -> None:
    """Sessions, identifiers, and identities of messages that moved from nowhere: all bounded, and forgotten."""
    async with scene(tmp_path) as at:
        for n in range(MOST_WINDOWS + 20):
            identity = FirstIdentity(n.to_bytes(32, "big"), n)
            await at.feed(at.mallory.seal(Message(CODE_POST, ("readings",), first_identity=identity)))
        assert count(at.ops, "windows") <= MOST_WINDOWS
        for _ in range(3):
            await _another_session(at)
        assert len(at.ops.endpoint.sessions.all()) == 5
        for _ in range(17):
            at.world.clock.turn(DAY_MS / 1_000)
            await at.meter.send(at.world.ops, "readings", b"a day")
            await at.ops.endpoint.tick()
            await asyncio.sleep(0.02)
        mine = f"peer = '{at.world.member('device', 'mallory').name}'"
        await until(lambda: count(at.ops, "sessions", mine) <= 1)
        assert count(at.ops, "windows", mine) == 0
        await at.honest(commands=False)  # its grant was for a day


# starts --------------------------------------------------------------------------------------------------------------
async def test_sessions_and_records_of_one_peer(tmp_path: Path, work: Work) -> None:
    async with scene(tmp_path) as at:
        endpoint = at.mallory.device.endpoint
        at.mallory.device.endpoint.links._refuse_too_many = lambda peer, most: None  # type: ignore[method-assign]
        stores, mine = at.world.hub._stores, str(at.world.ops)
        published = stores.published[mine]
        stores.published[mine] = _Published(published.bundle, published.sequence, ())  # none is left
        for n in range(SESSIONS_PER_PEER + 8):
            held = endpoint.sessions.sending_to(mine)
            assert held is not None
            await endpoint.links.instead_of(held)
            await at.mallory.device.send(at.world.ops, "readings", b"session %d" % n)
            await until(lambda n=n: b"session %d" % n in at.world.got or _limited(at))  # type: ignore[misc]
        peer = f"peer = '{at.world.member('device', 'mallory').name}'"
        assert count(at.ops, "sessions", peer) <= SESSIONS_PER_PEER
        assert count(at.ops, "starts") <= SESSIONS_PER_PEER + 1
        await at.honest()


def _limited(at: Scene) -> bool:
    return counters(at.ops)["refused_RateLimited"] > 0


async def test_one_time_keys_that_are_exhausted(tmp_path: Path, work: Work) -> None:
    """Sessions begin without, as in X3DH, and the responder's application is told once."""
    async with scene(tmp_path) as at:
        while (await at.mallory.device.endpoint.directory.offer(at.world.ops)).one_time is not None:
            pass
        for n in range(2):
            async with at.world.device(f"late-{n}") as late:
                await ready(late)
                await late.send(at.world.ops, "readings", b"late %d" % n)
                await until(lambda n=n: b"late %d" % n in at.world.got)  # type: ignore[misc]
                assert counters(late)["begun_without_one_time"] == 1
        (told,) = [event for event in at.events if isinstance(event, WithoutOneTimeKey)]
        assert told.peer.endswith("late-0") and told.left == 62
        seen = counters(at.ops)
        assert seen["starts_without_one_time"] == 2 and seen["event_WithoutOneTimeKey"] == 1
        await at.honest()


def test_every_row_of_the_table_has_an_attack() -> None:
    """Here, by the name of the row."""
    tests = {name for name in globals() if name.startswith("test_")}
    words = " ".join(sorted(tests))
    assert [row for row in BOUNDS if not re.search(rf"(_|\b){row.replace('-', '_').lower()}(_|\b)", words)] == []
