# SPDX-License-Identifier: Apache-2.0
"""Killing roles like a power cut does, but only while they hold envelopes that nobody has acknowledged to them yet.

A role is stopped where it stands (SIGSTOP), its durable state is counted by the public status command, and only if
something is in flight is it killed (SIGKILL); otherwise it goes on as if nothing had been.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from sealway.cli.demo.process import RoleProcess
from sealway.errors import TransportFailed

ATTEMPTS = 60


@dataclass(frozen=True, slots=True)
class Restart:
    """One kill and what came after."""

    role: str
    pid_before: int
    pid_after: int
    signal: int
    in_flight: int


async def kill_in_flight(process: RoleProcess, stir: Callable[[int], None], random: Random) -> Restart:
    """Kill a role while something is in flight, and start it again.

    Args:
        stir: called before each attempt with its number; makes sure that there is traffic.

    Raises:
        TransportFailed: the role was never caught with anything in flight.
    """
    for attempt in range(ATTEMPTS):
        stir(attempt)
        await asyncio.sleep(random.uniform(0.0, 0.12))
        process.pause()
        in_flight = _envelopes_in_flight(await process.status())
        if in_flight:
            before = process.pid
            await process.kill()
            await process.start()
            await process.ready()
            process.restarts += 1
            return Restart(process.role, before, process.pid, 9, in_flight)
        process.resume()
    raise TransportFailed(f"{process.title} was never caught with envelopes in flight")


def _envelopes_in_flight(status: dict[str, Any]) -> int:
    """Count envelopes only: an application's ``in_flight`` also has messages that it has opened and not handled yet."""
    return int(status.get("unacknowledged", status["in_flight"]))
