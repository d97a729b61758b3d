# SPDX-License-Identifier: Apache-2.0
"""The table of figures in README.md, made from the results of ``make bench``: ``python -m bench.table``.

The results that the table shows are kept beside it in docs/measured.json, and a test holds the two equal.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bench import run
from bench.measure import Result

ROOT = Path(__file__).resolve().parents[1]
README, MEASURED, RESULTS = ROOT / "README.md", ROOT / "docs" / "measured.json", run.RESULTS
BEGIN, END = "<!-- figures: python -m bench.table -->", "<!-- end of figures -->"
_HEAD = (
    "| what | measured | beside it | ratio | spread | target | met |",
    "| --- | --: | --: | --: | --- | --- | --- |",
)


def table(results: list[Result]) -> str:
    """Return the results as a table in Markdown, one row for each."""
    return "\n".join([*_HEAD, *map(_row, results)])


def with_table(text: str, results: list[Result]) -> str:
    """Return a text with the table between its two marks. Raises ValueError if it has no marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"there is no place for the table: {BEGIN} … {END}")
    return f"{before}{begin}\n{table(results)}\n{end}{after}"


def _row(result: Result) -> str:
    unit, (low, high) = result["unit"], result["spread"]
    aim = result["target"]
    target = "" if aim is None else f"{'≥' if unit.startswith('1/') else '≤'} {aim:g}"
    figures = (_figure(result["value"], unit), _figure(result["baseline"], unit), f"{result['ratio']:.2f}")
    met = "" if aim is None else "yes" if result["holds"] else "**no**"
    return f"| {' | '.join((result['name'], *figures, f'{low:.2f} to {high:.2f}', target, met))} |"


def _figure(value: float, unit: str) -> str:
    return f"{value:,.1f} {unit}" if value < 100 else f"{value:,.0f} {unit}"


def main() -> int:
    """Put the newest results into README.md and docs/measured.json; return an exit status."""
    if not RESULTS.is_file():
        print("error: there are no results\nhint: run make bench first", file=sys.stderr)
        return 2
    results: list[Result] = json.loads(RESULTS.read_text(encoding="utf-8"))
    README.write_text(with_table(README.read_text(encoding="utf-8"), results), encoding="utf-8")
    MEASURED.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
