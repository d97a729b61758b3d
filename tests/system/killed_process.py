# SPDX-License-Identifier: Apache-2.0
"""A process with a hub, a device and an application in it, to be killed.

    python -m tests.system.killed_process DIRECTORY NOW [kept]

Keys come from a seed, as if from a keystore. What the ends did, every key and nonce that sealed something (as hashes),
and what a hub got to see is appended to files: WITNESSES. The hub's memory goes with the process; one that "kept"
begins with every envelope that any hub ever saw, and offers all of them again. Once all is done, every process is
offered every envelope ever seen once more: nothing may come of it. The last reading waits for the file FINISH.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import sys
from datetime import timedelta
from pathlib import Path
from unittest import mock

from sealway.crypto.suites import Suite
from sealway.errors import Interrupted
from sealway.sdk import Application, Device, endpoint
from sealway.transports.memory import MemoryHub
from sealway.transports.ports import Deposit, Verdict
from sealway.wire.message import Message
from tests.system.domain import Domain
from tests.system.world import FastClock, KeyWatch, _Watched, until

READINGS = 400
COMMANDS = 40
FINISH = "finish"
LONG = timedelta(hours=24)
"""Of the fast clock."""
WITNESSES = ("got", "executed", "answered", "keys", "seen")
"""Files of the outside world: what is in them has happened, whatever the disk has lost."""


def append(path: Path, line: str) -> None:
    """Add a line, or several, in one system call."""
    with path.open("ab", buffering=0) as file:
        file.write(line.encode() + b"\n")


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


class Witness(KeyWatch):
    """Appends the hash of each key with its nonce, and of what it sealed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def note(self, key: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> None:
        used, sealed = (hashlib.sha256(part).hexdigest()[:32] for part in (key + nonce, aad + plaintext))
        append(self.path, f"{used} {sealed}")


class RememberingHub(MemoryHub):
    """Writes down all that is deposited and published; finds what was published before it began."""

    def __init__(self, root: bytes, path: Path) -> None:
        super().__init__(root)
        self._path = path
        self._seen: list[str] = []
        for line in lines(path):
            what, *parts = line.split()
            if what == "bundle":
                self._stores.bundles[bytes.fromhex(parts[0])] = bytes.fromhex(parts[1])
            else:
                self._seen.append(line)

    def take(self, deposit: Deposit) -> Verdict:
        line = f"envelope {deposit.mailbox} {deposit.envelope.hex()}"
        if line not in self._seen:
            self._seen.append(line)
            append(self._path, line)
        return super().take(deposit)

    def publish(self, publication: bytes) -> None:
        known = set(self._stores.bundles)
        super().publish(publication)
        for digest in self._stores.bundles.keys() - known:
            append(self._path, f"bundle {digest.hex()} {self._stores.bundles[digest].hex()}")

    def offer_all_again(self) -> int:
        """Put every envelope ever seen into its mailbox; return how many have to be taken out of them now."""
        for line in self._seen:
            _, mailbox, envelope = line.split()
            super().take(Deposit(mailbox, bytes.fromhex(envelope)))
        return self.held


async def play(
    directory: Path, now: int, *, readings: int = READINGS, commands: int = COMMANDS, kept: bool = False
) -> None:  # fmt: skip
    """Do everything that is left to do, and be offered everything again."""
    genuine, witness = Suite.aead, Witness(directory / "keys")
    aead = lambda suite, key: _Watched(genuine(suite, key), key, witness)  # noqa: E731
    with mock.patch.object(Suite, "aead", aead):
        await _Play(directory, now, readings, commands, kept).run()


class _Play:
    def __init__(self, directory: Path, now: int, readings: int, commands: int, kept: bool) -> None:
        with mock.patch.object(os, "urandom", random.Random(7).randbytes):
            domain = Domain(now=now)
            meter, ops = domain.member("device", "meter"), domain.member("application", "ops")
            grant = domain.grant(ops, "valve:write")
        self.directory, self.readings, self.commands, self.kept = directory, readings, commands, kept
        self.sent = 0
        self.hub, clock = RememberingHub(domain.root_document, directory / "seen"), FastClock(50.0)
        self.meter = Device(directory / "meter", meter, self.hub.carrier(), clock=clock)
        self.ops = Application(directory / "ops", ops, self.hub.carrier(), clock=clock, grants=[grant])

        @self.meter.on("valve", scope="valve:write")
        async def valve(command: Message) -> bytes:
            append(directory / "executed", command.payload.decode())
            return b"did " + command.payload

    async def run(self) -> None:
        async with self.meter, self.ops:
            await asyncio.gather(*(role.endpoint.publisher.published() for role in (self.meter, self.ops)))
            print("going", flush=True)
            if self.kept:
                self.hub.offer_all_again()
            watching = asyncio.create_task(self.watch())
            await asyncio.gather(self.measure(), self.command())
            got = lambda: {line.split()[0] for line in lines(self.directory / "got")}  # noqa: E731
            await until(lambda: len(got()) == self.readings, "all readings")
            await self.settled()
            await self.be_offered_everything_again()
            watching.cancel()

    async def settled(self) -> None:
        await until(lambda: not self.meter.endpoint.outbox and not self.ops.endpoint.outbox, "all receipts")

    async def be_offered_everything_again(self) -> None:
        """Every envelope ever seen, from its start on: the outcome stays what it was."""
        before = [lines(self.directory / name) for name in ("executed", "answered")]
        taken = self.hub.delivered
        offered = self.hub.offer_all_again()
        await until(lambda: self.hub.delivered >= taken + offered, "all envelopes of old were looked at")
        await self.settled()
        assert before == [lines(self.directory / name) for name in ("executed", "answered")], "a replay was accepted"

    async def measure(self) -> None:
        self.sent = await self.meter.endpoint.mark("next")
        for n in range(self.sent, self.readings):
            if n == self.readings - 1:
                await until((self.directory / FINISH).exists, "leave to finish")
            await self.meter.send(self.ops.endpoint.member.name, "readings", b"%d" % n, mark=("next", n + 1))
            self.sent = n + 1
            await asyncio.sleep(0.003)

    async def command(self) -> None:
        known = {line.split()[0] for line in lines(self.directory / "answered")}
        for n in (n for n in range(self.commands) if str(n) not in known):
            await until(lambda: self.sent * self.commands >= n * self.readings)  # noqa: B023 - spread over the story
            try:
                answer = await self.ops.request(
                    self.meter.endpoint.member.name, "valve", b"%d" % n, timeout=LONG, request_id=n.to_bytes(8, "big")
                )
                append(self.directory / "answered", f"{n} {answer.payload.decode()}")
            except Interrupted:
                append(self.directory / "answered", f"{n} interrupted")

    async def watch(self) -> None:
        """Note what is handed out: payload, identity, and in which batch of which process."""
        process, batches = os.urandom(4).hex(), 0
        async for batch in self.ops.batches():
            batches += 1
            noted = [
                f"{received.message.payload.decode()} {received.identity.session.hex()} {received.identity.number}"
                f" {process}:{batches}"
                for received in batch
            ]
            append(self.directory / "got", "\n".join(noted))


if __name__ == "__main__":
    endpoint.TICK_S = endpoint.PAUSE_S = 0.02
    asyncio.run(play(Path(sys.argv[1]), int(sys.argv[2]), kept=sys.argv[3:] == ["kept"]))
