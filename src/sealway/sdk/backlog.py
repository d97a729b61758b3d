# SPDX-License-Identifier: Apache-2.0
"""What was sent to an endpoint that nobody reads: it is acknowledged and must not be lost, so it has to be bounded.

Invariant: above the bound nothing is collected any more. What comes then waits at the hub, within the hub's limits, and
with its sender, who keeps it until it is acknowledged: nothing is lost, and the disk does not fill up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sealway.protocol.events import Event
from sealway.storage.store import Store

MOST_MESSAGES: Final = 100_000
MOST_BYTES: Final = 256 << 20

_EVERY: Final = 500
_LOOK_S: Final = 1.0
_GOES_ON_BELOW: Final = 0.9
_UNREAD: Final = "SELECT count(*), coalesce(sum(length(message)), 0) FROM inbox WHERE message IS NOT NULL"


@dataclass(frozen=True, slots=True)
class Unread(Event):
    """So much was not read here that nothing is collected any more, answers to own requests included, until it is read.

    ``peer`` is this endpoint itself; there is no session.
    """

    messages: int
    bytes: int


class Backlog:
    """Measures what is unread, now and then.

    Args:
        report: called with messages and bytes when the bound is reached.
    """

    def __init__(self, store: Store, report: Callable[[int, int], None]) -> None:
        self._store = store
        self._report = report
        self._since = _EVERY

    async def room(self, came: int) -> None:
        """Wait while too much is unread; ``came`` is how many messages were collected since the last call."""
        self._since += came
        if self._since < _EVERY:
            return
        self._since = 0
        messages, size = await self._measured()
        if messages < MOST_MESSAGES and size < MOST_BYTES:
            return
        self._report(messages, size)
        while messages >= _GOES_ON_BELOW * MOST_MESSAGES or size >= _GOES_ON_BELOW * MOST_BYTES:
            await asyncio.sleep(_LOOK_S)
            messages, size = await self._measured()

    async def _measured(self) -> tuple[int, int]:
        messages, size = await self._store.read(lambda connection: connection.execute(_UNREAD).fetchone())
        return messages, size
