# SPDX-License-Identifier: Apache-2.0
"""SIGKILL, for real: both ends and the hub die together at any moment, twenty times.

Every other time the hub's memory is lost too; otherwise it offers every envelope of the past again.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.system.killed_process import COMMANDS, FINISH, READINGS, lines
from tests.system.promises import check
from tests.system.world import until

ROOT = Path(__file__).resolve().parents[2]
KILLS = 20
PATIENCE_S = 120


async def _start(directory: Path, now: int, *, kept: bool) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.system.killed_process", str(directory), str(now), *(["kept"] if kept else []),
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), PATIENCE_S) == b"going\n"
    return process


@pytest.mark.processes
async def test_twenty_kills(tmp_path: Path) -> None:
    now, chance = int(time.time()), random.Random(3)
    for kill in range(KILLS):
        process = await _start(tmp_path, now, kept=kill % 2 == 1)
        goal = (kill + chance.random()) * READINGS / (KILLS + 1)
        await until(lambda: len(lines(tmp_path / "got")) >= goal, "some readings", PATIENCE_S)  # noqa: B023
        await asyncio.sleep(chance.uniform(0, 0.03))
        process.kill()
        await process.communicate()
        assert process.returncode == -signal.SIGKILL
    (tmp_path / FINISH).touch()
    process = await _start(tmp_path, now, kept=True)
    await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert process.returncode == 0
    check(tmp_path, readings=READINGS, commands=COMMANDS, deaths=KILLS)
