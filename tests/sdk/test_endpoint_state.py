# SPDX-License-Identifier: Apache-2.0
"""What an endpoint keeps, forgets and refuses to open; and that it says so when it has stopped."""

from __future__ import annotations

import os
import stat
from contextlib import closing
from typing import Any

import pytest

from sealway.errors import LocalMisuse, SealwayError, StateLost
from sealway.protocol.policy import DAY_MS
from sealway.sdk.kidpool import KidPool
from sealway.sdk.prekeystore import MOST_BUNDLES
from sealway.sdk.role import Role
from sealway.sdk.schema import DATABASE
from sealway.sdk.sessions import Leaving
from sealway.sdk.upkeep import HANDLED_KEPT
from sealway.storage.store import connect
from tests.system.domain import Domain
from tests.system.world import World, counters, forget_sessions, ready, until


def count(role: Any, table: str, where: str = "1") -> int:
    query = f"SELECT count(*) FROM {table} WHERE {where}"  # noqa: S608
    (found,) = role.endpoint.store.read_now(lambda c: c.execute(query).fetchone())
    return int(found)


async def talk(world: World, meter: Any, ops: Any) -> None:
    await ready(meter, ops)
    await meter.send(world.ops, "readings", b"x")
    await ops.request(world.meter, "valve", b"x")
    await until(lambda: len(world.got) == 1)


# opening -----------------------------------------------------------------------------------------------------------
async def test_the_state_is_private(world: World) -> None:
    async with world.device() as meter, world.application() as ops, world.watching(ops):
        await talk(world, meter, ops)
        assert stat.S_IMODE((world.path / "meter").stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in (world.path / "meter").iterdir()} == {0o600}


@pytest.mark.parametrize("damage", ["header", "session", "version", "prekey"])
async def test_damaged_state_is_state_lost_and_gives_the_directory_free(world: World, damage: str) -> None:
    async with world.device() as meter, world.application() as ops, world.watching(ops):
        await talk(world, meter, ops)
    path = world.path / "meter" / DATABASE
    statement = {
        "session": "UPDATE sessions SET state = x'00112233'",
        "version": "PRAGMA user_version = 99",
        "prekey": "UPDATE prekeys SET encoded = x'00'",
    }.get(damage)
    if statement is None:
        path.write_bytes(b"not a database, whatever it was" * 100)
    else:
        with closing(connect(path)) as connection:
            connection.execute(statement)
    for _ in range(2):  # not "another process uses it" the second time
        with pytest.raises(StateLost):
            world.device()
    path.unlink()
    await world.device().close()


async def test_a_failure_while_entering_gives_the_directory_free(world: World) -> None:
    ops = world.application()
    ops._load = lambda connection: 1 // 0  # type: ignore[method-assign, assignment]
    with pytest.raises(ZeroDivisionError):
        await ops.__aenter__()
    async with world.application():
        pass


async def test_a_grant_of_no_use_does_not_keep_an_application_from_starting(world: World) -> None:
    async with world.application(grants=[b"nonsense", b""]) as ops:
        await ready(ops)


# failing -----------------------------------------------------------------------------------------------------------
async def test_a_disk_that_fails_stops_the_endpoint_audibly(world: World) -> None:
    """Nobody calls next_event: the next send says it all the same."""
    async with world.device() as meter, world.application() as ops:
        await ready(meter, ops)
        await meter.send(world.ops, "readings", b"x")
        meter.endpoint.store._writing.execute("PRAGMA query_only = ON")
        with pytest.raises(StateLost):
            await meter.send(world.ops, "readings", b"y")
        for _ in range(2):
            with pytest.raises(StateLost):
                await meter.send(world.ops, "readings", b"z")
        await until(lambda: meter.endpoint._failed is not None)
        with pytest.raises(StateLost):
            await meter.serve()
    async with world.device() as meter, world.application() as ops, world.watching(ops):
        await meter.send(world.ops, "readings", b"later")
        await until(lambda: b"later" in world.got)
        assert b"y" not in world.got


