# SPDX-License-Identifier: Apache-2.0
"""Receipts, loss and silence between two endpoints: what is offered again, what moves, and what is told."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from sealway.errors import HopRefused, TooLarge
from sealway.protocol.events import Event, Silent, Unacknowledged
from sealway.protocol.policy import Policy
from sealway.sdk import endpoint as endpoints
from sealway.sdk.sessions import Leaving
from sealway.transports.ports import Collected, Deposit
from sealway.wire.envelope import Envelope
from sealway.wire.message import CODE_POST, Message
from tests.system.world import World, counters, forget_sessions, ready, until


class Sieve:
    """Drops what a test wants dropped, on the way up."""

    def __init__(self) -> None:
        self.drop: Any = lambda envelope: False
        self.passed: list[Envelope] = []

    def up(self, deposits: list[Deposit]) -> list[Deposit]:
        kept = [deposit for deposit in deposits if not self.drop(Envelope.decode(deposit.envelope))]
        self.passed += [Envelope.decode(deposit.envelope) for deposit in kept]
        return kept

    def down(self, collected: list[Collected]) -> list[Collected]:
        return collected


async def test_the_last_message_is_acknowledged_after_it_was_offered_again(fast: World) -> None:
    sieve = Sieve()
    async with fast.device() as meter, fast.application(tamper=sieve) as ops, fast.watching(ops):
        await ready(meter, ops)
        await meter.send(fast.ops, "readings", b"0")
        await until(lambda: not meter.endpoint.outbox)
        await meter.send(fast.ops, "readings", b"1")
        await until(lambda: len(fast.got) == 2)
        sieve.drop = lambda envelope: True
        fast.clock.turn(20)  # offered again: Replayed there, and the receipt for it is lost
        await until(lambda: counters(ops)["refused_Replayed"] >= 1)
        sieve.drop = lambda envelope: False
        await until(lambda: not meter.endpoint.outbox)
    assert set(fast.identities.values()) == {1}


async def test_bare_receipts_are_not_kept_and_do_not_answer_each_other(fast: World) -> None:
    sieves = Sieve(), Sieve()
    async with fast.device(tamper=sieves[0]) as meter, fast.application(tamper=sieves[1]) as ops, fast.watching(ops):
        await ready(meter, ops)
        for n in range(3):
            await meter.send(fast.ops, "readings", b"%d" % n)
        await until(lambda: not meter.endpoint.outbox and not ops.endpoint.outbox)
        await _let_time_pass(fast, meter, ops)  # what openers made due goes out
        before = [len(sieve.passed) for sieve in sieves]
        await _let_time_pass(fast, meter, ops)
        assert [len(sieve.passed) for sieve in sieves] == before
        rows = ops.endpoint.store.read_now(lambda c: c.execute("SELECT count(*) FROM sent WHERE envelope IS NOT NULL"))
        assert rows.fetchone() == (0,)


async def _let_time_pass(world: World, *roles: Any) -> None:
    for _ in range(20):
        world.clock.turn(60)
        for role in roles:
            await role.endpoint.tick()
        await asyncio.sleep(0.01)


async def test_a_lost_bare_receipt_is_void_and_not_missing(fast: World) -> None:
    """The device's bare receipt is lost; a later message says that its number will not come."""
    sieve = Sieve()
    async with fast.device(tamper=sieve) as meter, fast.application() as ops, fast.watching(ops):
        await ready(meter, ops)
        await meter.send(fast.ops, "readings", b"0")
        await until(lambda: not meter.endpoint.outbox)
        sieve.drop = lambda envelope: True
        held = meter.endpoint.sessions.all()[0]
        meter.endpoint.engine._seal_empty(held)
        await meter.endpoint.journal.commit()
        await until(lambda: not meter.endpoint.outbox)
        sieve.drop = lambda envelope: False
        for n in range(1, 4):
            await meter.send(fast.ops, "readings", b"%d" % n)
            await until(lambda n=n: len(fast.got) == n + 1)  # type: ignore[misc]
            fast.clock.turn(90_000)
            await until(lambda: not meter.endpoint.outbox)
        receiving = ops.endpoint.sessions.all()[0].session.receive
        assert receiving.missing() == []
        assert counters(ops)["event_Missing"] == 0


async def test_offering_backs_off(world: World) -> None:
    """Nobody acknowledges: the same bytes are offered again and again, less and less often."""
    sieve = Sieve()
    async with world.application() as ops:
        await ready(ops)
    async with world.device(tamper=sieve) as meter:
        await ready(meter)
        await meter.send(world.ops, "readings", b"0")
        await until(lambda: len(sieve.passed) == 1)
        for expected, seconds in [(1, 10), (2, 6), (2, 25), (3, 6), (3, 55), (4, 6)]:
            world.clock.turn(seconds)
            meter.endpoint.outbox.wake.set()
            await until(lambda e=expected: len(sieve.passed) == e)  # type: ignore[misc]
        assert len({envelope.encode() for envelope in sieve.passed}) == 1


