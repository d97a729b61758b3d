# SPDX-License-Identifier: Apache-2.0
"""How a figure is measured: subject and baseline in turn, in the same run, and the ratio of the two.

Each round measures both, and every second round in the other order, so that whatever slows the computer slows both. The
ratio is the median of the rounds' ratios. Its spread is the narrowest pair of rounds between which the true median
lies with 95 % confidence, whatever the distribution (order statistics; David and Nagaraja, §7.1).
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import accumulate
from math import comb
from statistics import median
from typing import TypedDict, TypeVar

LEAST_ROUNDS = 7
T = TypeVar("T")
_DOUBT = 0.05


@dataclass(frozen=True, slots=True)
class Pair:
    """What is compared: each call does the work once and returns its figure in the subject's unit."""

    subject: Callable[[], float]
    baseline: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of something that is measured.

    Args:
        name: what the table calls it.
        unit: a time ("µs") or a size ("B"), of which less is better, or a rate ("1/s"), of which more is better.
        target: the ratio subject/baseline is to be at most this, for a rate at least this; None: it is shown only.
    """

    name: str
    unit: str
    target: float | None

    @property
    def less_is_better(self) -> bool:
        """Whether the target is an upper bound."""
        return not self.unit.startswith("1/")


@dataclass(frozen=True, slots=True)
class Subject(Figure):
    """Something to be measured that has one figure.

    Args:
        prepare: sets both up, and clears away after the last round.
    """

    target: float
    prepare: Callable[[], AbstractContextManager[Pair]]


@dataclass(frozen=True, slots=True)
class Sides:
    """What is compared when one piece of work has several figures: each call does it once and returns them all."""

    subject: Callable[[], Sequence[float]]
    baseline: Callable[[], Sequence[float]]


@dataclass(frozen=True, slots=True)
class Group:
    """Something to be measured that has several figures.

    Args:
        name: what ``--only`` calls it.
        figures: in the order in which the work returns them.
        prepare: sets both up, and clears away after the last round.
    """

    name: str
    figures: tuple[Figure, ...]
    prepare: Callable[[], AbstractContextManager[Sides]]


@dataclass(frozen=True, slots=True)
class Course:
    """Something that is measured along its way, without rounds of its own.

    Args:
        name: what ``--only`` calls it.
        figures: its rows.
        run: given the rounds asked for; returns the rows.
    """

    name: str
    figures: tuple[Figure, ...]
    run: Callable[[int], list[Result]]


class Result(TypedDict):
    """One row of the table: medians in ``unit``, and the spread of the ratio as [low, high].

    ``holds`` is false only if all of the spread lies beyond the target.
    """

    name: str
    value: float
    unit: str
    baseline: float
    ratio: float
    spread: list[float]
    target: float | None
    holds: bool


def measure(subject: Subject, rounds: int) -> Result:
    """Measure a subject and its baseline in turn, after a round that does not count."""
    with subject.prepare() as pair:
        pairs = [_in_turn(pair.subject, pair.baseline, n) for n in range(rounds + 1)][1:]
    return judged(subject, pairs)


def rows_of(wanted: Subject | Group | Course, rounds: int) -> list[Result]:
    """Measure, and return a row for each figure."""
    if isinstance(wanted, Subject):
        return [measure(wanted, rounds)]
    if isinstance(wanted, Course):
        return wanted.run(rounds)
    with wanted.prepare() as sides:
        pairs = [_in_turn(sides.subject, sides.baseline, n) for n in range(rounds + 1)][1:]
    return [judged(figure, [(s[at], b[at]) for s, b in pairs]) for at, figure in enumerate(wanted.figures)]


def judged(figure: Figure, pairs: Sequence[tuple[float, float]]) -> Result:
    """Return the row of a figure from its rounds: (subject, baseline) of each."""
    ratios = sorted(value / baseline for value, baseline in pairs)
    low, high = spread(ratios)
    target = figure.target
    return Result(
        name=figure.name,
        value=median(value for value, _ in pairs),
        unit=figure.unit,
        baseline=median(baseline for _, baseline in pairs),
        ratio=median(ratios),
        spread=[low, high],
        target=target,
        holds=target is None or (low <= target if figure.less_is_better else high >= target),
    )


def spread(ordered: list[float]) -> tuple[float, float]:
    """Return the narrowest pair of values, as far from either end, that holds the true median with 95 % confidence."""
    tails = accumulate(comb(len(ordered), k) / 2 ** len(ordered) for k in range(len(ordered)))
    cut = max(sum(2 * tail <= _DOUBT for tail in tails) - 1, 0)
    return ordered[cut], ordered[-1 - cut]


def seconds(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Return how long some work takes. The garbage collector stays on: it is part of the price, as in real use."""
    gc.collect()
    begun = clock()
    work()
    return clock() - begun


def cpu_each(work: Callable[[], object], times: int) -> float:
    """Return the processor time, in microseconds, of each of ``times`` pieces of some work that never waits."""
    return seconds(work, time.thread_time) / times * 1e6


def _in_turn(subject: Callable[[], T], baseline: Callable[[], T], turn: int) -> tuple[T, T]:
    if turn % 2 == 0:
        return subject(), baseline()
    second = baseline()
    return subject(), second
