# SPDX-License-Identifier: Apache-2.0
"""How long it takes a newcomer to see an own sealed message: README's own commands, on a clean clone.

The baseline is the part of it before anything of Sealway runs: cloning, and `make setup-runtime`, which makes the
environment. What the package index and its caches cost is in both. No round is thrown away: each begins with nothing.
"""

from __future__ import annotations

import subprocess
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.measure import LEAST_ROUNDS, Course, Figure, Result, judged, seconds
from tests.guides.walkthrough import Walk, blocks_of, walk

ROOT = Path(__file__).resolve().parents[1]
SETUP = "make setup-runtime\n"
SEEN = "42.7 L"

FIGURES = (
    Figure("new user: clone to first own message", "s", 2.0),
    Figure("new user: of that, after the set-up", "s", None),
)


def _run(rounds: int) -> list[Result]:
    """Measure the least number of rounds, however many are asked for: each is a new environment."""
    times = [_round() for _ in range(min(rounds, LEAST_ROUNDS))]
    totals = [(before + after, before) for before, after in times]
    return [judged(FIGURES[0], totals), judged(FIGURES[1], [(after, before) for before, after in times])]


def _round() -> tuple[float, float]:
    """Return the seconds of the set-up, and of what comes after it."""
    with TemporaryDirectory(prefix="sealway-bench-") as base:
        clone = Path(base) / "sealway"
        before = seconds(partial(_set_up, clone))
        return before, seconds(partial(_first_message, clone))


def _set_up(clone: Path) -> None:
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    _done(clone, SETUP)


def _first_message(clone: Path) -> None:
    readme = (clone / "README.md").read_text(encoding="utf-8")
    code = next(block.code for block in blocks_of(readme) if SETUP in block.code)
    printed = _done(clone, code.split(SETUP, 1)[1]).printed[0]
    if SEEN not in printed:
        raise RuntimeError(f"no message arrived: {printed}")


def _done(clone: Path, code: str) -> Walk:
    done = walk([f"```sh\n{code}```\n"], clone, stranger=True)
    if done.status:
        raise RuntimeError(done.trace())
    return done


COURSES = (Course("new user", FIGURES, _run),)
