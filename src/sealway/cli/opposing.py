# SPDX-License-Identifier: Apache-2.0
"""An adversary at work: stands somewhere, does its acts, and writes down what came of them."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from sealway.adversary.attack import Act
from sealway.adversary.carrier import HostileCarrier
from sealway.adversary.ledger import Ledger
from sealway.adversary.middlebox import Middlebox
from sealway.adversary.play import GRACE_S, Performed, Play
from sealway.adversary.positions.coap_relay import CoapRelay
from sealway.adversary.positions.http_proxy import HttpPosition
from sealway.adversary.positions.http_server import HttpsServer
from sealway.adversary.positions.upstream import Upstream
from sealway.adversary.report import as_plain
from sealway.adversary.scenario import Scenario, act_of
from sealway.cli.messages import emit
from sealway.cli.questions import lines_as_they_come
from sealway.crypto.secret import Secret
from sealway.errors import LocalMisuse, SealwayError
from sealway.gateway.gateway import GatewayConfig, Service
from sealway.home.carriers import hub_carrier
from sealway.home.home import HOP_KEY, Enrolled
from sealway.hub.tls import server_context
from sealway.storage.files import write_file
from sealway.transports.hop_tls import client_context

LOOK_S: Final = 0.05
_STANDARD_INPUT: Final = Path("-")
_COAP: Final = 5683


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """Where an adversary stands and what it is to do.

    Fields: ``between`` which hop it takes the place of; ``listen`` and ``upstream`` addresses; ``scenario`` acts to be
    done one after the other, or None for what standard input orders; ``report`` where it writes what came of them;
    ``state`` its own directory.
    """

    between: str
    listen: tuple[str, int]
    upstream: str
    seed: int
    scenario: Scenario | None = None
    report: Path | None = None
    state: Path | None = None
    enrolled: Enrolled | None = None

    def check(self) -> None:
        """Return if it can stand there. Raises LocalMisuse."""
        if self.between != "coap" and self.enrolled is None:
            message = f"--between {self.between} needs an identity of the adversary's own"
            raise LocalMisuse(message, hint="sealway adversary init, then --state DIR")


async def oppose(stand: Stand) -> None:
    """Stand there and do it until cancelled. Raises LocalMisuse, TransportFailed, StateLost."""
    middlebox = Middlebox(seed=stand.seed, now=time.time)
    acts = Orders(middlebox) if stand.scenario is None else Performance(middlebox, stand.scenario)
    try:
        async with _standing(stand, middlebox) as address, asyncio.TaskGroup() as tasks:
            emit("ready", between=stand.between, at=address)
            tasks.create_task(acts.look_forever())
            if isinstance(acts, Orders):
                tasks.create_task(acts.obey())
    finally:
        acts.stop()
        if stand.report is not None:
            report = json.dumps(as_plain(acts.scenario(stand.seed), acts.performed) | {"between": stand.between})
            write_file(stand.report, report.encode() + b"\n", "the report")


class Performance:
    """The acts of a scenario, one after the other; then everything passes."""

    def __init__(self, middlebox: Middlebox, scenario: Scenario) -> None:
        self._play = Play(scenario, middlebox, time.time)
        self._told = 0

    def scenario(self, seed: int) -> Scenario:
        """What was to be done, as it was written."""
        return self._play.scenario

    @property
    def performed(self) -> list[Performed]:
        """What was done."""
        return self._play.performed

    async def look_forever(self) -> None:
        """Do what is due, and tell of it; when all is done, everything passes."""
        while not self._play.is_over:
            before = self._play.act_on
            self._play.look()
            self._tell()
            if self._play.act_on not in ("", before):
                emit("begun", attack=self._play.act_on)
            await asyncio.sleep(LOOK_S)
        emit("finished", acts=len(self.performed))
        await asyncio.Event().wait()

    def stop(self) -> None:
        """End the act that is on."""
        self._play.stop()
        self._tell()

    def _tell(self) -> None:
        for act in self.performed[self._told :]:
            tell_ended(act)
        self._told = len(self.performed)


class Orders:
    """Acts as standard input orders them: {"begin": ACT}, where ACT is one table of a scenario, and {"end": true}."""

    def __init__(self, middlebox: Middlebox) -> None:
        self._middlebox = middlebox
        self._act: Act | None = None
        self._began = 0.0
        self._over = False
        self._told = 0, 0, 0
        self._acts: list[Act] = []
        self._closing: deque[tuple[Ledger, float, float]] = deque()
        self.performed: list[Performed] = []

    def scenario(self, seed: int) -> Scenario:
        """What was ordered."""
        return Scenario("ordered", "what standard input said", seed, tuple(self._acts))

    async def obey(self) -> None:
        """Do what standard input says. What cannot be done is told, and passed over."""
        async for line in lines_as_they_come(_STANDARD_INPUT):
            try:
                self._obey(line)
            except SealwayError as error:
                emit("invalid", error=error.message)

    def _obey(self, line: bytes) -> None:
        try:
            order = json.loads(line)
        except (ValueError, RecursionError):
            raise LocalMisuse("not JSON") from None
        match order:
            case {"begin": dict(row)}:
                self._begin(act_of(row))
            case {"end": True}:
                self._end()
            case _:
                raise LocalMisuse('{"begin": ACT} or {"end": true} is expected')

    def _begin(self, act: Act) -> None:
        self._middlebox.begin(act)
        self._act, self._began, self._over, self._told = act, time.time(), False, (0, 0, 0)
        self._acts.append(act)
        emit("begun", attack=act.attack.name)

    def _end(self) -> None:
        self._closing.append((self._middlebox.close(), self._began, time.time()))
        self._act = None
        self._tell_ended()

    def _tell_ended(self, *, waiting: bool = True) -> None:
        """Tell what came of acts that are over, in order, once what they sent has arrived or was given time to."""
        while self._closing:
            ledger, began, ended = self._closing[0]
            if waiting and ledger.pending and time.time() < ended + GRACE_S:
                return
            self._closing.popleft()
            self.performed.append(Performed(ledger.tally(), began, ended))
            tell_ended(self.performed[-1])

    async def look_forever(self) -> None:
        """Tell how far the act is, whenever that changes, and once that it has done all that it may."""
        while True:
            self._tell_ended()
            tally = self._middlebox.tally
            if self._act is not None and tally is not None:
                self._tell(self._act.attack.name, tally.tried, tally.reached_network, self._middlebox.holds)
            await asyncio.sleep(LOOK_S)

    def _tell(self, attack: str, tried: int, reached: int, holds: int) -> None:
        if (tried, reached, holds) != self._told:
            self._told = tried, reached, holds
            emit("acting", attack=attack, tried=tried, reached_network=reached, holds=holds)
        if not self._over and self._middlebox.is_over:
            self._over = True
            emit("over", attack=attack)

    def stop(self) -> None:
        """End the act that is on."""
        if self._act is not None:
            self._end()
        self._tell_ended(waiting=False)


def tell_ended(act: Performed) -> None:
    """Print what came of an act."""
    tally = act.tally
    account = {"attack": tally.name, "expected": tally.expected, "tried": tally.tried}
    emit("ended", **account, reached_network=tally.reached_network, items=tally.items, failure=act.failure)


# positions -----------------------------------------------------------------------------------------------------------
@asynccontextmanager
async def _standing(stand: Stand, middlebox: Middlebox) -> AsyncIterator[str]:
    """Stand there; yield the address at which clients come."""
    standing = {"http": _before_hub, "coap": _before_gateway, "gateway": _as_gateway}[stand.between]
    async with standing(stand, middlebox) as address:
        yield address


@asynccontextmanager
async def _before_hub(stand: Stand, middlebox: Middlebox) -> AsyncIterator[str]:
    enrolled, state = _identity(stand)
    context = server_context(enrolled.credential.chain, Secret(enrolled.keystore.hop_key_pem(HOP_KEY)), state)
    upstream = Upstream(stand.upstream, client_context(enrolled.root.issuing_cas))
    server = HttpsServer(HttpPosition(middlebox, upstream), context, *stand.listen)
    task = asyncio.create_task(server.serve(), name="https position")
    try:
        yield server.url
    finally:
        server.stop()
        await asyncio.gather(task, return_exceptions=True)
        await upstream.close()


@asynccontextmanager
async def _before_gateway(stand: Stand, middlebox: Middlebox) -> AsyncIterator[str]:
    there = urlsplit(stand.upstream)
    relay = CoapRelay(middlebox, *stand.listen, (there.hostname or "127.0.0.1", there.port or _COAP))
    await relay.open()
    try:
        yield relay.uri
    finally:
        await relay.close()


@asynccontextmanager
async def _as_gateway(stand: Stand, middlebox: Middlebox) -> AsyncIterator[str]:
    """A real gateway, certified like any other; what it believes to be the hub is the adversary."""
    enrolled, state = _identity(stand)
    host, port = stand.listen
    carrier = HostileCarrier(middlebox, hub_carrier(enrolled, stand.upstream))
    queue = state / "carried"
    queue.mkdir(mode=0o700, exist_ok=True)
    config = GatewayConfig(queue, host=host, port=port, uplink_uri=stand.upstream)
    gateway = Service(config, carrier)
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(gateway.run(ready.set_result), name="hostile gateway")
    waiting: set[asyncio.Future[Any]] = {task, ready}
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    try:
        if task.done():
            task.result()
        yield await ready
    finally:
        gateway.stop()
        await asyncio.gather(task, return_exceptions=True)
        await carrier.close()


def _identity(stand: Stand) -> tuple[Enrolled, Path]:
    if stand.enrolled is None or stand.state is None:
        raise LocalMisuse("an identity is needed here")
    return stand.enrolled, stand.state
