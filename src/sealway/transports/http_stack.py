# SPDX-License-Identifier: Apache-2.0
"""httpx over connections that are closed whenever they come to nothing.

httpcore closes a connection whose TLS handshake fails, but not one whose handshake is cancelled: its socket stays open
until the garbage collector finds it. An endpoint that is closed while it connects would leave one behind.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from typing import Any, Final

import httpcore
import httpx

_MOST_CONNECTIONS: Final = 100
_MOST_IDLE: Final = 20
_IDLE_S: Final = 5.0


def http_transport(context: ssl.SSLContext) -> httpx.AsyncHTTPTransport:
    """Return a transport of HTTP/1.1 over TLS with this context. Proxies of the environment mean nothing to it."""
    transport = httpx.AsyncHTTPTransport(verify=context, trust_env=False)
    transport._pool = httpcore.AsyncConnectionPool(
        ssl_context=context, max_connections=_MOST_CONNECTIONS, max_keepalive_connections=_MOST_IDLE,
        keepalive_expiry=_IDLE_S, network_backend=_Network(),
    )  # fmt: skip
    return transport


class _Network(httpcore.AnyIOBackend):
    async def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:  # fmt: skip
        return _Plain(await super().connect_tcp(host, port, timeout, local_address, socket_options))


class _Plain(httpcore.AsyncNetworkStream):
    """A connection before its TLS handshake."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self.get_extra_info = stream.get_extra_info  # type: ignore[method-assign]

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        try:
            return await self._stream.start_tls(ssl_context, server_hostname, timeout)
        except BaseException:
            await self._stream.aclose()
            raise

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, timeout)
