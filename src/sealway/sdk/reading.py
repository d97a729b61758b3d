# SPDX-License-Identifier: Apache-2.0
"""Loops over what was received: each message counts as handled once its loop asks for the next one.

Invariant: a message that was given out and not handled stays in the state, and is given out again: to the next loop of
this process, or to the next process. A loop holds a bounded number of messages in memory, however slow it is.
"""

from __future__ import annotations

import weakref
from typing import Final, Self

from sealway.errors import Closed, LocalMisuse
from sealway.sdk.inbox import Inbox, Received
from sealway.sdk.journal import Journal
from sealway.storage.store import Store

MOST_IN_HAND: Final = 256
"""Messages that one loop holds in memory; the others are read from the state as it comes to them."""

_HANDLED: Final = "UPDATE inbox SET message = NULL WHERE id = ?"


class Messages:
    """The messages of one sender, or of all, in the order of opening: an asynchronous iterator.

    The message in hand counts as handled, durably, once the next one is asked for. A loop that ends otherwise, by
    ``break``, by an exception, by cancellation, leaves it unhandled: it is the first that the next loop gets, in this
    process or after a restart. After a crash the message in hand comes again, and no other one does.

    It ends when the endpoint is closed. Its methods raise what stopped the endpoint otherwise, and LocalMisuse once
    another loop over the same messages has begun.
    """

    def __init__(self, store: Store, journal: Journal, sender: str | None) -> None:
        self._journal = journal
        self._inbox = Inbox(store, events_only=True, sender=sender, most=MOST_IN_HAND)
        self._in_hand: list[Received] = []

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Received:
        try:
            return (await self.take(1))[0]
        except Closed:
            raise StopAsyncIteration from None

    async def take(self, most: int) -> list[Received]:
        """Return at least one message and at most ``most``, without waiting for more than the first.

        Those returned before count as handled. Raises Closed once the endpoint is closed.
        """
        await self._settle()
        self._in_hand = [await self._inbox.next(), *self._inbox.take(most - 1)]
        return list(self._in_hand)

    async def _settle(self) -> None:
        """Make durable that what is in hand was handled; at first, that the last of a loop before this one was."""
        handled, self._in_hand = self._in_hand, []
        for received in handled:
            self._journal.note(_HANDLED, received.row)
            self._journal.count("handled")
        await self._journal.commit()

    def _offer(self, received: Received) -> None:
        """Take in a message that has just become durable."""
        self._inbox.offer(received)

    def _fail(self, error: BaseException) -> None:
        """Raise ``error`` to whoever asks for the next message."""
        self._inbox.fail(error)


class Readers:
    """The loops over one endpoint's messages: for each message one at most."""

    def __init__(self, store: Store, journal: Journal) -> None:
        self._store = store
        self._journal = journal
        self._open: weakref.WeakValueDictionary[str | None, Messages] = weakref.WeakValueDictionary()
        self._failure: BaseException | None = None

    def begin(self, sender: str | None) -> Messages:
        """Return a loop over the messages of one sender, or of all; another one over the same messages ends."""
        for other, messages in list(self._open.items()):
            if sender is None or other is None or other == sender:
                messages._fail(LocalMisuse("another loop reads these messages now", hint="read each in one place"))
                del self._open[other]
        messages = self._open[sender] = Messages(self._store, self._journal, sender)
        if self._failure is not None:
            messages._fail(self._failure)
        return messages

    def offer(self, received: Received) -> None:
        """Hand a message that has just become durable to the loop that it is for, if there is one."""
        for key in (None, received.peer) if self._open else ():
            messages = self._open.get(key)
            if messages is not None:
                messages._offer(received)

    def fail(self, error: BaseException) -> None:
        """End all loops, those that are yet to begin as well."""
        self._failure = error
        for messages in list(self._open.values()):
            messages._fail(error)
