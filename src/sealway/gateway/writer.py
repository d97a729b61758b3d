# SPDX-License-Identifier: Apache-2.0
"""One thread that owns the SQLite connection and lets many operations share a commit.

What ``run`` returns has been committed and synced to the disk (WAL, synchronous=FULL): whoever answers a device after
``run`` can be killed at once and has kept its word.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from sealway.errors import StateLost, TransportFailed

Result = TypeVar("Result")
Operation = Callable[[sqlite3.Connection], Any]

_GROUP: Final = 256  # operations that share a commit at most


@dataclass(slots=True)
class _Job:
    operation: Operation
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[Any]
    result: Any = None
    error: Exception | None = None


class Writer:
    """Runs operations on the database of ``path``, grouped into commits; operations of a group stand or fall alone."""

    def __init__(self, path: Path, schema: str) -> None:
        self._path = path
        self._schema = schema
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Open or create the database and start the thread. Raises StateLost if the file is damaged."""
        try:
            database = _connect(self._path, self._schema)
        except sqlite3.DatabaseError as error:
            raise StateLost(f"cannot open {self._path}: {error}", hint="the file is damaged; move it away") from error
        self._thread = threading.Thread(target=self._serve, args=(database,), name="gateway-queue", daemon=True)
        self._thread.start()

    async def run(self, operation: Callable[[sqlite3.Connection], Result]) -> Result:
        """Run ``operation`` in the thread; return its value after the commit.

        Raises what the operation raised, or TransportFailed when the disk refuses the commit.
        """
        loop = asyncio.get_running_loop()
        job = _Job(operation, loop, loop.create_future())
        self._jobs.put(job)
        result: Result = await job.done
        return result

    async def close(self) -> None:
        """Finish what is queued, close the database, end the thread."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._jobs.put(None)
            await asyncio.to_thread(thread.join)

    def _serve(self, database: sqlite3.Connection) -> None:
        going_on = True
        while going_on:
            group, going_on = self._next_group()
            if group:
                _commit_group(database, group)
                _report(group)
        database.close()

    def _next_group(self) -> tuple[list[_Job], bool]:
        """Wait for a job and take those that wait beside it; False when the writer is to end."""
        group: list[_Job] = []
        job = self._jobs.get()
        while job is not None:
            group.append(job)
            if len(group) >= _GROUP:
                return group, True
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return group, True
        return group, False


def _connect(path: Path, schema: str) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.executescript(f"BEGIN IMMEDIATE; {schema} COMMIT;")
    except sqlite3.DatabaseError:
        database.close()
        raise
    return database


def _commit_group(database: sqlite3.Connection, group: list[_Job]) -> None:
    try:
        database.execute("BEGIN IMMEDIATE")
        for job in group:
            _run_one(database, job)
        database.execute("COMMIT")
    except sqlite3.Error as error:
        _refuse_all(database, group, error)


def _run_one(database: sqlite3.Connection, job: _Job) -> None:
    """Run one operation inside a savepoint, so that its failure undoes nothing of the others."""
    database.execute("SAVEPOINT one")
    try:
        job.result = job.operation(database)
    except sqlite3.Error:
        raise
    except Exception as error:  # the thread must outlive a faulty operation; its caller gets the error
        job.error = error
        database.execute("ROLLBACK TO one")
    database.execute("RELEASE one")


def _refuse_all(database: sqlite3.Connection, group: list[_Job], error: sqlite3.Error) -> None:
    if database.in_transaction:
        database.execute("ROLLBACK")
    for job in group:
        job.error = TransportFailed(f"the gateway cannot write its queue: {error}")


def _report(group: list[_Job]) -> None:
    """Hand the results over, with one wake-up for each event loop."""
    loops = {id(job.loop): job.loop for job in group}
    for identity, loop in loops.items():
        mine = [job for job in group if id(job.loop) == identity]
        if not loop.is_closed():
            loop.call_soon_threadsafe(_settle, mine)


def _settle(jobs: list[_Job]) -> None:
    for job in jobs:
        if job.done.done():
            continue
        if job.error is not None:
            job.done.set_exception(job.error)
        else:
            job.done.set_result(job.result)
