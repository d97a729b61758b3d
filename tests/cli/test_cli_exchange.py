# SPDX-License-Identifier: Apache-2.0
"""seal, open and introduce as people use them: files, pipes, large ones, killed ones; no hop ever runs here."""

from __future__ import annotations

import filecmp
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sealway.storage.directory import DirectoryLock
from tests.cli.town import PASSPHRASE, PATIENCE_S, Outcome, Town, call, call_process

pytestmark = pytest.mark.processes

MEGABYTE = 1 << 20
SEALWAY = [sys.executable, "-m", "sealway"]


@dataclass(frozen=True)
class Ends:
    """A device and an application that never met, and the application's introduction."""

    town: Town
    meter: Path
    office: Path
    introduction: Path

    @property
    def to_office(self) -> tuple[object, ...]:
        return ("seal", "--state", self.meter, "--to", self.town.name("application", "office"), *self._introduced)

    @property
    def _introduced(self) -> tuple[object, ...]:
        return ("--introduction", self.introduction)

    @property
    def at_office(self) -> tuple[object, ...]:
        return ("open", "--state", self.office)


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ends]:
    base = tmp_path_factory.mktemp("exchange")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEALWAY_PASSPHRASE", PASSPHRASE)
        town = Town(base)
        introduction = base / "office.introduction"
        found = Ends(town, town.enroll("device", "exchanger"), town.application("office"), introduction)
        call("introduce", "--state", found.office, "--out", introduction).expect(0)
        yield found
        town.close()


def environment() -> dict[str, str]:
    return os.environ | {"SEALWAY_PASSPHRASE": PASSPHRASE}


def started(*arguments: object, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*SEALWAY, *map(str, arguments)], env=environment(), stderr=subprocess.PIPE, **options
    )  # fmt: skip


