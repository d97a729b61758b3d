# SPDX-License-Identifier: Apache-2.0
"""A process with a hub, a device and an application in it, to be killed.

    python -m tests.system.killed_process DIRECTORY NOW

The hub's memory goes with the process; keys come from a seed, as if from a keystore. What the ends did is appended
to files.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path
from unittest import mock

from sealway.errors import Interrupted
from sealway.sdk import Application, Device, endpoint
from sealway.transports.memory import MemoryHub
from sealway.wire.message import Message
from tests.system.domain import Domain
from tests.system.world import FastClock, until

READINGS = 400
COMMANDS = 40


def append(path: Path, line: str) -> None:
    with path.open("ab", buffering=0) as file:
        file.write(line.encode() + b"\n")


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


async def run(directory: Path, now: int) -> None:
    with mock.patch.object(os, "urandom", random.Random(7).randbytes):
        domain = Domain(now=now)
        meter_member, ops_member = domain.member("device", "meter"), domain.member("application", "ops")
        grant = domain.grant(ops_member, "valve:write")
    hub, clock = MemoryHub(domain.root_document), FastClock(50.0)
    meter = Device(directory / "meter", meter_member, hub.carrier(), clock=clock)
    ops = Application(directory / "ops", ops_member, hub.carrier(), clock=clock, grants=[grant])

    @meter.on("valve", scope="valve:write")
    async def valve(command: Message) -> bytes:
        append(directory / "executed", command.payload.decode())
        return b"did " + command.payload

    async with meter, ops:
        await asyncio.gather(meter.endpoint.publisher.published(), ops.endpoint.publisher.published())
        print("going", flush=True)
        watching = asyncio.create_task(watch(ops, directory / "got"))
        await asyncio.gather(measure(meter, ops), command(ops, meter, directory / "answered"))
        await until(lambda: len(set(lines(directory / "got"))) == READINGS, "all readings")
        await until(lambda: not meter.endpoint.outbox and not ops.endpoint.outbox, "all receipts")
        watching.cancel()


async def measure(meter: Device, ops: Application) -> None:
    for n in range(await meter.endpoint.mark("next"), READINGS):
        await meter.send(ops.endpoint.member.name, "readings", b"%d" % n, mark=("next", n + 1))
        await asyncio.sleep(0.003)


async def command(ops: Application, meter: Device, answered: Path) -> None:
    known = {line.split()[0] for line in lines(answered)}
    for n in range(COMMANDS):
        if str(n) in known:
            continue
        try:
            answer = await ops.request(meter.endpoint.member.name, "valve", b"%d" % n, request_id=n.to_bytes(8, "big"))
            append(answered, f"{n} {answer.payload.decode()}")
        except Interrupted:
            append(answered, f"{n} interrupted")


async def watch(ops: Application, got: Path) -> None:
    async for batch in ops.batches():
        for received in batch:
            identity = received.identity
            append(got, f"{received.message.payload.decode()} {identity.session.hex()} {identity.number}")


if __name__ == "__main__":
    endpoint.TICK_S = endpoint.PAUSE_S = 0.02
    asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2])))
