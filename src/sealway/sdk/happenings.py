# SPDX-License-Identifier: Apache-2.0
"""What an endpoint reports besides messages, until somebody takes it; of what nobody takes the newest are kept."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from sealway.protocol.events import Event

MOST_KEPT: Final = 1_024


class Happenings:
    """Events in order, 1024 at most: an old one makes room for a new one."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=MOST_KEPT)
        self._arrived = asyncio.Event()
        self._failure: BaseException | None = None

    def put(self, event: Event) -> None:
        """Add an event."""
        self._events.append(event)
        self._arrived.set()

    def fail(self, error: BaseException) -> None:
        """Raise ``error`` to whoever waits, once what is there was taken."""
        self._failure = error
        self._arrived.set()

    async def next(self) -> Event:
        """Return the oldest event. Raises what ``fail`` was told."""
        while not self._events:
            if self._failure is not None:
                raise self._failure
            self._arrived.clear()
            await self._arrived.wait()
        return self._events.popleft()
