# SPDX-License-Identifier: Apache-2.0
"""The identifiers this endpoint has given out: sessions and bundles share one namespace."""

from __future__ import annotations

from collections import Counter


class KidPool:
    """A set of identifiers that also knows how many there are of each length."""

    def __init__(self) -> None:
        self._taken: set[bytes] = set()
        self._lengths: Counter[int] = Counter()

    def __contains__(self, kid: object) -> bool:
        return kid in self._taken

    def count(self, length: int) -> int:
        """Return how many of this length are taken."""
        return self._lengths[length]

    def take(self, kid: bytes) -> None:
        """Mark as in use."""
        if kid not in self._taken:
            self._taken.add(kid)
            self._lengths[len(kid)] += 1

    def release(self, kid: bytes) -> None:
        """Mark as free; only ``held_for`` after its session was closed."""
        if kid in self._taken:
            self._taken.remove(kid)
            self._lengths[len(kid)] -= 1
