# SPDX-License-Identifier: Apache-2.0
"""State directories that are restored from a backup, or cloned: no key is used again, both ends notice and recover."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sealway.errors import LocalMisuse
from sealway.protocol.events import Event
from sealway.sdk import Device, place
from sealway.sdk.place import Moved
from tests.system.world import World, counters, kill, ready, until

LONG = timedelta(hours=6)


def back_up(world: World, label: str) -> None:
    shutil.rmtree(world.path / f"{label}.copy", ignore_errors=True)
    shutil.copytree(world.path / label, world.path / f"{label}.copy")


async def send(world: World, device: Device, *payloads: bytes) -> None:
    for payload in payloads:
        await device.send(world.ops, "readings", payload)


async def acknowledged(*roles: Any) -> None:
    await until(lambda: not any(len(role.endpoint.outbox) for role in roles), "all is acknowledged")


async def test_a_device_restored_from_a_backup(fast: World) -> None:
    """It seals numbers anew that the application has opened already: the application notices, and all arrives."""
    async with fast.application() as ops, fast.watching(ops):
        await ready(ops)
        async with fast.device() as meter:
            await ready(meter)
            await send(fast, meter, b"0", b"1")
            await until(lambda: len(fast.got) == 2)
            await acknowledged(meter)
        back_up(fast, "meter")
        async with fast.device() as meter:
            await send(fast, meter, b"2", b"3", b"4")
            await until(lambda: len(fast.got) == 5)
            await acknowledged(meter)
        async with fast.device(directory="meter.copy") as meter:
            await send(fast, meter, b"5", b"6")
            await until(lambda: {b"5", b"6"} <= set(fast.got))
            await acknowledged(meter)
            assert (await ops.request(fast.meter, "valve", b"x", timeout=LONG)).payload == b"did x"
            seen = counters(ops) + counters(meter)
        assert seen["refused_PeerForked"] + seen["refused_NotAuthentic"] + seen["refused_StateLost"] >= 1
    assert sorted(fast.got) == [b"%d" % n for n in range(7)]
    assert set(fast.identities.values()) == {1}


async def test_an_application_restored_from_a_backup(fast: World) -> None:
    """What it opened after the backup was acknowledged and is gone; all that is sent from now on arrives."""
    async with fast.device() as meter:
        async with fast.application() as ops, fast.watching(ops):
            await ready(meter, ops)
            await send(fast, meter, b"0", b"1")
            await until(lambda: len(fast.got) == 2)
            await acknowledged(meter)
        back_up(fast, "ops")
        async with fast.application() as ops, fast.watching(ops):
            await ops.request(fast.meter, "valve", b"before", timeout=LONG)
            await send(fast, meter, b"2", b"3")
            await until(lambda: len(fast.got) == 4)
            await acknowledged(meter, ops)
            await until(lambda: not fast.hub.waiting(fast.members["ops"].mailbox.mailbox))  # or it opens them again
        async with fast.application(directory="ops.copy") as ops, fast.watching(ops):
            await send(fast, meter, b"4", b"5")
            assert (await ops.request(fast.meter, "valve", b"after", timeout=LONG)).payload == b"did after"
            await until(lambda: {b"4", b"5"} <= set(fast.got))
            await acknowledged(meter, ops)
    assert set(fast.executed.values()) == {1}
    assert set(fast.identities.values()) == {1}


async def test_the_message_that_proves_the_loss_arrives_too(fast: World) -> None:
    """Its receipt stops the restored application's session; the reading that carried it moves, and is no repetition."""
    async with fast.device() as meter:
        async with fast.application() as ops, fast.watching(ops):
            await ready(meter, ops)
            await ops.request(fast.meter, "valve", b"1", timeout=LONG)
            await acknowledged(meter, ops)
        back_up(fast, "ops")
        async with fast.application() as ops, fast.watching(ops):
            await ops.request(fast.meter, "valve", b"2", timeout=LONG)
            await acknowledged(meter, ops)
        held = meter.endpoint.sessions.sending_to(str(fast.ops))
        assert held is not None
        held.session.clock.due(fast.clock.now_ms())
        await send(fast, meter, b"proof")
        async with fast.application(directory="ops.copy") as ops, fast.watching(ops):
            await until(lambda: counters(ops)["refused_StateLost"] == 1)
            await until(lambda: fast.got == [b"proof"])
            await acknowledged(meter, ops)


