# SPDX-License-Identifier: Apache-2.0
"""From the queue to the next hop: batches, backoff, verdicts.

Invariant: an envelope leaves the queue only when the next hop says that it holds it durably, or that it will never take
it. A hop that is away, slow or overloaded costs waiting.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from sealway.errors import HopRefused, NotFound, PeerMisbehaved, RateLimited, SealwayError, TransportFailed
from sealway.gateway.metrics import Metrics
from sealway.gateway.queue import DurableQueue, Outbound
from sealway.transports.ports import Carrier, Verdict

_log = logging.getLogger("sealway.gateway.uplink")

_PASSING: Final = frozenset({401, 407, 408, 425, 429})  # 4xx that another time, or a new token, may cure
_CALL_SECONDS: Final = 60.0  # a call that takes longer has failed
_IDLE_SECONDS: Final = 30.0  # look into the queue at least this often


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waiting times in seconds after failures in a row: doubling from ``first`` to ``longest``, with jitter."""

    first: float = 0.2
    longest: float = 5.0

    def seconds(self, failures: int) -> float:
        """How long to wait after this many failures in a row (1, 2, …)."""
        return min(self.longest, self.first * 2.0 ** min(failures - 1, 30)) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter


def refused_for_good(status: int) -> bool:
    """Tell if a status means that the same request will never be taken: 4xx as a rule, and 508 (5.08, RFC 8768)."""
    return status == 508 or (400 <= status < 500 and status not in _PASSING)


class Uplink:
    """Drains the queue through a carrier, one batch after the other."""

    def __init__(self, carrier: Carrier, queue: DurableQueue, metrics: Metrics, backoff: Backoff) -> None:
        self._carrier = carrier
        self._queue = queue
        self._metrics = metrics
        self._backoff = backoff
        self._failures = 0
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """There is something in the queue."""
        self._wake.set()

    async def run(self) -> None:
        """Drain until cancelled."""
        while True:
            self._wake.clear()
            batch = await self._queue.next_batch(time.time())
            if batch:
                await self._forward(batch)
            else:
                await self._rest()

    async def _rest(self) -> None:
        """Wait for a new envelope, or until one that was refused for now is due."""
        due = await self._queue.next_due()
        seconds = _IDLE_SECONDS if due is None else max(0.01, min(_IDLE_SECONDS, due - time.time()))
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _forward(self, batch: Sequence[Outbound]) -> None:
        """Offer a batch, envelopes with the same hop limit in one call."""
        by_hops = sorted(batch, key=lambda outbound: outbound.deposit.hops)  # stable: the order of each device stays
        for _, group in groupby(by_hops, key=lambda outbound: outbound.deposit.hops):
            if not await self._offer(list(group)):
                await asyncio.sleep(self._backoff.seconds(self._failures))
                return

    async def _offer(self, group: list[Outbound]) -> bool:
        """Offer these in one call, or in halves if the hop refuses the call as a whole; False if the hop is away."""
        try:
            verdicts = await self._deposit(group)
        except SealwayError as error:
            if not _blames_the_call(error):
                return self._failed(error)
            if len(group) > 1:
                half = len(group) // 2
                return await self._offer(group[:half]) and await self._offer(group[half:])
            verdicts = [Verdict(error.status if isinstance(error, HopRefused) else 400, error.message)]
        self._failures = 0
        self._metrics.add("batches_forwarded")
        await self._settle(group, verdicts)
        return True

    async def _deposit(self, group: list[Outbound]) -> list[Verdict]:
        """One call to the next hop. Raises only SealwayErrors."""
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                verdicts = await self._carrier.deposit([outbound.deposit for outbound in group])
        except SealwayError:
            raise
        except Exception as error:  # a fault in a carrier must not end the drain
            raise TransportFailed(f"the next hop failed: {error!r}") from error
        if len(verdicts) != len(group):
            raise TransportFailed("the next hop answered with a wrong number of verdicts")
        return verdicts

    def _failed(self, error: SealwayError) -> bool:
        self._failures += 1
        self._metrics.add("uplink_failures")
        if self._failures == 1:
            _log.warning("the next hop does not take envelopes now: %s", error.message)
        return False

    async def _settle(self, group: list[Outbound], verdicts: list[Verdict]) -> None:
        finished: list[int] = []
        later: list[int] = []
        for outbound, verdict in zip(group, verdicts, strict=True):
            final = verdict.accepted or refused_for_good(verdict.status)
            (finished if final else later).append(outbound.row)
            self._count(outbound, verdict)
        await self._queue.settle(finished, later, time.time() + self._backoff.seconds(4))

    def _count(self, outbound: Outbound, verdict: Verdict) -> None:
        if verdict.accepted:
            self._metrics.add("deposits_forwarded")
        elif refused_for_good(verdict.status):
            self._metrics.add("deposits_dropped")
            mailbox = outbound.deposit.mailbox
            _log.warning("dropped an envelope for mailbox %s: %d %s", mailbox, verdict.status, verdict.text[:100])


def _blames_the_call(error: SealwayError) -> bool:
    """Tell if the hop is there and says that this very call is bad, so that trying it again is useless."""
    if isinstance(error, HopRefused):
        return error.status in (400, 413, 414, 422, 508)
    if isinstance(error, NotFound):
        return False
    return isinstance(error, PeerMisbehaved) and not isinstance(error, RateLimited)
