# SPDX-License-Identifier: Apache-2.0
"""One role as an operating-system process: started by exec, watched through what it prints, killed like a power cut."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from sealway.errors import TransportFailed

SEALWAY = (sys.executable, "-m", "sealway")
TRACEBACK = "SEALWAY_TRACEBACK"
READY_S = 60.0
STOP_S = 15.0
LEAST_PRIORITY = 19

GENTLY: ContextVar[Callable[[], bool]] = ContextVar("gently", default=lambda: False)
"""Says whether commands that are run now leave the processor to others: what they prepare is needed later."""


class RoleProcess:
    """A role's process and its successors.

    Args:
        role: hub, gateway, device or application.
        title: what people see.
        directory: the role's own; it gets stdout.jsonl and stderr.log.
        arguments: the public command that runs it.
        key_file: what unlocks the role's keystore.
    """

    def __init__(self, role: str, title: str, directory: Path, arguments: tuple[str, ...], key_file: Path) -> None:
        self.role = role
        self.title = title
        self.directory = directory
        self.restarts = 0
        self.paused = False
        self._arguments = (*arguments, "--key-file", str(key_file))
        self.process: asyncio.subprocess.Process | None = None
        self.input: int = asyncio.subprocess.DEVNULL
        self._stdout = directory / "stdout.jsonl"
        self._offset = 0
        self._partial = b""
        self._unread: list[dict[str, Any]] = []
        self._ready = False

    @property
    def pid(self) -> int:
        """The present process's id, 0 before the first start."""
        return self.process.pid if self.process is not None else 0

    @property
    def running(self) -> bool:
        """Say whether the process lives."""
        return self.process is not None and self.process.returncode is None

    async def start(self) -> None:
        """Start by exec; output is appended to files in the role's directory."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._read()  # what the process before has printed says nothing of this one
        self._ready = False
        with self._stdout.open("ab") as out, (self.directory / "stderr.log").open("ab") as err:
            self.process = await asyncio.create_subprocess_exec(
                *SEALWAY, *self._arguments, stdin=self.input, stdout=out, stderr=err, env=_environment()
            )

    def events(self) -> list[dict[str, Any]]:
        """Return the JSON lines printed since the last call; other lines come as {"text": …}."""
        self._read()
        unread, self._unread = self._unread, []
        return unread

    def _read(self) -> None:
        if not self._stdout.exists():
            return
        with self._stdout.open("rb") as out:
            out.seek(self._offset)
            fresh = out.read()
        self._offset += len(fresh)
        *lines, self._partial = (self._partial + fresh).split(b"\n")
        events = [_event(line) for line in lines if line.strip()]
        self._unread += events
        self._ready = self._ready or any(_says_ready(event) for event in events)

    async def ready(self) -> None:
        """Wait for the ready line. Raises TransportFailed if the process ends or takes a minute."""
        deadline = asyncio.get_running_loop().time() + READY_S
        while not self._ready and self.running and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.05)
            self._read()
        if not self._ready:
            raise TransportFailed(f"{self.title} did not get ready", hint=f"see {self.directory / 'stderr.log'}")

    # life and death ---------------------------------------------------------------------------------------------
    def pause(self) -> None:
        """Stop the process where it stands (SIGSTOP), so that what it holds can be counted."""
        os.kill(self.pid, signal.SIGSTOP)
        self.paused = True

    def resume(self) -> None:
        """Let a paused process go on."""
        os.kill(self.pid, signal.SIGCONT)
        self.paused = False

    async def kill(self) -> None:
        """End the process as a power cut would (SIGKILL)."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        self.paused = False

    async def stop(self) -> None:
        """Ask the process to end (SIGTERM); kill it if it does not."""
        process = self.process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            await self.kill()

    async def status(self) -> dict[str, Any]:
        """Return what ``sealway ROLE status`` says of the durable state."""
        command = {"application": "app"}.get(self.role, self.role)
        return await run_json(command, "status", "--state", str(self.directory), "--json")


def _environment() -> dict[str, str]:
    """Leave out the settings of this user: they are for other processes than the demo's."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SEALWAY_") or name == TRACEBACK}


def _event(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        return {"text": line.decode("utf-8", "replace")}
    return value if isinstance(value, dict) else {"text": line.decode("utf-8", "replace")}


def _says_ready(event: dict[str, Any]) -> bool:
    return event.get("event") == "ready" or "ready" in str(event.get("text", ""))


async def run(*arguments: str) -> bytes:
    """Run one public command to its end and return what it printed. Raises TransportFailed with its own words."""
    process = await asyncio.create_subprocess_exec(
        *SEALWAY,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=_environment(),
    )
    if GENTLY.get()():
        with contextlib.suppress(ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, process.pid, LEAST_PRIORITY)
    out, err = await process.communicate()
    if process.returncode != 0:
        raise TransportFailed(f"sealway {' '.join(arguments[:2])} failed: {err.decode('utf-8', 'replace').strip()}")
    return out


async def run_json(*arguments: str) -> dict[str, Any]:
    """Run one public command and return the JSON object that it prints."""
    value = json.loads(await run(*arguments))
    if not isinstance(value, dict):
        raise TransportFailed(f"sealway {' '.join(arguments[:2])} printed no JSON object")
    return value
