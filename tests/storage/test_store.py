# SPDX-License-Identifier: Apache-2.0
"""The database under an endpoint, a gateway and a hub: durable, private, exclusive, and typed in its failures."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealway.errors import InUse, LocalMisuse, SealwayError, StateLost, TransportFailed
from sealway.storage.directory import DirectoryLock, demand_free
from sealway.storage.store import Store, connect_readonly

SCRIPTS = ("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT UNIQUE);",)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "db.sqlite", SCRIPTS, "tester")
    yield opened
    opened.close()


def insert(text: str):
    return lambda connection: connection.execute("INSERT INTO notes (text) VALUES (?)", (text,))


def texts(connection: sqlite3.Connection) -> list[str]:
    return [text for (text,) in connection.execute("SELECT text FROM notes ORDER BY id")]


# lock --------------------------------------------------------------------------------------------------------------
def test_a_directory_has_one_owner(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path / "state", "endpoint")
    with pytest.raises(LocalMisuse, match="another endpoint uses"):
        DirectoryLock(tmp_path / "state", "endpoint")
    lock.release()
    lock.release()
    DirectoryLock(tmp_path / "state", "endpoint").release()


def test_the_lock_goes_with_the_process(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from sealway.storage.directory import DirectoryLock;"
        "lock = DirectoryLock(Path(sys.argv[1]), 'endpoint'); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        with pytest.raises(LocalMisuse):
            DirectoryLock(tmp_path, "endpoint")
        process.kill()
        process.wait(10)
    DirectoryLock(tmp_path, "endpoint").release()


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(LocalMisuse, match="cannot use"):
        DirectoryLock(tmp_path / "file" / "state", "endpoint")


# modes -------------------------------------------------------------------------------------------------------------
async def test_only_the_owner_reads_the_state(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        lock = DirectoryLock(tmp_path / "state", "endpoint")
        store = Store(tmp_path / "state" / "db.sqlite", SCRIPTS, "endpoint")
        await store.write(insert("secret"))
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "state").iterdir()}
        store.close()
        lock.release()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    assert {"db.sqlite", "db.sqlite-wal", "db.sqlite-shm", "lock"} <= set(modes)
    assert set(modes.values()) == {0o600}, modes


def test_a_database_that_others_could_read_is_made_private(tmp_path: Path) -> None:
    path = tmp_path / "db.sqlite"
    Store(path, SCRIPTS, "tester").close()
    path.chmod(0o644)
    Store(path, SCRIPTS, "tester").close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


# writing -----------------------------------------------------------------------------------------------------------
async def test_what_was_written_is_there(store: Store, tmp_path: Path) -> None:
    await store.write(insert("a"))
    assert await store.read(texts) == ["a"] == store.read_now(texts)
    connection = connect_readonly(tmp_path / "db.sqlite")
    assert texts(connection) == ["a"]
    with pytest.raises(sqlite3.OperationalError):
        connection.execute("DELETE FROM notes")
    connection.close()


async def test_work_is_grouped_and_failing_work_undoes_itself_alone(store: Store) -> None:
    begun = 0

    def trace(statement: str) -> None:
        nonlocal begun
        begun += statement == "BEGIN IMMEDIATE"

    store._writing.set_trace_callback(trace)
    gate = threading.Event()
    first = asyncio.ensure_future(store.write(lambda connection: gate.wait(10)))
    await asyncio.sleep(0.05)
    texts_ = [f"t{n % 90}" for n in range(100)]  # ten of them a second time: UNIQUE
    waiting = [asyncio.ensure_future(store.write(insert(text))) for text in texts_]
    await asyncio.sleep(0)
    gate.set()
    await first
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert len(failures) == 10 and all(isinstance(failure, TransportFailed) for failure in failures)
    assert await store.read(texts) == [f"t{n}" for n in range(90)]
    assert begun <= 4


async def test_errors_of_the_work_are_raised_as_they_are(store: Store) -> None:
    def refuse(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO notes (text) VALUES ('undone')")
        raise LocalMisuse("no")

    def stumble(connection: sqlite3.Connection) -> None:
        raise KeyError("x")

    with pytest.raises(LocalMisuse):
        await store.write(refuse)
    with pytest.raises(KeyError):
        await store.write(stumble)
    assert await store.read(texts) == []


async def test_a_disk_that_is_full(store: Store) -> None:
    pages = store._writing.execute("PRAGMA page_count").fetchone()[0]
    store._writing.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(TransportFailed, match="cannot write"):
        await store.write(insert("x" * 100_000))
    await store.write(insert("small"))  # the writer goes on
    assert await store.read(texts) == ["small"]


async def test_a_database_that_became_read_only(store: Store) -> None:
    store._writing.execute("PRAGMA query_only = ON")
    with pytest.raises(TransportFailed, match="cannot write"):
        await store.write(insert("x"))


async def test_after_closing(tmp_path: Path) -> None:
    store = Store(tmp_path / "db.sqlite", SCRIPTS, "tester")
    waiting = [asyncio.ensure_future(store.write(insert(str(n)))) for n in range(50)]
    await asyncio.sleep(0)
    store.close()
    store.close()
    await asyncio.gather(*waiting)  # what was handed in before is written
    with pytest.raises(TransportFailed, match="stopping"):
        await store.write(insert("late"))
    again = Store(tmp_path / "db.sqlite", SCRIPTS, "tester")
    assert len(again.read_now(texts)) == 50
    again.close()


async def test_too_much_work_waits(store: Store) -> None:
    gate = threading.Event()
    first = asyncio.ensure_future(store.write(lambda connection: gate.wait(10)))
    await asyncio.sleep(0.05)
    waiting = [asyncio.ensure_future(store.write(lambda connection: None)) for _ in range(4_200)]
    await asyncio.sleep(0)
    gate.set()
    await first
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert sum(isinstance(outcome, TransportFailed) for outcome in outcomes) == 4_200 - 4_096


# opening -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("content", [b"this is not a database at all, and long enough to be looked at", b"\x00" * 4096])
def test_a_damaged_database(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "db.sqlite").write_bytes(content)
    with pytest.raises(StateLost):
        Store(tmp_path / "db.sqlite", SCRIPTS, "tester")


def test_a_database_damaged_further_inside(tmp_path: Path) -> None:
    path = tmp_path / "db.sqlite"
    Store(path, SCRIPTS, "tester").close()
    content = bytearray(path.read_bytes())
    content[4096:8192] = os.urandom(4096)
    path.write_bytes(content)
    store = Store(path, SCRIPTS, "tester")
    with pytest.raises(StateLost, match="cannot read"):
        store.read_now(texts)
    store.close()


def test_a_newer_version(tmp_path: Path) -> None:
    Store(tmp_path / "db.sqlite", (*SCRIPTS, "CREATE TABLE more (x);"), "tester").close()
    with pytest.raises(StateLost, match="newer version"):
        Store(tmp_path / "db.sqlite", SCRIPTS, "tester")


async def test_an_older_version_is_brought_up_to_date(tmp_path: Path) -> None:
    store = Store(tmp_path / "db.sqlite", SCRIPTS, "tester")
    await store.write(insert("kept"))
    store.close()
    store = Store(tmp_path / "db.sqlite", (*SCRIPTS, "ALTER TABLE notes ADD COLUMN more;"), "tester")
    assert store.read_now(texts) == ["kept"]
    assert store.read_now(lambda c: c.execute("SELECT more FROM notes").fetchone()) == (None,)
    store.close()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateLost, match="cannot open") as refused:
        Store(tmp_path / "file" / "db.sqlite", SCRIPTS, "tester")
    assert isinstance(refused.value, SealwayError) and refused.value.hint


async def test_a_database_that_cannot_be_read_later(store: Store) -> None:
    with pytest.raises(TransportFailed, match="cannot read"):
        await store.read(lambda connection: connection.execute("SELECT * FROM nothing"))


def test_who_only_looks_whether_a_directory_is_free_keeps_nobody_out(tmp_path: Path) -> None:
    DirectoryLock(tmp_path, "endpoint").release()
    looking = os.open(tmp_path / "lock", os.O_RDWR)
    fcntl.flock(looking, fcntl.LOCK_SH)
    demand_free(tmp_path)  # two who look do not see each other
    threading.Timer(0.005, os.close, [looking]).start()
    with DirectoryLock(tmp_path, "endpoint"), pytest.raises(InUse, match="another process uses"):
        demand_free(tmp_path)
    demand_free(tmp_path)
