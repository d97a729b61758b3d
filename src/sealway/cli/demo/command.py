# SPDX-License-Identifier: Apache-2.0
"""``sealway demo``."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
from pathlib import Path
from random import SystemRandom
from typing import Annotated, Any

import typer

from sealway.cli.demo.options import Options
from sealway.errors import LocalMisuse

MOST_DEVICES = 32


def demo(
    headless: Annotated[bool, typer.Option("--headless", help="Print lines instead of a live view.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report here.")] = None,
    devices: Annotated[int, typer.Option(min=1, max=MOST_DEVICES, help="How many devices.")] = 3,
    messages: Annotated[
        int | None, typer.Option(min=1, help="Readings a device; default 60, or all rows of --input.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(min=0.01, help="Readings a device and second; default 5, or as fast as it goes.")
    ] = None,
    source: Annotated[
        str | None, typer.Option("--input", help="FILE.csv, FILE.jsonl or - : its rows are the readings.")
    ] = None,
    keep: Annotated[Path | None, typer.Option(help="Leave every role's directory here.")] = None,
    seed: Annotated[
        int | None, typer.Option(help="Decides when roles are killed and what the adversary does; default random.")
    ] = None,
    suite: Annotated[int, typer.Option(min=1, max=3, help="What the endpoints' keys are made for.")] = 1,
    no_attacks: Annotated[bool, typer.Option("--no-attacks", help="Leave out the second act, under attack.")] = False,
) -> None:
    """Run a whole fleet on this computer: sealed end to end, while its processes are killed; then under attack."""
    from sealway.cli.demo.report import what_is_wrong
    from sealway.cli.demo.source import settled_source

    directory = _directory(keep)
    try:
        path, rows = settled_source(source, directory) if source is not None else (None, 0)
        chosen = seed if seed is not None else SystemRandom().randrange(1 << 31)
        live = not headless and sys.stdout.isatty()
        report = _run(Options(devices, messages, rate, path, rows, chosen, directory, live, not no_attacks, suite))
        if json_file is not None:
            json_file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        if not report["ok"]:
            typer.echo(f"error: {what_is_wrong(report)}", err=True)
            raise typer.Exit(5)
    finally:
        if keep is None:
            shutil.rmtree(directory, ignore_errors=True)


def _directory(keep: Path | None) -> Path:
    if keep is None:
        return Path(tempfile.mkdtemp(prefix="sealway-demo-"))
    if keep.exists() and any(keep.iterdir()):
        raise LocalMisuse(f"{keep} is not empty", hint="name a new directory for --keep")
    keep.mkdir(mode=0o700, parents=True, exist_ok=True)
    return keep.resolve()


def _run(options: Options) -> dict[str, Any]:
    from rich.console import Console

    from sealway.cli.demo.story import tell
    from sealway.cli.demo.view import LiveView, summary

    console = Console()
    if not options.verbose:
        report = asyncio.run(tell(options, lambda story: None, lambda line: print(line, flush=True)))
    else:
        with LiveView(console) as view:
            report = asyncio.run(tell(options, view.show, view.say))
    for table in summary(report):
        console.print(table)
    return report
