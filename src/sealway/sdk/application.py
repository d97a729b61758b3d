# SPDX-License-Identifier: Apache-2.0
"""An application: opens what devices send, and commands them with what the owner has granted.

async with Application.open("~/.sealway/building") as building:
    reply = await building.request(meter, "valve", b"close", timeout=timedelta(seconds=30))
    async for reading in building.messages(sender=meter):
        print(reading.sent_at, reading.payload)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import ClassVar, Self

from sealway.errors import Closed
from sealway.home.carriers import next_hop
from sealway.home.membership import name_of
from sealway.home.unlocking import Passphrase
from sealway.protocol.policy import PostQuantum
from sealway.sdk.inbox import Received
from sealway.sdk.reading import Messages
from sealway.sdk.role import Role
from sealway.sdk.saying import message_of
from sealway.sdk.sessions import IN_MEMORY
from sealway.transports.ports import Carrier
from sealway.wire.address import Name
from sealway.wire.message import Message

DEFAULT_TIMEOUT = timedelta(seconds=60)
DEFAULT_MAX_AGE = timedelta(minutes=5)


class Application(Role):
    """One application: an asynchronous context, made by ``open``.

    What is sent to it has to be read (``messages``, ``batches``). What is not read waits in its state; above 100 000
    messages or 256 MiB it reports ``Unread`` and collects nothing more, not even answers, until it is.
    """

    _command: ClassVar[str] = "app"

    @classmethod
    @asynccontextmanager
    async def open(
        cls, directory: str | Path, *, hub: str | None = None, passphrase: Passphrase | None = None,
        key_file: str | Path | None = None, carrier: Carrier | None = None, max_silence: timedelta | None = None,
        post_quantum: PostQuantum = PostQuantum.PREFERRED, sessions_in_memory: int = IN_MEMORY,
    ) -> AsyncIterator[Self]:  # fmt: skip
        """Open the state directory of an enrolled application and begin to work: publish, offer, collect.

        Leaving the context stops it, makes its state durable and gives the directory free, also when it is cancelled.

        Args:
            directory: belongs to one process at a time.
            hub: another URL of its hub than its enrolment says, https://HOST[:PORT].
            passphrase: of its keys; else ``key_file``, a file of mode 0600, else SEALWAY_PASSPHRASE.
            carrier: another way to its next hop altogether; closed with the application.
            max_silence: peers are told that they may report this application as Silent after so long.
            sessions_in_memory: so many sessions stay in memory, 1 KiB each; the others are on the disk only.
            post_quantum: whether sessions begin with ML-KEM: never without, if the other end has a key, or never.

        Raises:
            InUse: another process uses the directory.
            LocalMisuse: not enrolled, or a wrong passphrase.
            NotTrusted: its certificate, or the owner's root document, has expired.
            StateLost: something in the directory is damaged.
        """
        enrolled = await cls._unlocked(directory, passphrase, key_file)
        hop = carrier if carrier is not None else next_hop(enrolled, hub=hub)
        path = cls._home(directory).path
        async with cls._opened(path, enrolled, hop, max_silence, post_quantum, sessions_in_memory) as application:
            yield application

    async def request(
        self, to: Name | str, path: str, payload: bytes = b"", *, timeout: timedelta = DEFAULT_TIMEOUT,
        max_age: timedelta = DEFAULT_MAX_AGE, request_id: bytes | None = None,
    ) -> Message:  # fmt: skip
        """Send a command and return the device's answer.

        Args:
            timeout: for all of it, the first session included; after this the outcome is unknown, not failed.
            max_age: how old the device's message may be that the command is fresh against.
            request_id: 8 bytes; with the same id a command is executed at most once, however often it is asked.

        Raises:
            TransportFailed: no answer in time, or no session can be begun.
            NotAuthorized, Interrupted, Stale, NotFound: what the device answered.
            LocalMisuse: not a name, not a path, or the id was used for another command.
            Closed: this application was closed meanwhile.

        Cancelled, or closed, the command may be on its way: asked again with the same ``request_id`` it is executed at
        most once, and its answer is kept.
        """
        name, clock = name_of(to), asyncio.get_running_loop().time
        message_of(path, payload, request_id=request_id)  # what cannot be asked is refused before anybody is looked for
        end = clock() + timeout.total_seconds()
        await self._reach(name, timeout)
        left = timedelta(seconds=max(0.0, end - clock()))
        asked = await self.ask(name, path, payload, timeout=left, max_age=max_age, request_id=request_id)
        return await self.answer(asked)

    async def ask(
        self, to: Name | str, path: str, payload: bytes = b"", *, timeout: timedelta = DEFAULT_TIMEOUT,
        max_age: timedelta = DEFAULT_MAX_AGE, request_id: bytes | None = None,
    ) -> bytes:  # fmt: skip
        """Send a command; return its request id once it is durable. ``answer`` waits for what comes back.

        Raises:
            TransportFailed: there is no session with ``to``, and none can be begun now.
            LocalMisuse: not a name, or the id was used for another command.
        """
        name = name_of(to)
        return await self._asker.ask(name, path, payload, timeout=timeout, max_age=max_age, request_id=request_id)

    async def answer(self, request_id: bytes) -> Message:
        """Return the answer to a command asked here, now or before a restart. Raises as ``request``."""
        return await self._asker.answer(request_id)

    @property
    def unanswered(self) -> dict[bytes, asyncio.Future[Message]]:
        """Commands that still wait for an answer, by request id; those of earlier processes included."""
        return self._asker.waiting

    def messages(self, sender: Name | str | None = None) -> Messages:
        """Return a loop over what one sender sent, or all did: ``async for reading in application.messages()``.

        A message counts as handled, durably, once its loop asks for the next one. A loop that ends in the middle of a
        message, by ``break``, an exception or a cancellation, leaves it for the next loop, here or after a restart. See
        ``Messages``. However slow a loop is, it holds 256 messages in memory at most; the others wait in the state.

        Raises:
            LocalMisuse: not a name.
        """
        return self._readers.begin(None if sender is None else str(name_of(sender)))

    async def batches(self, most: int = 100) -> AsyncIterator[list[Received]]:
        """Yield messages of all senders, some at a time: as ``messages``, with one commit for each batch."""
        messages = self.messages()
        while True:
            try:
                batch = await messages.take(most)
            except Closed:
                return
            yield batch
