# SPDX-License-Identifier: Apache-2.0
"""When a period of the vault ends: by time, by messages, at the close; and that it costs nothing where nothing was
written."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from sealway.errors import StateLost
from sealway.sdk import journal as journals
from sealway.sdk.device import Device
from sealway.sdk.journal import PERIOD_MESSAGES, PERIOD_MS, Journal
from sealway.sdk.schema import FILE, WRAPPED
from sealway.storage.store import Store, connect
from sealway.vault import keyfile
from sealway.vault.vault import open_vault
from sealway.wire.message import CODE_POST, FileKey, Message
from tests.system.world import World, ready, until


class Ends:
    """Counts the keys that were overwritten; and a clock to turn."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.count = 0


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Ends:
    counted, replace = Ends(), keyfile.replace

    def replaced(*arguments: Any) -> None:
        counted.count += 1
        replace(*arguments)

    monkeypatch.setattr(keyfile, "replace", replaced)
    return counted


@pytest.fixture
def periodic(store: Store, tmp_path: Path, ends: Ends) -> Journal:
    connection = connect(tmp_path / "state.sqlite")
    vault = open_vault(tmp_path, connection, WRAPPED, os.urandom)
    connection.close()
    ends.count = 0
    return Journal(store, vault, lambda: ends.now_ms)


def keep(journal: Journal) -> None:
    """Note something secret."""
    slot = journal.vault.allocate()
    wrapped = journal.vault.wrap(slot, FILE, FileKey(1_024, bytes(32)).encode())
    journal.note("INSERT INTO files (peer, received, key, slot) VALUES ('x', 0, ?, ?)", wrapped, slot)


async def test_within_five_seconds(periodic: Journal, ends: Ends) -> None:
    """A look once a second is enough."""
    for begun in range(0, 60_000, 7_000):
        ends.now_ms, before = begun, ends.count
        keep(periodic)
        await periodic.commit()
        for _ in range(4):
            ends.now_ms += 1_000
            await periodic.commit()
        assert not periodic.vault.is_dirty and ends.count > before


async def test_a_write_after_a_pause_ends_the_period_itself(periodic: Journal, ends: Ends) -> None:
    """A device that reports once a minute commits once a minute."""
    for _ in range(5):
        ends.now_ms += 60_000
        keep(periodic)
        await periodic.commit()
        assert not periodic.vault.is_dirty
    assert ends.count == 5


async def test_where_nothing_was_written_nothing_ends(periodic: Journal, ends: Ends) -> None:
    for _ in range(10):
        ends.now_ms += 60_000
        await periodic.commit()
        periodic.count("looked")
        await periodic.commit()
    await periodic.close()
    assert ends.count <= 1


async def test_what_was_only_deleted_is_forgotten_too(periodic: Journal, ends: Ends) -> None:
    ends.now_ms += PERIOD_MS
    keep(periodic)
    await periodic.commit()
    assert ends.count == 1
    periodic.note("DELETE FROM files")
    await periodic.commit()
    assert periodic.vault.is_dirty and ends.count == 1
    ends.now_ms += PERIOD_MS
    await periodic.commit()
    assert ends.count == 2 and not periodic.vault.is_dirty


@pytest.mark.parametrize("last", ["a key", "a deletion", "a counter", "nothing"])
async def test_the_close_ends_it(periodic: Journal, ends: Ends, last: str) -> None:
    keep(periodic)
    await periodic.commit()
    if last == "a key":
        keep(periodic)
    elif last == "a deletion":
        periodic.note("DELETE FROM files")
    elif last == "a counter":
        periodic.count("something")
    await periodic.close()
    assert ends.count in (1, 2) and periodic.vault.is_settled and not periodic.vault.is_dirty


async def test_a_key_that_cannot_be_overwritten_stops_the_journal(
    periodic: Journal, ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        raise OSError(5, "Input/output error")

    ends.now_ms += PERIOD_MS
    keep(periodic)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        with pytest.raises(StateLost):
            await periodic.commit()
    with pytest.raises(StateLost):
        await periodic.commit()


@pytest.mark.parametrize("group", [1, 5, 30])
async def test_within_a_thousand_messages(
    world: World, ends: Ends, monkeypatch: pytest.MonkeyPatch, group: int
) -> None:
    """Here of a hundred, so that it does not take long."""
    assert PERIOD_MESSAGES == 1_000
    monkeypatch.setattr(journals, "PERIOD_MESSAGES", 100)
    monkeypatch.setattr(journals, "PERIOD_MS", 1 << 60)
    meter, at = await alone(world), []
    for sent in range(0, 300, group):
        before = ends.count
        messages = [Message(CODE_POST, ("readings",), payload=b"x") for _ in range(group)]
        await meter.endpoint.send_all(world.ops, messages)
        at += [sent + group] * (ends.count - before)
    between = [later - earlier for earlier, later in pairwise(at)]
    assert between and set(between) == {100 // group * group}
    await meter.close()


async def alone(world: World) -> Device:
    """A device with a session, and nobody else there."""
    async with world.application() as ops, world.device() as meter:
        await ready(meter, ops)
        await meter.endpoint.send(world.ops, Message(CODE_POST, ("readings",), payload=b"x"))
        await until(lambda: bool(ops.endpoint.sessions.all()))
    return world.device()
