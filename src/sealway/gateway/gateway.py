# SPDX-License-Identifier: Apache-2.0
"""The gateway: CoAP on the devices' side, a carrier on the hub's side, a durable queue between them.

It never holds an endpoint's key and never sees plaintext: it imports nothing that could open an envelope.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from sealway.errors import LocalMisuse
from sealway.gateway.downlink import Downlink
from sealway.gateway.limits import Limits
from sealway.gateway.metrics import Metrics
from sealway.gateway.queue import DurableQueue
from sealway.gateway.resources import Directory, Mailboxes, routes
from sealway.gateway.server import CoapFace
from sealway.gateway.uplink import Backoff, Uplink
from sealway.gateway.watchers import Watchers
from sealway.storage.directory import DirectoryLock
from sealway.transports.coap_stack import StackLimits, loopback_address, open_server
from sealway.transports.ports import Carrier

_COUNTERS_EVERY: Final = 1.0  # seconds
_EXPIRY_EVERY: Final = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """What a gateway needs to know.

    Fields: ``state_dir`` belongs to one gateway at a time; ``host`` must be a loopback address until there is DTLS;
    ``port`` 0 takes a free one; ``uplink_uri`` is where the carrier leads, to refuse a gateway that would feed itself;
    ``collect_seconds`` is the length of a long poll; ``backoff`` rules retries while the next hop is away;
    ``address_file`` is where the URI is written once the gateway is ready.
    """

    state_dir: Path
    host: str = "127.0.0.1"
    port: int = 5683
    limits: Limits = field(default_factory=Limits)
    uplink_uri: str | None = None
    collect_seconds: float = 30.0
    backoff: Backoff = field(default_factory=Backoff)
    address_file: Path | None = None


class Service:
    """A store-and-forward gateway as the command runs it; ``uplink`` stays the caller's to close."""

    def __init__(self, config: GatewayConfig, uplink: Carrier) -> None:
        self._config = config
        self._uplink = uplink
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Let ``run`` finish."""
        self._stop.set()

    async def run(self, ready: Callable[[str], None]) -> None:
        """Serve until ``stop`` or cancellation; ``ready`` gets the URI with the real port when devices may come.

        Raises LocalMisuse (not a loopback address, directory in use, a loop), StateLost (damaged queue),
        TransportFailed (port taken).
        """
        loopback_address(self._config.host)
        async with AsyncExitStack() as stack:
            stack.callback(DirectoryLock(self._config.state_dir, "gateway").release)
            queue = DurableQueue(self._config.state_dir, self._config.limits)
            stack.push_async_callback(queue.close)
            works = Works(self._config, self._uplink, queue, Metrics(await queue.counters()))
            stack.push_async_callback(works.save_counters)
            uri = await self._listen(works, stack)
            ready(uri)
            await works.serve_until(self._stop)

    async def _listen(self, works: Works, stack: AsyncExitStack) -> str:
        host, limits = self._config.host, StackLimits()
        context, port = await open_server(works.face, host, self._config.port, limits=limits, count=works.metrics.add)
        stack.push_async_callback(context.shutdown)
        uri = f"coap://[{host}]:{port}" if ":" in host else f"coap://{host}:{port}"
        _refuse_loop(uri, self._config.uplink_uri)
        return uri


class Works:
    """The parts of a running gateway, wired together."""

    def __init__(self, config: GatewayConfig, uplink: Carrier, queue: DurableQueue, metrics: Metrics) -> None:
        limits = config.limits
        self.metrics = metrics
        self._saved: dict[str, int] = {}
        self._queue = queue
        self._watchers = Watchers(limits.observers)
        self._up = Uplink(uplink, queue, metrics, config.backoff)
        self._down = Downlink(uplink, queue, self._watchers, metrics, limits, config.collect_seconds)
        mailboxes = Mailboxes(queue, self._watchers, metrics, limits)
        mailboxes.deposited, mailboxes.emptied = self._up.wake, self._down.emptied
        mailboxes.is_refused = self._down.is_refused
        directory = Directory(uplink, queue, metrics, limits)
        directory.consented = self._down.changed
        table = routes(mailboxes, directory, self._metrics_text, limits)
        self.face = CoapFace(table, limits, metrics, self._watchers)

    async def serve_until(self, stop: asyncio.Event) -> None:
        """Carry in both directions until the event is set; an error in one part ends all."""
        works = [self._up.run(), self._down.run(), self._keep_house()]
        tasks = [asyncio.create_task(work) for work in works]
        waiting = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait([*tasks, waiting], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in [*tasks, waiting]:
                task.cancel()
            await asyncio.gather(*tasks, waiting, return_exceptions=True)

    async def _keep_house(self) -> None:
        """Write the counters down, drop what is held too long, forget consents that expired."""
        next_expiry = 0.0
        while True:
            await self.save_counters()
            if time.monotonic() >= next_expiry:
                await self._expire()
                next_expiry = time.monotonic() + _EXPIRY_EVERY
            await asyncio.sleep(_COUNTERS_EVERY)

    async def save_counters(self) -> None:
        """Write the counters into the state, for `gateway_status`, if they changed."""
        values = self.metrics.values()
        if values != self._saved:
            await self._queue.save_counters(values)
            self._saved = values

    async def _expire(self) -> None:
        outbound, inbound = await self._queue.expire(time.time())
        self.metrics.add("deposits_expired", outbound)
        self.metrics.add("collected_expired", inbound)
        for consent in await self._queue.consents():
            if consent.expires <= time.time():
                await self._queue.forget_consent(consent)
                self.metrics.add("consents_dropped")
                self._down.changed(consent.mailbox)

    async def _metrics_text(self) -> str:
        gauges = await self._queue.held()
        return self.metrics.prometheus({**gauges, "observers": len(self._watchers)})


def _refuse_loop(own: str, uplink: str | None) -> None:
    """Raise LocalMisuse if the uplink leads back here; longer loops end by the hop limit (RFC 8768)."""
    if uplink is None:
        return
    here, there = urlsplit(own), urlsplit(uplink)
    host = "127.0.0.1" if there.hostname == "localhost" else there.hostname
    if (there.scheme, host, there.port or 5683) == (here.scheme, here.hostname, here.port):
        raise LocalMisuse("the uplink leads back to this gateway", hint="name the hub, or another gateway")
