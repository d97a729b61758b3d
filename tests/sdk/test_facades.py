# SPDX-License-Identifier: Apache-2.0
"""Device and Application as programs use them, over a hub in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sealway import (
    Application,
    Closed,
    Device,
    InUse,
    LocalMisuse,
    Message,
    Missing,
    Name,
    NotAuthorized,
    Received,
    SealwayError,
    TooLarge,
    TransportFailed,
    Unread,
)
from sealway.sdk import backlog
from sealway.sdk.reading import MOST_IN_HAND
from tests.sdk.small_town import METER, OPS, OTHER, SECRET, SmallTown, until
from tests.system.world import kill


async def take(application: Application, most: int, **options: Any) -> list[bytes]:
    """The payloads of the next messages; all but the last are handled, and the last as well."""
    taken: list[bytes] = []
    messages = application.messages(**options)
    async for received in messages:
        taken.append(received.payload)
        if len(taken) == most:
            with pytest.raises(TimeoutError):  # asks for one more: the last one is handled
                async with asyncio.timeout(0.05):
                    await anext(messages)
            return taken
    return taken


@asynccontextmanager
async def both(town: SmallTown) -> AsyncIterator[tuple[Device, Application]]:
    async with town.ops() as ops, town.meter() as meter, asyncio.timeout(60):
        yield meter, ops


async def test_what_the_picture_shows(town: SmallTown) -> None:
    before = datetime.now(UTC)
    async with both(town) as (meter, building):

        @meter.on("valve", scope="valve:write")
        async def set_valve(command: Message) -> bytes:
            return b"closed" if command.payload == b"close" else b"open"

        await meter.send(meter.application, "readings", b"42.7 L")
        serving = asyncio.create_task(meter.serve())
        reply = await building.request(METER, "valve", b"close", timeout=timedelta(seconds=30))
        assert reply.payload == b"closed"
        async for reading in building.messages(sender=meter.name):
            assert (reading.payload, reading.path, reading.sender) == (b"42.7 L", "readings", Name.parse(METER))
            assert reading.sent_at is not None
            assert before - timedelta(seconds=1) <= reading.sent_at <= reading.received_at <= datetime.now(UTC)
            break
    async with asyncio.timeout(60):
        await serving  # the device was closed: it ends


async def test_a_command_without_a_grant_is_refused(town: SmallTown) -> None:
    async with both(town) as (meter, building):
        meter.on("door", scope="door:open")(lambda command: b"open")
        with pytest.raises(NotAuthorized):
            await building.request(meter.name, "door", timeout=timedelta(seconds=30))


async def test_a_message_is_handled_once_its_loop_goes_on(town: SmallTown) -> None:
    async with both(town) as (meter, building):
        for number in range(4):
            await meter.send(OPS, "readings", b"%d" % number)
        async for received in building.messages():
            if received.payload == b"1":
                break
        with pytest.raises(ZeroDivisionError):
            await _failing_at(building, b"1")
    async with town.ops() as building:
        assert await take(building, 3) == [b"1", b"2", b"3"]
    async with town.ops() as building, town.meter() as meter:
        await meter.send(OPS, "readings", b"4")
        assert await take(building, 1) == [b"4"]


async def _failing_at(building: Application, payload: bytes) -> None:
    async for received in building.messages():
        assert received.payload == payload
        raise ZeroDivisionError


async def test_after_a_crash_the_message_in_hand_comes_again_and_no_other(town: SmallTown) -> None:
    async with town.meter() as meter:
        crashing = town.ops()
        building = await crashing.__aenter__()
        for number in range(8):
            await meter.send(OPS, "readings", b"%d" % number)
        messages = building.messages()
        assert [(await anext(messages)).payload for _ in range(5)] == [b"0", b"1", b"2", b"3", b"4"]
        await kill(building)
        async with town.ops() as building:
            assert await take(building, 4) == [b"4", b"5", b"6", b"7"]
        with suppress(SealwayError):
            await crashing.__aexit__(None, None, None)


async def test_a_loop_over_one_sender_leaves_the_others_alone(town: SmallTown) -> None:
    async with both(town) as (meter, building), town.meter("other") as other:
        for number in range(3):
            await meter.send(OPS, "readings", b"meter %d" % number)
            await other.send(OPS, "readings", b"other %d" % number)
        mine, theirs = await asyncio.gather(take(building, 3, sender=METER), take(building, 3, sender=OTHER))
        assert mine == [b"meter 0", b"meter 1", b"meter 2"]
        assert theirs == [b"other 0", b"other 1", b"other 2"]


async def test_the_same_messages_are_read_in_one_place(town: SmallTown) -> None:
    async with both(town) as (meter, building):
        first = building.messages(sender=METER)
        waiting = asyncio.ensure_future(anext(first))
        await asyncio.sleep(0.01)
        second = building.messages()
        with pytest.raises(LocalMisuse, match="another loop"):
            await waiting
        await meter.send(OPS, "readings", b"x")
        assert (await anext(second)).payload == b"x"
        building.messages(sender=OTHER)
        with pytest.raises(LocalMisuse, match="another loop"):
            await anext(second)


async def test_a_slow_loop_holds_few_messages_in_memory(town: SmallTown) -> None:
    async with both(town) as (meter, building):
        messages = building.messages()
        await meter.send(OPS, "readings", b"first")
        assert (await anext(messages)).payload == b"first"
        for number in range(MOST_IN_HAND + 200):
            await meter.send(OPS, "readings", b"%d" % number)
        opened = "SELECT count(*) FROM inbox"
        store = building.endpoint.store
        await until(lambda: store.read_now(lambda c: c.execute(opened).fetchone()[0]) == MOST_IN_HAND + 201)
        assert len(messages._inbox) <= MOST_IN_HAND
        assert len(building._events) == len(building.endpoint.inbox) == 0
        for number in range(MOST_IN_HAND + 200):
            assert (await anext(messages)).payload == b"%d" % number


async def test_batches_are_handled_together(town: SmallTown) -> None:
    async with both(town) as (meter, building):
        for number in range(10):
            await meter.send(OPS, "readings", b"%d" % number)
        got: list[Received] = []
        async for batch in building.batches(4):
            got += batch
            if len(got) == 10:
                break
        again = [received.payload async for received in _first(building, len(batch))]
        assert again == [received.payload for received in batch]  # the last batch was not handled


async def _first(building: Application, most: int) -> AsyncIterator[Received]:
    messages = building.messages()
    for _ in range(most):
        yield await anext(messages)


async def test_closing_ends_what_waits(town: SmallTown) -> None:
    async with town.ops() as building, town.meter() as meter:
        await meter.send(OPS, "readings", b"x")
        await until(lambda: len(building.endpoint.sessions.all()) == 1)

        got: list[bytes] = []

        async def loop() -> None:
            async for received in building.messages():
                got.append(received.payload)

        async def events() -> int:
            return len([event async for event in building.events()])

        looping, happening = asyncio.create_task(loop()), asyncio.create_task(events())
        asking = asyncio.create_task(building.request(METER, "nothing-answers-here", timeout=timedelta(minutes=5)))
        await until(lambda: bool(building.unanswered) and bool(got))
        await building.close()
        async with asyncio.timeout(60):
            await looping
            assert (await happening, got) == (0, [b"x"])
            with pytest.raises(Closed):
                await asking
        for late in (building.request(METER, "valve"), anext(building.messages())):
            with pytest.raises((Closed, StopAsyncIteration)):
                await late
        await building.close()  # twice is once


async def test_nothing_is_left_running(town: SmallTown) -> None:
    async with both(town) as (meter, _):
        await meter.send(OPS, "readings", b"x")
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    with pytest.raises(Closed):
        await meter.send(OPS, "readings", b"x")


async def test_what_was_not_acknowledged_goes_on_at_the_next_opening(town: SmallTown) -> None:
    async with both(town) as (meter, building):
        await meter.send(OPS, "readings", b"0")
        assert await take(building, 1) == [b"0"]
    town.hub.away = True
    async with town.meter() as meter:
        for number in range(1, 4):
            await meter.send(OPS, "readings", b"%d" % number)
    town.hub.away = False
    async with both(town) as (_, building):
        assert await take(building, 3) == [b"1", b"2", b"3"]


async def test_what_nobody_reads_is_bounded_and_not_lost(town: SmallTown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "MOST_MESSAGES", 20)
    monkeypatch.setattr(backlog, "_EVERY", 1)
    monkeypatch.setattr(backlog, "_LOOK_S", 0.01)
    async with both(town) as (meter, building):
        for number in range(200):
            await meter.send(OPS, "readings", b"%d" % number)
            await asyncio.sleep(0)
        happened = await building.happenings()
        assert isinstance(happened, Unread)
        assert (happened.peer, happened.messages >= 20, happened.bytes > 0) == (OPS, True, True)
        for number in range(200, 300):
            await meter.send(OPS, "readings", b"%d" % number)
        await asyncio.sleep(0.3)
        assert building.endpoint.store.read_now(lambda c: c.execute("SELECT count(*) FROM inbox").fetchone()[0]) <= 220
        assert await take(building, 300) == [b"%d" % number for number in range(300)]


async def test_closing_twice_waits_for_the_first(town: SmallTown) -> None:
    async with town.meter() as meter:
        await asyncio.gather(meter.close(), meter.close())
        async with town.meter():
            pass


async def test_events_are_typed_and_the_newest_are_kept(town: SmallTown) -> None:
    async with town.ops() as building:
        for number in range(1_030):
            building.endpoint.happened(Missing(METER, b"session", ((number, number),)))
        async for event in building.events():
            assert isinstance(event, Missing)
            assert event.numbers == ((6, 6),)
            break


async def test_which_application(town: SmallTown) -> None:
    async with town.meter() as meter:
        assert str(meter.application) == OPS
        assert meter.applications == meter.peers == (meter.application,)
    async with town.meter("other") as other:
        assert other.applications == ()
        with pytest.raises(LocalMisuse, match="does not name one application"):
            _ = other.application
        other.peers = (Name.parse(OPS), Name.parse(f"{OPS}2"))
        with pytest.raises(LocalMisuse, match=f"{OPS}, {OPS}2"):
            _ = other.application


async def test_what_cannot_be_opened(town: SmallTown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEALWAY_PASSPHRASE", raising=False)
    meter, nothing = town.base / "meter", town.base / "nothing"
    carrier = town.hub.carrier()
    async with town.meter():
        with pytest.raises(InUse):
            await Device.open(meter, passphrase=SECRET, carrier=carrier).__aenter__()
    for directory, options, words in (
        (meter, {"passphrase": "wrong"}, "wrong passphrase"),
        (meter, {"passphrase": b""}, "empty passphrase"),
        (meter, {}, "no passphrase"),
        (meter, {"passphrase": SECRET, "key_file": "k"}, "say the same"),
        (nothing, {"passphrase": SECRET}, "is not enrolled"),
        (town.base / "ops", {"passphrase": SECRET}, "role|device"),
    ):
        with pytest.raises(Exception, match=words) as refused:
            await Device.open(directory, carrier=carrier, **options).__aenter__()
        assert type(refused.value).__module__ == "sealway.errors"
    monkeypatch.setenv("SEALWAY_PASSPHRASE", SECRET)
    async with Device.open(str(meter), carrier=carrier):
        pass


async def test_arguments_that_cannot_be(town: SmallTown) -> None:
    async with both(town) as (meter, building):
        for to in ("ops", "sealway://building.example/nobody/x", ""):
            with pytest.raises(LocalMisuse, match="is not a name"):
                await meter.send(to, "readings", b"x")
            with pytest.raises(LocalMisuse, match="is not a name"):
                await building.request(to, "valve")
            with pytest.raises(LocalMisuse, match="is not a name"):
                building.messages(sender=to)
        wrong: list[tuple[str, Any, str]] = [
            ("", b"x", "empty segment"),
            ("a//b", b"x", "empty segment"),
            ("/".join("a" * 17), b"x", "Uri-Path"),
            ("readings", "text", "a payload is bytes, not str"),
            ("readings", None, "a payload is bytes, not NoneType"),
        ]
        for path, payload, words in wrong:
            with pytest.raises(LocalMisuse, match=words):
                await meter.send(OPS, path, payload)
            with pytest.raises(LocalMisuse, match=words):
                await building.request(METER, path, payload)
        with pytest.raises(TooLarge):
            await meter.send(OPS, "readings", bytes(100_000))
        assert not building.unanswered


async def test_a_recipient_who_was_never_there(town: SmallTown) -> None:
    async with town.meter() as meter:
        with pytest.raises(TransportFailed):
            await meter.send(OPS, "readings", b"x", within=timedelta(0))
        sending = asyncio.create_task(meter.send(OPS, "readings", b"x"))
        await asyncio.sleep(0.05)
        async with town.ops() as building:  # comes while the device is patient
            async with asyncio.timeout(60):
                await sending
            assert await take(building, 1) == [b"x"]
