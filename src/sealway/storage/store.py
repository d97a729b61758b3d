# SPDX-License-Identifier: Apache-2.0
"""A SQLite database with one writer thread that commits what has gathered, and one reader thread beside it.

Invariants: ``write`` returns only after the commit that holds its work is on the disk (WAL, synchronous=FULL); work
that fails undoes itself alone and nothing of what shares its commit.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from sealway.errors import SealwayError, StateLost, TransportFailed

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

_MOST_GROUPED: Final = 256
_MOST_WAITING: Final = 4096
_DAMAGED: Final = "the file is damaged; move it away"


class _Failure:
    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error


class _Job:
    """Work that waits for the writer, and the future that waits for the work."""

    __slots__ = ("afterwards", "future", "loop", "work")

    def __init__(self, work: Work[Any], afterwards: Callable[[], object] | None) -> None:
        self.work = work
        self.afterwards = afterwards
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()

    async def outcome(self) -> Any:
        # Shielded: a caller that goes away does not take the work with it.
        return await asyncio.shield(self.future)

    def resolve(self, outcome: Any) -> None:
        if self.future.done():
            return
        if isinstance(outcome, _Failure):
            self.future.set_exception(outcome.error)
            self.future.exception()  # seen: no complaint if the caller has gone
        else:
            self.future.set_result(outcome)


class Store:
    """An open database. The caller holds the lock on its directory.

    Args:
        path: the database file, made if it is not there.
        scripts: SQL by version: the n-th leads from version n-1 to n.
        owner: whose it is, for messages ("hub").
        cache_kib: memory for pages of the file, for the writer.
        prepare: called with the connection before anything else, outside a transaction.

    Raises:
        StateLost: damaged, not to be written, or written by a newer version; and what ``prepare`` raises.
    """

    def __init__(
        self, path: Path, scripts: Sequence[str], owner: str, *, cache_kib: int = 2048,
        prepare: Work[object] = lambda _: None,
    ) -> None:  # fmt: skip
        self._owner = owner
        self._path = path
        self._asking: sqlite3.Connection | None = None
        self._writing, self._reading = _connected(path, scripts, owner, prepare)
        self._writing.execute(f"PRAGMA cache_size = {-cache_kib:d}")  # negative: KiB, not pages
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closing = False
        self._readers = ThreadPoolExecutor(1, thread_name_prefix=f"{owner}-reader")
        self._writer = threading.Thread(target=self._write_until_closed, name=f"{owner}-writer", daemon=True)
        self._writer.start()

    async def write(self, work: Work[T], afterwards: Callable[[], object] | None = None) -> T:
        """Run ``work`` inside a transaction and return its result once it is durable.

        What ``work`` raises undoes that work alone and is raised here.

        Args:
            afterwards: called once the work is durable, before this returns; what it raises is raised here.

        Raises:
            TransportFailed: the database cannot be written, or too much work waits.
        """
        if self._closing or not self._writer.is_alive():
            raise TransportFailed(f"the {self._owner} is stopping")
        if self._jobs.qsize() >= _MOST_WAITING:
            raise TransportFailed(f"the {self._owner} is busy", hint="try again later")
        job = _Job(work, afterwards)
        self._jobs.put(job)
        outcome: T = await job.outcome()
        return outcome

    async def read(self, work: Work[T]) -> T:
        """Run ``work``, which only reads, on the last committed state. Raises TransportFailed if it cannot be read."""
        if self._closing:
            raise TransportFailed(f"the {self._owner} is stopping")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, work, self._reading)
        except sqlite3.Error:
            raise TransportFailed(f"the {self._owner} cannot read its database") from None

    def read_now(self, work: Work[T]) -> T:
        """Run ``work`` in the calling thread; for use while a program starts. Raises StateLost if it cannot be read."""
        try:
            return work(self._reading)
        except sqlite3.Error as error:
            raise StateLost(f"cannot read the {self._owner}'s database: {error}", hint=_DAMAGED) from None

    def ask(self, query: str, *parameters: Any) -> list[Any]:
        """Run a short query on the last committed state, in the calling thread: the one that opened the store, and no
        other. Raises StateLost if it cannot be read."""
        if self._closing:
            raise StateLost(f"the {self._owner} is stopping")
        try:
            if self._asking is None:
                self._asking = connect(self._path)
            return self._asking.execute(query, parameters).fetchall()
        except sqlite3.Error as error:
            raise StateLost(f"cannot read the {self._owner}'s database: {error}", hint=_DAMAGED) from None

    def close(self) -> None:
        """Commit what waits, then close. Calls after this have no effect."""
        if self._writer.is_alive():
            self._jobs.put(None)
            self._writer.join()
        self._closing = True
        late = list(self._gathered())
        _settle(late, [_Failure(TransportFailed(f"the {self._owner} is stopping")) for _ in late])
        self._readers.shutdown()
        self._reading.close()
        if self._asking is not None:
            self._asking.close()
        self._writing.close()

    def _write_until_closed(self) -> None:
        while not self._closing and (job := self._jobs.get()) is not None:
            group = [job, *self._gathered()]
            outcomes = self._commit(group)
            _settle(group, [_followed(job, outcome) for job, outcome in zip(group, outcomes, strict=True)])

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
            with contextlib.suppress(sqlite3.Error):  # a disk that fails may fail this too; the writer goes on
                if self._writing.in_transaction:
                    self._writing.execute("ROLLBACK")
            return [_Failure(self._unwritable()) for _ in group]
        return outcomes

    def _attempt(self, job: _Job) -> Any:
        self._writing.execute("SAVEPOINT job")
        try:
            outcome = job.work(self._writing)
        except Exception as error:  # noqa: BLE001 - the thread must outlive faulty work; its caller gets the error
            self._writing.execute("ROLLBACK TO job")  # fails, and fails the group, if SQLite has rolled back all of it
            raised = (
                error if isinstance(error, SealwayError) or not isinstance(error, sqlite3.Error) else self._unwritable()
            )
            outcome = _Failure(raised)
        self._writing.execute("RELEASE job")
        return outcome

    def _unwritable(self) -> TransportFailed:
        return TransportFailed(f"the {self._owner} cannot write its database", hint="is the disk full, or read-only?")


def _followed(job: _Job, outcome: Any) -> Any:
    """Do what is to be done after the commit, if the work is part of it."""
    if job.afterwards is None or isinstance(outcome, _Failure):
        return outcome
    try:
        job.afterwards()
    except Exception as error:  # noqa: BLE001 - as for the work itself
        return _Failure(error)
    return outcome


def _settle(group: list[_Job], outcomes: list[Any]) -> None:
    """Hand the results over, with one wake-up for each event loop."""
    for loop in {id(job.loop): job.loop for job in group}.values():
        mine = [(job, outcome) for job, outcome in zip(group, outcomes, strict=True) if job.loop is loop]
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits any more, and the commit stands
            loop.call_soon_threadsafe(_resolve_all, mine)


def _resolve_all(jobs: list[tuple[_Job, Any]]) -> None:
    for job, outcome in jobs:
        job.resolve(outcome)


def _connected(
    path: Path, scripts: Sequence[str], owner: str, prepare: Work[object]
) -> tuple[sqlite3.Connection, sqlite3.Connection]:  # fmt: skip
    """Return a connection to write and one to read. Raises StateLost."""
    with contextlib.ExitStack() as opened:
        try:
            _keep_private(path)
            writing = opened.enter_context(contextlib.closing(connect(path)))
            migrate(writing, scripts, owner)
            prepare(writing)
            reading = opened.enter_context(contextlib.closing(connect(path)))
        except (OSError, sqlite3.OperationalError) as error:
            raise StateLost(f"cannot open {path}: {error}", hint="is the disk full, or read-only?") from None
        except sqlite3.Error as error:
            raise StateLost(f"cannot open {path}: {error}", hint=_DAMAGED) from None
        opened.pop_all()
        return writing, reading


def _keep_private(path: Path) -> None:
    """Make the database and what SQLite keeps beside it readable by its owner only: it may hold keys."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        file = path.with_name(name)
        if file.exists() and file.stat().st_mode & 0o077:
            file.chmod(0o600)


def connect(path: Path) -> sqlite3.Connection:
    """Open a database file for WAL with full synchronisation; transactions are begun by hand."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Do what is in the block as one transaction: all of it is durable after the block, or, if it raises, nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def connect_readonly(path: Path) -> sqlite3.Connection:
    """Open a database that another process may have open; for status commands. Raises sqlite3.Error."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)
    connection.execute("PRAGMA query_only = ON")
    return connection


def migrate(connection: sqlite3.Connection, scripts: Sequence[str], owner: str) -> None:
    """Bring a database, empty or older, to this version's tables. Raises StateLost if a newer version wrote it."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(scripts):
        raise StateLost(f"the {owner}'s database was written by a newer version", hint="run the newer version")
    for number, script in enumerate(scripts[version:], start=version + 1):
        connection.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {number}; COMMIT;")
