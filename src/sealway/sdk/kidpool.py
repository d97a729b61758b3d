# SPDX-License-Identifier: Apache-2.0
"""The identifiers this endpoint has given out: sessions and bundles share one namespace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping


class KidPool:
    """A set of identifiers that also knows how many there are of each length.

    Those of sessions are in the database; in memory are only those that are not durable yet.
    """

    def __init__(self) -> None:
        self._is_stored: Callable[[bytes], bool] = lambda _: False
        self._taken: set[bytes] = set()
        self._lengths: Counter[int] = Counter()

    def look_up(self, is_stored: Callable[[bytes], bool]) -> None:
        """Ask this whether a session in the database, closed or not, has an identifier."""
        self._is_stored = is_stored

    def load(self, lengths: Mapping[int, int]) -> None:
        """Count what is stored: how many of each length."""
        self._lengths.update(lengths)

    def __contains__(self, kid: object) -> bool:
        return kid in self._taken or (isinstance(kid, bytes) and self._is_stored(kid))

    def count(self, length: int) -> int:
        """Return how many of this length are taken."""
        return self._lengths[length]

    def take(self, kid: bytes) -> None:
        """Mark as in use."""
        if kid not in self._taken:
            self._taken.add(kid)
            self._lengths[len(kid)] += 1

    def stored(self, kid: bytes) -> None:
        """Note that the database has it now."""
        self._taken.discard(kid)

    def release(self, kid: bytes) -> None:
        """Mark as free; only ``held_for`` after its session was closed."""
        if kid in self:
            self._taken.discard(kid)
            self._lengths[len(kid)] -= 1
