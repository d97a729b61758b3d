# SPDX-License-Identifier: Apache-2.0
"""What was measured at several sizes, drawn: a PNG in docs/plots for each of the claims about how a cost grows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench import deposits, many_sessions, waiting
from bench.measure import Figure, Result

PLOTS = Path(__file__).resolve().parents[1] / "docs" / "plots"
_KIB = 1024
_DPI = 120
_DECADES = 1_000
"""From here on sizes are drawn in decades."""


def draw(results: Sequence[Result], directory: Path = PLOTS) -> list[Path]:
    """Draw what these results are enough for; return the files."""
    directory.mkdir(parents=True, exist_ok=True)
    drawn = []
    if memory := _rows(results, waiting.FIGURES):
        drawn.append(_memory(memory, directory / "gateway-memory.png"))
    if opening := _rows(results, many_sessions.HOT + many_sessions.COLD):
        drawn.append(_opening(opening, directory / "many-sessions.png"))
    if held := _rows(results, deposits.HELD_FIGURES):
        drawn.append(_held(held, directory / "hub-deposits-held.png"))
    return drawn


def _rows(results: Sequence[Result], figures: Sequence[Figure]) -> list[Result]:
    """Return the rows of these figures in their order, or none if one is missing."""
    by_name = {result["name"]: result for result in results}
    return [by_name[figure.name] for figure in figures] if all(f.name in by_name for f in figures) else []


def _memory(rows: list[Result], path: Path) -> Path:
    grown = [row["value"] * count / _KIB for row, count in zip(rows, waiting.POINTS, strict=True)]
    allowed = [waiting.LIMIT_BYTES * count / _KIB for count in waiting.POINTS]
    return _lines(
        "Gateway: memory while its hub is away", "envelopes that wait", "growth of resident memory (KiB)",
        waiting.POINTS, {"measured": grown, "1 KiB for each": allowed}, path, log=True,
    )  # fmt: skip


def _opening(rows: list[Result], path: Path) -> Path:
    """The cold rows begin one point later: in a smaller store a cache of 1 000 holds all."""
    hot, cold = rows[: len(many_sessions.HOT)], rows[len(many_sessions.HOT) :]
    few = rows[0]["baseline"]
    lines = {
        "all in memory": [few, *(row["value"] for row in hot)],
        "1 000 in memory": [few, hot[0]["value"], *(row["value"] for row in cold)],
        "a store of 100": [row["baseline"] for row in [hot[0], *hot]],
    }
    return _lines(
        "Application: opening a message, durably", "sessions", "µs", many_sessions.POINTS, lines, path, log=False
    )


def _held(rows: list[Result], path: Path) -> Path:
    measured = {"hub": [row["value"] for row in rows], "bare FastAPI route": [row["baseline"] for row in rows]}
    return _lines(
        "Hub: deposits in batches of 100, one client", "envelopes held in the mailbox", "envelopes per second",
        deposits.HELD, measured, path, log=False,
    )  # fmt: skip


def _lines(
    title: str, x: str, y: str, points: Sequence[int], lines: dict[str, list[float]], path: Path, *, log: bool
) -> Path:
    from matplotlib.figure import Figure as Canvas  # loaded only where something is drawn
    from matplotlib.ticker import StrMethodFormatter

    canvas = Canvas(figsize=(7, 4), layout="constrained")
    axes = canvas.subplots()
    for (label, values), style in zip(lines.items(), ("o-", "s--", "^:"), strict=False):
        axes.plot(points, values, style, label=label)
    axes.set(title=title, xlabel=x, ylabel=y)
    if log:
        axes.set(xscale="log", yscale="log")
    else:
        axes.set_ylim(bottom=0)
    if points[-1] >= _DECADES * points[0]:
        axes.set_xscale("log")
    axes.set_xticks(points, [f"{point:,}" for point in points])
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.minorticks_off()
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    canvas.savefig(path, dpi=_DPI)
    return path
