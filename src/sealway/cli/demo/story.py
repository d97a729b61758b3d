# SPDX-License-Identifier: Apache-2.0
"""The demo from the first key to out.json."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from sealway.cli.demo.commander import Commander
from sealway.cli.demo.kills import UNAIDED, Restart, kill_in_flight
from sealway.cli.demo.options import LIVE_RATE, Options
from sealway.cli.demo.ports import HOST
from sealway.cli.demo.process import RoleProcess
from sealway.cli.demo.progress import Progress
from sealway.cli.demo.report import make_report, with_attacks
from sealway.cli.demo.siege import Siege, besiege, prepare
from sealway.cli.demo.sightings import Sighting, Sightings
from sealway.cli.demo.town import Member, Town, found
from sealway.errors import TransportFailed

LOOK_S = 0.05
PATIENCE_S = 240.0
KILL_AT = (("hub", 0.15), ("gateway", 0.35), ("device", 0.55), ("application", 0.75))
"""Which role is killed once this part of all readings has arrived."""


@dataclass(slots=True)
class Story:
    """Everything the live view shows."""

    options: Options
    town: Town
    progress: Progress
    roles: dict[str, RoleProcess]
    """By title: hub, gateway, device-1, …, application."""
    chapter: str = "starting"
    sightings: Sightings = field(default_factory=Sightings)
    sighting: Sighting | None = None
    restarts: list[Restart] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    siege: Siege | None = None


async def tell(options: Options, show: Callable[[Story], None], say: Callable[[str], None]) -> dict[str, Any]:
    """Run the whole demo; return out.json's content.

    Args:
        show: called with the story whenever something may have changed.
        say: called with each line for people.

    Raises:
        TransportFailed: a role did not start, or could not be killed with something in flight.
    """
    say("founding a domain: owner, hub, gateway, application and devices make their keys")
    town = await found(options)
    first_is_over = asyncio.Event()
    base = options.directory / "siege"
    besieged = (
        asyncio.create_task(prepare(base, options.seed, options.suite, first_is_over.is_set))
        if options.attacks
        else None
    )
    try:
        story, report = await _first_act(options, town, show, say)
        first_is_over.set()
        if besieged is None:
            return report
        say("the second act: another town, and an adversary on every hop")
        story.siege = await besieged
        rows = await besiege(story.siege, lambda: show(story), say)
        return with_attacks(report, rows)
    finally:
        if besieged is not None:
            besieged.cancel()
            await asyncio.gather(besieged, return_exceptions=True)


async def _first_act(
    options: Options, town: Town, show: Callable[[Story], None], say: Callable[[str], None]
) -> tuple[Story, dict[str, Any]]:
    progress = Progress(town.application.directory / "received.jsonl")
    story = Story(options, town, progress, roles_of(town, options))
    watcher = asyncio.create_task(_watch(story, show), name="demo watcher")
    try:
        await _act(story, say)
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)
        await stop_all(story)
    seconds = time.monotonic() - story.started
    return story, await make_report(town, seed=options.seed, restarts=story.restarts, seconds=seconds)


async def _act(story: Story, say: Callable[[str], None]) -> None:
    random = Random(story.options.seed)  # noqa: S311 - it picks moments and request ids, not keys
    commander = Commander(story.town, story.options, story.progress, random)
    for title, process in story.roles.items():
        story.chapter = f"starting {title}"
        await process.start()
        if not title.startswith("device"):
            await process.ready()
    await asyncio.gather(*(p.ready() for p in story.roles.values() if p.role == "device"))
    say(f"{len(story.roles)} processes are running; readings flow")
    story.started = time.monotonic()
    commander.identify(0)
    for role, part in KILL_AT:
        story.chapter = "readings flow"
        await _until_delivered(story, part)
        await _kill(story, commander, role, random, say)
    for device in range(story.options.devices):
        commander.ask_status(device)
    story.chapter = "waiting for the last messages"
    await _until_all_done(story)


async def _kill(story: Story, commander: Commander, role: str, random: Random, say: Callable[[str], None]) -> None:
    title = "device-1" if role == "device" else role
    process = story.roles[title]
    story.chapter = f"catching {title} with envelopes in flight"

    def stir(attempt: int) -> None:
        if attempt == 0:
            commander.change_interval(len(story.restarts) % story.options.devices)
        elif role == "application" or attempt >= UNAIDED:
            commander.ask_status(0)  # device-1: who is stopped for a moment holds up what goes to it, or its receipt

    beyond = story.roles[{"gateway": "device-1", "device": "application"}.get(role, "gateway")]
    restart = await kill_in_flight(process, beyond, stir, random, through=role == "device")
    story.restarts.append(restart)
    say(
        f"killed {title} (pid {restart.pid_before}, SIGKILL) with {restart.in_flight} unacknowledged in its hands;"
        f" it is back as pid {restart.pid_after}"
    )


async def _until_delivered(story: Story, part: float) -> None:
    goal = int(part * story.options.expected)
    await _until(story, lambda: story.progress.delivered >= goal, f"{goal} readings")


async def _until_all_done(story: Story) -> None:
    progress, options = story.progress, story.options

    def done() -> bool:
        answered = len(progress.answered) >= len(progress.asked)
        return progress.delivered >= options.expected and answered and len(progress.finished) == options.devices

    await _until(story, done, "the last messages")


async def _until(story: Story, reached: Callable[[], bool], what: str) -> None:
    """Wait for a condition, as long as anything still arrives. Raises TransportFailed when nothing has for minutes."""
    last, since = -1, time.monotonic()
    while not reached():
        if story.progress.delivered != last:
            last, since = story.progress.delivered, time.monotonic()
        if time.monotonic() - since > PATIENCE_S:
            raise TransportFailed(f"nothing has arrived for {PATIENCE_S:.0f} s while waiting for {what}")
        for process in story.roles.values():
            if not process.running:
                raise TransportFailed(f"{process.title} has ended", hint=f"see {process.directory / 'stderr.log'}")
        await asyncio.sleep(LOOK_S)


async def _watch(story: Story, show: Callable[[Story], None]) -> None:
    while True:
        look(story)
        show(story)
        await asyncio.sleep(LOOK_S)


def look(story: Story) -> None:
    """Read what the roles have printed and the application has written since the last look."""
    for title, process in story.roles.items():
        for event in process.events():
            story.progress.note(title if process.role == "device" else None, event)
            if event.get("event") == "sealed":
                story.sightings.sealed(event)
    for reading in story.progress.look():
        story.sighting = story.sightings.opened(reading) or story.sighting


async def stop_all(story: Story) -> None:
    """Devices and application first: they end as soon as their state is durable."""
    for process in reversed(story.roles.values()):
        if process.paused:
            process.resume()
        await process.stop()


def roles_of(town: Town, options: Options) -> dict[str, RoleProcess]:
    """Return every role's process by title, in the order in which they start; none is started yet."""

    def make(role: str, title: str, member: Member, *arguments: str) -> RoleProcess:
        words = (member.command, *arguments[:1], "--state", str(member.directory), *arguments[1:])
        return RoleProcess(role, title, member.directory, words, member.key_file)

    hub = make("hub", "hub", town.hub, "run", "--host", HOST, "--port", str(town.hub_port))
    gateway = make("gateway", "gateway", town.gateway, "run", "--host", HOST, "--port", str(town.gateway_port))
    requests, received = (str(town.application.directory / name) for name in ("requests.jsonl", "received.jsonl"))
    watch = ("watch", "--received", received, "--requests", requests)
    roles = [hub, gateway, make("application", "application", town.application, *watch)]
    for k, member in enumerate(town.devices):
        roles.append(make("device", f"device-{k + 1}", member, *_serve(town, options, k)))
    return {process.title: process for process in roles}


def _serve(town: Town, options: Options, k: int) -> tuple[str, ...]:
    words = ["serve", "--to", town.application.name, "--count", str(options.expected_of(k))]
    if options.source is not None:
        words += ["--input", str(options.source), "--deal", f"{k}/{options.devices}"]
    rate = options.rate if options.rate is not None or options.source is not None else LIVE_RATE
    if rate is not None:
        words += ["--rate", f"{rate:g}"]
    return (*words, "--verbose") if options.verbose else tuple(words)
