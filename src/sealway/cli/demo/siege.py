# SPDX-License-Identifier: Apache-2.0
"""The demo's second act: a town under attack while its traffic flows, and what its ends say of it afterwards."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

from sealway.cli.demo import attacks
from sealway.cli.demo.attacks import Turn, Until
from sealway.cli.demo.besieged import Besieged, adversaries_of, found_besieged, honest_roles, requests_of
from sealway.cli.demo.judging import judged, unrefused
from sealway.cli.demo.process import GENTLY, RoleProcess, run
from sealway.cli.demo.puppeteer import Adversary
from sealway.cli.demo.witnesses import Witnesses
from sealway.errors import TransportFailed

LOOK_S: Final = 0.03
ASK_S: Final = 0.45
"""Between two commands."""
MOST_UNANSWERED: Final = 24
PROBE_S: Final = 2.75
"""How long the application tries to reach the stranger with one command; then it asks again. It tries after 0, 0.25,
0.75 and 1.75 seconds, so that it is not in the middle of an attempt when the time is up."""
STARTS: Final = 48
WITH_ONE_TIME: Final = 12
GRACE_S: Final = 15.0
ROUNDS: Final = 2
"""An act that found nothing to attack is done once more."""
PATIENCE_S: Final = 90.0
PADDING: Final = "so that a carrier can tell a command from a receipt by its size. " * 3


@dataclass(slots=True)
class Siege:
    """Everything that the second act knows."""

    town: Besieged
    roles: dict[str, RoleProcess]
    adversaries: dict[str, Adversary]
    witnesses: Witnesses
    random: Random
    commands: dict[str, str] = field(default_factory=dict)
    """Request id to the name of the device."""
    chapter: str = "starting"
    busy: set[str] = field(default_factory=set)
    """Where the adversary still has turns to take."""

    @property
    def done(self) -> int:
        """How many kinds of attack are over."""
        return len({event["attack"] for adversary in self.adversaries.values() for event in adversary.ended})

    @property
    def delivered(self) -> int:
        """How many readings the application has written down."""
        path = self.town.application.directory / "received.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def look(self) -> None:
        """Read what everybody has printed. Raises TransportFailed if a process has ended by itself."""
        self.witnesses.look(self.roles)
        for adversary in self.adversaries.values():
            adversary.look()

    def command(self, device: str, **fields: Any) -> str:
        """Let the application ask something of a device; return the request's id."""
        request = self.random.randbytes(8).hex()
        line = {"id": request, "to": device, **fields}
        with requests_of(self.town).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        return request


async def prepare(base: Path, seed: int, suite: int, is_needed: Callable[[], bool]) -> Siege:
    """Found the town, gently until it is needed: something else is going on before. Raises TransportFailed."""
    GENTLY.set(lambda: not is_needed())
    town = await found_besieged(base, seed, suite)
    roles, adversaries = honest_roles(town), adversaries_of(town, base, seed)
    return Siege(town, roles, adversaries, Witnesses(), Random(seed))  # noqa: S311 - request ids, not keys


