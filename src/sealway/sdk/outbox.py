# SPDX-License-Identifier: Apache-2.0
"""Sealed envelopes that have to be offered: until a sealed receipt covers them, with backoff. A hop's acceptance only
slows this.

Invariant: only durable envelopes are in here (the journal adds them after their commit), and only ``cover`` takes a
kept one out.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sealway.errors import RateLimited
from sealway.protocol.policy import DEFAULT_POLICY, Policy
from sealway.protocol.ranges import Range
from sealway.transports.ports import Deposit

Key = tuple[bytes, int]
"""Session hash and number."""

FIRST_RETRY_MS = 500
LONGEST_RETRY_MS = 60_000
AFTER_MISSING_MS = 2_000
BATCH = 100
SHARE = 16
"""Answers to one peer may wait in so many parts of the room that an endpoint's own messages have, in envelopes."""
SHARE_OF_BYTES = 4
"""The same in bytes: a peer need not acknowledge before its 64th message, and an answer has up to 60 000."""


@dataclass(slots=True)
class Outgoing:
    """One envelope on offer. Times in milliseconds of the boot clock, which nobody sets back."""

    mailbox: str
    envelope: bytes
    kept: bool
    answer: bool = False
    """It carries a response: only these count as a peer's share."""
    due_ms: int = 0
    offered_ms: int = 0
    accepted: int = 0
    """How often a hop took it."""
    failures: int = 0


class Outbox:
    """What waits for a hop, or for a receipt.

    Args:
        policy: how long a hop's acceptance delays the next offer.
    """

    def __init__(self, policy: Policy = DEFAULT_POLICY) -> None:
        self._policy = policy
        self._items: dict[Key, Outgoing] = {}
        self._bytes = 0
        self._held: Counter[bytes] = Counter()  # of each session: envelopes with answers, and below their bytes
        self._sizes: Counter[bytes] = Counter()
        self.wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._items)

    @property
    def size(self) -> int:
        """Sum of the sizes of all envelopes held."""
        return self._bytes

    @property
    def untaken(self) -> int:
        """How many envelopes no hop has taken since this process began."""
        return sum(item.accepted == 0 for item in self._items.values())

    def add_all(self, sealed: list[tuple[Key, Outgoing]]) -> None:
        """Offer envelopes that have just become durable."""
        self._items.update(sealed)
        for (session, _), item in sealed:
            self._bytes += len(item.envelope)
            if item.answer:
                self._held[session] += 1
                self._sizes[session] += len(item.envelope)
        self.wake.set()

    def demand_room(self, sessions: Callable[[], Iterable[bytes]], envelopes: int, size: int) -> None:
        """Return if a peer can be answered: it may ask without end, and never acknowledge, and must take no room away
        from others. What this end sent it of its own accord, such as readings, is not held against it.

        Args:
            sessions: the hashes of those that are held with it.
            envelopes, size: the room for own messages.

        Raises:
            RateLimited: too much is unacknowledged, by this peer or in all.
        """
        if len(self._items) >= 2 * envelopes or self._bytes >= 2 * size:
            raise RateLimited("too much is unacknowledged to answer requests")
        if len(self._items) < envelopes // SHARE and self._bytes < size // SHARE_OF_BYTES:
            return
        theirs = set(sessions())
        held, owed = (sum(sums[session] for session in theirs) for sums in (self._held, self._sizes))
        if held >= envelopes // SHARE or owed >= size // SHARE_OF_BYTES:
            raise RateLimited("too much is unacknowledged by the one who asks")

    def cover(self, session: bytes, ranges: tuple[Range, ...]) -> list[Key]:
        """Take out what a receipt covers; return the keys that were held."""
        covered = [(session, n) for n in self._numbers(session, ranges) if (session, n) in self._items]
        for key in covered:
            self._remove(key)
        return covered

    def reoffer(self, session: bytes, ranges: tuple[Range, ...], now_ms: int) -> None:
        """Offer again what the peer says is missing, though not what was offered a moment ago and may be on its way."""
        for number in self._numbers(session, ranges):
            item = self._items.get((session, number))
            if item is not None:
                item.due_ms = max(min(item.due_ms, now_ms), item.offered_ms + AFTER_MISSING_MS)
        self.wake.set()

    def contacts(self, session: bytes) -> int:
        """Return how often a hop has taken the session's oldest envelope, in this process."""
        return next((item.accepted for key, item in self._items.items() if key[0] == session and item.kept), 0)

    def drop_session(self, session: bytes) -> None:
        """Stop offering everything of a session (its messages move to another)."""
        for key in [k for k in self._items if k[0] == session]:
            self._remove(key)

    def due(self, now_ms: int) -> list[tuple[Key, Deposit]]:
        """Return up to 100 envelopes whose time has come, oldest first."""
        ready = [(k, Deposit(i.mailbox, i.envelope)) for k, i in self._items.items() if i.due_ms <= now_ms]
        return ready[:BATCH]

    def next_due_ms(self) -> int | None:
        """Return when the next envelope is due, or None if there is none."""
        return min((i.due_ms for i in self._items.values()), default=None)

    def accepted(self, key: Key, now_ms: int) -> None:
        """Note that a hop took it: it is offered again only if no receipt comes for long."""
        item = self._items.get(key)
        if item is None:
            return
        if not item.kept:
            self._remove(key)
            return
        delay = min(self._policy.reoffer_after_ms << min(item.accepted, 20), self._policy.longest_reoffer_ms)
        item.accepted, item.failures = item.accepted + 1, 0
        item.offered_ms, item.due_ms = now_ms, now_ms + delay

    def failed(self, key: Key, now_ms: int) -> None:
        """Note that no hop took it this time."""
        item = self._items.get(key)
        if item is None:
            return
        item.due_ms = now_ms + min(FIRST_RETRY_MS << min(item.failures, 20), LONGEST_RETRY_MS)
        item.failures += 1
        if not item.kept and item.failures > 3:
            self._remove(key)  # a bare receipt that no hop wants: the next one says more

    def hop_is_back(self, now_ms: int) -> None:
        """Offer at once what failed before: the hop answers again."""
        for item in self._items.values():
            if item.failures:
                item.due_ms = now_ms
        self.wake.set()

    @staticmethod
    def _numbers(session: bytes, ranges: tuple[Range, ...]) -> list[int]:
        return [n for first, last in ranges for n in range(first, last + 1)]

    def _remove(self, key: Key) -> None:
        session, item = key[0], self._items.pop(key)
        size = len(item.envelope)
        self._bytes -= size
        if not item.answer:
            return
        self._held[session] -= 1
        self._sizes[session] -= size
        if not self._held[session]:
            del self._held[session], self._sizes[session]
