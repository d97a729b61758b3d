# SPDX-License-Identifier: Apache-2.0
"""An endpoint that dies at its k-th commit, for every k of a story: start, send, receive, command, answer, renew.

It dies either just before the commit or just after it, before anything that follows from it was done. After it is
opened again the story goes on, and at its end nothing is lost, nothing has happened twice, and no key was used twice.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sealway.errors import Interrupted
from sealway.protocol import start
from sealway.sdk import Application, Device, links
from sealway.sdk.role import Role
from tests.system.world import KeyWatch, World, kill, ready, until

READINGS = 5
COMMANDS = (b"open", b"close")
LONG = timedelta(hours=6)
EIGHT_DAYS_S = 8 * 86_400


class Death:
    """Stops a store at its k-th write, before or after it."""

    def __init__(self, k: int, *, written: bool) -> None:
        self.left = k
        self.written = written
        self.came = asyncio.Event()

    def threaten(self, role: Role) -> None:
        store = role.endpoint.store
        genuine = store.write

        async def write(work: Any, afterwards: Any = None) -> Any:
            self.left -= 1
            if self.left > 0:
                return await genuine(work, afterwards)
            if self.left == 0 and self.written:
                await genuine(work)  # what was to follow, the end of a key, does not
            self.came.set()
            return await asyncio.Future()  # the process is gone: nothing that follows happens

        store.write = write  # type: ignore[method-assign]


class Story:
    """What both ends want to do; everything in it can be taken up again after a restart."""

    def __init__(self, world: World, side: str, death: Death) -> None:
        self.world = world
        self.side = side
        self.death = death
        self.roles: dict[str, Role] = {}
        self.outcomes: dict[bytes, bytes | None] = {}

    async def open(self, side: str) -> Role:
        role: Role = self.world.device() if side == "device" else self.world.application()
        self.roles[side] = role
        if side == self.side and not self.death.came.is_set():
            self.death.threaten(role)
        await role.__aenter__()
        return role

    async def tell(self) -> None:
        """Run both sides to the end; the one that dies is opened again and goes on."""
        other = "application" if self.side == "device" else "device"
        survivor = await self.open(other)
        mortal = await self.open(self.side)
        living = [asyncio.create_task(self.live(survivor))]
        dying = asyncio.create_task(self.live(mortal))
        death = asyncio.create_task(self.death.came.wait())
        await asyncio.wait({dying, death}, return_when=asyncio.FIRST_COMPLETED)
        if self.death.left <= 0:  # it strikes as soon as the write that is on its way has been made
            await asyncio.wait_for(self.death.came.wait(), 20)
        if self.death.came.is_set():
            dying.cancel()
            await asyncio.gather(dying, return_exceptions=True)
            await kill(mortal)
            dying = asyncio.create_task(self.live(await self.open(self.side)))
        death.cancel()
        self.death.left = 1 << 30  # the story is over: whoever lives may close in peace
        await asyncio.wait_for(asyncio.gather(*living, dying), 20)

    async def live(self, role: Role) -> None:
        if isinstance(role, Device):
            await self.measure(role)
        elif isinstance(role, Application):
            async with self.world.watching(role):
                await self.command(role)
            await self.everything(role)
        await self.everything(role)
        await self.renew(role)

    async def everything(self, role: Role) -> None:
        done = lambda: len(set(self.world.got)) == READINGS and len(self.outcomes) == len(COMMANDS)  # noqa: E731
        await until(lambda: done() and not role.endpoint.outbox, "all arrived and is acknowledged")

    async def measure(self, device: Device) -> None:
        await ready(device)
        await until(lambda: self.world.hub._stores.published.get(str(self.world.ops)) is not None)
        for n in range(await device.endpoint.mark("next"), READINGS):
            await device.send(self.world.ops, "readings", b"%d" % n, mark=("next", n + 1))

    async def command(self, application: Application) -> None:
        await ready(application)
        await until(lambda: self.world.hub._stores.published.get(str(self.world.meter)) is not None)
        for n, payload in enumerate(COMMANDS):
            if payload in self.outcomes:
                continue
            try:
                answer = await application.request(
                    self.world.meter, "valve", payload, timeout=LONG, request_id=bytes(7) + bytes([n])
                )
                self.outcomes[payload] = answer.payload
            except Interrupted:
                self.outcomes[payload] = None

    async def renew(self, role: Role) -> None:
        newest = role.endpoint.prekeys.newest
        assert newest is not None
        before = newest.proven.claims.sequence
        role.endpoint.clock.turn(EIGHT_DAYS_S)  # type: ignore[attr-defined]
        await until(lambda: role.endpoint.prekeys.newest.proven.claims.sequence > before)  # type: ignore[union-attr]
        await until(lambda: self.published(role) > before)

    def published(self, role: Role) -> int:
        return self.world.hub._stores.published[str(role.endpoint.member.name)].sequence

    def check(self) -> None:
        world = self.world
        assert sorted(set(world.got)) == [b"%d" % n for n in range(READINGS)]
        assert len(world.identities) == READINGS  # offered again perhaps, but under the same identity
        assert all(count <= (2 if self.side == "application" else 1) for count in world.identities.values())
        assert all(count == 1 for count in world.executed.values()), world.executed
        for payload in COMMANDS:
            assert self.outcomes[payload] in (b"did " + payload, None)
            assert self.outcomes[payload] is None or world.executed[payload] == 1
        if self.side == "application":
            assert None not in self.outcomes.values()


@pytest.fixture
def stories(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sees which start each one-time key serves."""
    served: dict[bytes, bytes] = {}
    genuine = start.accept

    def accept(envelope: Any, *arguments: Any, one_time: Any, **options: Any) -> Any:
        session, opened = genuine(envelope, *arguments, one_time=one_time, **options)
        if one_time is not None:
            ephemeral = envelope.start.ephemeral
            assert served.setdefault(one_time.scalar.reveal(), ephemeral) == ephemeral, "a one-time key served twice"
        return session, opened

    monkeypatch.setattr(links, "accept", accept)


@pytest.mark.parametrize("written", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("side", ["device", "application"])
async def test_death_at_every_commit(
    tmp_path: Path, keys: KeyWatch, stories: None, side: str, written: bool
) -> None:  # fmt: skip
    k, reached = 0, True
    while reached:
        k += 1
        world = World(tmp_path / str(k), speed=200.0)
        story = Story(world, side, Death(k, written=written))
        try:
            await story.tell()
        finally:
            for role in story.roles.values():
                await role.close()
        story.check()
        reached = story.death.came.is_set()
    assert k > 10