def piped(content: bytes, *arguments: object) -> tuple[int, bytes, str]:
    """Run a command with this on its standard input; return its exit code and what it wrote."""
    command = [*SEALWAY, *map(str, arguments)]
    done = subprocess.run(
        command, input=content, capture_output=True, env=environment(), timeout=PATIENCE_S, check=False
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr.decode()


def sealed(ends: Ends, folder: Path, content: bytes, name: str = "box") -> Path:
    plain, box = folder / f"{name}.plain", folder / name
    plain.write_bytes(content)
    call(*ends.to_office, "--in", plain, "--out", box).expect(0)
    return box


def refused(outcome: Outcome, code: int, text: str) -> None:
    assert text in outcome.expect(code).err, outcome.err


def test_a_file_is_sealed_handed_over_and_opened_once(ends: Ends, tmp_path: Path) -> None:
    content = random.Random(1).randbytes(200_000)
    box, out = sealed(ends, tmp_path, content), tmp_path / "out"
    assert content[:64] not in box.read_bytes()
    opening = call(*ends.at_office, "--in", box, "--out", out).expect(0)
    assert opening.out == "opened 200000 bytes, sealed by sealway://building.example/device/exchanger\n"
    assert out.read_bytes() == content
    assert out.stat().st_mode & 0o077 == 0
    refused(call(*ends.at_office, "--in", box, "--out", tmp_path / "again"), 3, "opened before")
    assert not (tmp_path / "again").exists()


def test_pipes(ends: Ends) -> None:
    code, box, told = piped(b"42.7 L\n", *ends.to_office)
    assert (code, told) == (0, "sealed 7 bytes for sealway://building.example/application/office\n")
    code, content, told = piped(box, *ends.at_office)
    assert (code, content, told.startswith("opened 7 bytes")) == (0, b"42.7 L\n", True)


def test_a_pipe_that_is_cut_short_gives_a_beginning_and_an_error(ends: Ends) -> None:
    content = random.Random(2).randbytes(300_000)
    _, box, _ = piped(content, *ends.to_office)
    code, out, told = piped(box[:200_000], *ends.at_office)
    assert code == 3
    assert "error: the file ends in the middle of the content\nhint: what was written is not the whole file" in told
    assert content.startswith(out) and 0 < len(out) < len(content)
    assert piped(box, *ends.at_office)[:2] == (0, content), "the whole file opens afterwards"


def test_the_sender_may_be_demanded(ends: Ends, tmp_path: Path) -> None:
    box, out = sealed(ends, tmp_path, b"content"), tmp_path / "out"
    other = ends.town.name("device", "other")
    refused(call(*ends.at_office, "--in", box, "--out", out, "--from", other), 3, "not by")
    assert not out.exists()
    call(*ends.at_office, "--in", box, "--out", out, "--from", ends.town.name("device", "exchanger")).expect(0)


def test_what_cannot_be(ends: Ends, tmp_path: Path) -> None:
    box, out = sealed(ends, tmp_path, b"content"), tmp_path / "out"
    refused(call(*ends.at_office, "--in", tmp_path / "none", "--out", out), 2, "no such file")
    refused(call(*ends.at_office, "--in", tmp_path, "--out", out), 2, "is a directory")
    refused(call(*ends.at_office, "--in", box, "--out", tmp_path), 2, "is a directory")
    refused(call(*ends.at_office, "--in", box, "--out", tmp_path / "no" / "out"), 2, "no such file")
    refused(call(*ends.at_office, "--in", ends.introduction, "--out", out), 3, "not a sealed file")
    refused(call("open", "--state", tmp_path, "--in", box, "--out", out), 2, "no member's state directory")
    refused(call("open", "--state", tmp_path / "none", "--in", box, "--out", out), 2, "there is no directory")
    refused(call("seal", "--state", ends.meter, "--to", "office", "--in", box, "--out", out), 2, "--to")
    refused(call(*ends.to_office, "--in", tmp_path / "none", "--out", out), 2, "no such file")
    refused(call(*ends.to_office[:-1], box, "--in", box, "--out", out), 3, "")
    out.write_bytes(b"mine")
    refused(call(*ends.at_office, "--in", box, "--out", out), 2, "exists already")
    assert out.read_bytes() == b"mine"
    call(*ends.at_office, "--in", box, "--out", out, "--force").expect(0)
    assert out.read_bytes() == b"content"
    assert not list(tmp_path.glob(".*.new"))


def test_for_someone_else(ends: Ends, tmp_path: Path) -> None:
    other = ends.town.application("neighbour")
    box = sealed(ends, tmp_path, b"content")
    refused(call("open", "--state", other, "--in", box, "--out", tmp_path / "out"), 3, "")
    assert not (tmp_path / "out").exists()
    call(*ends.at_office, "--in", box, "--out", tmp_path / "out").expect(0)


def test_without_an_introduction_and_without_a_network(ends: Ends, tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"content")
    name = ends.town.name("application", "never-met")
    arguments = ("--to", name, "--in", tmp_path / "plain", "--out", tmp_path / "box", "--timeout", 1)
    outcome = call_process("seal", "--state", ends.meter, *arguments)
    refused(outcome, 4, "hint: without a network: --introduction FILE")
    assert not (tmp_path / "box").exists()


def test_while_another_process_uses_the_directory(ends: Ends, tmp_path: Path) -> None:
    box = sealed(ends, tmp_path, b"content")
    with DirectoryLock(ends.office, "test"):
        refused(call(*ends.at_office, "--in", box, "--out", tmp_path / "out"), 5, "another process uses")
    call(*ends.at_office, "--in", box, "--out", tmp_path / "out").expect(0)


def until(condition: object) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.02)


def unfinished(folder: Path) -> list[Path]:
    return list(folder.glob(".*.new"))


