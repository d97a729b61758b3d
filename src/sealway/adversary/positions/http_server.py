# SPDX-License-Identifier: Apache-2.0
"""An HTTPS server for a position: a small ASGI application with bounds, and a uvicorn that leaves signals alone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import uvicorn

from sealway.adversary.positions.http_proxy import HttpPosition, away
from sealway.adversary.positions.upstream import MOST_BODY_BYTES, Answered, Asked
from sealway.errors import LocalMisuse, TransportFailed

log = logging.getLogger(__name__)

_BODY_S: Final = 30.0
_MOST_CONNECTIONS: Final = 256
_BACKLOG: Final = 128
_GRACE_S: Final = 2
_TOO_LARGE: Final = Answered(413)

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class HttpFace:
    """The ASGI application of a position."""

    def __init__(self, position: HttpPosition) -> None:
        self._position = position

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request (ASGI 3)."""
        if scope["type"] != "http":
            return
        answer = await self._answer(scope, receive)
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers.items()]
        headers.append((b"content-length", str(len(answer.body)).encode()))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, scope: dict[str, Any], receive: Receive) -> Answered:
        try:
            async with asyncio.timeout(_BODY_S):
                body = await _body(receive)
        except TimeoutError:
            return Answered(408)
        if body is None:
            return _TOO_LARGE
        query = scope["query_string"].decode("latin-1")
        target = scope["raw_path"].decode("latin-1") + (f"?{query}" if query else "")
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            return await self._position.answer(Asked(scope["method"], target, headers, body))
        except TransportFailed as error:
            log.warning("%s %s: %s", scope["method"], scope["path"], error.message)
            return away(error)


async def _body(receive: Receive) -> bytes | None:
    """Return a request's body, None if it is too large."""
    body, more = bytearray(), True
    while more:
        part = await receive()
        body += part.get("body", b"")
        more = part["type"] == "http.request" and part.get("more_body", False)
        if len(body) > MOST_BODY_BYTES:
            return None
    return bytes(body)


class HttpsServer:
    """Serves a position until cancelled.

    Args:
        position: answers.
        context: the server's TLS: a certificate that clients take for the hub's.
        host: address to listen on.
        port: port to listen on, 0 for any.

    Raises:
        LocalMisuse: the address is taken.
    """

    def __init__(self, position: HttpPosition, context: ssl.SSLContext, host: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        except OSError as error:
            raise LocalMisuse(f"cannot listen on {host} port {port}: {error.strerror or error}") from None
        shown = f"[{host}]" if ":" in host else host
        self.url = f"https://{shown}:{self._socket.getsockname()[1]}"
        self._position = position
        self._server = _QuietServer(
            uvicorn.Config(
                HttpFace(position), ssl_context_factory=lambda _config, _default: context, http="httptools", ws="none",
                loop="none", lifespan="off", log_config=None, proxy_headers=False, server_header=False,
                date_header=False, limit_concurrency=_MOST_CONNECTIONS, backlog=_BACKLOG,
                timeout_graceful_shutdown=_GRACE_S,
            )
        )  # fmt: skip

    async def serve(self) -> None:
        """Serve; returns after ``stop``."""
        try:
            await self._server.serve([self._socket])
        finally:
            await self._position.close()
            self._socket.close()

    def stop(self) -> None:
        """Let ``serve`` end; what is under way gets two seconds."""
        self._server.should_exit = True


class _QuietServer(uvicorn.Server):
    """uvicorn's server without its signal handlers: who runs the process has its own."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        with contextlib.nullcontext():
            yield
