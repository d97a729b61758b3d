# SPDX-License-Identifier: Apache-2.0
"""The examples run as they are: real processes, a real hub and gateway, on loopback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sealway.cli.demo.ports import TCP, UDP, free_ports
from tests.cli.town import PASSPHRASE, Role
from tests.docs.documents import ROOT, broken_links, code_blocks

EXAMPLES = ROOT / "examples"
LONGEST = 40  # lines
ENVIRONMENT = os.environ | {"SEALWAY_PASSPHRASE": PASSPHRASE}


class Program:
    """An example at work, with what it prints in a file."""

    def __init__(self, log: Path, name: str, *arguments: object) -> None:
        self._log = log
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, EXAMPLES / name, *map(str, arguments)], stdout=out, stderr=out, env=ENVIRONMENT
            )

    @property
    def printed(self) -> str:
        return self._log.read_text()

    def wait_for(self, reached: Callable[[str], bool], seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while not reached(self.printed):
            assert self.process.poll() is None, self.printed
            assert time.monotonic() < end, self.printed
            time.sleep(0.05)

    def interrupt(self) -> None:
        """Ctrl-C, and a clean end: no error but the interruption."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)
        signs = ("sealway.errors", "ExceptionGroup", "was never", "was destroyed")
        assert not [sign for sign in signs if sign in self.printed], self.printed


@pytest.fixture
def town(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A domain made by owner.py, with its hub running; and where the gateway is to listen."""
    hub_port, gateway_port = free_ports(TCP, UDP)
    town = tmp_path / "town"
    made = run("owner.py", town, hub_port, gateway_port)
    assert made.decode().count("enrolled") == 4
    hub = Role(tmp_path / "hub", "hub", "run", "--state", town / "hub")
    try:
        hub.wait_ready()
        yield town, f"127.0.0.1:{gateway_port}"
    finally:
        hub.kill()


def run(name: str, *arguments: object, given: bytes = b"") -> bytes:
    """Run an example to its end; return what it printed."""
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    done = subprocess.run(command, input=given, capture_output=True, env=ENVIRONMENT, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.mark.processes
def test_device_application_and_gateway(town: tuple[Path, str], tmp_path: Path) -> None:
    base, listen = town
    programs: list[Program] = []

    def start(name: str, *arguments: object) -> Program:
        programs.append(Program(tmp_path / f"{name}.log", name, *arguments))
        return programs[-1]

    try:
        start("gateway.py", base / "cellar", listen).wait_for(lambda out: f"coap://{listen}" in out)
        device = start("device.py", base / "meter")  # before the application was ever there
        application = start("application.py", base / "building")
        application.wait_for(lambda out: "the valve is closed" in out and " meter 3 L" in out)
        assert "the valve is told to close" in device.printed
        application.interrupt()
        before = application.printed
        start("application.py", base / "building").wait_for(
            lambda out: out.count(" meter ") > before.count(" meter ") + 2
        )
        for program in reversed(programs):
            if program.process.poll() is None:
                program.interrupt()
    finally:
        for program in programs:
            program.process.kill()
            program.process.wait()
    readings = [
        line.split()[2] for line in (tmp_path / "application.py.log").read_text().splitlines() if " meter " in line
    ]
    assert [int(litres) for litres in dict.fromkeys(readings)] == list(range(len(set(readings))))
    assert len(readings) - len(set(readings)) <= 1, "only what was in hand may come again"


@pytest.mark.processes
def test_files_and_pipes(tmp_path: Path) -> None:
    base, plain = tmp_path / "town", os.urandom(300_000)
    run("owner.py", base, 9, 9)  # nobody carries anything
    introduction = tmp_path / "introduction"
    introduction.write_bytes(run("files_and_pipes.py", "introduce", base / "building"))
    sealed = run("files_and_pipes.py", "seal", base / "meter", introduction, given=plain)
    assert plain[:32] not in sealed
    assert run("files_and_pipes.py", "open", base / "building", given=sealed) == plain


def test_the_python_of_the_readme_is_right(tmp_path: Path) -> None:
    """Each block is a module that the type checker accepts, strictly: every name and argument in it exists."""
    blocks = code_blocks((ROOT / "README.md").read_text(), "python")
    files = [tmp_path / f"block_{number}.py" for number in range(len(blocks))]
    for file, block in zip(files, blocks, strict=True):
        file.write_text(block)
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", ROOT / "pyproject.toml", *files],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout
    assert len(blocks) >= 3


def test_they_are_short() -> None:
    lengths = {path.name: len(path.read_text().splitlines()) for path in EXAMPLES.glob("*.py")}
    assert lengths.keys() == {"application.py", "device.py", "files_and_pipes.py", "gateway.py", "owner.py"}
    assert max(lengths.values()) < LONGEST


def test_the_page_names_each_of_them_and_the_arguments_that_they_take() -> None:
    page = (EXAMPLES / "README.md").read_text()
    assert list(broken_links(EXAMPLES / "README.md", page)) == []
    commands = [line.split() for block in code_blocks(page, "sh") for line in block.splitlines() if "python" in line]
    assert {command[1] for command in commands} == {f"examples/{path.name}" for path in EXAMPLES.glob("*.py")}
