# SPDX-License-Identifier: Apache-2.0
"""A running fleet of real processes on loopback, driven by the public commands; built from the demo's parts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

from sealway.cli.demo.commander import Commander
from sealway.cli.demo.options import Options
from sealway.cli.demo.process import RoleProcess
from sealway.cli.demo.progress import Progress
from sealway.cli.demo.story import Story, look, roles_of, stop_all
from sealway.cli.demo.town import found


class Fleet:
    """Everything started and ready."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.commander = Commander(story.town, story.options, story.progress, Random(1))

    def __getitem__(self, title: str) -> RoleProcess:
        return self.story.roles[title]

    @property
    def delivered(self) -> int:
        look(self.story)
        return self.story.progress.delivered

    async def until(self, reached: Callable[[], bool], seconds: float = 60.0) -> None:
        """Wait for something to come true; what the processes print is read meanwhile."""
        deadline = asyncio.get_running_loop().time() + seconds
        while not reached():
            look(self.story)
            assert asyncio.get_running_loop().time() < deadline, "it did not come true in time"
            await asyncio.sleep(0.05)

    def all_answered(self) -> bool:
        progress = self.story.progress
        return len(progress.answered) >= len(progress.asked)


@asynccontextmanager
async def running_fleet(
    directory: Path, source: Path | None, rows: int, *, devices: int, messages: int | None, rate: float | None
) -> AsyncIterator[Fleet]:
    options = Options(devices, messages, rate, source, rows, 1, directory)
    town = await found(options)
    story = Story(options, town, Progress(town.application.directory / "received.jsonl"), roles_of(town, options))
    fleet = Fleet(story)
    try:
        for title in story.roles:
            await fleet[title].start()
            if not title.startswith("device"):
                await fleet[title].ready()
        yield fleet
    finally:
        await stop_all(story)
