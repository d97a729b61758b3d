# SPDX-License-Identifier: Apache-2.0
"""A certified peer without a grant asks without end and acknowledges nothing: nobody else notices."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sealway.errors import RateLimited
from sealway.sdk import endpoint as endpoints
from sealway.sdk import outbox, role
from sealway.sdk.endpoint import Endpoint
from sealway.sdk.inbox import Received
from sealway.transports.memory import Honest
from sealway.transports.ports import Collected
from sealway.wire.message import CODE_CHANGED, CODE_POST, FirstIdentity, Message
from tests.sdk.test_endpoint_state import count
from tests.system.world import World, counters, ready, until

ROOM = 64
PUT_OFF = 8


class Deaf(Honest):
    """Nothing comes down: what is not opened is not acknowledged."""

    def down(self, collected: list[Collected]) -> list[Collected]:
        return []


@pytest.fixture
def little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "OUTBOX_ENVELOPES", ROOM)
    monkeypatch.setattr(role, "MOST_PUT_OFF_OF_ONE", PUT_OFF)


async def test_answers_that_nobody_acknowledges_take_no_room_from_others(world: World, little_room: None) -> None:
    flood = 3 * ROOM
    async with (
        world.device() as meter, world.application() as ops, world.watching(ops),
        world.application("rogue", tamper=Deaf(), grants=[]) as rogue,
    ):  # fmt: skip
        await ready(meter, ops, rogue)
        monkey = rogue.endpoint
        monkey.room = _no_wait  # type: ignore[method-assign]
        for _ in range(flood):
            await rogue.ask(world.meter, "valve", b"mine", timeout=timedelta(hours=6))
        await until(lambda: counters(meter)["requests_refused_NotAuthorized"] >= flood)
        share = ROOM // outbox.SHARE
        await until(lambda: counters(meter)["requests_dropped"] == flood - share - PUT_OFF)
        assert len(meter.endpoint.outbox) == share
        assert count(meter, "inbox", "message IS NOT NULL") == PUT_OFF
        assert (await ops.request(world.meter, "valve", b"x")).payload == b"did x"
        await meter.send(world.ops, "readings", b"1")
        await until(lambda: world.got == [b"1"])
        assert not world.executed[b"mine"]


async def test_what_a_device_sends_of_its_own_accord_does_not_keep_it_from_answering(
    world: World, little_room: None
) -> None:
    """An application that reads nothing for a while is owed many readings, before and after a restart."""
    share = ROOM // outbox.SHARE
    async with world.application() as ops:
        async with world.device() as meter:
            await ready(meter, ops)
            await meter.send(world.ops, "readings", b"first")
            world.hub.away = True
            for n in range(2 * share):
                await meter.send(world.ops, "readings", b"%d" % n)
            _demand_room(meter.endpoint, world)
            for held in meter.endpoint.sessions.with_peer(str(world.ops)):
                for _ in range(share):
                    meter.endpoint.engine.seal(held, Message(CODE_CHANGED, payload=b"did"))
            await meter.endpoint.journal.commit()
            with pytest.raises(RateLimited, match="by the one"):
                _demand_room(meter.endpoint, world)
        world.hub.away = True
        async with world.device() as meter:
            box = meter.endpoint.outbox
            assert len(box) >= 3 * share and sum(box._held.values()) == share
            with pytest.raises(RateLimited, match="by the one"):
                _demand_room(meter.endpoint, world)
        world.hub.away = False


def _demand_room(endpoint: Endpoint, world: World) -> None:
    theirs = [held.session.hash for held in endpoint.sessions.with_peer(str(world.ops))]
    endpoint.outbox.demand_room(lambda: theirs, ROOM, endpoints.OUTBOX_BYTES)


async def _no_wait() -> None:
    """The attacker's program does not slow itself down."""


async def test_peers_that_fill_the_room_for_what_waits_give_it_to_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(role, "MOST_PUT_OFF", 6)
    monkeypatch.setattr(role, "MOST_PUT_OFF_OF_ONE", 3)
    async with world.device() as meter:
        for row, peer in enumerate(("a", "a", "a", "b", "b", "b", "a", "c", "d", "c", "d", "c"), 1):
            await meter._put_it_off(_asked(row, peer))
        left = sorted((row, received.peer) for row, (_, _, received) in meter._put_off.items())
        assert left == [(1, "a"), (4, "b"), (8, "c"), (9, "d"), (10, "c"), (11, "d")]
        assert counters(meter)["requests_dropped"] == 6
        await meter._put_it_off(_asked(1, "a"))  # has its place already
        assert len(meter._put_off) == 6


def _asked(row: int, peer: str) -> Received:
    message = Message(CODE_POST, ("valve",), request_id=row.to_bytes(8))
    return Received(peer, message, FirstIdentity(bytes(32), row), bytes(32), 0, row)


def test_a_peer_that_is_owed_much_is_refused_and_others_are_not() -> None:
    mine, other = bytes(32), b"\1" * 32
    box = outbox.Outbox()
    box.add_all([((mine, n), outbox.Outgoing("m", b"x" * 100, kept=True, answer=True)) for n in range(4)])
    box.demand_room(lambda: [other], ROOM, 1 << 20)
    for envelopes, size in ((ROOM, 1 << 20), (1 << 20, 1_600)):
        with pytest.raises(RateLimited, match="by the one"):
            box.demand_room(lambda: [mine, other], envelopes, size)
    with pytest.raises(RateLimited, match="too much is unacknowledged to"):
        box.demand_room(lambda: [other], 2, 1 << 20)
    box.cover(mine, ((0, 0),))
    box.demand_room(lambda: [mine], ROOM, 1 << 20)
    box.drop_session(mine)
    assert not box._held and not box._sizes and box.size == 0
