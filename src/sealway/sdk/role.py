# SPDX-License-Identifier: Apache-2.0
"""What devices and applications have in common: an endpoint, requests asked and answered, and other messages handed out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from sealway.crypto.ports import Random
from sealway.errors import SealwayError
from sealway.protocol.events import Event
from sealway.protocol.policy import DEFAULT_POLICY, Policy
from sealway.sdk.asker import Asker
from sealway.sdk.clock import Clock
from sealway.sdk.endpoint import TICK_S, Endpoint
from sealway.sdk.engine import Received
from sealway.sdk.executor import Executor
from sealway.sdk.grants import GrantBook
from sealway.sdk.member import Member
from sealway.transports.ports import Carrier

_MOST_QUEUED = 1_024


class Role:
    """An endpoint with its dispatcher. An async context manager: entering starts it, leaving closes it.

    Args:
        directory: the state directory.
        member: who this endpoint is.
        carrier: its next hop.
        grants: encoded grants of the owner that this endpoint holds.
        consents: encoded consents to publish (a device's, for its gateway).
    """

    def __init__(
        self, directory: Path, member: Member, carrier: Carrier, *, grants: Sequence[bytes] = (), consents: Sequence[bytes] = (),
        clock: Clock | None = None, random: Random = os.urandom, policy: Policy = DEFAULT_POLICY,
    ) -> None:  # fmt: skip
        self.endpoint = Endpoint(
            directory, member, carrier, consents=consents, clock=clock, random=random, policy=policy
        )
        endpoint = self.endpoint
        self._grants = GrantBook(member.root, endpoint.journal, endpoint.clock)
        self._executor = Executor(endpoint, self._grants)
        self._asker = Asker(endpoint, self._grants, random)
        self._offered = grants
        self._events: asyncio.Queue[Received] = asyncio.Queue(_MOST_QUEUED)
        self._tasks: list[asyncio.Task[None]] = []
        self._failure: BaseException | None = None

    async def __aenter__(self) -> Self:
        self.endpoint.store.read_now(self._load)
        for encoded in self._offered:
            self._grants.learn(encoded)
        await self.endpoint.start()
        self._tasks = [asyncio.create_task(work(), name=work.__name__) for work in (self._dispatch, self._expire)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:  # fmt: skip
        await self.close()

    async def close(self) -> None:
        """Stop, make durable what is noted, and give the directory free."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.endpoint.close()

    def _load(self, connection: sqlite3.Connection) -> None:
        self._grants.load(connection)
        self._asker.load(connection, self.endpoint.clock.now_ms())

    async def _dispatch(self) -> None:
        """Hand each opened message to whom it is for, in the order of opening."""
        try:
            while True:
                received = await self.endpoint.next_received()
                await self._dispatch_one(received)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._failure = error
            raise

    async def _dispatch_one(self, received: Received) -> None:
        message = received.message
        if message.code >= 0x40:
            self._asker.answered(received)
            await self.endpoint.journal.commit()
        elif message.request_id is not None:
            await self._execute(received)
        else:
            await self._events.put(received)

    async def _execute(self, received: Received) -> None:
        try:
            await self._executor.execute(received)
        except SealwayError:
            self.endpoint.check_alive()
            # No session to answer in, and none to be had now: the request stays unhandled and is offered after a restart.

    async def _expire(self) -> None:
        while True:
            self._asker.expire(self.endpoint.clock.now_ms())
            await asyncio.sleep(TICK_S)

    async def next_event(self) -> Received:
        """Return the next message that is neither request nor response. Raises what stopped this endpoint."""
        self._check_alive()
        while True:
            with contextlib.suppress(TimeoutError):
                return await asyncio.wait_for(self._events.get(), TICK_S)
            self._check_alive()

    async def next_events(self, most: int) -> list[Received]:
        """Return at least one message and at most ``most``, without waiting for more than the first."""
        found = [await self.next_event()]
        while len(found) < most and not self._events.empty():
            found.append(self._events.get_nowait())
        return found

    def _check_alive(self) -> None:
        self.endpoint.check_alive()
        if self._failure is not None:
            raise self._failure

    async def happenings(self) -> Event:
        """Return the next event of the protocol: Missing, Silent, Unacknowledged, ForkSuspected."""
        return await self.endpoint.events.get()
