# SPDX-License-Identifier: Apache-2.0
"""Whatever is awaited may be cancelled at any time: nothing is lost, nothing comes twice, no lock stays behind."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

import pytest

from sealway import Application, Message
from sealway.sdk import endpoint
from sealway.storage.closing import to_the_end
from tests.sdk.small_town import METER, OPS, SmallTown

ID = b"12345678"


async def cancelled_after(work: Coroutine[Any, Any, Any], turns: int) -> bool:
    """Cancel ``work`` after so many turns of the event loop; tell whether it was faster."""
    task = asyncio.ensure_future(work)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return not task.cancelled()


async def drained(application: Application, quiet_s: float = 0.3) -> list[bytes]:
    """Everything that comes until nothing comes any more; all of it handled."""
    got: list[bytes] = []
    messages = application.messages()
    try:
        while True:
            async with asyncio.timeout(quiet_s):
                got.append((await anext(messages)).payload)
    except TimeoutError:
        return got


async def test_open_is_cancelled_at_any_time(town: SmallTown) -> None:
    async def opened() -> None:
        async with town.meter():
            await asyncio.sleep(60)

    for delay in (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3):
        task = asyncio.create_task(opened())
        await asyncio.sleep(delay)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(60), town.meter():
            pass  # the lock is free


async def test_send_is_cancelled_at_any_time(town: SmallTown) -> None:
    async with town.ops() as building, town.meter() as meter, asyncio.timeout(60):
        await meter.send(OPS, "readings", b"ready")
        done = [await cancelled_after(meter.send(OPS, "readings", b"%d" % turns), turns) for turns in range(60)]
        await meter.send(OPS, "readings", b"after")
        got = await drained(building)
    assert set(Counter(got).values()) == {1}
    assert {b"%d" % turns for turns, sent in enumerate(done) if sent} <= set(got)
    assert b"0" not in got, "nothing was sealed before the first turn"
    assert got == sorted(got, key=lambda payload: {b"ready": -1, b"after": 99}.get(payload) or int(payload))


async def test_the_first_send_is_cancelled_while_a_session_begins(town: SmallTown) -> None:
    async with town.ops() as building, town.meter() as meter, asyncio.timeout(60):
        for turns in range(0, 40, 2):
            await cancelled_after(meter.send(OPS, "readings", b"%d" % turns), turns)
        await meter.send(OPS, "readings", b"after")
        got = await drained(building)
    assert set(Counter(got).values()) == {1}
    assert got[-1] == b"after"


async def test_send_waits_for_room_and_can_be_cancelled_there(
    town: SmallTown, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(endpoint, "OUTBOX_ENVELOPES", 8)
    async with town.ops() as building, town.meter() as meter, asyncio.timeout(60):
        await meter.send(OPS, "readings", b"first")
        town.hub.away = True
        for number in range(7):
            await meter.send(OPS, "readings", b"%d" % number)
        waiting = asyncio.create_task(meter.send(OPS, "readings", b"waits"))
        given_up = asyncio.create_task(meter.send(OPS, "readings", b"given up"))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        assert not given_up.done()
        assert len(meter.endpoint.outbox) == 8
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        town.hub.away = False
        await waiting
        got = await drained(building, 1.0)
    assert got == [b"first", *(b"%d" % number for number in range(7)), b"waits"]


async def test_request_is_cancelled_and_asked_again(town: SmallTown) -> None:
    executed: Counter[bytes] = Counter()
    async with town.ops() as building, town.meter() as meter, asyncio.timeout(60):

        @meter.on("valve", scope="valve:write")
        async def valve(command: Message) -> bytes:
            executed[command.payload] += 1
            return b"did " + command.payload

        await meter.send(OPS, "readings", b"ready")
        await building.request(METER, "valve", b"first")
        for turns in range(0, 60, 3):
            wanted, request_id = b"%d" % turns, b"%08d" % turns
            await cancelled_after(building.request(METER, "valve", wanted, request_id=request_id), turns)
            reply = await building.request(METER, "valve", wanted, request_id=request_id)
            assert reply.payload == b"did " + wanted
        assert not building.unanswered
    assert set(executed.values()) == {1}


async def test_a_loop_over_messages_is_cancelled_at_any_time(town: SmallTown) -> None:
    async with town.ops() as building, town.meter() as meter, asyncio.timeout(60):
        for number in range(40):
            await meter.send(OPS, "readings", b"%d" % number)
        begun: list[bytes] = []

        async def loop() -> None:
            async for received in building.messages():
                begun.append(received.payload)
                await asyncio.sleep(0)

        for turns in range(60):
            await cancelled_after(loop(), turns)
        begun += await drained(building)
    # What was in hand comes again, at once; nothing else does, and nothing is missing.
    assert [payload for at, payload in enumerate(begun) if at == 0 or begun[at - 1] != payload] == [
        b"%d" % number for number in range(40)
    ]


async def test_one_wait_in_a_loop_may_time_out(town: SmallTown) -> None:
    async with town.ops() as building, town.meter() as meter, asyncio.timeout(60):
        messages = building.messages()
        for number in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await anext(messages)
            await meter.send(OPS, "readings", b"%d" % number)
            assert (await anext(messages)).payload == b"%d" % number


async def test_a_cancellation_is_not_swallowed_by_what_fails_meanwhile() -> None:
    async def fails(moment: asyncio.Event) -> None:
        await moment.wait()
        raise ZeroDivisionError

    moment = asyncio.Event()
    task = asyncio.create_task(to_the_end(fails(moment)))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    moment.set()
    with pytest.raises(asyncio.CancelledError) as cancelled:
        await task
    assert isinstance(cancelled.value.__cause__, ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):
        await to_the_end(fails(moment))


async def test_closing_is_finished_even_if_it_is_cancelled(town: SmallTown) -> None:
    async def used() -> None:
        async with town.meter() as meter:
            slow = meter.endpoint.carrier.close

            async def close() -> None:
                await asyncio.sleep(0.1)
                await slow()

            meter.endpoint.carrier.close = close  # type: ignore[method-assign]
            opened.set()
            await asyncio.sleep(60)

    for times in range(1, 4):
        opened = asyncio.Event()
        task = asyncio.create_task(used())
        await opened.wait()
        for _ in range(times):
            task.cancel()
            await asyncio.sleep(0.01)
        assert not task.done()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}
        async with town.meter():
            pass


async def test_a_command_that_was_cut_off_by_closing_is_interrupted(town: SmallTown) -> None:
    begun = asyncio.Event()
    async with town.ops() as building:
        async with town.meter() as meter:

            @meter.on("valve", scope="valve:write")
            async def valve(command: Message) -> bytes:
                begun.set()
                await asyncio.sleep(60)
                return b"never"

            asking = asyncio.create_task(building.request(METER, "valve", b"x", timeout=timedelta(minutes=1)))
            await begun.wait()
        async with town.meter() as meter:
            meter.on("valve", scope="valve:write")(lambda command: b"twice")
            with pytest.raises(Exception, match="begun before a restart"):
                await asking
