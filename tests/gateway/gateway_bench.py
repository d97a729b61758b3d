# SPDX-License-Identifier: Apache-2.0
"""What the gateway's tests share: a running gateway, a hub in memory, envelopes that nobody can open."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sealway.gateway.gateway import GatewayConfig, Service
from sealway.gateway.limits import Limits
from sealway.gateway.uplink import Backoff
from sealway.transports.coap import CoapCarrier
from sealway.transports.memory import MemoryHub
from sealway.transports.ports import Carrier
from sealway.wire.address import Name
from sealway.wire.consent import ConsentClaims, SignedConsent
from sealway.wire.cose import TYP_CONSENT, Sign1, X5t
from sealway.wire.envelope import Envelope

QUICK = Backoff(0.02, 0.1)


@dataclass
class Bench:
    """Makes what the tests need; every gateway and carrier started here is closed with the test."""

    root: Path
    stack: AsyncExitStack
    hub: MemoryHub = field(default_factory=MemoryHub)
    random: random.Random = field(default_factory=lambda: random.Random(7))

    def envelope(self, size: int = 80) -> bytes:
        """An envelope around ``size`` random bytes."""
        return Envelope(b"k", self.random.randrange(1 << 32), self.random.randbytes(size)).encode()

    def envelopes(self, count: int, size: int = 80) -> list[bytes]:
        return [self.envelope(size) for _ in range(count)]

    def mailbox(self, label: str = "meter-1") -> str:
        return Name("building.example", "device", label).mailbox

    def consent(self, label: str = "meter-1", *, lasts: int = 3600) -> bytes:
        """A device's consent with a signature that no one checks here."""
        now = int(time.time())
        device, gateway = Name("building.example", "device", label), Name("building.example", "gateway", "g")
        claims = ConsentClaims(device, gateway, device.mailbox, now - 10, now + lasts)
        return SignedConsent(Sign1(TYP_CONSENT, X5t(bytes(32)), claims.encode(), bytes(64)), claims).encode()

    async def gateway(
        self, directory: str = "gateway", *, uplink: Carrier | None = None, port: int = 0, limits: Limits | None = None
    ) -> Running:
        """A running gateway whose uplink is the hub in memory, if no other is given."""
        config = GatewayConfig(
            self.root / directory, port=port, limits=limits or Limits(), collect_seconds=5.0, backoff=QUICK
        )
        carrier = uplink or self.hub.carrier(needs_consent=True)
        return await self.stack.enter_async_context(running(config, carrier))

    async def carrier(
        self, uri: str, *, window: int = 8, timeout: float = 10.0, refresh: float = 1.0, compact: bool = False
    ) -> CoapCarrier:
        carrier = CoapCarrier(uri, window=window, timeout=timeout, refresh=refresh, compact=compact)
        self.stack.push_async_callback(carrier.close)
        return carrier

    async def until(self, holds: Callable[[], bool], seconds: float = 10.0) -> None:
        """Wait for a condition; fail when it does not come true in time."""
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, "did not come true in time"
            await asyncio.sleep(0.01)


@dataclass
class Running:
    """A gateway at work: its URI, its state directory, and how to stop it."""

    uri: str
    state_dir: Path
    gateway: Service
    task: asyncio.Task[None]

    @property
    def port(self) -> int:
        return int(self.uri.rsplit(":", 1)[1])

    async def stop(self) -> None:
        self.gateway.stop()
        await self.task


@asynccontextmanager
async def running(config: GatewayConfig, uplink: Carrier) -> AsyncIterator[Running]:
    gateway = Service(config, uplink)
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(gateway.run(ready.set_result))
    waiting: set[asyncio.Future[Any]] = {task, ready}
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    try:
        yield Running(await ready, config.state_dir, gateway, task)
    finally:
        gateway.stop()
        await task
