# SPDX-License-Identifier: Apache-2.0
"""Servers as processes of their own, for as long as a measurement takes, and an owner's domain for them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import psutil

from sealway.crypto.keys import generate_scalar
from sealway.hub.admission import ASSERTION_TYPE
from sealway.hub.service import token_url
from sealway.transports.hop_tls import client_context
from tests.hub.conftest import Domain, Member

ROOT = Path(__file__).resolve().parents[1]
_END_SECONDS = 10


class Machines:
    """A domain with a hub, a gateway and a device, and a directory for the servers that are started here.

    Args:
        here: the directory.
        stack: what ends the servers.
    """

    def __init__(self, here: Path, stack: ExitStack) -> None:
        self.here = here
        self._stack = stack
        self.domain = domain = Domain()
        self.context = client_context([domain.ca])
        self.meter = domain.member("device", "meter")
        (here / "root").write_bytes(domain.document)
        (here / "ca").write_bytes(domain.ca)
        (here / "mailbox").write_text(self.meter.mailbox)
        self.furnish("hub", domain.member("hub", "hub", ip=[ip_address("127.0.0.1")]))
        self.furnish("gateway", domain.member("gateway", "roof"))

    def furnish(self, kind: str, member: Member) -> None:
        """Write down who a server or an endpoint is."""
        (self.here / f"{kind}.chain").write_bytes(member.chain_body)
        (self.here / f"{kind}.scalar").write_bytes(member.scalar.reveal())
        (self.here / f"{kind}.agreement").write_bytes(generate_scalar(os.urandom).reveal())
        (self.here / f"{kind}.name").write_text(str(member.name))

    def start(self, kind: str, module: str = "bench.servers") -> Server:
        """Start a process and wait until it is ready."""
        return self._stack.enter_context(_running(module, kind, self.here))


class Server:
    """A server, or an endpoint, at work: where it listens, and which process it is."""

    def __init__(self, url: str, process: subprocess.Popen[str]) -> None:
        self.url = url
        self.process = psutil.Process(process.pid)
        self._pipes = process

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.url.rpartition(":")[2])

    def tell(self, line: str) -> None:
        """Write a line to its standard input."""
        if self._pipes.stdin is not None:
            self._pipes.stdin.write(f"{line}\n")
            self._pipes.stdin.flush()

    def answer(self) -> str:
        """Read a line of its standard output. Raises RuntimeError if it has ended."""
        line = self._pipes.stdout.readline() if self._pipes.stdout is not None else ""
        if not line:
            raise RuntimeError("a process ended too soon")
        return line.strip()

    def cpu_seconds(self) -> float:
        """Processor time so far, of all its threads, in the program and in the system."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


@contextmanager
def machines() -> Iterator[Machines]:
    """Give machines whose servers end, and whose directory goes, with the block."""
    with ExitStack() as stack:
        yield Machines(Path(stack.enter_context(TemporaryDirectory(prefix="sealway-bench-"))), stack)


def admitted(url: str, member: Member, machines: Machines) -> dict[str, str]:
    """Have a hub make the member's mailbox; return the headers that authorize it."""
    with httpx.Client(base_url=url, verify=machines.context, trust_env=False) as http:
        assertion = member.assertion(token_url(url), int(time.time()))
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion,
        }
        token = http.post("/v1/token", data=form).raise_for_status().json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        typed = {**headers, "Content-Type": "application/cbor"}
        http.put("/v1/credentials", content=member.chain_body, headers=typed).raise_for_status()
        return headers


@contextmanager
def _running(module: str, kind: str, here: Path) -> Iterator[Server]:
    arguments = [sys.executable, "-m", module, kind, str(here)]
    log = (here / f"{kind}.log").open("a")
    pipe = subprocess.PIPE
    with log, subprocess.Popen(arguments, text=True, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=log) as process:
        try:
            line = process.stdout.readline() if process.stdout is not None else ""
            if "ready " not in line:
                raise RuntimeError(f"the {kind} did not start: {(here / f'{kind}.log').read_text()[-500:]}")
            yield Server(line.split()[-1], process)
        finally:
            process.terminate()
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
