# SPDX-License-Identifier: Apache-2.0
"""State directories that are damaged, ended or restored, and repaired: both ends go on talking."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sealway.errors import InUse, LocalMisuse, StateLost
from sealway.protocol.policy import DEFAULT_POLICY
from sealway.protocol.sentlog import SentLog
from sealway.protocol.snapshot import restore
from sealway.sdk.examination import Condition, Findings, examine, looked_at
from sealway.sdk.repair import Plan, opened, repair
from sealway.sdk.schema import DATABASE, SESSION
from sealway.vault.keyfile import KEY_FILE
from sealway.vault.vault import read_vault
from tests.system.test_copied_state import acknowledged, back_up, send
from tests.system.test_starts import Gate
from tests.system.world import World, counters, ready, until

LONG = timedelta(hours=6)
NOW_MS = 1_800_000_000_000


def look(directory: Path, credential: Any = None) -> Findings:
    with looked_at(directory) as state:
        return examine(state, credential)


def mend(directory: Path, *, restored: bool = False) -> Plan:
    with opened(directory) as state:
        plan = Plan.of(examine(state), restored=restored)
        repair(state, plan, NOW_MS)
    return plan


def change(directory: Path, *statements: str) -> None:
    with closing(sqlite3.connect(directory / DATABASE)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def rows(directory: Path, question: str) -> list[Any]:
    with closing(sqlite3.connect(directory / DATABASE)) as connection:
        return connection.execute(question).fetchall()


def stored_session(directory: Path) -> bytes:
    with closing(sqlite3.connect(directory / DATABASE)) as connection:
        slot, state = connection.execute("SELECT slot, state FROM sessions").fetchone()
        return read_vault(directory, connection, os.urandom).unwrap(slot, SESSION, state)


async def talk(world: World, gate: Gate) -> None:
    """Leave a device that owes two messages, of which the application has opened the first."""
    async with world.device(tamper=gate) as meter, world.application() as ops, world.watching(ops):
        await ready(meter, ops)
        await send(world, meter, b"0", b"1")
        await ops.request(world.meter, "valve", b"x", timeout=LONG)
        await acknowledged(meter, ops)
        gate.keeps_down = True
        await send(world, meter, b"2")
        await until(lambda: b"2" in world.got)
        gate.passes = lambda _: False
        await send(world, meter, b"3")
    gate.keeps_down, gate.passes = False, lambda _: True


async def goes_on(world: World, gate: Gate | None = None) -> None:
    """Both ends talk on; everything arrives once, and what was executed is not executed again."""
    async with world.device(tamper=gate) as meter, world.application() as ops, world.watching(ops):
        await send(world, meter, b"4")
        reply = await ops.request(world.meter, "valve", b"y", timeout=LONG)
        assert reply.payload == b"did y"
        await until(lambda: b"4" in world.got)
        await acknowledged(meter, ops)


DAMAGES = {
    "no snapshot": "UPDATE sessions SET state = x'00112233'",
    "half a snapshot": "UPDATE sessions SET state = substr(state, 1, length(state) / 2)",
    "of another kind": "UPDATE sessions SET state = 'text'",
    "leaving": "UPDATE sessions SET leaving = 77",
    "the log": "UPDATE sent SET tag = 7, uptime = 'x' WHERE envelope IS NULL",
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_session_of_a_device(fast: World, damage: str) -> None:
    """What it owed moves, and what the application had opened already does not come twice."""
    gate = Gate()
    await talk(fast, gate)
    change(fast.path / "meter", DAMAGES[damage])
    if damage != "the log":  # an endpoint would find that later
        with pytest.raises(StateLost):
            fast.device()
    found = look(fast.path / "meter")
    assert found.needs_repair and found.counted()[Condition.DAMAGED] == 1 and found.unacknowledged == 2
    plan = mend(fast.path / "meter")
    assert plan.moving == 2 and plan.lost == 0 and len(plan.damaged) == 1
    after = look(fast.path / "meter")
    assert not after.needs_repair and after.set_aside == 1 and after.unacknowledged == 2
    await goes_on(fast, gate)
    assert sorted(fast.got) == [b"0", b"1", b"2", b"3", b"4"]
    assert set(fast.identities.values()) == {1} and set(fast.executed.values()) == {1}


async def test_a_damaged_session_of_an_application(fast: World) -> None:
    """The device moves what has no receipt; what the inbox remembers is not handed out again."""
    gate = Gate()
    await talk(fast, gate)
    change(fast.path / "ops", DAMAGES["no snapshot"])
    with pytest.raises(StateLost):
        fast.application()
    assert mend(fast.path / "ops").moving == 0
    (aside,) = rows(fast.path / "ops", "SELECT what, peer, bytes, opened FROM set_aside")
    assert aside == ("session", str(fast.meter), 4, 4)  # three readings, one answer
    await goes_on(fast, gate)
    assert sorted(fast.got) == [b"0", b"1", b"2", b"3", b"4"]
    assert set(fast.identities.values()) == {1} and set(fast.executed.values()) == {1}


async def test_a_session_that_does_not_say_whose_it_is(fast: World) -> None:
    gate = Gate()
    await talk(fast, gate)
    change(fast.path / "meter", DAMAGES["no snapshot"], "UPDATE sessions SET peer = 'nobody'")
    plan = mend(fast.path / "meter")
    assert plan.lost == 2 and plan.moving == 0 and len(plan.nameless) == 1
    assert rows(fast.path / "meter", "SELECT what, peer, unacknowledged FROM set_aside") == [("session", "", 2)]
    await goes_on(fast, gate)
    assert sorted(fast.got) == [b"0", b"1", b"2", b"4"]


async def test_messages_whose_content_is_damaged(fast: World) -> None:
    """They cannot move; the others do."""
    gate = Gate()
    await talk(fast, gate)
    change(
        fast.path / "meter",
        DAMAGES["no snapshot"],
        "UPDATE sent SET message = x'ff' WHERE number = (SELECT max(number) FROM sent)",
        "INSERT INTO sent"
        " SELECT session, number + 1, 'odd', boot, 'x', sealed, NULL, NULL, message, envelope, NULL FROM sent"
        " WHERE number = (SELECT max(number) FROM sent)",
    )
    plan = mend(fast.path / "meter")
    assert plan.lost == 2 and plan.moving == 1
    await goes_on(fast, gate)
    assert sorted(fast.got) == [b"0", b"1", b"2", b"4"]
    assert look(fast.path / "meter").set_aside == 3


@pytest.mark.parametrize("forked", [False, True])
async def test_a_session_that_was_stopped_and_not_left(fast: World, forked: bool) -> None:
    gate = Gate()
    async with fast.device(tamper=gate) as meter, fast.application() as ops, fast.watching(ops):
        await ready(meter, ops)
        await send(fast, meter, b"0")
        await until(lambda: fast.got == [b"0"])
        await acknowledged(meter)
        gate.passes = lambda _: False
        await send(fast, meter, b"1")
        (held,) = meter.endpoint.sessions.all()
        meter.endpoint.mover.look = _nothing  # type: ignore[method-assign]
        held.session.stopped, held.session.peer_forked = "for the test", forked
        meter.endpoint.sessions.touch(held)
    found = look(fast.path / "meter")
    assert found.needs_repair and found.counted()[Condition.FORKED if forked else Condition.STOPPED] == 1
    plan = mend(fast.path / "meter")
    assert len(plan.left) == 1 and plan.moving == 1 and not look(fast.path / "meter").needs_repair
    await goes_on(fast)
    assert sorted(fast.got) == [b"0", b"1", b"4"]


async def _nothing() -> None:
    return


async def test_a_restored_device(fast: World) -> None:
    """Its sessions end and its prekeys are replaced, before a peer or the directory finds out."""
    async with fast.device() as meter, fast.application() as ops, fast.watching(ops):
        await ready(meter, ops)
        await send(fast, meter, b"0", b"1")
        await ops.request(fast.meter, "valve", b"x", timeout=LONG)
        await acknowledged(meter, ops)
        before = fast.hub._stores.published[str(fast.meter)].sequence
    back_up(fast, "meter")
    async with fast.device() as meter, fast.application() as ops, fast.watching(ops):
        await send(fast, meter, b"2", b"3")
        await until(lambda: b"3" in fast.got)
        await acknowledged(meter, ops)
    shutil.rmtree(fast.path / "meter")
    (fast.path / "meter.copy").rename(fast.path / "meter")
    plan = mend(fast.path / "meter", restored=True)
    assert plan.restored and len(plan.left) == 1
    assert rows(fast.path / "meter", "SELECT (SELECT count(*) FROM prekeys), (SELECT count(*) FROM one_time)") == [
        (0, 0)
    ]
    assert look(fast.path / "meter").counted()[Condition.LOST] == 1
    await goes_on(fast)
    assert sorted(fast.got) == [b"%d" % n for n in range(5)]
    assert set(fast.identities.values()) == {1} and set(fast.executed.values()) == {1}
    assert fast.hub._stores.published[str(fast.meter)].sequence > before
    async with fast.application() as ops:  # the device spoke in no session that its peer knew otherwise
        assert counters(ops)["refused_PeerForked"] == 0 == counters(ops)["refused_StateLost"]


async def test_a_restored_application(fast: World) -> None:
    gate = Gate()
    await talk(fast, gate)
    back_up(fast, "ops")
    async with fast.device(tamper=gate) as meter, fast.application() as ops, fast.watching(ops):
        await acknowledged(meter)
    shutil.rmtree(fast.path / "ops")
    (fast.path / "ops.copy").rename(fast.path / "ops")
    mend(fast.path / "ops", restored=True)
    await goes_on(fast, gate)
    assert sorted(set(fast.got)) == [b"%d" % n for n in range(5)]
    assert set(fast.executed.values()) == {1}


@pytest.mark.parametrize("table", ["prekeys", "windows", "certificates"])
async def test_other_damaged_rows(fast: World, table: str) -> None:
    gate = Gate()
    await talk(fast, gate)
    statement = {
        "prekeys": "UPDATE prekeys SET encoded = substr(encoded, 1, 20)",
        "windows": "INSERT INTO windows VALUES ('sealway://x', x'00', x'6161', 0)",
        "certificates": "UPDATE certificates SET chain = x'00'",
    }[table]
    change(fast.path / "meter", statement)
    with pytest.raises(StateLost):
        fast.device()
    found = look(fast.path / "meter")
    assert found.needs_repair and len(found.rows) >= 1
    mend(fast.path / "meter")
    assert not look(fast.path / "meter").needs_repair and look(fast.path / "meter").set_aside == len(found.rows)
    await goes_on(fast, gate)
    assert sorted(set(fast.got)) == [b"%d" % n for n in range(5)]


async def test_a_bundle_that_is_not_ones_own_is_found_with_the_certificate(fast: World) -> None:
    async with fast.device() as meter:
        await ready(meter)
    credential = fast.members["meter"].credential
    assert not look(fast.path / "meter", credential).needs_repair
    change(fast.path / "meter", "UPDATE prekeys SET issued = issued - 1000000")
    assert look(fast.path / "meter", credential).newest_is_damaged
    assert not look(fast.path / "meter").needs_repair


@pytest.mark.parametrize("lost", ["vault.key", "vault_leaves", "vault_top"])
async def test_keys_of_the_vault_that_are_lost(fast: World, lost: str) -> None:
    """Without them nothing in the database opens: sessions begin anew, and what waits moves there."""
    gate = Gate()
    await talk(fast, gate)
    if lost == KEY_FILE:
        (fast.path / "meter" / KEY_FILE).unlink()
    else:
        change(fast.path / "meter", f"UPDATE {lost} SET page = x'00'")  # noqa: S608
    with pytest.raises(StateLost):
        fast.device()
    found = look(fast.path / "meter")
    assert found.counted()[Condition.DAMAGED] == 1 and found.bundles == 0
    mend(fast.path / "meter")
    assert not look(fast.path / "meter").needs_repair
    await goes_on(fast, gate)
    assert sorted(set(fast.got)) == [b"%d" % n for n in range(5)]


async def test_a_private_half_that_is_not_the_bundles(fast: World) -> None:
    async with fast.device() as meter:
        await ready(meter)
    change(fast.path / "meter", "UPDATE prekeys SET signed_prekey = (SELECT scalar FROM one_time LIMIT 1)")
    assert look(fast.path / "meter").newest_is_damaged


async def test_a_repair_is_done_whole_or_not_at_all(fast: World) -> None:
    """It fails at each statement in turn: nothing has changed; then it is done."""
    gate = Gate()
    await talk(fast, gate)
    change(fast.path / "meter", DAMAGES["no snapshot"], "UPDATE certificates SET chain = x'00'")
    with opened(fast.path / "meter") as state:
        connection = state.connection
        before = list(connection.iterdump())
        plan = Plan.of(examine(state), restored=True)
        failures = 0
        while True:
            try:
                repair(replace(state, connection=_Failing(connection, failures)), plan, NOW_MS)  # type: ignore[arg-type]
            except sqlite3.OperationalError:
                failures += 1
                assert list(connection.iterdump()) == before
            else:
                break
        assert failures > 6
    await goes_on(fast, gate)


class _Failing:
    """A connection that fails at its n-th statement, as if the disk were full; a rollback still works."""

    def __init__(self, connection: sqlite3.Connection, after: int) -> None:
        self._connection = connection
        self._left = after

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    def execute(self, sql: str, parameters: Any = ()) -> Any:
        if self._left == 0 and sql != "ROLLBACK":
            raise sqlite3.OperationalError("disk I/O error")
        self._left -= 1
        return self._connection.execute(sql, parameters)

    def executemany(self, sql: str, rows: Any) -> Any:
        for row in rows:
            self.execute(sql, row)


async def test_nothing_is_touched_where_nothing_is_wrong(fast: World) -> None:
    await talk(fast, Gate())
    with opened(fast.path / "meter") as opened_state:
        connection = opened_state.connection
        before = list(connection.iterdump())
        plan = Plan.of(examine(opened_state))
        assert plan.is_empty
        repair(opened_state, plan, NOW_MS)
        assert list(connection.iterdump()) == before


async def test_what_is_set_aside_holds_no_key(fast: World) -> None:
    await talk(fast, Gate())
    state = stored_session(fast.path / "meter")
    change(fast.path / "meter", "UPDATE sessions SET state = substr(state, 2)")
    mend(fast.path / "meter")
    kept = rows(fast.path / "meter", "SELECT * FROM set_aside")
    assert len(kept) == 1 and not any(isinstance(value, bytes) for value in kept[0])
    stub = stored_session(fast.path / "meter")
    ((digest, peer, kid),) = rows(fast.path / "meter", "SELECT hash, peer, kid FROM sessions")
    session = restore(state, SentLog(), DEFAULT_POLICY, names=(digest, peer, kid))
    sending, receiving = session.send.epoch, session.receive.epochs[-1]
    assert sending is not None
    secrets = {session.root, sending.x_secret.reveal(), sending.chain, sending.reseed_root, receiving.reseed_root}
    assert all(secret in state and secret not in stub for secret in secrets)


async def test_who_may_look_and_repair(fast: World, tmp_path: Path) -> None:
    async with fast.device() as meter:
        await ready(meter)
        with pytest.raises(InUse), looked_at(fast.path / "meter"):
            pass
        with pytest.raises(InUse), opened(fast.path / "meter"):
            pass
    for way in (looked_at, opened):
        with pytest.raises(LocalMisuse), way(tmp_path / "nothing"):
            pass
    with opened(fast.path / "meter"), pytest.raises(InUse):
        fast.device()


async def test_a_file_that_is_damaged_is_not_repaired(fast: World) -> None:
    await talk(fast, Gate())
    path = fast.path / "meter" / DATABASE
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    content = bytearray(path.read_bytes())
    content[size * 3 : size * 3 + 200] = b"\xff" * 200
    path.write_bytes(content)
    with pytest.raises(StateLost):
        mend(fast.path / "meter")
    path.write_bytes(b"not a database, whatever it was" * 100)
    with pytest.raises(StateLost):
        look(fast.path / "meter")


async def test_a_state_of_a_newer_version_is_left_alone(fast: World) -> None:
    async with fast.device() as meter:
        await ready(meter)
    change(fast.path / "meter", "PRAGMA user_version = 99")
    with pytest.raises(StateLost, match="newer"):
        look(fast.path / "meter")
    with pytest.raises(StateLost, match="newer"):
        mend(fast.path / "meter")
