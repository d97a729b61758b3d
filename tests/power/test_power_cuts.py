# SPDX-License-Identifier: Apache-2.0
"""The power fails between any two system calls: nothing is lost, nothing is done twice, no key seals two messages.

The device and the application run under strace. From what they wrote, and when they forced it to the disk, the test
makes the directories that a disk may hold after a power cut, and lets both go on from there. SEALWAY_POWER_CUTS sets
how many moments are tried (default 24, three images each).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sealway.sdk.schema import DATABASE
from sealway.vault.keyfile import KEY_FILE
from tests.power.disk import TRACE, Disk, Op, read_trace
from tests.power.scene import COMMANDS, READINGS, WITNESSES, play
from tests.system.killed_process import lines

ROOT = Path(__file__).resolve().parents[2]
MOMENTS = int(os.environ.get("SEALWAY_POWER_CUTS", "24"))
HOW = ("nothing", "all", "torn")
ALARMS = ("state_lost", "refused_StateLost", "refused_PeerForked", "event_ForkSuspected", "refused_NotAuthentic")


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, list[Op]]:
    """One run from beginning to end: when it was, and every call that touched its directories."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    directory, now = tmp_path_factory.mktemp("power"), int(time.time())
    trace, run = directory / "trace", directory / "run"
    run.mkdir(mode=0o700)
    command = [*TRACE, "-o", str(trace), sys.executable, "-m", "tests.power.scene", str(run), str(now)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    if "ptrace" in done.stderr:
        pytest.skip("processes may not be traced here")
    assert done.returncode == 0, done.stderr
    _check(run)
    return now, read_trace(trace.read_text().splitlines(), run)


def test_the_trace_is_whole(story: tuple[int, list[Op]], tmp_path: Path) -> None:
    """Everything that was written, put together again, is a state in which all has been done."""
    now, ops = story
    disk = Disk(WITNESSES)
    for op in ops:
        disk.apply(op)
    disk.write_to(tmp_path / "end", "all", random.Random(0))
    before = lines(tmp_path / "end" / "got")
    asyncio.run(play(tmp_path / "end", now))
    _check(tmp_path / "end")
    assert lines(tmp_path / "end" / "got") == before
    assert Counter(op.kind for op in ops)["sync"] > 100
    assert Counter(op.path for op in ops if op.kind == "sync")[f"meter/{KEY_FILE}"] > 5, "periods end all the time"


def _moments(ops: list[Op]) -> Iterator[tuple[int, Disk]]:
    """Moments before and after something was forced to the disk, or was seen by the outside world."""
    telling = [k for k, op in enumerate(ops) if op.kind == "sync" or op.path in WITNESSES]
    every = sorted({k + before for k in telling for before in (0, 1)})
    chosen = set(random.Random(5).sample(every, min(MOMENTS, len(every))))
    disk = Disk(WITNESSES)
    for k, op in enumerate([*ops, Op("mkdir", "end")]):
        if k in chosen:
            yield k, disk
        disk.apply(op)


def test_after_a_power_cut_everything_goes_on(story: tuple[int, list[Op]], tmp_path: Path) -> None:
    now, ops = story
    tried = 0
    for moment, disk in _moments(ops):
        for how in HOW:
            directory = tmp_path / f"{moment}-{how}"
            disk.write_to(directory, how, random.Random(moment))
            _go_on_from(directory, now)
            shutil.rmtree(directory)
            tried += 1
    assert tried >= len(HOW) * min(MOMENTS, 10)


def _go_on_from(directory: Path, now: int) -> None:
    try:
        asyncio.run(play(directory, now))
        _check(directory)
    except AssertionError as failure:
        raise AssertionError(f"after a power cut at {directory.name}") from failure


def test_a_disk_that_lies_is_found_out(story: tuple[int, list[Op]], tmp_path: Path) -> None:
    """The control: what is never forced to the disk is lost, and the checks see that."""
    now, ops = story
    honest = [op for op in ops if op.kind != "sync" or op.path in WITNESSES]
    disk, moment = Disk(WITNESSES), len(honest) * 3 // 4
    for op in honest[:moment]:
        disk.apply(op)
    disk.write_to(tmp_path / "lied", "nothing", random.Random(0))
    with contextlib.suppress(TimeoutError):  # it may well have no end
        asyncio.run(asyncio.wait_for(play(tmp_path / "lied", now), 5))
    with pytest.raises(AssertionError, match="twice"):
        _check(tmp_path / "lied")


def _check(directory: Path) -> None:
    """What must hold of the whole story, however often the power failed."""
    got = lines(directory / "got")
    identities = {line.split()[0]: line for line in got}
    assert sorted(identities, key=int) == [str(n) for n in range(READINGS)]
    assert set(identities.values()) == set(got), "a reading came twice under two identities"
    executed = Counter(lines(directory / "executed"))
    assert set(executed.values()) == {1}, "a command was executed twice"
    answers = dict(line.split(maxsplit=1) for line in lines(directory / "answered"))
    assert len(answers) == COMMANDS
    assert all(executed[n] == 1 for n, answer in answers.items() if answer == f"did {n}")
    sealed: dict[str, str] = {}
    for line in lines(directory / "keys"):
        key, message = line.split()
        assert sealed.setdefault(key, message) == message, "a key and nonce sealed two messages"
    for end in ("meter", "ops"):
        with closing(sqlite3.connect(directory / end / DATABASE)) as database:
            counters = dict(database.execute("SELECT name, value FROM counters"))
            assert not {name: counters[name] for name in ALARMS if name in counters}
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
