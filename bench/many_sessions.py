# SPDX-License-Identifier: Apache-2.0
"""What 100 000 sessions cost one application: disk, memory, and the time to open a message.

The stores are made once, by the endpoint's own code: sessions as a stream of readings leaves them (bench/sealing.py),
each of a peer of its own, with its accepted start and its first reply, become durable in groups. **Disk** is the
database after a checkpoint, without that of an endpoint that has none. **Memory** is the growth of what the system
counts as resident (RSS) of a process that opens the directory and then uses every session once: "hot" keeps all of them
in memory; a cache of 1 000 leaves the others on the disk.

**Opening** is ``Endpoint.take_in`` of 100 envelopes, each of another session drawn at random, until they are on the
disk and in the inbox, in turn with the same in a store of 100 sessions.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import random as rng
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from bench.measure import Course, Figure, Result, judged
from bench.sealing import running
from sealway.protocol.policy import DEFAULT_POLICY
from sealway.protocol.sentlog import SentLog, Uptime
from sealway.protocol.session import Session
from sealway.protocol.snapshot import restore, snapshot
from sealway.sdk.clock import SystemClock
from sealway.sdk.endpoint import Endpoint
from sealway.sdk.schema import DATABASE
from sealway.sdk.sessions import Held
from sealway.storage.store import connect
from sealway.transports.memory import MemoryHub
from sealway.transports.ports import Collected
from sealway.wire.address import Name
from sealway.wire.header import StartHeader
from sealway.wire.message import CODE_POST, Message
from tests.protocol.session_pair import START_MS
from tests.system.domain import Domain

POINTS = (100, 1_000, 10_000, 100_000)
CACHE = 1_000
GROUP, GROUPS = 100, 5
_MOST = POINTS[-1]
_LIMIT_EACH, _LIMIT_IN_ALL = 1_024, 64 << 20
_BUNDLE = bytes(8)
_FIRST_REPLY = "INSERT INTO sent (session, number, tag, boot, uptime, sealed) VALUES (?, 0, ?, ?, 0, ?)"


def _opening(count: int, how: str) -> str:
    return f"open, {count:,} sessions, {how}"


HOT = tuple(Figure(_opening(n, "all hot"), "µs", 1.2 if n == _MOST else None) for n in POINTS[1:])
COLD = tuple(Figure(_opening(n, f"cache {CACHE:,}"), "µs", 1.2 if n == _MOST else None) for n in POINTS[2:])
FIGURES = (
    Figure(f"disk of a session, of {_MOST:,}", "B", 1.0),
    Figure(f"memory of a session, {_MOST:,} hot", "B", 1.0),
    Figure(f"memory of {_MOST:,}, cache {CACHE:,}", "KiB", 1.0),
    *HOT,
    *COLD,
)


class _Clock(SystemClock):
    """Goes on from when the sessions were made: they are not years old, as to the system's clock they would be."""

    def __init__(self) -> None:
        super().__init__()
        self._ahead_ms = super().now_ms() - START_MS

    def now_ms(self) -> int:
        return super().now_ms() - self._ahead_ms


class _Made:
    """A store on the disk, and the other ends of its sessions."""

    def __init__(self, path: Path, count: int) -> None:
        sender, receiver = running()
        receiver.open(sender.seal())  # the first since the last receipt
        self.path, self.count = path, count
        self._sender, self._random = snapshot(sender.session), sender.random
        self._sessions: dict[int, Session] = {}
        path.mkdir()
        asyncio.run(_fill(path, count, snapshot(receiver.session)))

    def sealed(self, index: int) -> bytes:
        """Return the next envelope for a session."""
        session = self._sessions.get(index)
        if session is None:
            session = restore(self._sender, SentLog(), DEFAULT_POLICY, reopened=False)
            session.kid_out = _kid(index)
            self._sessions[index] = session
        message = Message(CODE_POST, ("readings",), payload=index.to_bytes(4) + bytes(60), sent_at=START_MS)
        return session.seal(message, now_ms=START_MS, uptime=Uptime(bytes(16), 0), random=self._random).envelope


def _kid(index: int) -> bytes:
    """What choose_kid would draw for so many: 3 bytes, all different, in no order."""
    return (index * 7_368_787 % (1 << 24)).to_bytes(3)


def _endpoint(path: Path, in_memory: int) -> Endpoint:
    domain = Domain()
    member = domain.member("application", "ops")
    carrier = MemoryHub(domain.root_document).carrier()
    return Endpoint(path, member, carrier, clock=_Clock(), sessions_in_memory=in_memory)


