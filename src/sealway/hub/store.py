# SPDX-License-Identifier: Apache-2.0
"""The hub's SQLite database: one writer thread that commits what has gathered, one reader thread beside it.

Invariant: ``write`` returns only after the commit that holds its work is on the disk (WAL, synchronous=FULL).
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from sealway.errors import LocalMisuse, SealwayError, TransportFailed
from sealway.hub.schema import migrate

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

DATABASE: Final = "hub.sqlite"
_LOCK: Final = "lock"
_MOST_GROUPED: Final = 256
_MOST_WAITING: Final = 4096


class _Job:
    """Work that waits for the writer, and the future that waits for the work."""

    __slots__ = ("_future", "_loop", "work")

    def __init__(self, work: Work[Any]) -> None:
        self.work = work
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[Any] = self._loop.create_future()

    async def outcome(self) -> Any:
        # Shielded: a caller that goes away does not take the work with it.
        return await asyncio.shield(self._future)

    def settle(self, outcome: Any) -> None:
        with suppress(RuntimeError):  # the loop has closed: nobody waits any more, and the commit stands
            self._loop.call_soon_threadsafe(self._resolve, outcome)

    def _resolve(self, outcome: Any) -> None:
        if self._future.done():
            return
        if isinstance(outcome, _Failure):
            self._future.set_exception(outcome.error)
            self._future.exception()  # seen: no complaint if the caller has gone
        else:
            self._future.set_result(outcome)


class _Failure:
    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error


class Store:
    """The open database of one hub; its directory is locked until ``close``.

    Args:
        state_dir: the hub's own directory, made with mode 0700 if it is not there.

    Raises:
        LocalMisuse: another hub uses the directory, or it cannot be written.
        StateLost: a newer version wrote it.
    """

    def __init__(self, state_dir: Path) -> None:
        self._lock = _exclusive(state_dir)
        self._writing = _connect(state_dir / DATABASE)
        migrate(self._writing)
        self._reading = _connect(state_dir / DATABASE)
        self._jobs: queue.Queue[_Job | None] = queue.Queue(_MOST_WAITING)
        self._closing = False
        self._readers = ThreadPoolExecutor(1, thread_name_prefix="hub-reader")
        self._writer = threading.Thread(target=self._write_until_closed, name="hub-writer", daemon=True)
        self._writer.start()

    async def write(self, work: Work[T]) -> T:
        """Run ``work`` inside a transaction and return its result once it is durable.

        What ``work`` raises undoes that work alone and is raised here.

        Raises:
            TransportFailed: the database cannot be written, or too much work waits.
        """
        if not self._writer.is_alive():
            raise TransportFailed("the hub is stopping")
        job = _Job(work)
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            raise TransportFailed("the hub is busy", hint="try again later") from None
        outcome: T = await job.outcome()
        return outcome

    async def read(self, work: Work[T]) -> T:
        """Run ``work``, which only reads, on the last committed state. Raises TransportFailed if it cannot be read."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, work, self._reading)
        except sqlite3.Error:
            raise TransportFailed("the hub cannot read its database") from None

    def close(self) -> None:
        """Commit what waits, then close and unlock. Calls after this have no effect."""
        if self._writer.is_alive():
            self._jobs.put(None)
            self._writer.join()
        self._readers.shutdown()
        self._reading.close()
        self._writing.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _write_until_closed(self) -> None:
        while not self._closing and (job := self._jobs.get()) is not None:
            group = [job, *self._gathered()]
            for done, outcome in zip(group, self._commit(group), strict=True):
                done.settle(outcome)

    def _gathered(self) -> Iterable[_Job]:
        for _ in range(_MOST_GROUPED - 1):
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return
            if job is None:
                self._closing = True  # the loop ends after this group
                return
            yield job

    def _commit(self, group: list[_Job]) -> list[Any]:
        try:
            self._writing.execute("BEGIN IMMEDIATE")
            outcomes = [self._attempt(job) for job in group]
            self._writing.execute("COMMIT")
        except sqlite3.Error:
            self._roll_back()
            return [_Failure(TransportFailed("the hub cannot write its database")) for _ in group]
        return outcomes

    def _attempt(self, job: _Job) -> Any:
        self._writing.execute("SAVEPOINT job")
        try:
            outcome = job.work(self._writing)
        except Exception as error:  # noqa: BLE001 - handed to whoever asked for the work
            self._writing.execute("ROLLBACK TO job")  # fails, and fails the group, if SQLite has rolled back all of it
            outcome = _Failure(_described(error))
        self._writing.execute("RELEASE job")
        return outcome

    def _roll_back(self) -> None:
        if self._writing.in_transaction:
            self._writing.execute("ROLLBACK")


def _described(error: Exception) -> Exception:
    if isinstance(error, sqlite3.Error) and not isinstance(error, SealwayError):
        return TransportFailed("the hub cannot write its database")
    return error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _exclusive(state_dir: Path) -> int:
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(state_dir / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LocalMisuse(f"cannot use {state_dir}: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise LocalMisuse(
            f"another hub uses {state_dir}", hint="stop it, or give this one a directory of its own"
        ) from None
    return lock
