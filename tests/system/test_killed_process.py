# SPDX-License-Identifier: Apache-2.0
"""SIGKILL, for real: both ends and the hub die together at any moment, five times, and the hub's memory is lost."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.system.killed_process import COMMANDS, READINGS, lines

ROOT = Path(__file__).resolve().parents[2]


async def _start(directory: Path, now: int) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.system.killed_process", str(directory), str(now),
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), 30) == b"going\n"
    return process


@pytest.mark.processes
async def test_five_kills(tmp_path: Path) -> None:
    now, chance = int(time.time()), random.Random(3)
    for _ in range(5):
        process = await _start(tmp_path, now)
        await asyncio.sleep(chance.uniform(0.05, 0.5))
        if process.returncode is None:
            process.kill()
        await process.communicate()
        assert process.returncode == -signal.SIGKILL
    process = await _start(tmp_path, now)
    await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    identities = {line.split()[0]: line for line in lines(tmp_path / "got")}
    assert sorted(identities, key=int) == [str(n) for n in range(READINGS)]
    assert set(identities.values()) == set(lines(tmp_path / "got"))  # offered again perhaps, always as the same message
    executed = Counter(lines(tmp_path / "executed"))
    assert set(executed.values()) == {1}
    answers = dict(line.split(maxsplit=1) for line in lines(tmp_path / "answered"))
    assert len(answers) == COMMANDS
    assert all(answer == f"did {n}" and executed[n] == 1 for n, answer in answers.items() if answer != "interrupted")
    assert sum(answer == "interrupted" for answer in answers.values()) <= 5