async def _fill(path: Path, count: int, template: bytes) -> None:
    endpoint = _endpoint(path, CACHE)
    for index in range(count):
        _add(endpoint, index, template)
        if index % 1_000 == 999:
            await endpoint.journal.commit()
    await endpoint.close()
    with closing(connect(path / DATABASE)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _add(endpoint: Endpoint, index: int, template: bytes) -> None:
    session = restore(template, SentLog(), DEFAULT_POLICY, reopened=False)
    session.hash, x5t, ephemeral = (hashlib.sha256(b"%d %s" % (index, what)).digest() for what in (b"h", b"x", b"e"))
    session.peer, session.kid_in = f"sealway://building.example/device/meter-{index:06}", _kid(index)
    held = Held(session, Name.parse(session.peer).mailbox, b"", x5t, sealed_ms=START_MS)
    endpoint.sessions.add(held)
    endpoint.sessions.record_start(StartHeader(bytes(32), x5t, b"k", ephemeral, index % 64), held, _BUNDLE)
    endpoint.sessions.send_on(held)
    endpoint.journal.note(_FIRST_REPLY, session.hash, bytes(4), bytes(16), START_MS)


class _Store:
    """An open store of many sessions, and what comes for them."""

    def __init__(self, made: _Made, in_memory: int) -> None:
        self._made = made
        self._draw = rng.Random(made.count)  # noqa: S311 - which sessions are used
        self.endpoint = _endpoint(made.path, in_memory)
        self._sequence = 0
        for kid in map(_kid, range(made.count)):  # all have been used once
            self.endpoint.sessions.by_kid(kid)

    async def each_us(self) -> float:
        """Return the time to open a message, in groups."""
        groups = [self._group() for _ in range(GROUPS)]
        gc.collect()
        begun = time.perf_counter()
        for group in groups:
            if len(await self.endpoint.take_in(group)) != GROUP:
                raise ValueError("a message was not opened")
        return (time.perf_counter() - begun) / (GROUP * GROUPS) * 1e6

    def _group(self) -> list[Collected]:
        drawn = self._draw.sample(range(self._made.count), GROUP)
        self._sequence += GROUP
        return [Collected("ops", self._sequence + n, self._made.sealed(index)) for n, index in enumerate(drawn)]


async def _compared(made: dict[int, _Made], count: int, in_memory: int, rounds: int) -> list[tuple[float, float]]:
    """Return the times to open in a store and in one of 100, of each round."""
    stores = [_Store(made[n], in_memory) for n in (count, POINTS[0])]
    pairs = []
    for turn in range(rounds + 1):
        ordered = stores if turn % 2 == 0 else stores[::-1]
        taken = {id(store): await store.each_us() for store in ordered}
        pairs.append((taken[id(stores[0])], taken[id(stores[1])]))
    for store in stores:
        await store.endpoint.close()
    return pairs[1:]


def _bytes_on_disk(made: dict[int, _Made], empty: Path) -> float:
    sizes = [(path / DATABASE).stat().st_size for path in (made[_MOST].path, empty)]
    return (sizes[0] - sizes[1]) / _MOST


def _grown(made: _Made, in_memory: int) -> float:
    """Return by how many bytes a process of its own grows."""
    command = [sys.executable, "-m", "bench.many_sessions", str(made.path), str(made.count), str(in_memory)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _use_all(path: Path, count: int, in_memory: int) -> int:
    process = psutil.Process()
    gc.collect()
    before = process.memory_info().rss
    endpoint = _endpoint(path, in_memory)
    for kid in map(_kid, range(count)):
        if endpoint.sessions.by_kid(kid) is None:
            raise LookupError("a session that was made is not there")
    gc.collect()
    return process.memory_info().rss - before


def _measured(rounds: int) -> list[Result]:
    with TemporaryDirectory(prefix="sealway-bench-") as directory:
        made = {count: _Made(Path(directory, str(count)), count) for count in POINTS}
        empty = _Made(Path(directory, "0"), 0)
        disk = _bytes_on_disk(made, empty.path)
        hot, cold = _grown(made[_MOST], _MOST) / _MOST, _grown(made[_MOST], CACHE)
        rows: list[list[tuple[float, float]]] = [
            [(disk, _LIMIT_EACH)],
            [(hot, _LIMIT_EACH)],
            [(cold / 1_024, _LIMIT_IN_ALL / 1_024)],
        ]
        for points, in_memory in ((POINTS[1:], _MOST), (POINTS[2:], CACHE)):
            rows += [asyncio.run(_compared(made, count, in_memory, rounds)) for count in points]
    return [judged(figure, pairs) for figure, pairs in zip(FIGURES, rows, strict=True)]


COURSES = (Course("many sessions", FIGURES, _measured),)


if __name__ == "__main__":
    print(_use_all(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
