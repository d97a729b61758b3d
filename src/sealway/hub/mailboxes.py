# SPDX-License-Identifier: Apache-2.0
"""Mailboxes: deposit, collect, acknowledge, and who may.

Invariant: nothing here can open an envelope, or delete one that is neither acknowledged by someone who may collect
it nor past its time; and a deposit is answered as accepted only after the commit that holds it.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

from sealway.errors import NotAuthorized, NotFound, TooLarge, codes_of
from sealway.hub import mailbox_rows
from sealway.hub.admission import Caller
from sealway.hub.config import Clock, Limits
from sealway.hub.intake import ALREADY_HELD, CREATED, Accepted, Intake, Verdict
from sealway.hub.limits import Rate, Slots
from sealway.hub.mailbox_rows import Held
from sealway.hub.metrics import Metrics
from sealway.hub.store import Store
from sealway.hub.waiters import Waiters

_DONE: Final = (CREATED, ALREADY_HELD)
_LOOK_SECONDS: Final = 1.0  # how often a long poll looks whether its client has gone


@dataclass(frozen=True, slots=True)
class Found:
    """What a collect gives: envelopes, and the mailboxes among those asked for that the caller may not collect."""

    held: Sequence[Held]
    refused: Sequence[str]


class Mailboxes:
    """All mailboxes of a hub.

    Args:
        store: the hub's database.
        limits: quotas, sizes, times, rates.
        clock: Unix seconds.
        metrics: where to count.
    """

    def __init__(self, store: Store, limits: Limits, clock: Clock, metrics: Metrics) -> None:
        self.waiters = Waiters()
        self._store = store
        self._limits = limits
        self._clock = clock
        self._metrics = metrics
        self._intake = Intake(limits)
        self._rate = Rate(limits.deposits_per_minute, "deposits")
        self._slots = Slots(limits.collects_per_caller, "collects")

    async def deposit(self, caller: Caller, deposits: Sequence[tuple[str, bytes]]) -> list[Verdict]:
        """Hold envelopes, all in one commit; one verdict each, in order.

        Args:
            caller: anyone with an access token; whose mailbox it is makes no difference.
            deposits: (mailbox, envelope) pairs.

        Raises:
            RateLimited: the caller deposits too much; none is held.
            TransportFailed: nothing could be written; none is held.
        """
        self._rate.spend(caller.name, len(deposits))
        now = self._clock()
        items = self._intake.examined(deposits, now)
        verdicts = await self._store.write(lambda db: self._intake.hold(db, items, now))
        self._announce(deposits, verdicts)
        return verdicts

    async def collect(
        self, caller: Caller, mailboxes: Sequence[str], *, wait: float, most: int, gone: Callable[[], Awaitable[bool]]
    ) -> Found:
        """Return what waits, oldest first; hold the call for up to ``wait`` seconds while there is nothing.

        Args:
            caller: the owner of the mailbox, or a carrier with its consent.
            mailboxes: which.
            wait: seconds, cut to the limit.
            most: how many envelopes at most.
            gone: says whether the client has gone away.

        Raises:
            NotAuthorized: none of the mailboxes may be collected by this caller.
            NotFound: none of them exists.
            TooLarge: too many mailboxes.
            RateLimited: too many long polls at once.
        """
        if len(mailboxes) > self._limits.mailboxes_per_collect:
            raise TooLarge(f"at most {self._limits.mailboxes_per_collect} mailboxes are collected at once")
        deadline = asyncio.get_running_loop().time() + min(wait, self._limits.collect_seconds)
        self._slots.take(caller.name)
        try:
            found = await self._wait(caller, mailboxes, deadline, most, gone)
        finally:
            self._slots.release(caller.name)
        self._metrics.count("sealway_hub_collected_total", len(found.held))
        return found

    async def acknowledge(self, caller: Caller, acknowledged: Sequence[tuple[str, Sequence[int]]]) -> None:
        """Forget envelopes that their receiver, or its carrier, holds durably; those not held any more are no matter.

        Raises:
            NotAuthorized, NotFound: as for ``collect``.
        """
        now = self._clock()

        def forget(db: sqlite3.Connection) -> int:
            allowed, _ = _sorted_out(db, caller, [mailbox for mailbox, _ in acknowledged], now)
            return sum(mailbox_rows.forget(db, box, numbers) for box, numbers in acknowledged if box in allowed)

        self._metrics.count("sealway_hub_acknowledged_total", await self._store.write(forget))

    async def expire(self) -> None:
        """Forget what nobody collected in time."""
        now = self._clock()
        expired = await self._store.write(lambda db: mailbox_rows.forget_early(db, now))
        while oldest := await self._store.write(lambda db: mailbox_rows.forget_oldest(db, now)):
            expired += oldest
        self._metrics.count("sealway_hub_expired_total", expired)

    async def gauges(self) -> dict[str, int]:
        """Return what is held at this moment, for the metrics."""
        totals = await self._store.read(mailbox_rows.totals)
        return {**totals, "sealway_hub_collecting": self.waiters.count}

    def _announce(self, deposits: Sequence[tuple[str, bytes]], verdicts: list[Verdict]) -> None:
        for verdict, repeated in ((CREATED, "false"), (ALREADY_HELD, "true")):
            if count := verdicts.count(verdict):
                self._metrics.count("sealway_hub_deposits_total", count, repeated=repeated)
        if not self.waiters.count:
            return
        for mailbox in {mailbox for (mailbox, _), verdict in zip(deposits, verdicts, strict=True) if verdict in _DONE}:
            self.waiters.wake(mailbox)

    async def _wait(
        self, caller: Caller, mailboxes: Sequence[str], deadline: float, most: int, gone: Callable[[], Awaitable[bool]]
    ) -> Found:
        with self.waiters.waiting_for(mailboxes) as arrival:
            while True:
                arrival.clear()  # before the look, so that nothing slips between the look and the wait
                found = await self._store.read(lambda db: self._found(db, caller, mailboxes, most))
                if found.held or self.waiters.closed or not await _comes(arrival, deadline, gone):
                    return found

    def _found(self, db: sqlite3.Connection, caller: Caller, mailboxes: Sequence[str], most: int) -> Found:
        now = self._clock()
        allowed, refused = _sorted_out(db, caller, mailboxes, now)
        # Each mailbox gets its share, so that one that is never acknowledged does not hide the others.
        share, share_bytes = (max(1, most // len(allowed)), self._limits.body_bytes // len(allowed))
        by_box = [mailbox_rows.waiting(db, box, now, share, share_bytes) for box in allowed]
        in_turn = [row for turn in zip_longest(*by_box) for row in turn if row is not None]
        held = _within(in_turn[:most], self._limits.body_bytes)
        return Found(sorted(held, key=lambda row: row[1]), refused)


def status_of(verdict: Verdict) -> tuple[int, str]:
    """Return a verdict as it is told: HTTP status and words."""
    return (verdict.status, "") if isinstance(verdict, Accepted) else (codes_of(verdict)[1], verdict.message)


def _sorted_out(
    db: sqlite3.Connection, caller: Caller, mailboxes: Sequence[str], now: int
) -> tuple[list[str], list[str]]:
    """Return (those that the caller may collect, the others). Raises NotAuthorized, NotFound if it is none."""
    permitted = [box for box in dict.fromkeys(mailboxes) if _may_collect(db, caller, box, now)]
    allowed = [box for box in permitted if mailbox_rows.load_of(db, box) is not None]
    if permitted and not allowed:
        raise NotFound("there is no such mailbox", hint="publish a credential to make it")
    if not allowed:
        raise NotAuthorized("this mailbox is another endpoint's", hint="a carrier needs the device's consent")
    return allowed, [box for box in dict.fromkeys(mailboxes) if box not in allowed]


def _may_collect(db: sqlite3.Connection, caller: Caller, mailbox: str, now: int) -> bool:
    if caller.carries:
        return mailbox_rows.consented(db, mailbox, caller.name, now)
    return mailbox == caller.mailbox


def _within(held: list[Held], most_bytes: int) -> list[Held]:
    """Return the first of them that fit, and the very first in any case."""
    fitting: list[Held] = []
    for row in held:
        most_bytes -= len(row[2])
        if most_bytes < 0 and fitting:
            break
        fitting.append(row)
    return fitting


async def _comes(arrival: asyncio.Event, deadline: float, gone: Callable[[], Awaitable[bool]]) -> bool:
    """Wait for an arrival until the deadline, or until the client has gone."""
    loop = asyncio.get_running_loop()
    while (left := deadline - loop.time()) > 0 and not await gone():
        try:
            async with asyncio.timeout(min(left, _LOOK_SECONDS)):
                await arrival.wait()
        except TimeoutError:
            continue
        return True
    return False
