# SPDX-License-Identifier: Apache-2.0
"""Devices, an application and a hub, without sockets: readings and commands through every kind of harm a hub can do."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta

import pytest

from sealway.crypto.suites import SUITES, Suite
from sealway.errors import NotFound, TransportFailed
from sealway.transports.memory import Faults
from tests.system.world import PATIENCE_S, World, counters, ready, until

LONG = timedelta(hours=2)


async def test_readings_and_commands(world: World) -> None:
    async with world.device() as meter, world.application() as ops, world.watching(ops):
        await ready(meter, ops)
        for n in range(200):
            await meter.send(world.ops, "readings", b"%d" % n)
        assert (await ops.request(world.meter, "valve", b"close")).payload == b"did close"
        with pytest.raises(NotFound):
            await ops.request(world.meter, "nothing", b"")
        await until(lambda: len(world.got) == 200)
        assert world.got == [b"%d" % n for n in range(200)]
        assert world.executed == {b"close": 1}


@pytest.mark.parametrize("suite", SUITES.values())
async def test_nothing_is_lost_or_doubled_through_a_hub_that_harms(fast: World, suite: Suite) -> None:
    fast.suite = suite
    chance = random.Random(suite.number - 1)
    harms = [
        Faults(random.Random(chance.random()), drop=0.2, duplicate=0.2, reorder=0.3, corrupt=0.1) for _ in range(2)
    ]
    async with fast.device(tamper=harms[0]) as meter, fast.application(tamper=harms[1]) as ops, fast.watching(ops):
        await ready(meter, ops)
        asking = [asyncio.create_task(ops.request(fast.meter, "valve", b"%d" % n, timeout=LONG)) for n in range(8)]
        for n in range(150):
            await meter.send(fast.ops, "readings", b"%d" % n)
        answers = await asyncio.wait_for(asyncio.gather(*asking), PATIENCE_S)
        await until(lambda: len(set(fast.got)) == 150)
        await until(lambda: not meter.endpoint.outbox and not ops.endpoint.outbox, "all is acknowledged")
    assert [answer.payload for answer in answers] == [b"did %d" % n for n in range(8)]
    assert set(fast.executed.values()) == {1}
    assert len(fast.got) == 150 and set(fast.identities.values()) == {1}


async def test_a_hub_that_loses_its_disk_loses_nothing(fast: World) -> None:
    async with fast.device() as meter, fast.application() as ops, fast.watching(ops):
        await ready(meter, ops)
        sent = 0
        for _ in range(3):
            asking = asyncio.create_task(ops.request(fast.meter, "valve", b"%d" % sent, timeout=LONG))
            for _ in range(30):
                await meter.send(fast.ops, "readings", b"%d" % sent)
                sent += 1
            fast.hub.wipe()
            await until(lambda: _published(fast) == 2, "both publish anew")
            await asyncio.wait_for(asking, PATIENCE_S)
        await until(lambda: len(set(fast.got)) == sent)
        await until(lambda: not meter.endpoint.outbox and not ops.endpoint.outbox)
        await until(lambda: counters(meter)["bundles_published"] >= 4, "the counts are durable too")
        newest = meter.endpoint.prekeys.newest
        assert newest is not None and newest.proven.claims.sequence >= 4
    assert len(fast.got) == sent and set(fast.executed.values()) == {1}


def _published(world: World) -> int:
    return len(world.hub._stores.published)


async def test_a_start_whose_bundle_the_hub_lost_is_tried_anew(fast: World) -> None:
    async with fast.device() as meter:
        async with fast.application() as ops:
            await ready(meter, ops)
        await meter.send(fast.ops, "readings", b"first")
        await until(lambda: fast.hub.held == 1)
        fast.hub.wipe()  # the start, and both bundles
        async with fast.application() as ops, fast.watching(ops):
            await until(lambda: fast.got == [b"first"])
            await until(lambda: not meter.endpoint.outbox)
            assert counters(meter)["sessions_left"] >= 1
    assert set(fast.identities.values()) == {1}


async def test_a_hub_that_is_away(fast: World) -> None:
    async with fast.device() as meter, fast.application() as ops, fast.watching(ops):
        await ready(meter, ops)
        await meter.send(fast.ops, "readings", b"0")
        await until(lambda: len(fast.got) == 1)
        fast.hub.away = True
        for n in range(1, 40):
            await meter.send(fast.ops, "readings", b"%d" % n)
        await until(lambda: counters(meter)["deposits_failed"] >= 2)
        with pytest.raises(TransportFailed):
            await meter.send(fast.member("application", "other").name, "readings", b"nobody", within=timedelta(0))
        fast.hub.away = False
        await until(lambda: len(fast.got) == 40)
    assert sorted(fast.got, key=int) == [b"%d" % n for n in range(40)]


async def test_many_devices_share_one_application(world: World) -> None:
    async with world.application() as ops, world.watching(ops):
        await ready(ops)
        devices = [world.device(f"meter-{n}") for n in range(5)]
        for device in devices:
            await device.__aenter__()
        await ready(*devices)
        await asyncio.gather(
            *(
                device.send(world.ops, "readings", b"%d %d" % (i, n))
                for i, device in enumerate(devices)
                for n in range(20)
            )
        )
        await until(lambda: len(world.got) == 100)
        for device in devices:
            await device.close()
    assert set(world.identities.values()) == {1}


async def test_an_application_that_reads_no_events_gets_its_answers_and_keeps_the_events(world: World) -> None:
    async with world.device() as meter:
        async with world.application() as ops:
            await ready(meter, ops)
            for n in range(2_500):  # more than are held in memory
                await meter.send(world.ops, "readings", b"%d" % n)
            await until(lambda: counters(ops)["opened"] >= 2_500)
            await ops.request(world.meter, "valve", b"close")
            assert len(ops._events) <= 1_024 and len(ops.endpoint.inbox) <= 1_024
            for _ in range(3):
                world.got += [received.message.payload for received in await ops.next_events(50)]
            world.got.clear()  # not noted as handled: they come again
        async with world.application() as ops, world.watching(ops):
            await until(lambda: len(world.got) == 2_500)
    assert world.got == [b"%d" % n for n in range(2_500)]
