# SPDX-License-Identifier: Apache-2.0
"""One HTTP connection: uvicorn's, with bounds on what comes before a body.

The HTTP parser has no limit on heads (request line and headers), and no time by which one has to be complete; a
stranger needs neither a token nor a certificate to get this far.
"""

from __future__ import annotations

import asyncio
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEAD_BYTES: Final = 16_384
HEAD_SECONDS: Final = 15.0


class BoundedConnection(HttpToolsProtocol):
    """Closes a connection whose head is too large or too slow."""

    _head_due = True
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there; its first head has to come in time."""
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; what comes before the end of a head is counted and timed."""
        if self._head_due:
            self._head_bytes += len(data)
            self._start_timer()
        super().data_received(data)
        if self._head_due and self._head_bytes > MOST_HEAD_BYTES:
            self.transport.close()

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._head_due = False
        self._stop_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is there; the next bytes are another head."""
        super().on_message_complete()
        self._head_due, self._head_bytes = True, 0

    def _start_timer(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        self._head_timer = None
        self.transport.close()