def grown(folder: Path) -> bool:
    return any(path.stat().st_size > 0 for path in unfinished(folder))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_while_sealing(ends: Ends, tmp_path: Path, number: signal.Signals) -> None:
    box = tmp_path / "box"
    process = started(*ends.to_office, "--out", box, stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(bytes(MEGABYTE))
    process.stdin.flush()
    until(lambda: grown(tmp_path))
    process.send_signal(number)
    assert process.wait(PATIENCE_S) == (-9 if number == signal.SIGKILL else 143)
    process.communicate()
    assert not box.exists()
    assert bool(unfinished(tmp_path)) == (number == signal.SIGKILL)
    box = sealed(ends, tmp_path, b"content", "another")
    call(*ends.at_office, "--in", box, "--out", tmp_path / "out").expect(0)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_while_opening(ends: Ends, tmp_path: Path, number: signal.Signals) -> None:
    """The envelope has been opened and committed; the file is not lost."""
    content = random.Random(3).randbytes(MEGABYTE)
    box, out = sealed(ends, tmp_path, content), tmp_path / "out"
    process = started(*ends.at_office, "--out", out, stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(box.read_bytes()[:-1])
    process.stdin.flush()
    until(lambda: grown(tmp_path))
    process.send_signal(number)
    assert process.wait(PATIENCE_S) == (-9 if number == signal.SIGKILL else 143)
    process.communicate()
    assert not out.exists()
    call(*ends.at_office, "--in", box, "--out", out).expect(0)
    assert out.read_bytes() == content


@pytest.mark.parametrize("where", ["device", "limit"])
def test_when_the_disk_is_full(ends: Ends, tmp_path: Path, where: str) -> None:
    content = random.Random(4).randbytes(4 * MEGABYTE)
    box, out = sealed(ends, tmp_path, content), tmp_path / "out"
    target = "/dev/full" if where == "device" else str(out)
    limit = "" if where == "device" else "ulimit -f 2048; "
    for arguments in ((*ends.to_office, "--in", tmp_path / "box.plain"), (*ends.at_office, "--in", box)):
        command = " ".join(f"'{word}'" for word in (*SEALWAY, *arguments, "--out", target))
        done = subprocess.run(
            ["bash", "-c", limit + command], capture_output=True, env=environment(), timeout=PATIENCE_S, check=False
        )  # fmt: skip
        assert done.returncode == 2, done.stderr
        assert b"error: cannot write" in done.stderr
        assert not out.exists() and not unfinished(tmp_path)
    call(*ends.at_office, "--in", box, "--out", out).expect(0)
    assert out.read_bytes() == content


def test_a_reader_that_goes_away(ends: Ends, tmp_path: Path) -> None:
    box = sealed(ends, tmp_path, bytes(4 * MEGABYTE))
    command = " ".join(f"'{word}'" for word in (*SEALWAY, *ends.at_office, "--in", box))
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} | head -c 10 | wc -c"],
        capture_output=True, env=environment(), timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip(), done.stderr) == (1, b"10", b"")
    call(*ends.at_office, "--in", box, "--out", tmp_path / "out").expect(0)


def peak_kilobytes(*arguments: object) -> int:
    """Run a command to its end; return the most memory that it had."""
    with open(os.devnull, "wb") as nothing:
        process = subprocess.Popen([*SEALWAY, *map(str, arguments)], env=environment(), stdout=nothing)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss


def test_a_large_file_takes_no_more_memory_than_an_empty_one(ends: Ends, tmp_path: Path) -> None:
    block, plain, out = random.Random(5).randbytes(MEGABYTE), tmp_path / "large", tmp_path / "out"
    with plain.open("wb") as file:
        for n in range(200):
            file.write(n.to_bytes(8, "big") + block[8:])
    peaks = []
    for source in (tmp_path / "empty", plain):
        source.touch()
        box = tmp_path / f"{source.name}.box"
        sealing = peak_kilobytes(*ends.to_office, "--in", source, "--out", box)
        peaks.append((sealing, peak_kilobytes(*ends.at_office, "--in", box, "--out", out, "--force")))
    assert filecmp.cmp(plain, out, shallow=False)
    for small, large in zip(*peaks, strict=True):
        assert large < small + 32 * 1024, peaks


def test_two_hundred_megabytes_through_pipes(ends: Ends, tmp_path: Path) -> None:
    """cat | seal | open | cmp: both ends at work at once, and nothing on the disk between them."""
    plain = tmp_path / "large"
    block = random.Random(6).randbytes(MEGABYTE)
    with plain.open("wb") as file:
        for n in range(200):
            file.write(n.to_bytes(8, "big") + block[8:])
    seal, open_ = (" ".join(f"'{word}'" for word in (*SEALWAY, *words)) for words in (ends.to_office, ends.at_office))
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; cat '{plain}' | {seal} | {open_} | cmp - '{plain}'"],
        capture_output=True, env=environment(), timeout=4 * PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b"opened 209715200 bytes" in done.stderr
