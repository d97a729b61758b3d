# SPDX-License-Identifier: Apache-2.0
"""Who waits for which mailbox. No rows, no policy: only the waking up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class Waiters:
    """Long polls of one process, on one event loop."""

    def __init__(self) -> None:
        self._by_mailbox: dict[str, set[asyncio.Event]] = {}
        self._all: set[asyncio.Event] = set()
        self.closed = False

    @property
    def count(self) -> int:
        """How many polls wait."""
        return len(self._all)

    @contextmanager
    def waiting_for(self, mailboxes: Iterable[str]) -> Iterator[asyncio.Event]:
        """Give an event that is set when something arrives in one of the mailboxes, from now until the block ends."""
        event, named = asyncio.Event(), tuple(mailboxes)
        for mailbox in named:
            self._by_mailbox.setdefault(mailbox, set()).add(event)
        self._all.add(event)
        try:
            yield event
        finally:
            self._all.discard(event)
            for mailbox in named:
                self._forget(mailbox, event)

    def wake(self, mailbox: str) -> None:
        """Something durable has arrived in the mailbox."""
        for event in self._by_mailbox.get(mailbox, ()):
            event.set()

    def close(self) -> None:
        """The hub stops: every poll ends with what it has."""
        self.closed = True
        for event in self._all:
            event.set()

    def _forget(self, mailbox: str, event: asyncio.Event) -> None:
        events = self._by_mailbox.get(mailbox)
        if events is None:
            return
        events.discard(event)
        if not events:
            del self._by_mailbox[mailbox]