async def test_a_carrier_with_a_bug_stops_the_endpoint_audibly(world: World) -> None:
    async with world.device() as meter, world.application() as ops:
        await ready(meter, ops)

        async def broken(*_: Any, **__: Any) -> Any:
            raise ValueError("a bug")

        meter.endpoint.carrier.collect = broken  # type: ignore[method-assign]
        await until(lambda: meter.endpoint._failed is not None)
        with pytest.raises(ValueError, match="a bug"):
            await meter.send(world.ops, "readings", b"x")


# forgetting --------------------------------------------------------------------------------------------------------
async def test_what_is_old_is_forgotten(world: World) -> None:
    async with world.device() as meter, world.application() as ops, world.watching(ops):
        await talk(world, meter, ops)
        await until(lambda: count(ops, "asked", "answer IS NOT NULL") == 1)
        assert count(meter, "executed") == 1
        await ops.endpoint.store.write(
            lambda c: c.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'inbox'", (HANDLED_KEPT + 10,))
        )
        ops.endpoint.engine._last_row = HANDLED_KEPT + 10
        world.clock.turn(8 * 86_400)
        await meter.send(world.ops, "readings", b"y")
        await until(lambda: len(world.got) == 2)
        await until(lambda: count(meter, "executed") == 0 and count(ops, "asked") == 0)
        world.clock.turn(61)
        await until(lambda: count(ops, "inbox") == 1)


async def test_an_idle_session_is_closed_and_its_identifier_rests(world: World) -> None:
    world.domain = Domain(days=120)
    world.hub.root = world.domain.root_document
    async with world.device() as meter, world.application() as ops, world.watching(ops):
        await talk(world, meter, ops)
        old = meter.endpoint.sessions.all()[0]
        new = await meter.endpoint.links.instead_of(old)
        await meter.send(world.ops, "readings", b"y")
        await until(lambda: len(world.got) == 2)
        await until(lambda: new.session.start is None and not new.owed)  # or it would be left as well
        digest, kid = old.session.hash, old.session.kid_in
        for side in (meter, ops):
            assert side.endpoint.sessions.by_hash(digest) is not None
        world.clock.turn(8 * 86_400)
        await _until_closed(world, meter, digest)
        await _until_closed(world, ops, digest)
        assert count(meter, "sessions", f"state IS NULL AND hex(hash) = '{digest.hex().upper()}'") == 1
        assert kid in meter.endpoint.links._kids
    async with world.device() as meter:
        assert kid in meter.endpoint.links._kids
        world.clock.turn(8 * 86_400)
        await until(lambda: kid not in meter.endpoint.links._kids)
        await until(lambda: count(meter, "sessions", "state IS NULL") == 0)


async def _until_closed(world: World, role: Role, digest: bytes) -> None:
    """Let six hours pass after six hours, each time until the endpoint has looked after its sessions."""
    for _ in range(240):
        if role.endpoint.sessions.by_hash(digest) is None:
            break
        world.clock.turn(6 * 3_600)
        await _looked_after(role, world.clock.uptime().ms)
    assert role.endpoint.sessions.by_hash(digest) is None
    await role.endpoint.journal.commit()


async def _looked_after(role: Role, since_ms: int) -> None:
    await until(lambda: (role.endpoint.upkeep._last_ms or 0) >= since_ms)


async def test_an_idle_session_that_owes_something_moves_it_first(world: World) -> None:
    async with world.device() as meter, world.application() as ops, world.watching(ops):
        await talk(world, meter, ops)
        old = meter.endpoint.sessions.all()[0]
        forget_sessions(ops)
        await meter.send(world.ops, "readings", b"owed")
        await until(lambda: counters(ops)["refused_unknown_kid"] >= 1)
        new = await meter.endpoint.links.instead_of(old)
        await meter.send(world.ops, "readings", b"in the new one")
        await until(lambda: b"in the new one" in world.got)
        await until(lambda: new.session.start is None and not new.owed)  # or it would be left as well
        assert b"owed" not in world.got
        world.clock.turn(8 * 86_400)
        for _ in range(240):  # the other end may have closed the new one by then, which it learns within hours
            await _looked_after(meter, world.clock.uptime().ms)
            if b"owed" in world.got:
                break
            world.clock.turn(3_600)
        assert old.leaving is Leaving.DONE
        await until(lambda: b"owed" in world.got)
    assert set(world.identities.values()) == {1}


