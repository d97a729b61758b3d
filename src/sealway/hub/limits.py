# SPDX-License-Identifier: Apache-2.0
"""Token buckets, one for each party, in bounded memory."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

from sealway.errors import RateLimited

_MOST_PARTIES: Final = 16_384


class Rate:
    """At most ``per_minute`` units a minute for each party, all of them at once if it likes.

    Parties that were idle longest are forgotten when there are too many; a bucket forgotten is a full one.

    Args:
        per_minute: units that a party may spend in a minute.
        what: the units, for the message.
        monotonic: seconds of a clock that never goes back.
    """

    def __init__(self, per_minute: int, what: str, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._most = float(per_minute)
        self._what = what
        self._monotonic = monotonic
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def spend(self, party: Hashable, units: int = 1) -> None:
        """Take ``units`` from the party's bucket. Raises RateLimited, and takes none, if they are not there."""
        now = self._monotonic()
        left, at = self._buckets.pop(party, (self._most, now))
        left = min(self._most, left + (now - at) * self._most / 60)
        self._buckets[party] = (left if left < units else left - units, now)
        if len(self._buckets) > _MOST_PARTIES:
            self._buckets.popitem(last=False)
        if left < units:
            raise RateLimited(f"too many {self._what}", hint="wait a moment and try again")


class Slots:
    """At most ``most`` of something at the same time for each party.

    Args:
        most: how many.
        what: of what, for the message.
    """

    def __init__(self, most: int, what: str) -> None:
        self._most = most
        self._what = what
        self._taken: dict[Hashable, int] = {}

    def take(self, party: Hashable) -> None:
        """Take one; it is given back by ``release``. Raises RateLimited if none is left."""
        taken = self._taken.get(party, 0)
        if taken >= self._most:
            raise RateLimited(f"too many {self._what} at once", hint="wait for the others to end")
        self._taken[party] = taken + 1

    def release(self, party: Hashable) -> None:
        """Give one back."""
        left = self._taken.pop(party) - 1
        if left:
            self._taken[party] = left
