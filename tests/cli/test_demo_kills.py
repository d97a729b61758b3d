# SPDX-License-Identifier: Apache-2.0
"""The demo catches a role with something in flight even where nothing flows but what it stirs up itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import pytest

from sealway.cli.demo import kills
from sealway.cli.demo.kills import kill_in_flight
from sealway.errors import TransportFailed

STEP_S = 0.002
HOP_STEPS = 5


class Role:
    """Stands in for a role's process: it can be stopped for a moment, and says what is in its hands."""

    def __init__(self) -> None:
        self.title, self.role, self.pid, self.restarts = "device-1", "device", 1, 0
        self.is_paused = False
        self.unacknowledged = 0

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False

    async def status(self) -> dict[str, Any]:
        return {"in_flight": 0, "unacknowledged": self.unacknowledged}

    async def kill(self) -> None:
        self.is_paused = False

    async def start(self) -> None:
        self.pid += 1

    async def ready(self) -> None:
        return


class Line:
    """A command goes through the application to the device; the application takes the device's answer off its hands."""

    def __init__(self, device: Role, application: Role) -> None:
        self.device, self.application = device, application
        self.asked = 0

    async def flow(self) -> None:
        towards, back = 0, 0
        while True:
            await asyncio.sleep(STEP_S)
            if self.asked and not self.application.is_paused:
                towards += 1
                if towards >= HOP_STEPS:  # it is with the device
                    self.asked, towards = self.asked - 1, 0
                    self.device.unacknowledged += 1
            if self.device.unacknowledged and not self.application.is_paused and not self.device.is_paused:
                back += 1
                if back >= HOP_STEPS:
                    self.device.unacknowledged, back = 0, 0


@pytest.fixture
async def line(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Line]:
    for name, value in (("SLOW_S", 0.02), ("AHEAD_S", STEP_S), ("UNAIDED", 0), ("ATTEMPTS", 20)):
        monkeypatch.setattr(kills, name, value)
    line = Line(Role(), Role())
    flowing = asyncio.create_task(line.flow())
    yield line
    flowing.cancel()


async def _kill(line: Line, *, through: bool) -> kills.Restart:
    def stir(_: int) -> None:
        line.asked = 1

    device: Any = line.device
    application: Any = line.application
    return await kill_in_flight(device, application, stir, Random(7), through=through)


async def test_what_goes_through_who_is_stopped_is_given_time_for_that(line: Line) -> None:
    restart = await _kill(line, through=True)
    assert restart.in_flight == 1 and restart.pid_after == restart.pid_before + 1


async def test_without_that_time_nothing_ever_comes_through(line: Line) -> None:
    with pytest.raises(TransportFailed, match="never caught"):
        await _kill(line, through=False)
