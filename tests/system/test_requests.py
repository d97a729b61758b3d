# SPDX-License-Identifier: Apache-2.0
"""Commands: granted, fresh, at most once; answered across restarts; and what is told when they are none of this."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from sealway.errors import Interrupted, LocalMisuse, NotAuthorized, RateLimited, Stale, TransportFailed
from sealway.identity.grants import issue_grant
from sealway.sdk import Device, executor
from sealway.sdk.grants import MOST_PER_HOLDER
from sealway.wire.header import Claims
from sealway.wire.message import CODE_POST, Message
from tests.sdk.test_endpoint_state import count
from tests.system.world import World, counters, kill, ready, until

LONG = timedelta(hours=2)
ID = b"request1"


async def test_the_same_request_id_is_executed_once(world: World) -> None:
    async with world.device() as meter, world.application() as ops:
        await ready(meter, ops)
        for _ in range(3):
            assert (await ops.request(world.meter, "valve", b"x", request_id=ID)).payload == b"did x"
        with pytest.raises(LocalMisuse, match="another request"):
            await ops.request(world.meter, "valve", b"y", request_id=ID)
        with pytest.raises(LocalMisuse, match="8 bytes"):
            await ops.request(world.meter, "valve", b"y", request_id=b"short")
    async with world.device() as meter, world.application() as ops:
        assert (await ops.request(world.meter, "valve", b"x", request_id=ID)).payload == b"did x"
    assert world.executed == {b"x": 1}


async def test_a_request_sealed_twice_is_executed_once(world: World) -> None:
    """Two envelopes with one request id, as a retry makes them: the second gets the answer of the first."""
    async with world.device() as meter, world.application() as ops:
        await ready(meter, ops)
        await ops.request(world.meter, "valve", b"x", request_id=ID)
        held = ops.endpoint.sessions.sending_to(str(world.meter))
        assert held is not None
        again = Message(CODE_POST, ("valve",), payload=b"x", request_id=ID, freshness=held.session.reference(300))
        ops.endpoint.engine.seal(held, again)
        await ops.endpoint.journal.commit()
        await until(lambda: counters(ops)["answers_unasked"] == 1)
    assert world.executed == {b"x": 1}


async def test_a_command_that_grows_too_old_while_the_disk_is_slow_is_not_executed(world: World) -> None:
    async with world.device() as meter, world.application() as ops:
        await ready(meter, ops)
        await ops.request(world.meter, "valve", b"first")
        before = counters(meter)["requests_refused_Stale"]
        journal, slow = meter.endpoint.journal, iter([True])
        genuine = journal.commit

        async def commit() -> None:
            begun = any("INTO executed" in sql for sql, _ in journal._statements)
            await genuine()
            if begun and next(slow, False):
                world.clock.turn(600)

        journal.commit = commit  # type: ignore[method-assign]
        assert (await ops.request(world.meter, "valve", b"second", timeout=LONG)).payload == b"did second"
        assert counters(meter)["requests_refused_Stale"] == before + 1
    assert world.executed == {b"first": 1, b"second": 1}


async def test_begun_and_killed_is_interrupted(world: World) -> None:
    begun = asyncio.Event()

    async def never(command: Message) -> bytes:
        world.executed[command.payload] += 1
        begun.set()
        return await asyncio.Future()

    async with world.application() as ops:
        meter = world.device()
        meter.on("slow", scope="valve:write")(never)
        await meter.__aenter__()
        await ready(meter, ops)
        asking = asyncio.create_task(ops.request(world.meter, "slow", b"x"))
        await asyncio.wait_for(begun.wait(), 10)
        await kill(meter)
        meter = world.device()
        meter.on("slow", scope="valve:write")(never)
        async with meter:
            with pytest.raises(Interrupted):
                await asking
    assert world.executed == {b"x": 1}


async def test_an_idempotent_handler_is_called_again(world: World) -> None:
    calls = 0

    async def measured(command: Message) -> bytes:
        nonlocal calls
        calls += 1
        return await asyncio.Future() if calls == 1 else b"42"

    def device() -> Device:
        meter = world.device()
        meter.on("measure", scope="valve:write", idempotent=True)(measured)
        return meter

    async with world.application() as ops:
        meter = device()
        await meter.__aenter__()
        await ready(meter, ops)
        asking = asyncio.create_task(ops.request(world.meter, "measure"))
        await until(lambda: calls == 1)
        await kill(meter)
        async with device():
            assert (await asking).payload == b"42"
    assert calls == 2


async def test_the_answer_comes_after_a_restart_of_the_application(world: World) -> None:
    release = asyncio.Event()

    async def slow(command: Message) -> bytes:
        await release.wait()
        return b"late"

    meter = world.device()
    meter.on("slow", scope="valve:write")(slow)
    async with meter:
        async with world.application() as ops:
            await ready(meter, ops)
            await ops.ask(world.meter, "slow", b"x", request_id=ID, timeout=LONG)
        release.set()
        async with world.application() as ops:
            assert list(ops.unanswered) in ([ID], [])
            assert (await ops.answer(ID)).payload == b"late"
            assert not ops.unanswered
        async with world.application() as ops:
            assert (await ops.answer(ID)).payload == b"late"


async def test_without_an_answer_the_outcome_is_unknown(fast: World) -> None:
    async with fast.application() as ops:
        async with fast.device() as meter:
            await ready(meter, ops)
        with pytest.raises(TransportFailed, match="unknown"):
            await ops.request(fast.meter, "valve", b"x", timeout=timedelta(seconds=30), request_id=ID)
        with pytest.raises(TransportFailed, match="unknown"):
            await ops.answer(ID)
        async with fast.device() as meter:
            # Asked again under the same id: executed once, whichever of the two envelopes comes first.
            assert (await ops.request(fast.meter, "valve", b"x", timeout=LONG, request_id=ID)).payload == b"did x"
    assert fast.executed == {b"x": 1}


async def test_no_such_request(world: World) -> None:
    async with world.application() as ops:
        with pytest.raises(LocalMisuse, match="no such request"):
            await ops.answer(ID)


async def test_a_stale_command_is_retried_under_its_id(fast: World) -> None:
    """The first command of a session names no message; after a long pause and after a reboot it names one too old."""
    async with fast.device() as meter, fast.application() as ops:
        await ready(meter, ops)
        await ops.request(fast.meter, "valve", b"first", timeout=LONG)
        fast.clock.turn(3_600)
        await ops.request(fast.meter, "valve", b"later", timeout=LONG)
        fast.clock.reboot()
        await ops.request(fast.meter, "valve", b"rebooted", timeout=LONG)
        assert counters(meter)["requests_refused_Stale"] == 3
    assert set(fast.executed.values()) == {1} and len(fast.executed) == 3


async def test_a_device_that_always_says_stale_is_not_asked_for_ever(world: World) -> None:
    meter = world.device()
    meter.on("brief", scope="valve:write", max_age=timedelta(0))(lambda command: b"")
    async with meter, world.application() as ops:
        await ready(meter, ops)
        world.clock.speed = 1.0
        with pytest.raises(Stale):
            await asyncio.wait_for(ops.request(world.meter, "brief", max_age=timedelta(0)), 20)
        assert counters(meter)["requests_refused_Stale"] <= 20


async def test_a_command_that_has_expired_is_not_executed(fast: World) -> None:
    async with fast.device() as meter, fast.application() as ops:
        await ready(meter, ops)
        await ops.request(fast.meter, "valve", b"first", timeout=LONG)
        held = ops.endpoint.sessions.sending_to(str(fast.meter))
        assert held is not None
        late = Message(CODE_POST, ("valve",), payload=b"late", request_id=ID, freshness=held.session.reference(300))
        ops.endpoint.engine.seal(held, late, claims=Claims(expires=fast.clock.now_ms() // 1_000 - 1))
        await ops.endpoint.journal.commit()
        await until(lambda: counters(meter)["requests_refused_Stale"] >= 2)
    assert b"late" not in fast.executed


def _grants(world: World) -> dict[str, list[bytes]]:
    ops, other = world.member("application", "ops"), world.member("application", "other")
    domain = world.domain
    expired = issue_grant(
        holder=ops.credential, audience=(f"sealway://{domain.name}/device/*",), scopes=("valve:write",),
        signer=domain.granter, now=domain.now - 7_200, seconds=3_600, random=lambda n: bytes(n),
    )  # fmt: skip
    return {
        "none": [],
        "another holder's": [domain.grant(other, "valve:write")],
        "another scope": [domain.grant(ops, "valve:read")],
        "another device": [domain.grant(ops, "valve:write", devices=(f"sealway://{domain.name}/device/other",))],
        "expired": [expired],
        "garbage": [b"\x00" * 40],
    }


@pytest.mark.parametrize("kind", ["none", "another holder's", "another scope", "another device", "expired", "garbage"])
async def test_denied_without_a_grant_that_fits(world: World, kind: str) -> None:
    async with world.device() as meter, world.application(grants=_grants(world)[kind]) as ops:
        await ready(meter, ops)
        with pytest.raises(NotAuthorized):
            await ops.request(world.meter, "valve", b"x")
    assert not world.executed


async def test_a_grant_that_was_forged_is_refused(world: World) -> None:
    """Shown by an application that does not check its own grants."""
    async with world.device() as meter, world.application(grants=[]) as ops:
        await ready(meter, ops)
        forged = bytearray(world.domain.grant(ops.endpoint.member, "valve:write"))
        forged[-1] ^= 1
        ops._grants.for_device = lambda *_: [bytes(forged)]  # type: ignore[method-assign]
        with pytest.raises(Exception) as refused:  # noqa: PT011 - which of the refusals does not matter here
            await ops.request(world.meter, "valve", b"x")
        assert not isinstance(refused.value, TransportFailed)
    assert not world.executed


@pytest.mark.parametrize("bound", ["MOST_REMEMBERED", "MOST_REMEMBERED_BYTES"])
async def test_what_is_remembered_of_requests_is_bounded(
    fast: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, bound: str
) -> None:
    """Even of an application that has a grant; another one gets through, and it does itself when they are forgotten."""
    monkeypatch.setattr(executor, bound, 5 if bound == "MOST_REMEMBERED" else 35)
    monkeypatch.setattr(executor, "LOOKS_EVERY", 2)
    monkeypatch.setattr(executor, "FULL_FOR_MS", 6 * 3_600_000)
    looks = 0
    async with fast.device() as meter, fast.application() as ops, fast.application("other") as other:
        await ready(meter, ops, other)
        read, refused = meter.endpoint.store.read, 0

        async def counting(query: Callable[[sqlite3.Connection], Any]) -> Any:
            nonlocal looks
            looks += "_count" in query.__qualname__
            return await read(query)

        monkeypatch.setattr(meter.endpoint.store, "read", counting)
        for n in range(9):
            try:
                await ops.request(fast.meter, "valve", b"%d" % n, timeout=LONG)
            except RateLimited:
                refused += 1
        assert refused == 9 - sum(fast.executed.values()) >= 3
        assert looks == 4  # and not one more for each that was refused
        assert "of sealway://building.example/application/ops are remembered" in caplog.text
        assert count(meter, "executed") <= 4 + 2
        assert (await other.request(fast.meter, "valve", b"y", timeout=LONG)).payload == b"did y"
        await meter.endpoint.store.write(lambda c: c.execute("DELETE FROM executed"))  # as upkeep does with time
        fast.clock.turn(executor.FULL_FOR_MS / 1_000)
        await ready(meter, ops)
        assert (await ops.request(fast.meter, "valve", b"z", timeout=LONG)).payload == b"did z"
    assert set(fast.executed.values()) == {1}


async def test_what_is_remembered_of_grants_is_bounded_and_nobody_shows_anothers(world: World) -> None:
    async with world.device() as meter, world.application(grants=[]) as ops, world.application("other") as other:
        await ready(meter, ops, other)
        others = world.domain.grant(other.endpoint.member, "valve:write")
        ops._grants.for_device = lambda *_: [others]  # type: ignore[method-assign]
        with pytest.raises(NotAuthorized, match="somebody else"):
            await ops.request(world.meter, "valve", b"x")
        assert count(meter, "grants") == 0
        for _ in range(MOST_PER_HOLDER + 3):
            shown = world.domain.grant(ops.endpoint.member, "lamp:write")
            ops._grants.for_device = lambda *_, shown=shown: [shown]  # type: ignore[method-assign]
            for held in ops.endpoint.sessions.all():
                held.shown = False
            with pytest.raises(NotAuthorized):
                await ops.request(world.meter, "valve", b"x")
        assert count(meter, "grants") == MOST_PER_HOLDER
        assert (await other.request(world.meter, "valve", b"y")).payload == b"did y"
    assert not world.executed[b"x"]


async def test_of_several_grants_the_one_that_is_needed_is_shown(world: World) -> None:
    ops_member = world.member("application", "ops")
    grants = [world.domain.grant(ops_member, scope) for scope in ("valve:write", "lamp:write", "door:write")]
    meter = world.device()
    for path in ("lamp", "door"):
        meter.on(path, scope=f"{path}:write")(lambda command: b"done")
    async with meter, world.application(grants=grants) as ops:
        await ready(meter, ops)
        for path in ("valve", "lamp", "door", "valve"):
            await ops.request(world.meter, path, path.encode())
        assert len(meter._grants._encoded[str(world.ops)]) == 3


async def test_a_forgotten_grant_is_shown_again(world: World) -> None:
    async with world.device() as meter, world.application() as ops:
        await ready(meter, ops)
        await ops.request(world.meter, "valve", b"1")
        meter._grants._encoded.clear()
        await ops.request(world.meter, "valve", b"2")
    assert world.executed == {b"1": 1, b"2": 1}


@pytest.mark.parametrize("result", [Message(CODE_POST, payload=b"not a response"), b"x" * 200_000, 5])
async def test_a_handler_with_an_impossible_answer(world: World, result: Any) -> None:
    meter = world.device()
    meter.on("odd", scope="valve:write")(lambda command: result)
    async with meter, world.application() as ops:
        await ready(meter, ops)
        with pytest.raises(Exception, match="the handler"):
            await ops.request(world.meter, "odd")
        assert (await ops.request(world.meter, "valve", b"x")).payload == b"did x"


async def test_a_request_that_cannot_be_answered_now_is_answered_later(fast: World) -> None:
    """The session of the request stops while the handler works, and the hub is away: no session can be begun."""
    meter = fast.device()

    async def stopping(command: Message) -> bytes:
        fast.executed[command.payload] += 1
        fast.hub.away = True
        for held in meter.endpoint.sessions.all():
            held.session.stopped = "for the test"
        return b"done"

    meter.on("stop", scope="valve:write")(stopping)
    async with meter, fast.application() as ops:
        await ready(meter, ops)
        asking = asyncio.create_task(ops.request(fast.meter, "stop", b"x", timeout=LONG))
        await until(lambda: bool(meter._put_off))
        fast.hub.away = False
        assert (await asyncio.wait_for(asking, 20)).payload == b"done"
        await until(lambda: not meter._put_off)
    assert fast.executed == {b"x": 1}


async def test_whoever_waits_learns_that_the_endpoint_has_stopped(world: World) -> None:
    async with world.application() as ops:
        async with world.device() as meter:
            await ready(meter, ops)
        asking = asyncio.create_task(ops.request(world.meter, "valve", b"x"))
        watching = asyncio.create_task(ops.next_event())
        await until(lambda: bool(ops.unanswered))
        await asyncio.sleep(0.05)
        ops.endpoint.fail(RuntimeError("gone"))
        for task in (asking, watching):
            with pytest.raises(RuntimeError, match="gone"):
                await asyncio.wait_for(task, 60)
        with pytest.raises(RuntimeError, match="gone"):
            await ops.endpoint.send(world.meter, Message(CODE_POST))
