# SPDX-License-Identifier: Apache-2.0
"""Live traffic of two devices and an application through one adversary, and what everybody saw of it.

All that is judged is collected at the very edges: what callers handed in, what handlers got, what endpoints told.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from sealway.adversary.attack import Act, Selection
from sealway.adversary.carrier import HostileCarrier
from sealway.adversary.catalogue import ATTACKS
from sealway.adversary.ledger import Tally
from sealway.adversary.middlebox import Middlebox
from sealway.adversary.verdict import Evidence, Sent, faults, judge
from sealway.errors import SealwayError
from sealway.protocol.events import Event
from sealway.protocol.policy import DEFAULT_POLICY, Policy
from sealway.sdk import Application, Device, Received
from sealway.sdk.role import Role
from sealway.wire.header import Claims
from sealway.wire.message import Message
from tests.system.domain import Domain
from tests.system.world import PATIENCE_S, World, kill, ready, until

DEVICES = ("meter", "pump")
MOST_COMMANDS = 4
AFTERWARDS_S = 0.05
"""Real time for which all is watched once everything looks settled: what must not happen could come late."""

QUICK = replace(
    DEFAULT_POLICY, step_after_messages=8, ack_every=8, reoffer_after_ms=5_000, missing_after_ms=60_000,
    unacknowledged_after_ms=60_000, longest_reoffer_ms=20_000,
)  # fmt: skip
"""Things that take hours happen in minutes."""


class Arena:
    """Endpoints before a hub in memory, each behind the same adversary.

    Args:
        speed: of the clock; the adversary goes by it too.
        max_age: of commands.
    """

    def __init__(
        self, path: Path, *, speed: float = 100.0, seed: int = 7, policy: Policy = QUICK,
        max_age: timedelta = timedelta(minutes=5), max_silence: timedelta | None = None,
    ) -> None:  # fmt: skip
        self.world = World(path, speed=speed)
        self.world.domain = Domain(days=120)
        self.world.hub.root = self.world.domain.root_document
        self.box = Middlebox(seed=seed, now=lambda: self.world.clock.now_ms() / 1_000)
        self.roles: dict[str, Any] = {}
        self.refused: list[tuple[str, str]] = []
        self.reported: Counter[str] = Counter()
        self.handled: list[Sent] = []
        self.must: list[Sent] = []
        self.may: list[Sent] = []
        self.late = 0
        self._handing_in = 0
        self.accepted = 0
        self._policy, self._max_age, self._max_silence = policy, max_age, max_silence
        self._carriers: dict[str, HostileCarrier] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()
        self._last = 0

    # life ------------------------------------------------------------------------------------------------------
    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Arena]:
        """Everybody is published; nothing is on its way."""
        try:
            for label in (*DEVICES, "ops"):
                await self.open(label)
            await ready(*self.roles.values())
            yield self
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for role in self.roles.values():
                await role.close()

    async def open(self, label: str) -> Role:
        """Open an endpoint, for the first time or again."""
        role: Role = self._device(label) if label in DEVICES else self._application(label)
        self.roles[label] = role
        role.endpoint.on_refused = lambda digest, error: self.refused.append((digest, type(error).__name__))
        role.endpoint.on_event = self._happened
        await role.__aenter__()
        if isinstance(role, Application):
            self._begin(self._watch(role, label))
        return role

    async def restart(self, label: str) -> None:
        """End an endpoint as a crash does, and open it again."""
        await kill(self.roles[label])
        await self.open(label)

    def carrier(self, label: str) -> HostileCarrier:
        """The way of this endpoint to the hub: through the adversary."""
        if label not in self._carriers:
            self._carriers[label] = HostileCarrier(self.box, self.world.hub.carrier())
        return self._carriers[label]

    def _device(self, label: str) -> Device:
        device = Device(
            self.world.path / label, self.world.member("device", label), self.carrier(label),
            clock=self.world.clock, policy=self._policy, max_silence=self._max_silence,
        )  # fmt: skip

        @device.on("valve", scope="valve:write", max_age=self._max_age)
        async def valve(command: Message) -> bytes:
            self._executed(label, command)
            return b"did " + command.payload

        return device

    def _application(self, label: str) -> Application:
        member = self.world.member("application", label)
        grants = [self.world.domain.grant(member, "valve:write")]
        return Application(
            self.world.path / label, member, self.carrier(label), clock=self.world.clock, policy=self._policy,
            grants=grants, max_silence=self._max_silence,
        )  # fmt: skip

    # what is seen ----------------------------------------------------------------------------------------------
    def _executed(self, label: str, command: Message) -> None:
        self.handled.append((str(self.name("ops")), str(self.name(label)), command.payload.decode(errors="replace")))
        age_ms = self.world.clock.now_ms() - (command.sent_at or 0)
        self.late += age_ms > self._max_age.total_seconds() * 1_000 + 1_000

    async def _watch(self, application: Application, label: str) -> None:
        async for received in application.messages():
            self._received(received, label)

    def _received(self, received: Received, label: str) -> None:
        what = received.message.payload.decode(errors="replace")
        self.handled.append((received.peer, str(self.name(label)), what))

    def _happened(self, event: Event) -> None:
        self.reported[type(event).__name__] += 1

    def name(self, label: str) -> Any:
        """The certified name of an endpoint."""
        return self.world.member("device" if label in DEVICES else "application", label).name

    def evidence(self) -> Evidence:
        """What has been seen so far. A command whose outcome is unknown may have been executed, once."""
        handled = set(self.handled)
        sent = [*self.must, *(message for message in self.may if message in handled)]
        return Evidence(self.refused, self.reported, sent, self.handled, self.late, self.accepted)

    # traffic ---------------------------------------------------------------------------------------------------
    def beside(self, work: Any) -> None:
        """Let something go on beside the traffic, until the end."""
        self._begin(work)

    def start_traffic(self, *, commands: bool = True) -> None:
        """Let readings and commands flow until ``stop_traffic``."""
        self._stop.clear()
        for label in DEVICES:
            self._begin(self._readings(label))
            if commands:
                self._begin(self._commands(label))

    def stop_traffic(self) -> None:
        """Hand in nothing new."""
        self._stop.set()

    async def _readings(self, label: str) -> None:
        while not self._stop.is_set():
            await self.read(label)
            await asyncio.sleep(0.01)

    async def read(self, label: str, to: str = "ops") -> None:
        """Send one reading; every second one discloses something."""
        what = self._next()
        expires = self.world.clock.now_ms() // 1_000 + 86_400
        claims = Claims(topic="readings", tag="plain", expires=expires) if self._last % 2 else None
        row = (str(self.name(label)), str(self.name(to)), what)
        self.may.append(row)  # killed in between, it may have been sent
        self._handing_in += 1
        try:
            await self.roles[label].send(self.name(to), "readings", what.encode(), claims=claims, within=timedelta(0))
        except SealwayError as error:
            self.reported[type(error).__name__] += 1
        else:
            self.must.append(row)
        finally:
            self._handing_in -= 1

    async def _commands(self, label: str) -> None:
        under_way: set[asyncio.Task[None]] = set()
        while not self._stop.is_set():
            if len(under_way) < MOST_COMMANDS:
                task = self._begin(self.command(label))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            await asyncio.sleep(0.03)

    async def command(self, label: str) -> None:
        """Send one command and wait for its answer."""
        what = self._next()
        row = (str(self.name("ops")), str(self.name(label)), what)
        ops: Application = self.roles["ops"]
        self.may.append(row)
        try:
            self._handing_in += 1
            try:
                asked = await ops.ask(
                    self.name(label), "valve", what.encode(), timeout=timedelta(hours=2), max_age=self._max_age
                )
                self.must.append(row)
            finally:
                self._handing_in -= 1
            await ops.answer(asked)
        except SealwayError as error:
            self.reported[type(error).__name__] += 1
            if row in self.must:
                self.must.remove(row)

    def _next(self) -> str:
        self._last += 1
        return f"message {self._last}"

    def _begin(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        return task

    async def warm_up(self) -> None:
        """Let everybody have a session with everybody, answered both ways."""
        self.start_traffic()
        everybody = {str(self.name(label)) for label in (*DEVICES, "ops")}
        await until(lambda: {row[1] for row in self.handled} >= everybody and len(self.handled) >= 12)
        self.stop_traffic()

    async def stranger(self) -> Any:
        """Another certified device, whose traffic does not pass the adversary."""
        device = Device(
            self.world.path / "stranger", self.world.member("device", "stranger"), self.world.hub.carrier(),
            clock=self.world.clock, policy=self._policy,
        )  # fmt: skip
        self.roles["stranger"] = await device.__aenter__()
        await ready(device)
        return device

    async def quiet(self) -> None:
        """Wait until all that was handed in has arrived and been answered."""
        await until(lambda: not self.roles["ops"].unanswered and set(self.must) <= set(self.handled))

    # acts ------------------------------------------------------------------------------------------------------
    def begin(self, name: str, parameters: Any = None, select: Selection | None = None) -> None:
        """Begin an act of the adversary."""
        attack = ATTACKS[name]
        self.box.begin(Act(attack, attack.parameters() if parameters is None else parameters, select or Selection()))

    async def over(self, seconds: float = PATIENCE_S) -> Tally:
        """Wait until the act has done all that it may; end it, stop the traffic, and let everything settle."""
        with contextlib.suppress(AssertionError):
            await until(lambda: self.box.is_over, seconds=seconds)
        tally = self.box.end()
        self.stop_traffic()
        return tally

    async def red(self, tally: Tally, column: str, *, patience_s: float = PATIENCE_S) -> dict[str, Any]:
        """Wait until something shows in this column, a bounded time; return the row."""
        with contextlib.suppress(AssertionError):
            await until(lambda: judge(tally, self.evidence())[column] > 0, seconds=patience_s)
        return judge(tally, self.evidence())

    async def row(self, tally: Tally, *, patience_s: float = 10.0) -> dict[str, Any]:
        """Wait until the row is as it should be, a bounded time, then a moment more; return it."""
        for _ in range(2):
            with contextlib.suppress(AssertionError):
                await until(lambda: self._is_settled(tally), seconds=patience_s)
            await asyncio.sleep(AFTERWARDS_S)
        return judge(tally, self.evidence())

    def _is_settled(self, tally: Tally) -> bool:
        return not self._handing_in and not faults(judge(tally, self.evidence()))
