# SPDX-License-Identifier: Apache-2.0
"""RangeSet against a plain set of integers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealway.protocol.ranges import RangeSet

SPAN = 40
ranges = st.tuples(st.integers(0, SPAN), st.integers(0, SPAN)).map(lambda pair: (min(pair), max(pair)))
actions = st.lists(st.tuples(st.booleans(), ranges), max_size=30)


def built(steps: list[tuple[bool, tuple[int, int]]]) -> tuple[RangeSet, set[int]]:
    numbers, plain = RangeSet(), set[int]()
    for add, (first, last) in steps:
        span = set(range(first, last + 1))
        if add:
            numbers.add(first, last)
            plain |= span
        else:
            numbers.remove(first, last)
            plain -= span
    return numbers, plain


def expanded(parts: list[tuple[int, int]]) -> set[int]:
    return {n for first, last in parts for n in range(first, last + 1)}


@given(actions)
def test_it_holds_what_a_set_would_hold_in_ranges_that_never_touch(steps: list[tuple[bool, tuple[int, int]]]) -> None:
    numbers, plain = built(steps)
    assert expanded(list(numbers)) == plain
    assert all(later[0] > earlier[1] + 1 for earlier, later in zip(list(numbers), list(numbers)[1:], strict=False))
    assert numbers.count == len(plain)
    assert numbers.highest == max(plain, default=-1)
    assert len(numbers) == len(list(numbers))
    assert all((n in numbers) == (n in plain) for n in range(SPAN + 2))
    assert numbers == RangeSet(list(numbers))
    assert numbers != plain


@given(actions, ranges)
def test_its_questions_are_answered_as_by_a_set(
    steps: list[tuple[bool, tuple[int, int]]], span: tuple[int, int]
) -> None:
    numbers, plain = built(steps)
    first, last = span
    whole = set(range(first, last + 1))
    assert expanded(numbers.within(first, last)) == plain & whole
    assert expanded(numbers.outside(first, last)) == whole - plain
    assert expanded(numbers.gaps(last)) == set(range(last)) - plain
    assert numbers.touches(first, last) == bool(plain & whole)
    if first in plain:
        low, high = numbers.range_of(first)
        assert set(range(low, high + 1)) <= plain
        assert low - 1 not in plain
        assert high + 1 not in plain
    else:
        with pytest.raises(KeyError):
            numbers.range_of(first)


def test_a_range_turned_round_touches_nothing() -> None:
    assert not RangeSet([(0, 9)]).touches(5, 4)


def test_a_single_number_and_a_readable_form() -> None:
    numbers = RangeSet()
    numbers.add(3)
    assert repr(numbers) == "RangeSet([(3, 3)])"


@given(actions)
def test_edges_make_the_same_set_again(done: list[tuple[bool, tuple[int, int]]]) -> None:
    numbers, _ = built(done)
    firsts, lasts = numbers.edges
    assert RangeSet.of_edges(list(firsts), list(lasts)) == numbers


@pytest.mark.parametrize(
    ("firsts", "lasts"), [([3], [2]), ([0, 2], [1, 4]), ([0, 6], [1, 5]), ([5, 0], [6, 1]), ([0, 5], [1]), ([0], [])]
)
def test_edges_that_are_no_set_are_refused(firsts: list[int], lasts: list[int]) -> None:
    with pytest.raises(ValueError, match=r"in order|zip"):
        RangeSet.of_edges(firsts, lasts)
