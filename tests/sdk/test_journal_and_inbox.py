# SPDX-License-Identifier: Apache-2.0
"""Groups become durable whole or not at all; messages are given out once, in order, however many there are."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sealway.errors import StateLost, TransportFailed
from sealway.sdk import windows as windows_module
from sealway.sdk.inbox import Inbox, Received
from sealway.sdk.journal import Journal
from sealway.sdk.windows import MOST_WINDOWS, Windows
from sealway.storage.store import Store
from sealway.wire.message import CODE_POST, FirstIdentity, Message

_MARK = "INSERT INTO marks VALUES (?, ?)"
_ROW = (
    "INSERT INTO inbox (id, peer, via, session, number, received, envelope_bytes, message_bytes, event, message)"
    " VALUES (?, 'p', x'01', zeroblob(32), ?, 0, 0, 0, ?, ?)"
)


def marks(store: Store) -> dict[str, int]:
    return dict(store.read_now(lambda c: c.execute("SELECT name, value FROM marks").fetchall()))


# journal -----------------------------------------------------------------------------------------------------------
async def test_what_is_noted_together_is_written_together(store: Store, journal: Journal) -> None:
    done: list[str] = []
    journal.note(_MARK, "a", 1)
    journal.count("c", 2)
    journal.then(lambda: done.append("told"))
    assert not done
    await asyncio.gather(journal.commit(), journal.commit(), journal.commit())
    assert marks(store) == {"a": 1} and done == ["told"]
    assert store.read_now(lambda c: c.execute("SELECT value FROM counters").fetchone()) == (2,)
    await journal.commit()
    await journal.close()


async def test_a_group_that_fails_breaks_the_journal_for_good(store: Store, journal: Journal) -> None:
    done: list[str] = []
    journal.note(_MARK, "a", 1)
    journal.note("INSERT INTO nothing VALUES (1)")
    journal.then(lambda: done.append("told"))
    first = asyncio.ensure_future(journal.commit())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    journal.note(_MARK, "b", 1)  # a later group, which waits while the first is being written
    second = asyncio.ensure_future(journal.commit())
    for failing in (first, second, asyncio.ensure_future(journal.commit())):
        with pytest.raises(StateLost, match="could not be written"):
            await asyncio.wait_for(failing, 5)
    with pytest.raises(StateLost):
        journal.check()
    assert marks(store) == {} and not done


async def test_a_callback_that_fails_breaks_it_too(journal: Journal) -> None:
    def stumble() -> None:
        raise KeyError("x")

    journal.note(_MARK, "a", 1)
    journal.then(stumble)
    with pytest.raises(StateLost):
        await asyncio.wait_for(journal.commit(), 5)
    flushing = [task for task in asyncio.all_tasks() if task.get_name() == "journal"]
    await asyncio.gather(*flushing, return_exceptions=True)


async def test_a_caller_that_gives_up_does_not_take_the_group_with_it(store: Store, journal: Journal) -> None:
    journal.note(_MARK, "a", 1)
    impatient = asyncio.ensure_future(journal.commit())
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.gather(impatient, return_exceptions=True)
    await journal.commit()
    assert marks(store) == {"a": 1}


async def test_a_disk_that_is_full(store: Store, journal: Journal) -> None:
    pages = store._writing.execute("PRAGMA page_count").fetchone()[0]
    store._writing.execute(f"PRAGMA max_page_count = {pages + 1}")
    journal.note("INSERT INTO certificates VALUES (x'01', ?)", bytes(100_000))
    with pytest.raises(StateLost, match="could not be written") as broken:
        await journal.commit()
    assert broken.value.hint


# inbox -------------------------------------------------------------------------------------------------------------
async def put(journal: Journal, inboxes: list[Inbox], first: int, count: int, **kind: Any) -> None:
    for row in range(first, first + count):
        message = Message(CODE_POST, payload=b"%d" % row, **kind)
        event = message.request_id is None
        journal.note(_ROW, row, row, event, message.encode())
        received = Received("p", message, FirstIdentity(b"s" * 32, row), b"v", 0, row)
        for inbox in inboxes:
            journal.then(inbox.offer, received)
    await journal.commit()


async def rows(inbox: Inbox, count: int) -> list[int]:
    return [(await asyncio.wait_for(inbox.next(), 5)).row for _ in range(count)]


async def test_in_order_past_what_fits_into_memory(store: Store, journal: Journal) -> None:
    inbox = Inbox(store, most=10)
    await put(journal, [inbox], 1, 5)
    assert await rows(inbox, 3) == [1, 2, 3]
    await put(journal, [inbox], 6, 95)
    assert len(inbox) <= 10
    assert await rows(inbox, 60) == list(range(4, 64))
    await put(journal, [inbox], 101, 20)
    assert await rows(inbox, 57) == list(range(64, 121))
    waiting = asyncio.ensure_future(inbox.next())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    await put(journal, [inbox], 121, 1)
    assert (await asyncio.wait_for(waiting, 5)).row == 121


async def test_while_it_is_filled_and_emptied_at_once(store: Store, journal: Journal) -> None:
    inbox = Inbox(store, most=7)

    async def fill() -> None:
        for start in range(1, 500, 3):
            await put(journal, [inbox], start, 3)

    filling = asyncio.ensure_future(fill())
    assert await rows(inbox, 501) == list(range(1, 502))
    await filling
    assert not inbox.take(10)


async def test_events_only(store: Store, journal: Journal) -> None:
    inbox = Inbox(store, events_only=True, most=4)
    await put(journal, [], 1, 5)
    await put(journal, [], 6, 3, request_id=b"12345678")
    await put(journal, [], 9, 2)
    assert await rows(inbox, 7) == [1, 2, 3, 4, 5, 9, 10]


async def test_what_was_handled_does_not_come_again(store: Store, journal: Journal) -> None:
    await put(journal, [], 1, 6)
    journal.note("UPDATE inbox SET message = NULL WHERE id IN (1, 3)")
    await journal.commit()
    assert await rows(Inbox(store), 4) == [2, 4, 5, 6]


async def test_again_and_failing(store: Store, journal: Journal) -> None:
    inbox = Inbox(store)
    await put(journal, [inbox], 1, 2)
    first = await inbox.next()
    inbox.again(first)
    assert await rows(inbox, 2) == [1, 2]
    waiting = asyncio.ensure_future(inbox.next())
    await asyncio.sleep(0.01)
    inbox.fail(TransportFailed("gone"))
    for _ in range(2):
        with pytest.raises(TransportFailed, match="gone"):
            await waiting
        waiting = asyncio.ensure_future(inbox.next())
    with pytest.raises(TransportFailed):
        await waiting


# windows -----------------------------------------------------------------------------------------------------------
async def test_windows_are_bounded_and_survive(
    store: Store, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    windows = Windows(journal)
    for n in range(MOST_WINDOWS + 50):
        windows.add("liar", FirstIdentity(n.to_bytes(32, "big"), 7), n)
    windows.add("honest", FirstIdentity(bytes(32), 3), 5)
    monkeypatch.setattr(windows_module, "MOST_RANGES", 50)
    for n in range(0, 300, 2):
        windows.add("sparse", FirstIdentity(bytes(32), n), 400)
    await journal.commit()
    again = Windows(journal)
    store.read_now(again.load)
    for found in (windows, again):
        assert not found.holds("liar", FirstIdentity((49).to_bytes(32, "big"), 7))
        assert found.holds("liar", FirstIdentity((50).to_bytes(32, "big"), 7))
        assert found.holds("honest", FirstIdentity(bytes(32), 3))
        assert not found.holds("sparse", FirstIdentity(bytes(32), 0))
        assert found.holds("sparse", FirstIdentity(bytes(32), 298))
    windows.forget(100)
    await journal.commit()
    assert not windows.holds("honest", FirstIdentity(bytes(32), 3))
    assert windows.holds("liar", FirstIdentity((200).to_bytes(32, "big"), 7))
    (count,) = store.read_now(lambda c: c.execute("SELECT count(*) FROM windows").fetchone())
    assert count == MOST_WINDOWS + 50 - 100 + 1