async def test_offering_does_not_wait_for_a_wall_clock_that_was_set_back(world: World) -> None:
    async with world.application() as ops:
        await ready(ops)
    sieve = Sieve()
    async with world.device(tamper=sieve) as meter:
        await ready(meter)
        await meter.send(world.ops, "readings", b"0")
        await until(lambda: len(sieve.passed) == 1)
        world.clock.set_back(86_400)
        world.clock.turn(16)
        await until(lambda: len(sieve.passed) == 2)


async def test_a_hop_that_is_back_gets_everything_at_once(world: World) -> None:
    async with world.device() as meter, world.application() as ops, world.watching(ops):
        await ready(meter, ops)
        await meter.send(world.ops, "readings", b"0")
        await until(lambda: len(world.got) == 1)
        world.hub.away = True
        await meter.send(world.ops, "readings", b"1")
        for _ in range(8):
            world.clock.turn(61)
            await until(lambda: meter.endpoint.outbox.next_due_ms() > world.clock.uptime().ms)  # type: ignore[operator]
        world.hub.away = False
        await until(lambda: len(world.got) == 2, seconds=20)


async def test_a_sender_waits_for_room(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "OUTBOX_ENVELOPES", 20)
    async with world.device() as meter, world.application() as ops, world.watching(ops):
        await ready(meter, ops)
        await meter.send(world.ops, "readings", b"first")
        await until(lambda: not meter.endpoint.outbox)
        world.hub.away = True
        sending = asyncio.create_task(_send(world, meter, 100))
        await until(lambda: len(meter.endpoint.outbox) == 20)
        await asyncio.sleep(0.1)
        assert not sending.done() and len(meter.endpoint.outbox) == 20
        world.hub.away = False
        await asyncio.wait_for(_turning(world, sending), 20)
        await until(lambda: len(world.got) == 101)


async def _send(world: World, meter: Any, count: int) -> None:
    for n in range(count):
        await meter.send(world.ops, "readings", b"%d" % n)


async def _turning(world: World, task: Any) -> None:
    while not task.done():
        world.clock.turn(5)
        await asyncio.sleep(0.01)
    await task


async def test_a_message_that_no_envelope_holds(world: World) -> None:
    async with world.device() as meter, world.application() as ops, world.watching(ops):
        await ready(meter, ops)
        await meter.send(world.ops, "readings", b"0")
        held = meter.endpoint.sessions.all()[0]
        number = held.session.send.next_number
        with pytest.raises(TooLarge):
            await meter.send(world.ops, "readings", b"x" * 64_000)
        assert held.session.send.next_number == number
        await meter.send(world.ops, "readings", b"x" * 63_000)
        await until(lambda: len(world.got) == 2)


async def test_what_the_peer_cannot_open_any_more_moves_to_a_new_number(fast: World) -> None:
    """More skipped keys than the application stores: the oldest are gone, and are sealed anew with their identity."""
    sieve = Sieve()
    policy = Policy(skipped=8)
    async with fast.device(tamper=sieve) as meter, fast.application(policy=policy) as ops, fast.watching(ops):
        await ready(meter, ops)
        await meter.send(fast.ops, "readings", b"first")
        await until(lambda: not meter.endpoint.outbox)
        sieve.drop = lambda envelope: envelope.number < 25
        for n in range(30):
            await meter.send(fast.ops, "readings", b"%d" % n)
        await until(lambda: len(fast.got) >= 5)
        assert ops.endpoint.sessions.all()[0].session.receive.gone.count > 0
        sieve.drop = lambda envelope: False
        fast.clock.turn(90_000)
        await until(lambda: len(fast.got) == 31)
        await until(lambda: not meter.endpoint.outbox)
        assert len(meter.endpoint.sessions.all()) == 1
    assert set(fast.identities.values()) == {1}


async def test_a_new_session_at_half_the_walk(fast: World) -> None:
    """A session's receipts are withheld: its sender begins another while the application can still follow."""
    sieve = Sieve()
    async with fast.device(policy=Policy(walk=64)) as meter, fast.application(tamper=sieve) as ops, fast.watching(ops):
        await ready(meter, ops)
        await meter.send(fast.ops, "readings", b"first")
        await until(lambda: not meter.endpoint.outbox)
        first = meter.endpoint.sessions.sending_to(str(fast.ops))
        assert first is not None
        sieve.drop = lambda envelope: envelope.kid == first.session.kid_in
        for n in range(60):
            await meter.send(fast.ops, "readings", b"%d" % n)
            await until(lambda n=n: b"%d" % n in fast.got)  # type: ignore[misc]
        await until(lambda: not meter.endpoint.outbox)
        assert first.leaving is Leaving.DONE and first.session.send.unacknowledged < 48
        assert len(meter.endpoint.sessions.all()) in (
            2,
            3,
            4,
        )  # not one for each message, however slow this computer is
    assert len(fast.got) == 61 and set(fast.identities.values()) == {1}


