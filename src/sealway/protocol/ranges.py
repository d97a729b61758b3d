# SPDX-License-Identifier: Apache-2.0
"""Sets of message numbers, kept as sorted ranges so that a million numbers in a row cost two integers.

Invariants: ``_firsts`` and ``_lasts`` describe ranges that are increasing, disjoint and never adjacent. While they are
empty nobody writes to them: all sets begin with the same empty list, since a session has six and most stay empty.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import Final

Range = tuple[int, int]
"""First and last number, both included."""


_NONE: Final[list[int]] = []


class RangeSet:
    """A mutable set of non-negative integers."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        self._firsts = self._lasts = _NONE
        for first, last in ranges:
            self.add(first, last)

    @classmethod
    def of_edges(cls, firsts: list[int], lasts: list[int]) -> RangeSet:
        """Return the set of these ranges, which are in order as ``edges`` gives them."""
        made = cls.__new__(cls)
        made._firsts, made._lasts = firsts, lasts
        if len(firsts) > 1 or firsts > lasts:  # one range, or none, needs no more than this
            _refuse_disorder(firsts, lasts)
        return made

    @property
    def edges(self) -> tuple[list[int], list[int]]:
        """The first numbers of all ranges, and their last numbers; to be read only."""
        return self._firsts, self._lasts

    def add(self, first: int, last: int | None = None) -> None:
        """Add the numbers ``first`` to ``last`` (default: the one number)."""
        last = first if last is None else last
        firsts, lasts = self._firsts, self._lasts
        if not lasts:
            self._firsts, self._lasts = [first], [last]
            return
        if lasts[-1] == first - 1:  # the common case: the next number in a row
            lasts[-1] = last
            return
        begin = bisect_left(lasts, first - 1)  # the first range that touches or follows
        end = bisect_right(firsts, last + 1)  # one past the last range that touches
        if begin < end:
            first, last = min(first, firsts[begin]), max(last, lasts[end - 1])
        firsts[begin:end], lasts[begin:end] = [first], [last]

    def remove(self, first: int, last: int) -> None:
        """Remove the numbers ``first`` to ``last``."""
        begin, end = bisect_left(self._lasts, first), bisect_right(self._firsts, last)
        if begin >= end:
            return
        kept = [(self._firsts[begin], first - 1), (last + 1, self._lasts[end - 1])]
        kept = [(low, high) for low, high in kept if low <= high]
        self._firsts[begin:end] = [low for low, _ in kept]
        self._lasts[begin:end] = [high for _, high in kept]

    def __contains__(self, number: int) -> bool:
        i = bisect_left(self._lasts, number)
        return i < len(self._lasts) and self._firsts[i] <= number

    def touches(self, first: int, last: int) -> bool:
        """Say whether any number from ``first`` to ``last`` is in the set."""
        i = bisect_left(self._lasts, first)
        return first <= last and i < len(self._lasts) and self._firsts[i] <= last

    def range_of(self, number: int) -> Range:
        """Return the range that holds ``number``; KeyError when none does."""
        i = bisect_left(self._lasts, number)
        if i < len(self._lasts) and self._firsts[i] <= number:
            return self._firsts[i], self._lasts[i]
        raise KeyError(number)

    def gaps(self, upto: int) -> list[Range]:
        """Return the ranges of numbers below ``upto`` that are not in the set."""
        found: list[Range] = []
        start = 0
        for first, last in self:
            if first >= upto:
                break
            if first > start:
                found.append((start, first - 1))
            start = last + 1
        if start < upto:
            found.append((start, upto - 1))
        return found

    def within(self, first: int, last: int) -> list[Range]:
        """Return the parts of the set that lie between ``first`` and ``last``."""
        begin, end = bisect_left(self._lasts, first), bisect_right(self._firsts, last)
        return [(max(first, self._firsts[i]), min(last, self._lasts[i])) for i in range(begin, end)]

    def outside(self, first: int, last: int) -> list[Range]:
        """Return the parts of ``first`` to ``last`` that are not in the set."""
        parts: list[Range] = []
        for low, high in self.within(first, last):
            if low > first:
                parts.append((first, low - 1))
            first = high + 1
        if first <= last:
            parts.append((first, last))
        return parts

    def __iter__(self) -> Iterator[Range]:
        return iter(tuple(zip(self._firsts, self._lasts, strict=True)))

    def __len__(self) -> int:
        """The number of ranges, not of numbers."""
        return len(self._firsts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RangeSet) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"RangeSet({list(self)})"

    @property
    def count(self) -> int:
        """How many numbers the set holds."""
        return sum(last - first + 1 for first, last in self)

    @property
    def highest(self) -> int:
        """The greatest number in the set, or -1."""
        return self._lasts[-1] if self._lasts else -1


def _refuse_disorder(firsts: list[int], lasts: list[int]) -> None:
    edges = [edge for part in zip(firsts, lasts, strict=True) for edge in part]
    if any(a > b for a, b in zip(firsts, lasts, strict=True)) or any(
        a + 1 >= b for a, b in zip(edges[1::2], edges[2::2], strict=False)
    ):
        raise ValueError("ranges that are not in order")
