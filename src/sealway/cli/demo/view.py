# SPDX-License-Identifier: Apache-2.0
"""The demo on a terminal: progress, the roles, and one message as each of them sees it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sealway.adversary.verdict import faults
from sealway.cli.demo.siege import Siege
from sealway.cli.demo.sightings import Sighting
from sealway.cli.demo.story import Story

MOST_LINES = 8
_MOST_SHOWN = 200
_VIEWS = "one message, four views"
_PLACES = {"http": "before the hub", "coap": "before the gateway", "gateway": "as a gateway"}


class LiveView:
    """Redraws while the story goes on. A context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=8, transient=False)
        self._lines: list[str] = []

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def say(self, line: str) -> None:
        """Add a line for people."""
        self._lines = [*self._lines, line][-MOST_LINES:]

    def show(self, story: Story) -> None:
        """Draw the story as it stands."""
        if story.siege is not None:
            self._live.update(Group(_siege(story.siege), self._happened()))
            return
        parts: list[RenderableType] = [_progress(story), _roles(story), _four_views(story.sighting)]
        self._live.update(Group(*parts, self._happened()))

    def _happened(self) -> RenderableType:
        return Panel(Text("\n".join(self._lines)), title="what happened", title_align="left", border_style="dim")


def _siege(siege: Siege) -> RenderableType:
    table = Table(expand=True, box=None, header_style="dim")
    for heading in ("the adversary", "does", "tried", "reached the network", "done before"):
        table.add_column(heading)
    for adversary in siege.adversaries.values():
        before = ", ".join(str(event["attack"]) for event in adversary.ended[-3:])
        counts = str(adversary.tried), str(adversary.reached)
        table.add_row(_PLACES[adversary.between], adversary.acting or "lets pass", *counts, before)
    errors = Counter(error for _, error in siege.witnesses.refused).most_common(8)
    said = ", ".join(f"{error} {times}" for error, times in errors) or "nothing"
    text = Text(f"\n{siege.done} kinds of attack done. The ends refused: {said}")
    return Panel(Group(table, text), title=f"under attack: {siege.chapter}", title_align="left", border_style="red")


def _progress(story: Story) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for k, device in enumerate(story.town.devices):
        total, done = story.options.expected_of(k), story.progress.by_device.get(device.name, 0)
        table.add_row(
            f"device-{k + 1}", ProgressBar(total=max(total, 1), completed=done, width=40), f"{done} of {total} opened"
        )
    commands = f"{len(story.progress.answered)} of {len(story.progress.asked)} commands answered"
    return Panel(Group(table, Text(commands)), title=f"sealed from end to end: {story.chapter}", title_align="left")


def _roles(story: Story) -> RenderableType:
    table = Table(expand=True, box=None, header_style="dim")
    for heading in ("process", "pid", "", "killed and back"):
        table.add_column(heading)
    for title, process in story.roles.items():
        state = "[yellow]stopped[/]" if process.paused else "[green]running[/]" if process.running else "[red]down[/]"
        table.add_row(title, str(process.pid), state, "●" * process.restarts)
    return table


def _four_views(sighting: Sighting | None) -> RenderableType:
    if sighting is None:
        return Panel(Text("waiting for the first message", style="dim"), title=_VIEWS, title_align="left")
    grid = Table.grid(expand=True)
    for _ in range(2):
        grid.add_column(ratio=1)
    grid.add_row(
        _view("the device seals", sighting.plaintext, "green"), _view("the application opens", sighting.opened, "green")
    )
    outside = _outside(sighting.outside)
    grid.add_row(_view("the gateway sees", outside, "yellow"), _view("the hub sees", outside, "yellow"))
    return Panel(grid, title=_VIEWS, title_align="left")


def _view(title: str, text: str, style: str) -> RenderableType:
    return Panel(
        Text(_cut(text), style=style, overflow="fold"), title=title, title_align="left", border_style=style, height=6
    )


def _outside(seen: dict[str, Any]) -> str:
    facts = ", ".join(f"{key} {seen[key]}" for key in ("suite", "kid", "number", "message_bytes"))
    extras = "".join(f", with {name}" for name in ("start", "opener") if seen[name])
    return f"{facts}{extras}\n{seen['hex']}"


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_SHOWN else text[: _MOST_SHOWN - 1] + "…"


def summary(report: dict[str, Any]) -> list[RenderableType]:
    """Return the tables that end the demo."""
    attacks = [_attacks(report["attacks"])] if "attacks" in report else []
    return [*attacks, _ends(report)]


def _attacks(rows: list[dict[str, Any]]) -> RenderableType:
    table = Table(title=f"{len(rows)} kinds of attack", title_justify="left", box=None, header_style="dim")
    for heading in ("attack", "got through", "to be", "what the ends said", ""):
        table.add_column(heading, no_wrap=heading in ("attack", "got through"))
    for row in rows:
        said = ", ".join(f"{name} {times}" for name, times in row["reported_as"].items())
        wrong = faults(row)
        verdict = f"[red]{'; '.join(wrong)}[/]" if wrong else "[green]ok[/]"
        counts = f"{row['reached_network']} of {row['tried']}"
        table.add_row(row["name"], counts, row["expected"], said or "-", verdict)
    return table


def _ends(report: dict[str, Any]) -> RenderableType:
    table = Table(title="what the two ends say", title_justify="left", box=None, show_header=False)
    commands = report["commands"]
    rows = {
        "readings sealed and opened": f"{report['sent']} and {report['delivered']}",
        "lost, duplicated": f"{report['lost']}, {report['duplicates']}",
        "commands sent, executed, answered": f"{commands['sent']}, {commands['executed']}, {commands['answered']}",
        "killed with something in flight": ", ".join(f"{r['role']} ({r['in_flight']})" for r in report["restarts"]),
        "sealing adds, bytes (min, median, max)": ", ".join(
            f"{report['overhead_bytes'][k]:g}" for k in ("min", "median", "max")
        ),
        "from sealing to opening, ms (p50, p99)": ", ".join(f"{report['latency_ms'][k]:g}" for k in ("p50", "p99")),
        "seconds": f"{report['seconds']:.1f}",
        "attacks, wrong at a handler, undetected": _told_of(report.get("attacks")),
        "verdict": "[green]all is well[/]" if report["ok"] else "[red]something is wrong[/]",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _told_of(rows: list[dict[str, Any]] | None) -> str:
    if rows is None:
        return "left out"
    return f"{len(rows)} kinds, {sum(r['wrong_at_handler'] for r in rows)}, {sum(r['undetected'] for r in rows)}"
