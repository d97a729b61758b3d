# SPDX-License-Identifier: Apache-2.0
"""What the command line's tests share: commands in this process, roles as processes, a domain to play in."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sealway.cli.demo.ports import HOST, TCP, UDP, free_ports
from sealway.cli.main import run

PASSPHRASE = "correct horse battery staple"
DOMAIN = "building.example"
SCOPES = ("interval:write", "status:read")
PATIENCE_S = 45.0


@dataclass(frozen=True)
class Outcome:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    def expect(self, code: int) -> Outcome:
        """Return this if the exit code is the one expected."""
        assert self.code == code, f"exit code {self.code}\n{self.out}{self.err}"
        return self

    def json(self) -> Any:
        """What was printed, read as JSON."""
        return json.loads(self.out)


def call(*arguments: object) -> Outcome:
    """Run a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = run([str(argument) for argument in arguments])
    return Outcome(code, out.getvalue(), err.getvalue())


def call_process(*arguments: object) -> Outcome:
    """Run a command as a process of its own, to its end."""
    command = [sys.executable, "-m", "sealway", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, timeout=PATIENCE_S, check=False)
    return Outcome(done.returncode, done.stdout, done.stderr)


class Role:
    """A command as a process of its own, with what it prints in files."""

    def __init__(self, logs: Path, *arguments: object) -> None:
        self.arguments = [str(argument) for argument in arguments]
        self.out, self.err = logs.with_suffix(".out"), logs.with_suffix(".err")
        self.start()

    def start(self) -> None:
        """Start it, again perhaps; what it prints is appended."""
        with self.out.open("ab") as out, self.err.open("ab") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sealway", *self.arguments],
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=os.environ | {"SEALWAY_PASSPHRASE": PASSPHRASE},
            )  # fmt: skip

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The events of one kind that were printed so far."""
        lines = self.out.read_text().splitlines() if self.out.exists() else []
        events = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return [event for event in events if event["event"] == kind]

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        """Wait until a condition holds, as long as the process lives."""
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.err.read_text()}"
            assert time.monotonic() < end, f"waited in vain for {what}: {self.err.read_text()[-2000:]}"
            time.sleep(0.02)

    def wait_event(self, kind: str, most: int = 1) -> list[dict[str, Any]]:
        """Wait until so many events of one kind were printed; return them."""
        self.wait_for(lambda: len(self.events(kind)) >= most, f"{most} {kind}")
        return self.events(kind)

    def wait_ready(self, times: int = 1) -> None:
        """Wait for the ready line of a hop."""
        self.wait_for(lambda: self.out.read_text().count("ready") >= times, "the ready line")

    def kill(self) -> None:
        """SIGKILL, as a power cut."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


@dataclass
class Town:
    """A domain: its owner, its hops, and whoever the tests enrol."""

    base: Path
    roles: list[Role] = field(default_factory=list)
    hops: list[Role] = field(default_factory=list)

    def __post_init__(self) -> None:
        hub_port, self.gateway_port = free_ports(TCP, UDP)
        self.hub_url = f"https://{HOST}:{hub_port}"
        self.owner = self.base / "owner"
        call("owner", "init", "--state", self.owner, "--domain", DOMAIN).expect(0)
        self.fingerprint = call("owner", "list", "--state", self.owner, "--json").json()["fingerprint"]

    def name(self, role: str, label: str) -> str:
        """The name of a member."""
        return f"sealway://{DOMAIN}/{role}/{label}"

    def enroll(self, command: str, label: str, *options: object, suite: int | None = None) -> Path:
        """Make a member and enrol it; return its state directory."""
        role = {"app": "application", "adversary": "gateway"}.get(command, command)
        state, enrolment = self.base / label, self.base / f"{label}.enrolment"
        if command == "device":
            gateway = (
                "--gateway-name",
                self.name("gateway", "gateway"),
                "--gateway",
                f"coap://{HOST}:{self.gateway_port}",
            )
            options = (*gateway, *options)
        keys = () if suite is None else ("--suite", suite)
        call(command, "init", "--state", state, "--name", self.name(role, label), *keys).expect(0)
        call(
            "owner", "enroll", "--state", self.owner, "--request", state / "request.csr", "--out", enrolment,
            "--role", role, "--label", label, "--hub", self.hub_url, *options,
        ).expect(0)  # fmt: skip
        call(command, "init", "--state", state, "--enrolment", enrolment, "--fingerprint", self.fingerprint).expect(0)
        return state

    def application(self, label: str, *, suite: int | None = None) -> Path:
        """Make an application that may command every device."""
        return self.enroll("app", label, *(word for scope in SCOPES for word in ("--grant-scope", scope)), suite=suite)

    def run_hops(self) -> None:
        """Run hub and gateway, if they do not run yet."""
        if self.hops:
            return
        hub, gateway = self.enroll("hub", "hub"), self.enroll("gateway", "gateway")
        self.hops = [
            self.role("hub-process", "hub", "run", "--state", hub),
            self.role("gateway-process", "gateway", "run", "--state", gateway, "--port", self.gateway_port),
        ]
        for hop in self.hops:
            hop.wait_ready()

    def role(self, log: str, *arguments: object) -> Role:
        """Start a command as a process; it is ended with the tests."""
        role = Role(self.base / log, *arguments)
        self.roles.append(role)
        return role

    def close(self) -> None:
        """End all that was started."""
        for role in reversed(self.roles):
            if role.process.poll() is None:
                role.kill()


def readings(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a received.jsonl, with their payloads."""
    content = path.read_bytes() if path.exists() else b""
    lines = content[: content.rfind(b"\n") + 1].splitlines()
    return [line | {"payload": b64decode(line["payload_b64"])} for line in map(json.loads, lines)]
