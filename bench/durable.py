# SPDX-License-Identifier: Apache-2.0
"""Sealing and opening durably in groups of 100, each against the sum of its two parts measured apart.

The subject is an endpoint with its state directory: ``Endpoint.send_all`` of a group, until it is on the disk and in
the outbox; ``Endpoint.take_in`` of a group as a hop hands it over, until it is on the disk and in the inbox. Nothing is
offered to a hop meanwhile.

The parts: sealing or opening the same messages in memory, as bench/sealing.py has it; and bare SQLite committing the
very rows that the endpoint wrote, in the same groups and tables, with the same pragmas, by ``executemany``.
"""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.measure import Pair, Subject, seconds
from bench.sealing import open_all, readings, running, seal_all
from sealway.sdk import Device
from sealway.sdk.endpoint import Endpoint
from sealway.sdk.schema import SCRIPTS
from sealway.storage.store import connect, migrate
from sealway.transports.memory import Honest, MemoryCarrier, MemoryHub
from sealway.transports.ports import Collected, Deposit, Verdict
from sealway.wire.message import CODE_POST, Message
from tests.system.domain import Domain

GROUPS, GROUP = 8, 100
MESSAGES = GROUPS * GROUP
PAYLOAD = 64
_ENVELOPE = 9
"""Which column of sent."""
_SAVE = "UPDATE sessions SET state = ? WHERE hash = ?"


class _NoHop(MemoryCarrier):
    """A next hop that never answers."""

    async def deposit(self, deposits: Sequence[Deposit]) -> list[Verdict]:
        """Wait for ever."""
        never: asyncio.Future[list[Verdict]] = asyncio.get_running_loop().create_future()
        return await never


@dataclass
class _Run:
    """What one run took, and what it wrote."""

    seal_s: float = 0.0
    open_s: float = 0.0
    sessions: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    """Row of the sender's and of the receiver's session, with its last state."""
    rows: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    """By table: sent, inbox."""


async def _run(path: Path) -> _Run:
    run = _Run()
    async with AsyncExitStack() as stack:
        a, b = await _in_steady_state(path, stack)
        to, mailbox = b.member.name, b.member.mailbox.mailbox
        groups = [_unstamped() for _ in range(GROUPS)]
        run.seal_s = await _seconds_of(lambda: _each(groups, lambda group: a.send_all(to, group)))
        run.sessions["sent"], run.rows["sent"] = a.store.read_now(lambda c: _written(c, "sent", "number"))
        envelopes = [row[_ENVELOPE] for row in run.rows["sent"]]
        arriving = [Collected(mailbox, 1_000 + n, envelope) for n, envelope in enumerate(envelopes)]
        batches = [arriving[at : at + GROUP] for at in range(0, MESSAGES, GROUP)]
        run.open_s = await _seconds_of(lambda: _each(batches, b.take_in))
        run.sessions["inbox"], run.rows["inbox"] = b.store.read_now(lambda c: _written(c, "inbox", "id"))
    return run


async def _in_steady_state(path: Path, stack: AsyncExitStack) -> tuple[Endpoint, Endpoint]:
    """Return a sender and a receiver: a ratchet step was taken, a receipt has covered it, and no hop answers."""
    domain = Domain()
    hub, one, other = MemoryHub(domain.root_document), domain.member("device", "a"), domain.member("device", "b")
    roles = [Device(path / name, m, hub.carrier()) for name, m in (("a", one), ("b", other))]
    a, b = [(await stack.enter_async_context(role)).endpoint for role in roles]
    await asyncio.gather(a.publisher.published(), b.publisher.published())
    await a.send_all(other.name, _unstamped())
    await _until(lambda: bool(b.sessions.all()))
    await b.send_all(one.name, _unstamped())  # replies, which end the start
    (held,) = a.sessions.all()
    await _until(lambda: held.session.start is None)
    await a.send_all(other.name, _unstamped())
    await _until(lambda: held.session.send.opener(x_is_known=False) is None)
    await _until(lambda: not a.outbox.untaken)
    for endpoint in (a, b):
        endpoint.carrier = _NoHop(hub, Honest(), needs_consent=False)
    await a.send_all(other.name, _unstamped())  # occupies the hop
    await asyncio.sleep(0.05)
    return a, b


def _unstamped() -> list[Message]:
    """Return a group of messages as an application hands them over; the endpoint writes the time on them."""
    return [Message(CODE_POST, ("readings",), payload=bytes(PAYLOAD)) for _ in range(GROUP)]


async def _each(groups: list[list[Any]], work: Callable[[list[Any]], Awaitable[object]]) -> None:
    for group in groups:
        await work(group)


async def _until(condition: Callable[[], bool]) -> None:
    for _ in range(12_000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise TimeoutError("the session did not come to its steady state in a minute")


def _written(connection: sqlite3.Connection, table: str, key: str) -> tuple[tuple[Any, ...], list[tuple[Any, ...]]]:
    newest = f"SELECT * FROM {table} ORDER BY {key} DESC LIMIT ?"  # noqa: S608 - a table of ours
    rows = connection.execute(newest, (MESSAGES,)).fetchall()
    return connection.execute("SELECT * FROM sessions").fetchone(), rows[::-1]


def _ran() -> _Run:
    with TemporaryDirectory(prefix="sealway-bench-") as directory:
        return asyncio.run(_run(Path(directory)))


def _committed(run: _Run, table: str) -> float:
    """Return the seconds that bare SQLite needs for what a run wrote into a table, and for the session's state."""
    rows, session = run.rows[table], run.sessions[table]
    insert = f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})"  # noqa: S608 - a table of ours
    with TemporaryDirectory(prefix="sealway-bench-") as directory, closing(connect(Path(directory, "db"))) as db:
        migrate(db, SCRIPTS, "bench")
        db.execute(f"INSERT INTO sessions VALUES ({', '.join('?' * len(session))})", session)  # noqa: S608
        digest, state = db.execute("SELECT hash, state FROM sessions").fetchone()

        def commit() -> None:
            for at in range(0, MESSAGES, GROUP):
                db.execute("BEGIN IMMEDIATE")
                db.executemany(insert, rows[at : at + GROUP])
                db.execute(_SAVE, (state, digest))
                db.execute("COMMIT")

        return seconds(commit)


def _sealed_in_memory() -> float:
    sender, _ = running()
    messages = readings(PAYLOAD, MESSAGES)
    return seconds(lambda: seal_all(sender, messages))


def _opened_in_memory() -> float:
    sender, receiver = running()
    envelopes = seal_all(sender, readings(PAYLOAD, MESSAGES))
    sessions = {receiver.session.kid_in: receiver.session}
    return seconds(lambda: open_all(sessions, envelopes))


@contextmanager
def _sealing() -> Iterator[Pair]:
    sample = _ran()
    yield Pair(lambda: _each_us(_ran().seal_s), lambda: _each_us(_sealed_in_memory() + _committed(sample, "sent")))


@contextmanager
def _opening() -> Iterator[Pair]:
    sample = _ran()
    yield Pair(lambda: _each_us(_ran().open_s), lambda: _each_us(_opened_in_memory() + _committed(sample, "inbox")))


async def _seconds_of(work: Callable[[], Awaitable[object]]) -> float:
    gc.collect()
    begun = time.perf_counter()
    await work()
    return time.perf_counter() - begun


def _each_us(elapsed: float) -> float:
    return elapsed / MESSAGES * 1e6


SUBJECTS = (
    Subject("seal durably, groups of 100", "µs", 1.5, _sealing),
    Subject("open durably, groups of 100", "µs", 1.5, _opening),
)
