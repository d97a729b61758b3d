# SPDX-License-Identifier: Apache-2.0
"""An application: opens what devices send, and commands them with what the owner has granted.

async with Application(directory, member, carrier, grants=[grant]) as building:
    reply = await building.request(meter, "valve", b"close", timeout=timedelta(seconds=30))
    async for reading in building.messages():
        print(reading.message.sent_at, reading.message.payload)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

from sealway.sdk.inbox import Received
from sealway.sdk.role import Role
from sealway.wire.address import Name
from sealway.wire.message import Message

DEFAULT_TIMEOUT = timedelta(seconds=60)
DEFAULT_MAX_AGE = timedelta(minutes=5)


class Application(Role):
    """One application; see ``Role`` for how it is made."""

    async def request(
        self, to: Name, path: str, payload: bytes = b"", *, timeout: timedelta = DEFAULT_TIMEOUT,
        max_age: timedelta = DEFAULT_MAX_AGE, request_id: bytes | None = None,
    ) -> Message:  # fmt: skip
        """Send a command and return the device's answer.

        Args:
            timeout: after this the outcome is unknown, not failed.
            max_age: how old the device's message may be that the command is fresh against.
            request_id: 8 bytes; with the same id a command is executed at most once, however often it is asked.

        Raises:
            TransportFailed: no answer in time, or no session can be begun.
            NotAuthorized, Interrupted, Stale, NotFound: what the device answered.
        """
        asked = await self.ask(to, path, payload, timeout=timeout, max_age=max_age, request_id=request_id)
        return await self.answer(asked)

    async def ask(
        self, to: Name, path: str, payload: bytes = b"", *, timeout: timedelta = DEFAULT_TIMEOUT,
        max_age: timedelta = DEFAULT_MAX_AGE, request_id: bytes | None = None,
    ) -> bytes:  # fmt: skip
        """Send a command; return its request id once it is durable. ``answer`` waits for what comes back."""
        return await self._asker.ask(to, path, payload, timeout=timeout, max_age=max_age, request_id=request_id)

    async def answer(self, request_id: bytes) -> Message:
        """Return the answer to a command asked here, now or before a restart. Raises as ``request``."""
        return await self._asker.answer(request_id)

    @property
    def unanswered(self) -> dict[bytes, asyncio.Future[Message]]:
        """Commands that still wait for an answer, by request id; those of earlier processes included."""
        return self._asker.waiting

    async def batches(self, most: int = 100) -> AsyncIterator[list[Received]]:
        """Yield messages as they come, some at a time; a batch counts as handled when the next one is asked for."""
        while True:
            batch = await self.next_events(most)
            yield batch
            for received in batch:
                self.endpoint.note_handled(received)
                self.endpoint.journal.count("handled")
            await self.endpoint.journal.commit()

    async def messages(self, sender: Name | None = None) -> AsyncIterator[Received]:
        """Yield messages as they come, of one sender or of all. Each is handled once the next one is asked for."""
        async for batch in self.batches(1):
            for received in batch:
                if sender is None or received.peer == str(sender):
                    yield received
