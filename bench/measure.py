# SPDX-License-Identifier: Apache-2.0
"""How a figure is measured: subject and baseline in turn, in the same run, and the ratio of the two.

Each round measures both, and every second round in the other order, so that whatever slows the computer slows both. The
ratio is the median of the rounds' ratios. Its spread is the narrowest pair of rounds between which the true median
lies with 95 % confidence, whatever the distribution (order statistics; David and Nagaraja, §7.1).
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import accumulate
from math import comb
from statistics import median
from typing import TypedDict

LEAST_ROUNDS = 7
_DOUBT = 0.05


@dataclass(frozen=True, slots=True)
class Pair:
    """What is compared: each call does the work once and returns its figure in the subject's unit."""

    subject: Callable[[], float]
    baseline: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Subject:
    """Something to be measured.

    Args:
        name: what the table calls it.
        unit: a time ("µs"), of which less is better, or a rate ("1/s"), of which more is better.
        target: the ratio subject/baseline is to be at most this for a time, at least this for a rate.
        prepare: sets both up, and clears away after the last round.
    """

    name: str
    unit: str
    target: float
    prepare: Callable[[], AbstractContextManager[Pair]]

    @property
    def less_is_better(self) -> bool:
        """Whether the target is an upper bound."""
        return not self.unit.startswith("1/")


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
    target: float
    holds: bool


def measure(subject: Subject, rounds: int) -> Result:
    """Measure a subject and its baseline in turn, after a round that does not count."""
    with subject.prepare() as pair:
        pairs = [_round(pair, reverse=bool(n % 2)) for n in range(rounds + 1)][1:]
    ratios = sorted(value / baseline for value, baseline in pairs)
    low, high = spread(ratios)
    return Result(
        name=subject.name,
        value=median(value for value, _ in pairs),
        unit=subject.unit,
        baseline=median(baseline for _, baseline in pairs),
        ratio=median(ratios),
        spread=[low, high],
        target=subject.target,
        holds=low <= subject.target if subject.less_is_better else high >= subject.target,
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


def _round(pair: Pair, *, reverse: bool) -> tuple[float, float]:
    if not reverse:
        return pair.subject(), pair.baseline()
    baseline = pair.baseline()
    return pair.subject(), baseline
