# SPDX-License-Identifier: Apache-2.0
"""The power fails after any system call: nothing is lost, nothing is done twice, no key seals two messages.

The device and the application run under strace. From what they wrote, and when they forced it to the disk, the test
makes the directories that their disks may hold after a power cut: after each call, with what was not forced there in
part, torn, or out of order. Each is opened by SQLite; from each state that comes out, both ends go on to the end of
their story, where the promises are checked (tests/system/promises.py). SEALWAY_POWER_CUTS sets how many images and how
many states are tried, spread evenly ("1500,60" is the default); "all" tries all, which takes a quarter of an hour.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from sealway.vault.keyfile import KEY_FILE
from tests.power.disk import ALL, NOTHING, Disk
from tests.power.images import Cut, Recovery, cuts
from tests.power.scene import COMMANDS, READINGS, tell
from tests.power.trace import TRACE, Op, read_trace
from tests.system.killed_process import WITNESSES
from tests.system.promises import check

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]
WANTED = os.environ.get("SEALWAY_POWER_CUTS", "1500,60")
ENDLESS = 1 << 60
IMAGES, STATES = (ENDLESS, ENDLESS) if WANTED == "all" else (int(part) for part in WANTED.split(","))
Story = tuple[int, list[Op]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("power") / "run"


@pytest.fixture(scope="module")
def story(run: Path) -> Story:
    """One run from beginning to end: when it was, and every call that touched its directories."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    trace, now = run.with_name("trace"), int(time.time())
    run.mkdir(mode=0o700)
    command = [*TRACE, "-o", str(trace), sys.executable, "-m", "tests.power.scene", str(run), str(now)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)
    if "ptrace" in done.stderr:
        pytest.skip("processes may not be traced here")
    assert done.returncode == 0, done.stderr
    check(run, readings=READINGS, commands=COMMANDS, deaths=0)
    return now, read_trace(trace.read_text().splitlines(), run)


def test_the_trace_is_whole(story: Story, run: Path) -> None:
    """Everything that was written, put together again, is what the run has left; and it is of every kind."""
    _, ops = story
    disk = Disk(WITNESSES)
    for op in ops:
        disk.apply(op)
    for end in ("", *disk.ends):
        for name, content in disk.files(end, ALL).items():
            assert (run / name).read_bytes() == content, name
    for end in ("meter", "ops"):
        syncs = Counter(op.path for op in ops if op.kind == "sync" and op.path.startswith(end))
        assert syncs[f"{end}/{KEY_FILE}"] > 5, "periods end all the time"
        assert syncs[f"{end}/state.sqlite"] > 3, "the log is moved into the database while the end goes on"
        assert syncs[f"{end}/state.sqlite-wal"] > 20


@pytest.mark.timeout(4 * 3600 if WANTED == "all" else 600)
def test_after_a_power_cut_everything_goes_on(story: Story, tmp_path: Path) -> None:
    now, ops = story
    every = sum(1 for _ in cuts(ops, WITNESSES))
    chosen = _spread(every, IMAGES)
    recovery, seen = Recovery(tmp_path / "scratch"), dict[tuple[str, ...], int]()
    for number, (disk, cut) in enumerate(cuts(ops, WITNESSES)):
        if number in chosen:
            with _named(cut):
                seen.setdefault(recovery.states(disk, cut), number)
    print(f"\n{len(ops)} calls, {every} images, {len(chosen)} opened: {len(seen)} states", flush=True)
    played = _spread(len(seen), STATES)
    first = {number: place for place, number in enumerate(seen.values()) if place in played}
    for number, (disk, cut) in enumerate(cuts(ops, WITNESSES)):
        if number in first:
            disk.write_to(tmp_path / str(cut), cut.variants(disk))
            with _named(cut):
                _go_on_from(tmp_path / str(cut), now, kept=first[number] % 2 == 1)
            shutil.rmtree(tmp_path / str(cut))
    print(f"{len(first)} states played to the end")
    assert len(first) >= min(STATES, len(seen)) > 30


def test_a_disk_that_lies_is_found_out(story: Story, tmp_path: Path) -> None:
    """The control: what is never forced to the disk is lost, and the checks see that."""
    now, ops = story
    honest = [op for op in ops if op.kind != "sync" or op.path in WITNESSES]
    disk = Disk(WITNESSES)
    for op in honest[: len(honest) * 3 // 4]:
        disk.apply(op)
    disk.write_to(tmp_path / "lied", dict.fromkeys(disk.ends, NOTHING))
    with contextlib.suppress(TimeoutError, AssertionError):  # it may well have no end
        asyncio.run(asyncio.wait_for(tell(tmp_path / "lied", now), 5))
    with pytest.raises(AssertionError, match="twice"):
        check(tmp_path / "lied", readings=READINGS, commands=COMMANDS, deaths=1)


def _spread(of: int, most: int) -> Sequence[int] | set[int]:
    """So many of that many, one at a random place in each of as many stretches of equal length."""
    if of <= most:
        return range(of)
    chance = random.Random(5)
    return {chance.randrange(place * of // most, (place + 1) * of // most) for place in range(most)}


def _go_on_from(directory: Path, now: int, *, kept: bool) -> None:
    asyncio.run(tell(directory, now, kept=kept))
    check(directory, readings=READINGS, commands=COMMANDS, deaths=1)


@contextlib.contextmanager
def _named(cut: Cut) -> Iterator[None]:
    """Say in a failure where the power was cut."""
    try:
        yield
    except Exception as failure:
        raise AssertionError(f"after a power cut at {cut}: {failure!r}") from failure
