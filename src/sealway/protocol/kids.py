# SPDX-License-Identifier: Apache-2.0
"""Identifiers by which an endpoint finds its sessions and bundles: short, random, one namespace. spec/session.md."""

from __future__ import annotations

from collections.abc import Container
from typing import Protocol

from sealway.crypto.ports import Random
from sealway.errors import LocalMisuse

LONGEST = 8


class Taken(Container[bytes], Protocol):
    """The identifiers in use, or not yet free again."""

    def count(self, length: int) -> int:
        """Return how many of this length there are."""


def choose_kid(taken: Taken, random: Random, *, shortest: int = 1) -> bytes:
    """Return a free identifier, random among those of the shortest length that is still half free."""
    for length in range(shortest, LONGEST + 1):
        if taken.count(length) >= 1 << (8 * length - 1):
            continue
        for _ in range(128):  # each draw is free with a chance of a half or more
            kid = random(length)
            if kid not in taken:
                return kid
    raise LocalMisuse("no identifier is free")
