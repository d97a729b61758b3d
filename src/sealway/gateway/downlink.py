# SPDX-License-Identifier: Apache-2.0
"""From the next hop to the devices: long polls for those that consented, each envelope durable here before it is
acknowledged there.

Invariant: it asks only for mailboxes whose consent the next hop accepted, and what it cannot hold it does not ask for.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Final

from sealway.errors import SealwayError, TransportFailed
from sealway.gateway.limits import Limits
from sealway.gateway.metrics import Metrics
from sealway.gateway.queue import BATCH, Consent, DurableQueue
from sealway.gateway.refusal import upstream_status
from sealway.gateway.uplink import Backoff, refused_for_good
from sealway.gateway.watchers import Watchers
from sealway.transports.ports import Carrier, Collected

_log = logging.getLogger("sealway.gateway.downlink")

_CHUNK: Final = 100  # mailboxes of one long poll
_SETTLE: Final = 0.05  # seconds: consents that come together restart the polls once
_AWAY: Final = Backoff(0.2, 5.0)
_OFFER: Final = 5.0  # seconds between offers of the same consent
_RESTING: Final = Backoff(2.0, 300.0)
_REFUSED: Final = Backoff(0.2, 60.0)
_LATE: Final = 15.0  # seconds that a long poll may overrun its own time


class Downlink:
    """Collects through a carrier for all consented devices."""

    def __init__(
        self, carrier: Carrier, queue: DurableQueue, watchers: Watchers, metrics: Metrics, limits: Limits, wait: float
    ) -> None:
        self._carrier = carrier
        self._queue = queue
        self._watchers = watchers
        self._metrics = metrics
        self._limits = limits
        self._wait = wait
        self._changed = asyncio.Event()
        self._served = True  # by the last call; a failure is logged when that changes
        self._full: set[str] = set()
        self._offered: dict[str, float] = {}  # mailbox -> when its consent was offered again (monotonic)
        self._resting: dict[str, tuple[int, float]] = {}  # mailbox -> refusals in a row, not before (monotonic)

    def changed(self, mailbox: str) -> None:
        """A consent came or went: ask anew."""
        self._resting.pop(mailbox, None)
        self._changed.set()

    def is_refused(self, mailbox: str) -> bool:
        """Whether the next hop refused this mailbox and its consent: the device has to publish itself there again."""
        return mailbox in self._resting

    def emptied(self, mailbox: str) -> None:
        """A device acknowledged: if its inbox was full, ask for it again."""
        if mailbox in self._full:
            self._changed.set()

    async def run(self) -> None:
        """Collect until cancelled."""
        while True:
            await asyncio.sleep(_SETTLE)
            self._changed.clear()
            consents = await self._askable()
            chunks = [consents[start : start + _CHUNK] for start in range(0, len(consents), _CHUNK)]
            await self._poll_until_changed(chunks)

    async def _askable(self) -> list[Consent]:
        """The consents in force whose inbox has room and which the hop did not just refuse."""
        self._full = await self._queue.full_inboxes()
        now, clock = time.time(), time.monotonic()
        resting = {mailbox for mailbox, (_, until) in self._resting.items() if until > clock}
        consents = await self._queue.consents()
        known = {consent.mailbox for consent in consents}
        self._offered = {mailbox: when for mailbox, when in self._offered.items() if mailbox in known}
        self._resting = {mailbox: rest for mailbox, rest in self._resting.items() if mailbox in known}
        return [c for c in consents if c.expires > now and c.mailbox not in self._full | resting]

    async def _poll_until_changed(self, chunks: Sequence[list[Consent]]) -> None:
        polls = [asyncio.create_task(self._poll(chunk), name="gateway long poll") for chunk in chunks]
        try:
            await self._within_rest(self._changed)
        finally:
            for poll in polls:
                poll.cancel()
            await asyncio.gather(*polls, return_exceptions=True)

    async def _within_rest(self, event: asyncio.Event) -> None:
        """Wait for the event, or until the first refused mailbox may be asked for again."""
        clock = time.monotonic()
        rests = [until - clock for _, until in self._resting.values() if until > clock]
        try:
            async with asyncio.timeout(min(rests, default=None)):
                await event.wait()
        except TimeoutError:
            return

    async def _poll(self, chunk: list[Consent]) -> None:
        """Long polls for these mailboxes, one after the other, for as long as nothing changes."""
        failures = 0
        while not self._changed.is_set():
            try:
                refused = await self._collect([consent.mailbox for consent in chunk])
                failures, self._served = 0, True
                await self._sort_out(chunk, refused)
            except SealwayError as error:
                failures += 1
                self._note(error)
                await asyncio.sleep(await self._pause_after(error, chunk, failures))

    async def _pause_after(self, error: SealwayError, chunk: list[Consent], failures: int) -> float:
        if not refused_for_good(upstream_status(error)):
            return _AWAY.seconds(failures)
        await self._offer_again(chunk)
        return _REFUSED.seconds(failures)

    async def _sort_out(self, chunk: list[Consent], refused: frozenset[str]) -> None:
        """After an answer: those it served are in good standing, those it did not need their consent there again."""
        for consent in chunk:
            if consent.mailbox not in refused:
                self._resting.pop(consent.mailbox, None)
        if refused:
            await self._offer_again([consent for consent in chunk if consent.mailbox in refused])

    async def _collect(self, mailboxes: list[str]) -> frozenset[str]:
        """One long poll; the mailboxes that the hop did not serve in it, while it did others. Raises SealwayErrors."""
        try:
            async with asyncio.timeout(self._wait + _LATE):
                items = await self._carrier.collect(mailboxes, wait=self._wait, most=BATCH)
                refused: frozenset[str] = getattr(self._carrier, "refused_mailboxes", frozenset())
            if items:
                await self._take(items, frozenset(mailboxes))
            return refused
        except SealwayError:
            raise
        except Exception as error:  # a fault in a carrier must not end the collection
            raise TransportFailed(f"the next hop failed: {error!r}") from error

    async def _take(self, items: Sequence[Collected], asked: frozenset[str]) -> None:
        """Hold durably, then acknowledge, then tell the devices."""
        wanted = [i for i in items if i.mailbox in asked and len(i.envelope) <= self._limits.envelope_bytes]
        await self._queue.store(wanted, time.time())
        self._metrics.add("collected", len(wanted))
        self._metrics.add("collected_dropped", len(items) - len(wanted))
        self._watchers.news({item.mailbox for item in wanted})
        await self._carrier.acknowledge(items)
        self._full = await self._queue.full_inboxes()
        if self._full & asked:
            self._changed.set()

    def _note(self, error: SealwayError) -> None:
        self._metrics.add("uplink_failures")
        if self._served:
            _log.warning("cannot collect now: %s", error.message)
        self._served = False

    async def _offer_again(self, chunk: list[Consent]) -> None:
        """Give the hop the consents again, which it may have lost; let those rest that it refuses."""
        before = dict(self._resting)
        for consent in chunk:
            if self._is_due(consent.mailbox) and not await self._offer(consent):
                break
        if self._resting != before:
            self._changed.set()

    def _is_due(self, mailbox: str) -> bool:
        now = time.monotonic()
        due = now - self._offered.get(mailbox, -_OFFER) >= _OFFER
        if due:
            self._offered[mailbox] = now
        return due

    async def _offer(self, consent: Consent) -> bool:
        """Offer one; False when the hop is away."""
        try:
            await self._carrier.publish_consent(consent.encoded)
        except SealwayError as error:
            if not refused_for_good(upstream_status(error)):
                return False
            self._rest(consent.mailbox)
        return True

    def _rest(self, mailbox: str) -> None:
        refusals = self._resting.get(mailbox, (0, 0.0))[0] + 1
        self._resting[mailbox] = (refusals, time.monotonic() + _RESTING.seconds(refusals))
