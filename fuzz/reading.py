# SPDX-License-Identifier: Apache-2.0
"""An input read as a program: a row of small decisions. After its end every decision is the first one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


class Program:
    """Decisions from bytes. Every input is a program, so the fuzzer wastes none."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def ended(self) -> bool:
        """Nothing is left to decide by."""
        return self._at >= len(self._data)

    def take(self, count: int) -> bytes:
        """Return the next ``count`` bytes, or what is left."""
        part = self._data[self._at : self._at + count]
        self._at += len(part)
        return part

    def below(self, limit: int) -> int:
        """Return a number from 0 to ``limit`` - 1, of one byte."""
        return (self.take(1) or b"\x00")[0] % limit

    def number(self) -> int:
        """Return a number of 32 bits; small ones, and those at the edges, are as likely as all others."""
        kind = self.below(4)
        if kind == 0:
            return self.below(32)
        if kind == 1:
            return 0xFFFFFFFF - self.below(4)
        return int.from_bytes(self.take(1 if kind == 2 else 4))

    def flag(self) -> bool:
        """Return a decision between two things."""
        return self.below(2) == 1

    def one_of(self, items: Sequence[Item]) -> Item:
        """Return one of these; there must be one."""
        return items[self.below(len(items))]
