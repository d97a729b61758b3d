# SPDX-License-Identifier: Apache-2.0
"""The hub's database: durable before it is answered, one job's failure its own, one hub a directory."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing

import pytest

from sealway.errors import LocalMisuse, NotFound, StateLost, TransportFailed
from sealway.hub.metrics import Metrics
from sealway.hub.schema import SCRIPTS
from sealway.hub.status import hub_status
from sealway.hub.store import DATABASE, Store
from sealway.storage.store import migrate


def add(mailbox):
    return lambda db: db.execute("INSERT INTO mailboxes (id, name) VALUES (?, 'n')", (mailbox,)).rowcount


async def test_work_is_committed_in_groups_and_visible_to_others(tmp_path):
    with closing(Store(tmp_path)) as store:
        assert await asyncio.gather(*(store.write(add(f"m{n}")) for n in range(300))) == [1] * 300
        with closing(sqlite3.connect(tmp_path / DATABASE)) as other:
            assert other.execute("SELECT count(*) FROM mailboxes").fetchone() == (300,)
        assert await store.read(lambda db: db.execute("SELECT count(*) FROM mailboxes").fetchone()) == (300,)


async def test_a_failure_undoes_its_own_work_only(tmp_path):
    def half(db):
        add("half")(db)
        raise NotFound("on purpose")

    def broken(db):
        add("broken")(db)
        db.execute("SELECT * FROM nothing")

    with closing(Store(tmp_path)) as store:
        works = (add("before"), half, broken, add("after"))
        results = await asyncio.gather(*(store.write(work) for work in works), return_exceptions=True)
        assert [type(result) for result in results] == [int, NotFound, TransportFailed, int]
        rows = await store.read(lambda db: db.execute("SELECT id FROM mailboxes ORDER BY id").fetchall())
        assert rows == [("after",), ("before",)]


async def test_a_commit_that_fails_fails_all_of_it(tmp_path):
    def ruin(db):
        db.execute("ROLLBACK")

    with closing(Store(tmp_path)) as store:
        results = await asyncio.gather(store.write(add("m")), store.write(ruin), return_exceptions=True)
        assert [type(result) for result in results] == [TransportFailed, TransportFailed]
        assert await store.write(add("m")) == 1


async def test_reads_that_fail(tmp_path):
    with closing(Store(tmp_path)) as store, pytest.raises(TransportFailed):
        await store.read(lambda db: db.execute("SELECT * FROM nothing"))


async def test_a_caller_that_goes_away_takes_nothing_with_it(tmp_path):
    with closing(Store(tmp_path)) as store:
        task = asyncio.create_task(store.write(add("m")))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await store.write(add("n"))
        assert await store.read(lambda db: db.execute("SELECT count(*) FROM mailboxes").fetchone()) == (2,)


async def test_closing_commits_what_waits(tmp_path):
    store = Store(tmp_path)
    tasks = [asyncio.create_task(store.write(add(f"m{n}"))) for n in range(20)]
    await asyncio.sleep(0)
    store.close()
    store.close()
    assert await asyncio.gather(*tasks) == [1] * 20
    with pytest.raises(TransportFailed):
        await store.write(add("late"))
    assert hub_status(tmp_path)["mailboxes"] == 20


def test_two_hubs_cannot_share_a_directory(tmp_path):
    with closing(Store(tmp_path)), pytest.raises(LocalMisuse, match="another hub"):
        Store(tmp_path)
    Store(tmp_path).close()


def test_a_directory_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalMisuse, match="cannot use"):
        Store(tmp_path / "file" / "hub")


def test_a_newer_database_is_left_alone():
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute("PRAGMA user_version = 99")
        with pytest.raises(StateLost, match="newer"):
            migrate(db, SCRIPTS, "hub")


def test_status_of_nothing_and_of_rubbish(tmp_path):
    assert hub_status(tmp_path)["in_flight"] == 0
    (tmp_path / DATABASE).write_bytes(b"")
    assert hub_status(tmp_path)["mailboxes"] == 0
    (tmp_path / DATABASE).write_bytes(b"not a database" * 100)
    with pytest.raises(StateLost):
        hub_status(tmp_path)


def test_metrics_are_prometheus_text():
    metrics = Metrics()
    metrics.count("sealway_hub_refusals_total", 2, reason="Malformed", operation="deposit")
    metrics.count("sealway_hub_collected_total")
    lines = metrics.text({"sealway_hub_held": 3}).splitlines()
    assert 'sealway_hub_refusals_total{operation="deposit",reason="Malformed"} 2' in lines
    assert "sealway_hub_collected_total 1" in lines
    assert "sealway_hub_held 3" in lines
    assert "# TYPE sealway_hub_held gauge" in lines
