# SPDX-License-Identifier: Apache-2.0
"""Sealway beside named peers that do a comparable thing in Python: how many times as much it does in the same time.

A rate is seal-and-open, or start-and-accept, per second of processor time, both ends together, 64 bytes of payload.
The peers run in a process and an environment of their own; bench/peer_worker.py says how each is used. Both sides take
turns, like everywhere in this benchmark. What is compared is not the same work:

- cwt's Encrypt0: the same structure and the same AEAD, under one key that never changes. No ratchet.
- doubleratchet: the same idea of a ratchet, with the same AEAD. It makes no bytes for the wire; in Sealway's figure are
  encoding, strict parsing and finding the session. Once in one direction; once with the two ends taking turns, where
  the Double Ratchet agrees anew with each message, and Sealway after 64.
- aiocoap's OSCORE: the same AEAD around a CoAP message, under one key that never changes. No ratchet.
- x3dh: the same agreement on the same curve (suite 3), with 100 one-time keys. On both sides the initiator verifies the
  offer. In Sealway's figure are a first message, sealed and opened, and the initiator's signature over the transcript.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench.measure import Pair, Subject, cpu_each
from bench.sealing import open_all, readings, running, seal_all
from bench.starting import STARTS, start_verified_and_accept, two_parties
from sealway.crypto.suites import SUITE_3
from tests.protocol.session_pair import End

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS, WORKER = ROOT / "bench" / "peers.txt", ROOT / "bench" / "peer_worker.py"
PLACE = ROOT / ".venv" / "peers"
MESSAGES, PAYLOAD = 500, 64


def environment(place: Path = PLACE, requirements: Path = REQUIREMENTS) -> Path:
    """Return the Python of the peers' environment; make it first if it is not there. Raises RuntimeError."""
    python, stamp = place / "bin" / "python", place / "made-from"
    wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode() + str(place).encode()).hexdigest()
    if stamp.is_file() and stamp.read_text(encoding="ascii") == wanted:
        return python
    print(f"installing the peers into {place}; this takes a minute, once", file=sys.stderr)
    venv.create(place, clear=True, with_pip=True)
    install = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "-q"]
    done = subprocess.run([*install, "-r", str(requirements)], capture_output=True, text=True, timeout=900, check=False)
    if done.returncode:
        raise RuntimeError(f"the peers of bench/peers.txt could not be installed: {done.stderr.strip()[-400:]}")
    stamp.write_text(wanted, encoding="ascii")
    return python


class Worker:
    """A process that does what is asked of it, one line at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def each_us(self, peer: str, count: int, size: int) -> float:
        """Return the processor time of each piece of a peer's work, in microseconds. Raises RuntimeError."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("a worker without pipes")
        self._process.stdin.write(f"{peer} {count} {size}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the worker for {peer} has ended")
        return float(answer)


@contextmanager
def worker(*command: str | Path) -> Iterator[Worker]:
    """Run a worker; by default the peers'."""
    command = command or (environment(), WORKER)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            yield Worker(process)
        finally:
            process.kill()


@contextmanager
def _beside(peer: str, count: int, each_us: Callable[[], float]) -> Iterator[Pair]:
    with worker() as theirs:
        yield Pair(lambda: 1e6 / each_us(), lambda: 1e6 / theirs.each_us(peer, count, PAYLOAD))


def _stream_us() -> float:
    sender, receiver = running()
    messages, sessions = readings(PAYLOAD, MESSAGES), {receiver.session.kid_in: receiver.session}
    return cpu_each(lambda: open_all(sessions, seal_all(sender, messages)), MESSAGES)


def _turns_us() -> float:
    sender, receiver = running()
    sessions = {end.session.kid_in: end.session for end in (sender, receiver)}
    messages = [[message] for message in readings(PAYLOAD, MESSAGES)]

    def work(one: End, other: End) -> None:
        for message in messages:
            open_all(sessions, seal_all(one, message))
            one, other = other, one

    return cpu_each(lambda: work(sender, receiver), MESSAGES)


def _start_us() -> float:
    domain, a, b = two_parties(SUITE_3)

    def work() -> None:
        for _ in range(STARTS):
            start_verified_and_accept(a, b, domain.now * 1_000)

    return cpu_each(work, STARTS)


SUBJECTS = (
    Subject("seal+open, cwt's Encrypt0", "1/s", 1.4, partial(_beside, "cwt", MESSAGES, _stream_us)),
    Subject("seal+open, doubleratchet", "1/s", 8, partial(_beside, "doubleratchet", MESSAGES, _stream_us)),
    Subject("seal+open in turns, doubleratchet", "1/s", 8, partial(_beside, "doubleratchet-turns", 200, _turns_us)),
    Subject("protect+unprotect, aiocoap's OSCORE", "1/s", 3.5, partial(_beside, "oscore", MESSAGES, _stream_us)),
    Subject("start+accept, x3dh", "1/s", 20, partial(_beside, "x3dh", STARTS, _start_us)),
)
