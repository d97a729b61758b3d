# SPDX-License-Identifier: Apache-2.0
"""A gateway for programs: where it listens, where it leads, what it takes.

gateway = Gateway(CoapListener("127.0.0.1:5683"), uplink=HttpUplink(identity=identity), state="/var/lib/gateway")
await gateway.run()

It has no key that opens anything, and what it carries has no payload attribute. Who it is to its hub is handed to it,
since what opens a keystore is not to be found in a carrier (see the trust boundary in ARCHITECTURE.md).
"""

from __future__ import annotations

import asyncio
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

from sealway.errors import LocalMisuse
from sealway.gateway.gateway import GatewayConfig, Service
from sealway.gateway.limits import Limits
from sealway.storage.closing import to_the_end
from sealway.transports.http import HttpCarrier
from sealway.transports.ports import Carrier
from sealway.wire.address import Name

_BIND: Final = re.compile(r"(?P<host>[0-9.]+|localhost|\[[0-9a-fA-F:]+\]):(?P<port>[0-9]{1,5})", re.ASCII)


@dataclass(frozen=True, slots=True)
class CoapListener:
    """Where devices come to: CoAP over UDP.

    Args:
        address: HOST:PORT, an IPv6 address in brackets; port 0 takes a free one. Loopback only, until there is DTLS.

    Raises:
        LocalMisuse: not HOST:PORT.
    """

    address: str = "127.0.0.1:5683"

    def __post_init__(self) -> None:
        if _BIND.fullmatch(self.address) is None or self.port > 65_535:
            raise LocalMisuse(f"{self.address!r} is not HOST:PORT", hint="such as 127.0.0.1:5683 or [::1]:5683")

    @property
    def host(self) -> str:
        """The address without brackets."""
        return self.address.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port, 0 for any."""
        return int(self.address.rpartition(":")[2])


class Identity(Protocol):
    """Who a gateway is to its hub; ``HopIdentity`` is one."""

    @property
    def name(self) -> Name:
        """The certified name."""

    @property
    def hub(self) -> str:
        """The hub that the owner named: https://HOST[:PORT]."""

    def tls(self) -> ssl.SSLContext:
        """Return a context that trusts hops of this domain only."""

    def assertion(self, audience: str) -> str:
        """Return a fresh proof, for one hub, of who this is (RFC 7523)."""


class Uplink(Protocol):
    """A way to the next hop; ``HttpUplink`` is one."""

    @property
    def url(self) -> str | None:
        """Where it leads, to refuse a gateway that would feed itself; None if it has no address."""

    def open(self) -> Carrier:
        """Return a new carrier, of the event loop that runs now."""


class HttpUplink:
    """The way to a hub over HTTPS.

    Args:
        url: https://HOST[:PORT]; the hub that the owner named by default.
        identity: who the gateway is: ``HopIdentity.open(directory)``.
    """

    def __init__(self, url: str | None = None, *, identity: Identity) -> None:
        self.url: str | None = url or identity.hub
        self._identity = identity

    def open(self) -> Carrier:
        """Return a new carrier, of the event loop that runs now. Raises LocalMisuse if the URL is none."""
        me = self._identity
        return HttpCarrier(self.url or me.hub, ssl_context=me.tls(), name=str(me.name), make_assertion=me.assertion)


class Gateway:
    """Carries envelopes between devices and a hub, with a durable queue between them; opens nothing.

    ``await gateway.run()`` serves until it is cancelled. As an asynchronous context it serves in the background:
    entered, it is ready, and ``address`` says where. However it ends, what it accepted is in ``state`` and goes on from
    there.

    Args:
        listener: where devices come to.
        uplink: where it leads.
        state: the directory of its queue; belongs to one gateway at a time.
        limits: what it takes, from whom and for how long.
    """

    def __init__(
        self, listener: CoapListener, *, uplink: Uplink, state: str | Path, limits: Limits | None = None
    ) -> None:  # fmt: skip
        self._uplink = uplink
        self._config = GatewayConfig(
            Path(state).expanduser(), host=listener.host, port=listener.port, limits=limits or Limits(),
            uplink_uri=uplink.url,
        )  # fmt: skip
        self._serving: asyncio.Task[None] | None = None
        self._address: str | None = None

    @property
    def address(self) -> str:
        """The URI for devices, coap://HOST:PORT, with the real port. Raises LocalMisuse while it does not serve."""
        if self._address is None:
            raise LocalMisuse("the gateway does not serve yet", hint="ask for its address inside `async with gateway`")
        return self._address

    async def run(self) -> None:
        """Serve until cancelled.

        Raises:
            InUse: another gateway uses the directory.
            LocalMisuse: not a loopback address, or an uplink that leads back here.
            TransportFailed: the port is taken.
            StateLost: the queue is damaged.
        """
        async with self:
            await self.served()

    async def served(self) -> None:
        """Wait until it serves no more. Raises what stopped it, as ``run``."""
        if self._serving is not None:
            await asyncio.shield(self._serving)

    async def __aenter__(self) -> Self:
        if self._serving is not None:
            raise LocalMisuse("this gateway serves already")
        ready = asyncio.Event()
        self._serving = asyncio.create_task(self._serve(ready), name="gateway")
        waiting = asyncio.create_task(ready.wait())
        try:
            await asyncio.wait({waiting, self._serving}, return_when=asyncio.FIRST_COMPLETED)
        except BaseException:
            await to_the_end(self._end())
            raise
        finally:
            waiting.cancel()
        if self._serving.done():
            await self._end()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:  # fmt: skip
        await to_the_end(self._end(quietly=error is not None))

    async def _serve(self, ready: asyncio.Event) -> None:
        def tell(address: str) -> None:
            self._address = address
            ready.set()

        carrier = self._uplink.open()
        try:
            await Service(self._config, carrier).run(tell)
        finally:
            self._address = None
            await carrier.close()

    async def _end(self, *, quietly: bool = False) -> None:
        """Cancel the service and wait for it. Raises what had stopped it before, unless that is known already."""
        serving, self._serving = self._serving, None
        if serving is None:
            return
        serving.cancel()
        await asyncio.wait({serving})
        if not serving.cancelled() and (failure := serving.exception()) is not None and not quietly:
            raise failure
