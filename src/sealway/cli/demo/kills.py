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
UNAIDED = 3
SLOW_S = 0.5
AHEAD_S = 0.1


@dataclass(frozen=True, slots=True)
class Restart:
    """One kill and what came after."""

    role: str
    pid_before: int
    pid_after: int
    signal: int
    in_flight: int


async def kill_in_flight(
    process: RoleProcess, beyond: RoleProcess, stir: Callable[[int], None], random: Random, *, through: bool = False
) -> Restart:
    """Kill a role while something is in flight, and start it again.

    Args:
        beyond: who takes commands off its hands; when traffic is thin, it is stopped for a moment, as if it were slow.
        stir: called before each attempt with its number; makes sure that there is traffic.
        through: what is stirred goes through ``beyond`` first: it is given time for that, more in each attempt.

    Raises:
        TransportFailed: the role was never caught with anything in flight.
    """
    for attempt in range(ATTEMPTS):
        stir(attempt)
        slow = attempt >= UNAIDED
        if slow:
            if through:
                await asyncio.sleep((attempt - UNAIDED + 1) * AHEAD_S)
            beyond.pause()
        try:
            await asyncio.sleep(random.uniform(0.0, 0.12) + (SLOW_S if slow else 0.0))
            process.pause()
            in_flight = _envelopes_in_flight(await process.status())
            if in_flight:
                return await _killed_and_back(process, in_flight)
            process.resume()
        finally:
            if slow:
                beyond.resume()
    raise TransportFailed(f"{process.title} was never caught with envelopes in flight")


async def _killed_and_back(process: RoleProcess, in_flight: int) -> Restart:
    before = process.pid
    await process.kill()
    await process.start()
    await process.ready()
    process.restarts += 1
    return Restart(process.role, before, process.pid, 9, in_flight)


def _envelopes_in_flight(status: dict[str, Any]) -> int:
    """Count envelopes only: an application's ``in_flight`` also has messages that it has opened and not handled yet."""
    return int(status.get("unacknowledged", status["in_flight"]))
