# SPDX-License-Identifier: Apache-2.0
"""``make bench``: measure, print a table, write bench/results.json.

A figure that misses its target is no failure of the command; it says so in the table. Nothing here has a time limit:
only ratios are judged, and both sides of a ratio were measured in the same run.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import (
    carrying,
    deposits,
    durable,
    files,
    keystores,
    many_sessions,
    new_user,
    path,
    peers,
    sealing,
    starting,
    waiting,
)
from bench.measure import LEAST_ROUNDS, Course, Group, Result, Subject, rows_of
from bench.plots import draw

SUBJECTS: tuple[Subject | Group | Course, ...] = (
    *sealing.SUBJECTS,
    *starting.SUBJECTS,
    *keystores.SUBJECTS,
    *peers.SUBJECTS,
    *durable.SUBJECTS,
    *many_sessions.COURSES,
    *deposits.SUBJECTS,
    *deposits.COURSES,
    *carrying.SUBJECTS,
    *waiting.COURSES,
    *path.GROUPS,
    *files.SUBJECTS,
    *new_user.COURSES,
)
RESULTS = Path(__file__).with_name("results.json")
_LINE = "{:<41} {:>12} {:>12} {:>7} {:>15} {:>8}  {}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the subjects that were asked for; return an exit status."""
    options = _parser().parse_args(arguments)
    wanted = [s for s in SUBJECTS if any(part in s.name for part in options.only or [""])]
    if not wanted:
        names = "\n".join(f"  {s.name}" for s in SUBJECTS)
        print(f"error: nothing here is called {' or '.join(options.only)}\nhint: choose from\n{names}", file=sys.stderr)
        return 2
    logging.disable(logging.WARNING)
    print(_LINE.format("", "subject", "baseline", "ratio", "spread", "target", "holds"), flush=True)
    results: list[Result] = []
    for each in wanted:
        rows = rows_of(each, options.rounds)
        results += rows
        for row in rows:
            print(_row(row), flush=True)
    if options.output == RESULTS:
        draw(results)
    options.output.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make bench", description="What Sealway costs, beside what it is compared with."
    )
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="subjects whose name contains this; may be repeated"
    )
    parser.add_argument("--rounds", type=_rounds, default=11, help=f"at least {LEAST_ROUNDS} (default 11)")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="FILE", help="default bench/results.json")
    return parser


def _rounds(text: str) -> int:
    rounds = int(text)
    if rounds < LEAST_ROUNDS:
        raise argparse.ArgumentTypeError(f"at least {LEAST_ROUNDS} rounds")
    return rounds


def _row(result: Result) -> str:
    unit, target = result["unit"], result["target"]
    value, baseline = (_figure(figure, unit) for figure in (result["value"], result["baseline"]))
    low, high = result["spread"]
    wanted = "" if target is None else f"{'≥' if unit.startswith('1/') else '≤'} {target}"
    holds = "" if target is None else "yes" if result["holds"] else "no"
    ratio, spread = f"{result['ratio']:.2f}", f"{low:.2f} to {high:.2f}"
    return _LINE.format(result["name"], value, baseline, ratio, spread, wanted, holds)


def _figure(value: float, unit: str) -> str:
    return f"{value:,.1f} {unit}" if value < 1_000 else f"{value:,.0f} {unit}"


if __name__ == "__main__":
    sys.exit(main())
