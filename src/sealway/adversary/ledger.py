# SPDX-License-Identifier: Apache-2.0
"""The account of one act: what was tried, and what of it really got through to the next hop or to an end.

Invariant: an item counts as reached once, and only if it was tried; what is remembered is bounded.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from sealway.adversary.passing import Passing

MOST_ITEMS: Final = 65_536
"""Items of one act that are told one by one; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What came of an act.

    Args:
        name: the attack's.
        expected: "refused", "healed" or "reported".
        tried: how often it did what it does.
        reached_network: how many of these the next hop took, or were handed to who asked. What is withheld or delayed
            reaches the network by not being there.
        items: (first 16 hexadecimal digits of the content's SHA-256, mailbox or other subject) of what reached it.
    """

    name: str
    expected: str
    tried: int
    reached_network: int
    items: tuple[tuple[str, str], ...]


class Ledger:
    """Counts for one act."""

    def __init__(self, name: str, expected: str) -> None:
        self._name, self._expected = name, expected
        self.tried = 0
        self.reached = 0
        self._items: list[tuple[str, str]] = []
        self._pending: OrderedDict[int, None] = OrderedDict()

    @property
    def pending(self) -> int:
        """Items that went on and are not known to have arrived."""
        return self.tried - self.reached

    def goes_on(self, item: Passing) -> None:
        """Note an item that is handed to the position."""
        self.tried += 1
        if item.item is not None and len(self._pending) < MOST_ITEMS:
            self._pending[item.item] = None

    def withheld(self, original: Passing) -> None:
        """Note an original that does not go on: that takes effect at once."""
        self.tried += 1
        self._reach(original)

    def arrived(self, item: Passing) -> None:
        """Note that the next hop took an item; what is no item of this act is passed over."""
        if item.item is not None and item.item in self._pending:
            del self._pending[item.item]
            self._reach(item)

    def tally(self) -> Tally:
        """Return the account as it stands."""
        return Tally(self._name, self._expected, self.tried, self.reached, tuple(self._items))

    def _reach(self, passing: Passing) -> None:
        self.reached += 1
        if len(self._items) < MOST_ITEMS:
            self._items.append((passing.digest, passing.subject))
