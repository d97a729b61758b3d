# SPDX-License-Identifier: Apache-2.0
"""Sending durably through an endpoint in groups of 100, against the sum of its two parts measured apart.

The parts: sealing the same messages in memory, and bare SQLite committing the same rows in the same groups, with the
same pragmas. Nothing is offered to a hop meanwhile.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.measure import Pair, Subject, seconds
from bench.sealing import reading, running, seal_all
from sealway.sdk import Device
from sealway.sdk.endpoint import Endpoint
from sealway.sdk.schema import SCRIPTS
from sealway.storage.store import connect, migrate
from sealway.transports.memory import Honest, MemoryCarrier, MemoryHub
from sealway.transports.ports import Deposit, Verdict
from sealway.wire.address import Name
from tests.system.domain import Domain

GROUPS, GROUP = 8, 100
MESSAGES = GROUPS * GROUP
_SENT = "INSERT INTO sent VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_SESSION = (
    "INSERT INTO sessions (hash, peer, kid, mailbox, newest, x5t, created, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_SAVE = "UPDATE sessions SET state = ? WHERE hash = ?"


class _NoHop(MemoryCarrier):
    """A next hop that never answers."""

    async def deposit(self, deposits: Sequence[Deposit]) -> list[Verdict]:
        """Wait for ever."""
        never: asyncio.Future[list[Verdict]] = asyncio.get_running_loop().create_future()
        return await never


class _Run:
    """One endpoint with a running session: sends, and keeps what it has written."""

    def __init__(self) -> None:
        self.elapsed = 0.0
        self.rows: list[tuple[Any, ...]] = []
        self.state, self.digest = b"", b""

    async def send(self, path: Path) -> None:
        domain = Domain()
        hub, one, other = MemoryHub(domain.root_document), domain.member("device", "a"), domain.member("device", "b")
        async with Device(path / "a", one, hub.carrier()) as a, Device(path / "b", other, hub.carrier()) as b:
            sender, to = a.endpoint, other.name
            await asyncio.gather(sender.publisher.published(), b.endpoint.publisher.published())
            await sender.send(to, reading(64))
            await b.endpoint.send(one.name, reading(64))  # the reply that ends the start
            (held,) = sender.sessions.all()
            await _until(lambda: held.session.start is None)
            await _group(sender, to)  # a ratchet step is taken; then a receipt covers it
            await _until(lambda: held.session.send.opener(x_is_known=False) is None)
            sender.carrier = _NoHop(hub, Honest(), needs_consent=False)
            await _group(sender, to)
            begun = time.perf_counter()
            for _ in range(GROUPS):
                await _group(sender, to)
            self.elapsed = time.perf_counter() - begun
            sender.store.read_now(self._keep)

    def _keep(self, connection: sqlite3.Connection) -> None:
        rows = connection.execute("SELECT * FROM sent ORDER BY number DESC LIMIT ?", (MESSAGES,)).fetchall()
        self.rows = rows[::-1]
        self.state, self.digest = connection.execute("SELECT state, hash FROM sessions").fetchone()


async def _group(sender: Endpoint, to: Name) -> None:
    await asyncio.gather(*(sender.send(to, reading(64)) for _ in range(GROUP)))


async def _until(condition: Callable[[], bool]) -> None:
    for _ in range(12_000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise TimeoutError("the session did not come to its steady state in a minute")


def _sent() -> _Run:
    run = _Run()
    with TemporaryDirectory(prefix="sealway-bench-") as directory:
        asyncio.run(run.send(Path(directory)))
    return run


def _committed(run: _Run) -> float:
    """Return the seconds that bare SQLite needs for the rows of a run."""
    with TemporaryDirectory(prefix="sealway-bench-") as directory, closing(connect(Path(directory, "db"))) as db:
        migrate(db, SCRIPTS, "bench")
        row = (run.digest, "peer", b"k", "mailbox", b"", b"", 0, run.state)
        db.execute(_SESSION, row)

        def commit() -> None:
            for at in range(0, MESSAGES, GROUP):
                db.execute("BEGIN IMMEDIATE")
                db.executemany(_SENT, run.rows[at : at + GROUP])
                db.execute(_SAVE, (run.state, run.digest))
                db.execute("COMMIT")

        return seconds(commit)


@contextmanager
def _sending() -> Iterator[Pair]:
    sample, messages = _sent(), [reading(64)] * MESSAGES

    def in_memory() -> float:
        sender, _ = running()
        return seconds(lambda: seal_all(sender, messages))

    yield Pair(
        lambda: _sent().elapsed / MESSAGES * 1e6,
        lambda: (in_memory() + _committed(sample)) / MESSAGES * 1e6,
    )


SUBJECTS = (Subject("seal durably, groups of 100", "µs", 1.5, _sending),)
