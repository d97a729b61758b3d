# SPDX-License-Identifier: Apache-2.0
"""Who observes which mailbox (RFC 7641), and when a notification may be sent.

A notification holds the oldest envelopes that wait. Until the device acknowledges some or asks again, another one would
say the same, so it is not sent, except every ``_REMIND`` seconds in case it was lost. This is the flow control: a
device that went away costs a few datagrams, not a backlog.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

_REMIND: Final = 2.0  # seconds
_LIFETIME: Final = 3600.0  # seconds; a client that is still there registers again (RFC 7641 §3.3.1)
_SEQUENCE: Final = 1 << 24  # Observe is a uint of 3 bytes (RFC 7641 §2)


class Watch:
    """One observation of one mailbox."""

    def __init__(self) -> None:
        self.ended = False
        self._news = asyncio.Event()
        self._free = asyncio.Event()  # clear while a notification is unanswered
        self._free.set()
        self._until = time.monotonic() + _LIFETIME

    def news(self) -> None:
        """Something was put into the mailbox."""
        self._news.set()

    def answered(self) -> None:
        """The device acknowledged something, or asked."""
        self._free.set()
        self._news.set()

    def notified(self) -> None:
        """A notification was sent."""
        self._free.clear()

    def end(self) -> None:
        """Let the observation finish."""
        self.ended = True
        self.answered()

    async def next(self) -> bool:
        """Wait until it is time to look into the mailbox again; False when the observation is over."""
        if not await _within(_REMIND, self._free):
            return not self.ended
        heard = await _within(self._until - time.monotonic(), self._news)
        self._news.clear()
        return heard and not self.ended


class Watchers:
    """All observations, at most ``limit``."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._watches: dict[str, dict[Hashable, Watch]] = {}  # mailbox -> endpoint -> its observation
        self._count = 0
        self._sequence = itertools.count(int(time.time()))

    def __len__(self) -> int:
        return self._count

    def next_sequence(self) -> int:
        """The next Observe value; one count for all observations, so it grows when one is registered again too."""
        return next(self._sequence) % _SEQUENCE

    @contextmanager
    def watch(self, mailbox: str, endpoint: Hashable) -> Iterator[Watch | None]:
        """Register an observation while the context lasts; None if there are too many.

        An endpoint observes a mailbox once: registering again ends its earlier observation.
        """
        earlier = self._watches.get(mailbox, {}).get(endpoint)
        if earlier is not None:
            self._remove(mailbox, endpoint, earlier)
            earlier.end()
        if self._count >= self._limit:
            yield None
            return
        watch = Watch()
        self._watches.setdefault(mailbox, {})[endpoint] = watch
        self._count += 1
        try:
            yield watch
        finally:
            self._remove(mailbox, endpoint, watch)

    def _remove(self, mailbox: str, endpoint: Hashable, watch: Watch) -> None:
        here = self._watches.get(mailbox, {})
        if here.get(endpoint) is watch:
            del here[endpoint]
            self._count -= 1
            if not here:
                del self._watches[mailbox]

    def news(self, mailboxes: Iterable[str]) -> None:
        """Something was put into these mailboxes."""
        for mailbox in mailboxes:
            for watch in self._watches.get(mailbox, {}).values():
                watch.news()

    def answered(self, mailbox: str) -> None:
        """The device of this mailbox acknowledged something, or asked."""
        for watch in self._watches.get(mailbox, {}).values():
            watch.answered()


async def _within(seconds: float, event: asyncio.Event) -> bool:
    """Wait for an event; False if it does not come within ``seconds``."""
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            await event.wait()
    except TimeoutError:
        return False
    return True
