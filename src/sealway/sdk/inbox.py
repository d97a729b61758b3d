# SPDX-License-Identifier: Apache-2.0
"""Opened messages on their way to whoever handles them: a few in memory, the others in the database until they are
reached.

Invariant: each message is given out once and in the order of opening, however far the one who handles them falls
behind.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sealway.storage.store import Store
from sealway.wire.address import Name
from sealway.wire.message import FirstIdentity, Message

_PAGE = (
    "SELECT peer, message, session, number, via, received, id, expires FROM inbox"
    " WHERE message IS NOT NULL AND id > ? AND event >= ? AND (? IS NULL OR peer = ?) ORDER BY id LIMIT ?"
)
MOST_IN_MEMORY = 1_024


@dataclass(frozen=True, slots=True)
class Received:
    """A message that was opened, as handlers get it.

    Args:
        peer: the sender's name, proven.
        message: what it said.
        identity: the first session hash and number: the same however often it is offered.
        via: hash of the session in which it came.
        received_ms: when it was opened, Unix milliseconds.
        row: its place in the inbox.
        expires: Unix seconds after which it must not be acted on, or None.
    """

    peer: str
    message: Message
    identity: FirstIdentity
    via: bytes
    received_ms: int
    row: int
    expires: int | None = None

    @property
    def sender(self) -> Name:
        """The name of who sealed it, proven."""
        return Name.parse(self.peer)

    @property
    def path(self) -> str:
        """What it is about, such as readings or valve/inlet."""
        return "/".join(self.message.path)

    @property
    def payload(self) -> bytes:
        """What it says."""
        return self.message.payload

    @property
    def sent_at(self) -> datetime | None:
        """When it was sealed, by the sender's clock; None if the sender did not say."""
        return None if self.message.sent_at is None else _time(self.message.sent_at)

    @property
    def received_at(self) -> datetime:
        """When it was opened here."""
        return _time(self.received_ms)


class _Written:
    """What becomes Received without its constructor, which takes four times as long to write to what is frozen.

    It has the same slots, so an instance can change its class; until then, and only until then, it can be written to.
    """

    __slots__ = Received.__slots__

    def __init__(
        self, peer: str, message: Message, identity: FirstIdentity, via: bytes, received_ms: int, row: int,
        expires: int | None,
    ) -> None:  # fmt: skip
        self.peer, self.message, self.identity, self.via = peer, message, identity, via
        self.received_ms, self.row, self.expires = received_ms, row, expires


def just_received(
    peer: str, message: Message, identity: FirstIdentity, via: bytes, received_ms: int, row: int, expires: int | None
) -> Received:  # fmt: skip
    """Return a message that was opened a moment ago: Received, made in less time."""
    received = _Written(peer, message, identity, via, received_ms, row, expires)
    received.__class__ = Received  # type: ignore[assignment]
    return received  # type: ignore[return-value]


class Inbox:
    """A queue over the inbox table; what an earlier process left unhandled comes first.

    Args:
        events_only: pass over requests and responses.
        sender: pass over what others sent.
        most: how many are held in memory.
    """

    def __init__(
        self, store: Store, *, events_only: bool = False, sender: str | None = None, most: int = MOST_IN_MEMORY
    ) -> None:  # fmt: skip
        self._store = store
        self._least_event = int(events_only)
        self._sender = sender
        self._most = most
        self._ready: deque[Received] = deque()
        self._last = 0
        self._behind = True
        self._more_came = False
        self._arrived = asyncio.Event()
        self._paging = asyncio.Lock()
        self._failure: BaseException | None = None

    def __len__(self) -> int:
        return len(self._ready)

    def offer(self, received: Received) -> None:
        """Take in a message that has just become durable; rows rise."""
        if received.row <= self._last:
            return  # read from the database already
        if self._behind or len(self._ready) >= self._most:
            self._behind = self._more_came = True
        else:
            self._ready.append(received)
            self._last = received.row
        self._arrived.set()

    def offer_all(self, received: list[Received]) -> None:
        """Take in messages that have just become durable; rows rise."""
        for each in received:
            self.offer(each)

    def again(self, received: Received) -> None:
        """Give this one out once more, before the others."""
        self._ready.appendleft(received)
        self._arrived.set()

    def fail(self, error: BaseException) -> None:
        """Raise ``error`` to whoever waits, from now on."""
        self._failure = error
        self._arrived.set()

    async def next(self) -> Received:
        """Return the next message. Raises what ``fail`` was told."""
        while not self._ready and self._failure is None:
            if self._behind:
                await self._read_page()
            else:
                self._arrived.clear()
                await self._arrived.wait()
        if self._failure is not None:
            raise self._failure
        return self._ready.popleft()

    def at_hand(self) -> Received | None:
        """Return the next message if ``next`` would not wait for it, nor raise; else None."""
        return self._ready.popleft() if self._ready and self._failure is None else None

    def take(self, most: int) -> list[Received]:
        """Return what is at hand without waiting, at most ``most``."""
        return [self._ready.popleft() for _ in range(min(most, len(self._ready)))]

    async def _read_page(self) -> None:
        async with self._paging:
            if self._ready or not self._behind:
                return
            self._more_came = False
            limits = (self._last, self._least_event, self._sender, self._sender, self._most)
            rows = await self._store.read(lambda connection: connection.execute(_PAGE, limits).fetchall())
            for row in rows:
                self._ready.append(_received(row))
                self._last = row[6]
            self._behind = len(rows) >= self._most or self._more_came


def _received(row: tuple[Any, ...]) -> Received:
    peer, content, session, number, via, received, place, expires = row
    message = Message.decode(content)
    message.forget_encoding()
    return Received(peer, message, FirstIdentity(session, number), via, received, place, expires)


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1_000, UTC)