async def test_messages_sealed_before_anyone_noticed_are_not_taken_for_old_ones(fast: World) -> None:
    """The restored device seals, is restarted, seals again: numbers that the application knows with other contents."""
    async with fast.application() as ops, fast.watching(ops):
        await ready(ops)
        async with fast.device() as meter:
            await ready(meter)
            await send(fast, meter, b"a")
            await until(lambda: len(fast.got) == 1)
            await acknowledged(meter)
        back_up(fast, "meter")
        async with fast.device() as meter:
            await send(fast, meter, *(b"b%d" % n for n in range(8)))
            await until(lambda: len(fast.got) == 9)
            await acknowledged(meter)
        fast.hub.away = True
        for n in range(3):
            meter = fast.device(directory="meter.copy")
            await meter.__aenter__()
            await send(fast, meter, b"c%d" % n)
            await kill(meter)
        fast.hub.away = False
        async with fast.device(directory="meter.copy") as meter:
            await until(lambda: {b"c0", b"c1", b"c2"} <= set(fast.got))
            await acknowledged(meter)
    assert sorted(fast.got) == sorted([b"a", *(b"b%d" % n for n in range(8)), b"c0", b"c1", b"c2"])


async def test_two_copies_at_once_never_share_a_key(fast: World) -> None:
    async with fast.application() as ops, fast.watching(ops):
        await ready(ops)
        async with fast.device() as meter:
            await ready(meter)
            await send(fast, meter, b"0")
            await until(lambda: len(fast.got) == 1)
        back_up(fast, "meter")
        async with fast.device() as meter, fast.device(directory="meter.copy") as copy:
            for n in range(10):
                await send(fast, meter, b"m%d" % n)
                await send(fast, copy, b"c%d" % n)
            await until(lambda: len(set(fast.got)) >= 11, "at least one of them goes on")


async def test_a_bundle_that_this_state_never_made(fast: World) -> None:
    async with fast.device() as meter, fast.application() as ops, fast.watching(ops):
        await ready(meter, ops)
        await send(fast, meter, b"0")
        await until(lambda: len(fast.got) == 1)
        await acknowledged(meter)
    back_up(fast, "meter")
    async with fast.device() as meter:
        await ready(meter)
        fast.clock.turn(8 * 86_400)
        await until(lambda: counters(meter)["bundles_published"] >= 2)
        newest = meter.endpoint.prekeys.newest
        assert newest is not None
        theirs = newest.proven.claims.sequence
    async with fast.device(directory="meter.copy") as meter, fast.application() as ops, fast.watching(ops):
        await until(lambda: counters(meter)["state_lost"] == 1)
        await until(lambda: fast.hub._stores.published[str(fast.meter)].sequence > theirs)
        assert len(meter.endpoint.prekeys._bundles) == 1  # none of the old private halves is left
        await send(fast, meter, b"1")
        await until(lambda: sorted(fast.got) == [b"0", b"1"])
        await acknowledged(meter)


async def test_a_state_that_was_copied_or_put_on_another_computer_says_so(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def told(directory: str) -> list[Event]:
        events: list[Event] = []
        device = world.device(directory=directory)
        device.endpoint.on_event = events.append
        async with device:
            await ready(device)
        return events

    assert await told("meter") == [] == await told("meter")
    (world.path / "meter").rename(world.path / "elsewhere")  # the same file: no copy
    assert await told("elsewhere") == []
    shutil.copytree(world.path / "elsewhere", world.path / "meter")
    assert await told("meter") == [Moved(str(world.meter), b"")]
    assert await told("meter") == []
    (tmp_path / "machine-id").write_bytes(b"another computer")
    monkeypatch.setattr(place, "MACHINE_ID", tmp_path / "machine-id")
    assert await told("meter") == [Moved(str(world.meter), b"")]
    monkeypatch.setattr(place, "MACHINE_ID", tmp_path / "none")
    assert await told("meter") == [Moved(str(world.meter), b"")] and await told("meter") == []


async def test_one_process_a_directory(world: World) -> None:
    async with world.device():
        with pytest.raises(LocalMisuse, match="another endpoint uses"):
            world.device()
    async with world.device():
        pass