async def test_numbers_of_a_closed_session_are_remembered(world: World) -> None:
    """A message moves although it was opened, and the session in which it was opened is closed by then."""
    async with world.device() as meter, world.application() as ops, world.watching(ops):
        await talk(world, meter, ops)
        old = meter.endpoint.sessions.all()[0]
        before = old.session.send.next_number
        await meter.send(world.ops, "readings", b"opened")
        await until(lambda: b"opened" in world.got)
        ops.endpoint.sessions.close(ops.endpoint.sessions.all()[0], world.clock.now_ms())
        assert before not in old.session.send.acked
        old.session.stopped = "for the test"
        meter.endpoint.sessions.leave(old)
        await until(lambda: counters(ops)["opened_again"] >= 1)
        await until(lambda: old.leaving is Leaving.DONE)
    assert world.got.count(b"opened") == 1


async def test_bundles_expire_and_their_number_is_bounded(world: World) -> None:
    async with world.device() as meter:
        await ready(meter)
        prekeys, now_s = meter.endpoint.prekeys, world.clock.now_ms() // 1_000
        for _ in range(MOST_BUNDLES + 5):
            prekeys.renew(now_s, os.urandom)
        await meter.endpoint.journal.commit()
        kept = prekeys.forget_old(now_s)
        await meter.endpoint.journal.commit()
        assert len(kept) == MOST_BUNDLES == count(meter, "prekeys")
        assert count(meter, "one_time") == 64 * MOST_BUNDLES
        assert prekeys.forget_old(now_s + 31 * DAY_MS // 1_000) == set()
        await meter.endpoint.journal.commit()
        assert count(meter, "prekeys") == 0 == count(meter, "one_time")


async def test_a_directory_that_forgets_again_and_again(world: World) -> None:
    """It makes this endpoint publish anew, more and more slowly, and no more than that."""
    async with world.device() as meter:
        await ready(meter)
        for _ in range(600):
            world.hub.wipe()
            meter.endpoint.publisher.check_soon()
            world.clock.turn(2)
            await meter.endpoint.publisher.look()
        assert 3 <= counters(meter)["bundles_published"] <= 12
        assert len(meter.endpoint.prekeys._bundles) <= MOST_BUNDLES


async def test_a_directory_that_does_not_take_a_bundle_gets_the_same_again(world: World) -> None:
    async with world.device() as meter:

        async def refuse(publication: bytes) -> None:
            raise SealwayError("no")

        genuine = meter.endpoint.carrier.publish_bundle
        meter.endpoint.carrier.publish_bundle = refuse  # type: ignore[method-assign]
        for _ in range(20):
            world.clock.turn(61)
            await meter.endpoint.publisher.look()
        assert len(meter.endpoint.prekeys._bundles) == 1
        meter.endpoint.carrier.publish_bundle = genuine  # type: ignore[method-assign]
        world.clock.turn(61)
        await ready(meter)
        assert len(meter.endpoint.prekeys._bundles) == 1


async def test_a_handler_s_path_is_taken_once(world: World) -> None:
    meter = world.device()
    with pytest.raises(LocalMisuse):
        meter.on("valve", scope="valve:write")(lambda command: b"")
    await meter.close()


def test_identifiers_in_use() -> None:
    pool = KidPool()
    pool.take(b"a")
    pool.take(b"a")
    assert b"a" in pool and pool.count(1) == 1
    pool.release(b"a")
    pool.release(b"a")
    assert b"a" not in pool and pool.count(1) == 0