async def test_a_week_without_receipts_makes_a_new_session(fast: World) -> None:
    """The application has forgotten the session (its state is older than it); the device does not hear of it."""
    async with fast.device() as meter, fast.application() as ops, fast.watching(ops):
        await ready(meter, ops)
        await meter.send(fast.ops, "readings", b"0")
        await until(lambda: not meter.endpoint.outbox)
        forgotten = ops.endpoint.sessions.all()[0]
        forget_sessions(ops)
        await meter.send(fast.ops, "readings", b"1")
        await until(lambda: counters(ops)["refused_unknown_kid"] >= 3)
        assert fast.got == [b"0"]
        fast.clock.turn(7 * 86_400)
        await until(lambda: fast.got == [b"0", b"1"])
        await until(lambda: not meter.endpoint.outbox)
        assert ops.endpoint.sessions.sending_to(str(fast.meter)) is not forgotten
    assert set(fast.identities.values()) == {1}


async def test_unacknowledged_is_told_once(world: World) -> None:
    told: list[Event] = []
    async with world.application() as ops:
        await ready(ops)
    async with world.device(policy=Policy(unacknowledged_after_ms=600_000)) as meter:
        meter.endpoint.on_event = told.append
        await ready(meter)
        await meter.send(world.ops, "readings", b"0")
        for n in range(1, 4):
            world.clock.turn(700)
            await until(lambda n=n: sum(isinstance(event, Unacknowledged) for event in told) == n)  # type: ignore[misc]
            if n < 3:
                await meter.send(world.ops, "readings", b"%d" % n)
    numbers = [event.numbers for event in told if isinstance(event, Unacknowledged)]
    assert numbers == [((0, 0),), ((1, 1),), ((2, 2),)]


async def test_signs_of_life_and_silence(world: World) -> None:
    """A device that declared ten minutes says something in time; once it is gone, the application is told."""
    told: list[Event] = []
    async with world.application() as ops, world.watching(ops):
        ops.endpoint.on_event = told.append
        async with world.device(max_silence=timedelta(minutes=10)) as meter:
            await ready(meter, ops)
            await meter.send(world.ops, "readings", b"0")
            await until(lambda: len(world.got) == 1)
            held = ops.endpoint.sessions.all()[0]
            assert held.session.max_silence_s == 600
            for _ in range(6):
                before = held.session.heard_ms
                world.clock.turn(310)
                await until(lambda b=before: held.session.heard_ms > b)  # type: ignore[misc]
            assert not any(isinstance(event, Silent) for event in told)
        world.clock.turn(700)
        await until(lambda: any(isinstance(event, Silent) for event in told))
        world.clock.turn(700)
        await ops.endpoint.tick()
        assert sum(isinstance(event, Silent) for event in told) == 1
        assert len(world.got) == 1


async def test_an_application_that_was_away_does_not_call_its_devices_silent(world: World) -> None:
    told: list[Event] = []
    async with world.device(max_silence=timedelta(minutes=10)) as meter, world.application() as ops:
        await ready(meter, ops)
        await meter.send(world.ops, "readings", b"0")
        await until(lambda: counters(ops)["opened"] == 1)
    world.clock.turn(86_400)
    async with world.application() as ops:
        ops.endpoint.on_event = told.append
        await ops.endpoint.tick()
        assert not told
        world.clock.turn(601)
        await ops.endpoint.tick()
        assert [type(event) for event in told if isinstance(event, Silent)] == [Silent]


async def test_a_hop_that_refuses_is_asked_again(world: World) -> None:
    async with world.device() as meter, world.application() as ops, world.watching(ops):
        await ready(meter, ops)
        genuine, refusals = meter.endpoint.carrier.deposit, 3

        async def deposit(deposits: Any) -> Any:
            nonlocal refusals
            refusals -= 1
            if refusals >= 0:
                raise HopRefused("not now", status=503)
            return await genuine(deposits)

        meter.endpoint.carrier.deposit = deposit  # type: ignore[method-assign]
        await meter.endpoint.send(world.ops, Message(CODE_POST, payload=b"x"))
        for _ in range(3):
            world.clock.turn(10)
        await until(lambda: world.got == [b"x"])
        assert counters(meter)["deposits_failed"] == 3


async def test_a_start_is_answered_when_it_comes_and_not_at_the_next_look(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoints, "TICK_S", 3_600)
    async with world.device() as meter, world.application() as ops:
        await ready(meter, ops)
        await meter.send(world.ops, "readings", b"x")
        await until(lambda: [held.session.start for held in meter.endpoint.sessions.all()] == [None])