async def besiege(siege: Siege, show: Callable[[], None], say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Do every attack; return the rows of out.json.

    Args:
        show: called whenever something may have changed.
        say: called with each line for people.

    Raises:
        TransportFailed: somebody did not start, or has ended.
    """
    watcher = asyncio.create_task(_watch(siege, show), name="siege watcher")
    try:
        await _open_gates(siege)
        await _against_directory(siege)
        say("an adversary stands on every hop; readings and commands flow through it")
        await _against_traffic(siege)
        siege.chapter = "waiting for what was withheld"
        say(f"{siege.done} kinds of attack are over; what was withheld arrives")
        await _calm(siege)
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)
        await _stop_all(siege)
    siege.look()
    return await judged(siege.town, siege.adversaries, siege.witnesses, siege.commands)


async def _watch(siege: Siege, show: Callable[[], None]) -> None:
    while True:
        siege.look()
        show()
        await asyncio.sleep(LOOK_S)


async def _open_gates(siege: Siege) -> None:
    """Start everyone but the devices; let the stranger seal what the adversary will send."""
    honest, hostile = siege.roles, siege.adversaries
    await _start(honest["hub"], *hostile.values())
    await _start(honest["gateway"], honest["application"])
    await siege.witnesses.until(lambda: siege.witnesses.has("application", "published"), "the application's bundle")
    town = siege.town
    await run(
        "adversary", "stranger", "--state", str(town.stranger.directory), "--to", town.application.name,
        "--out", str(town.recorded), "--starts", str(STARTS), "--one-time", str(WITH_ONE_TIME),
        "--key-file", str(town.stranger.key_file),
    )  # fmt: skip


async def _start(*processes: RoleProcess) -> None:
    await asyncio.gather(*(process.start() for process in processes))
    await asyncio.gather(*(process.ready() for process in processes))


async def _against_directory(siege: Siege) -> None:
    """The application wants to reach the stranger, again and again, and is told something else each time."""
    siege.chapter = "lying about who is who"
    probing = asyncio.create_task(_probe(siege))
    try:
        await _perform(siege, "http", attacks.against_directory(siege.town), last=False)
    finally:
        probing.cancel()
        await asyncio.gather(probing, return_exceptions=True)
    siege.adversaries["http"].end()
    siege.command(siege.town.stranger.name, path="status", timeout_s=5)
    known = siege.witnesses.asked
    await siege.witnesses.until(lambda: siege.witnesses.asked > known, "a session with the stranger")
    await _perform(siege, "http", [attacks.against_memory(siege.town)])


async def _probe(siege: Siege) -> None:
    while True:
        siege.command(siege.town.stranger.name, path="status", timeout_s=PROBE_S)
        await asyncio.sleep(PROBE_S)


async def _against_traffic(siege: Siege) -> None:
    siege.chapter = "attacking what flows"
    town, devices = siege.town, [role for role in siege.roles.values() if role.role == "device"]
    lanes = {
        "http": attacks.before_hub(town), "coap": attacks.before_gateway(town), "gateway": attacks.as_gateway(town),
    }  # fmt: skip
    talking = asyncio.create_task(_talk(siege))
    try:
        await _start(*devices)
        async with asyncio.TaskGroup() as tasks:
            for between, turns in lanes.items():
                tasks.create_task(_perform(siege, between, turns))
    finally:
        talking.cancel()
        await asyncio.gather(talking, return_exceptions=True)


async def _talk(siege: Siege) -> None:
    """Command devices 2 and 3 in turn, so that something flows to them as well; no faster than they answer."""
    names = [device.name for device in siege.town.devices[1:]]
    while True:
        for name in names:
            await siege.witnesses.until(lambda: _is_keeping_up(siege), "answers")
            request = siege.command(name, path="identify", payload=PADDING, timeout_s=600, max_age_s=2)
            siege.commands[request] = name
            await asyncio.sleep(ASK_S / 2)


def _is_keeping_up(siege: Siege) -> bool:
    return len(siege.commands.keys() - siege.witnesses.answered) < MOST_UNANSWERED


# the adversary's turns -----------------------------------------------------------------------------------------------
async def _perform(siege: Siege, between: str, turns: Iterable[Turn], *, last: bool = True) -> None:
    """Do these acts on one hop, one after the other.

    Args:
        last: end the last one, too; else it goes on until another one begins.
    """
    adversary = siege.adversaries[between]
    left = list(turns)
    siege.busy.add(between)
    for _ in range(ROUNDS):
        left = [turn for turn in left if not await _take(siege, adversary, turn)]
    siege.busy.discard(between)
    if last:
        adversary.end_if_any()


async def _take(siege: Siege, adversary: Adversary, turn: Turn) -> bool:
    """Take one turn; return whether it came to its end, and not in vain."""
    if turn.alone:
        adversary.end_if_any()
        await siege.witnesses.until(lambda: siege.busy <= {adversary.between}, "the other hops to be honest")
    adversary.begin(turn.table())
    seen = siege.witnesses.reports_so_far
    if turn.kill:
        await siege.witnesses.until(lambda: adversary.holds >= turn.holding, "what is to be replayed")
        await _kill(siege.roles[turn.kill])
    return await _until_over(siege, adversary, turn, seen) and adversary.tried > 0


async def _until_over(siege: Siege, adversary: Adversary, turn: Turn, seen: int) -> bool:
    began = time.monotonic()
    end = began + turn.seconds
    over: dict[Until, Callable[[], bool]] = {
        Until.DONE: lambda: adversary.is_over,
        Until.REACHED: lambda: adversary.tried == adversary.reached >= turn.reached,
        Until.REPORTED: lambda: (
            adversary.reached > 0 and siege.witnesses.reported(turn.attack, turn.report, since=seen)
        ),
        Until.A_WHILE: lambda: adversary.tried > 0 and time.monotonic() >= began + turn.while_s,
    }
    while not over[turn.until]():
        if not _has_time(adversary, end):
            return False
        await asyncio.sleep(LOOK_S)
        if not adversary.running:
            raise TransportFailed(f"{adversary.title} has ended", hint=f"see {adversary.directory / 'stderr.log'}")
    return True


def _has_time(adversary: Adversary, end: float) -> bool:
    """Say whether to wait on; for what is under way a little longer."""
    return time.monotonic() < end + (GRACE_S if adversary.tried > adversary.reached else 0.0)


async def _kill(process: RoleProcess) -> None:
    """Kill an end as a power cut does."""
    await process.kill()
    await process.start()
    await process.ready()
    process.restarts += 1


# the end -------------------------------------------------------------------------------------------------------------
async def _calm(siege: Siege) -> None:
    """Let the devices fall silent, and wait until everything has arrived, or nothing has for a long time."""
    for device in siege.town.devices:
        siege.command(device.name, path="interval", payload="86400", timeout_s=600)
    devices = [role for role in siege.roles.values() if role.role == "device"]
    witnesses = siege.witnesses
    await witnesses.until(lambda: all(map(witnesses.is_calm, (d.title for d in devices))), "the devices to fall silent")
    sent = sum([int((await device.status())["sent"]) for device in devices])
    before, since = -1, time.monotonic()
    while siege.delivered < sent or not siege.commands.keys() <= witnesses.answered or not _all_is_refused(siege):
        arrived = siege.delivered + len(witnesses.answered) + len(witnesses.refused)
        if arrived != before:
            before, since = arrived, time.monotonic()
        if time.monotonic() - since > PATIENCE_S:
            return  # what is missing stands in the rows
        await asyncio.sleep(0.2)


def _all_is_refused(siege: Siege) -> bool:
    """Say whether every harmful thing that went on has come to where it is refused: some wait in a mailbox still."""
    told = all(adversary.begun == len(adversary.ended) for adversary in siege.adversaries.values())
    return told and not unrefused(siege.adversaries, siege.witnesses)


async def _stop_all(siege: Siege) -> None:
    """The ends first: they end as soon as their state is durable; then the hops."""
    order = [*reversed(siege.roles.values()), *siege.adversaries.values()]
    ends: list[Awaitable[None]] = [p.stop() for p in order if p.role in ("device", "application")]
    await asyncio.gather(*ends)
    await asyncio.gather(*(p.stop() for p in order if p.role not in ("device", "application")))
