# SPDX-License-Identifier: Apache-2.0
"""What a vault refuses, and what a damaged or foreign key file means."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

from sealway.errors import StateLost
from sealway.vault import keyfile
from sealway.vault.keyfile import BLOCK_BYTES, KEY_FILE
from sealway.vault.leaves import SLOTS, Leaf
from sealway.vault.vault import read_vault
from sealway.vault.wrapping import OVERHEAD
from tests.vault.shelf import KIND, Shelf, in_file


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """A shelf with three values, closed once and opened again."""
    shelf = Shelf(tmp_path)
    shelf.write({1: b"one", 2: b"two", 3: b"three"})
    shelf.close()
    return Shelf(tmp_path)


def copied(shelf: Shelf, name: str) -> bytes:
    in_file(shelf.connection)
    return (shelf.directory / name).read_bytes()


def put_back(shelf: Shelf, name: str, content: bytes) -> None:
    shelf.drop()
    (shelf.directory / name).write_bytes(content)


def test_what_a_value_costs(shelf: Shelf) -> None:
    (size,) = shelf.connection.execute("SELECT length(value) FROM things WHERE name = 1").fetchone()
    assert size == len(b"one") + OVERHEAD == 37
    (pages,) = shelf.connection.execute("SELECT count(*) FROM vault_leaves").fetchone()
    assert pages == 1


def test_the_key_file_is_its_owners_alone(shelf: Shelf) -> None:
    assert stat.S_IMODE((shelf.directory / KEY_FILE).stat().st_mode) == 0o600
    assert (shelf.directory / KEY_FILE).stat().st_size == 2 * BLOCK_BYTES
    assert not list(shelf.directory.glob(".*"))


def test_a_value_opens_only_in_its_slot_and_as_its_kind(shelf: Shelf) -> None:
    rows = shelf.connection.execute("SELECT slot, value FROM things ORDER BY name").fetchall()
    (one, stored), (two, _), _ = rows
    assert shelf.vault.unwrap(one, KIND, stored) == b"one"
    for slot, kind, value in [
        (two, KIND, stored),
        (one, b"other", stored),
        (one, KIND, stored[:-1]),
        (one, KIND, b""),
        (one, KIND, "text"),
        (one, KIND, None),
        (-1, KIND, stored),
        (None, KIND, stored),
        (1 << 60, KIND, stored),
        (99, KIND, stored),
    ]:
        with pytest.raises(StateLost):
            shelf.vault.unwrap(slot, kind, value)


def test_slots_are_used_again_once_they_are_forgotten(shelf: Shelf) -> None:
    for n in range(200):
        shelf.write({10: b"%d" % n}, end=True)
        shelf.write({10: None}, end=True)
    (highest,) = shelf.connection.execute("SELECT max(number) FROM vault_leaves").fetchone()
    assert highest == 0
    slots = [shelf.vault.allocate() for _ in range(300)]
    assert len(set(slots)) == 300 and not set(slots) & {0, 1, 2}


def test_a_page_without_keys_goes(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.write(dict.fromkeys(range(2 * SLOTS + 44), b"x"), end=True)
    assert shelf.connection.execute("SELECT count(*) FROM vault_leaves").fetchone() == (3,)
    shelf.write(dict.fromkeys(range(SLOTS), None), end=True)
    assert shelf.connection.execute("SELECT count(*) FROM vault_leaves").fetchone() == (2,)
    shelf.close()
    shelf = Shelf(tmp_path)
    assert len(shelf.content()) == SLOTS + 44
    shelf.write(dict.fromkeys(range(2 * SLOTS + 44), b"y"), end=True)
    assert len(shelf.content()) == 2 * SLOTS + 44


def test_a_page_of_keys_fits_into_one_of_the_database() -> None:
    size = len(Leaf(bytes(16)).stored(0))
    head = 4  # of the record: its own size, a number that is the row's, and the type of a blob in two bytes
    assert 4_096 // 2 < head + size <= 4_096 - 35  # https://www.sqlite.org/fileformat2.html, §1.6


def test_no_key_wraps_twice_in_two_copies(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both go on from the same period key, and write the same slots."""
    in_file(shelf.connection)
    other = shelf.directory.with_name("copy")
    shutil.copytree(shelf.directory, other)
    used: list[bytes] = []
    genuine = Shelf.put.__globals__["Vault"].wrap

    def watched(vault: Any, *arguments: Any) -> bytes:
        stored: bytes = genuine(vault, *arguments)
        used.append(vault._written[arguments[0]])
        return stored

    monkeypatch.setattr("sealway.vault.vault.Vault.wrap", watched)
    for each in (shelf, Shelf(other)):
        for _ in range(3):
            each.write({1: b"same", 2: b"same"})
        each.write({1: b"same"}, end=True)
    assert len(used) == len(set(used)) == 14


# a key file that does not fit -----------------------------------------------------------------------------------------
def test_without_the_key_file_the_state_is_lost(shelf: Shelf) -> None:
    shelf.drop()
    (shelf.directory / KEY_FILE).unlink()
    with pytest.raises(StateLost, match="missing or damaged"):
        Shelf(shelf.directory)
    assert not (shelf.directory / KEY_FILE).exists(), "nothing is put in its place"


def test_an_older_key_file_is_refused(shelf: Shelf) -> None:
    old = copied(shelf, KEY_FILE)
    for n in range(3):
        shelf.write({1: b"%d" % n}, end=True)
    put_back(shelf, KEY_FILE, old)
    with pytest.raises(StateLost, match="key is older than the database"):
        Shelf(shelf.directory)


def test_an_older_database_is_refused(shelf: Shelf) -> None:
    """So who has a backup of the database alone has nothing."""
    old = copied(shelf, "state.sqlite")
    for n in range(3):
        shelf.write({1: b"%d" % n}, end=True)
    in_file(shelf.connection)
    put_back(shelf, "state.sqlite", old)
    with pytest.raises(StateLost, match="the database is older than"):
        Shelf(shelf.directory)


def test_both_of_one_time_go_on(shelf: Shelf) -> None:
    old = {name: copied(shelf, name) for name in ("state.sqlite", KEY_FILE)}
    for n in range(3):
        shelf.write({1: b"%d" % n}, end=True)
    shelf.close()
    for name, content in old.items():
        (shelf.directory / name).write_bytes(content)
    assert Shelf(shelf.directory).content() == {1: b"one", 2: b"two", 3: b"three"}


@pytest.mark.parametrize("block", [0, 1])
def test_one_damaged_block_is_mended_or_lost(shelf: Shelf, block: int) -> None:
    """The next period's key is made anew; without the present one's nothing opens."""
    (number,) = shelf.connection.execute("SELECT number FROM vault_top").fetchone()
    content = bytearray(copied(shelf, KEY_FILE))
    content[block * BLOCK_BYTES + 20] ^= 1
    put_back(shelf, KEY_FILE, bytes(content))
    if number % 2 == block:
        with pytest.raises(StateLost):
            Shelf(shelf.directory)
    else:
        mended = Shelf(shelf.directory)
        assert mended.content()[1] == b"one"
        mended.write({1: b"new"}, end=True)
        mended.drop()
        assert Shelf(shelf.directory).content()[1] == b"new"


@pytest.mark.parametrize("content", [b"", b"SWVK", b"x" * 2 * BLOCK_BYTES, bytes(3 * BLOCK_BYTES)])
def test_another_file_in_its_place(shelf: Shelf, content: bytes) -> None:
    put_back(shelf, KEY_FILE, content)
    with pytest.raises(StateLost):
        Shelf(shelf.directory)


def test_a_key_file_that_cannot_be_read(shelf: Shelf) -> None:
    shelf.drop()
    (shelf.directory / KEY_FILE).unlink()
    (shelf.directory / KEY_FILE).mkdir()
    with pytest.raises(StateLost, match="cannot read"):
        Shelf(shelf.directory)


@pytest.mark.parametrize("call", ["pwrite", "fdatasync"])
def test_a_key_that_cannot_be_overwritten(shelf: Shelf, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """The writer is told; the state opens again, and the key is overwritten then."""

    def fail(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(StateLost, match="cannot write"):
            shelf.write({1: b"new"}, end=True)
    shelf.drop()
    again = Shelf(shelf.directory)
    assert again.content()[1] == b"new"
    (number,) = again.connection.execute("SELECT number FROM vault_top").fetchone()
    assert set(keyfile.read(shelf.directory)) == {number, number + 1}


def test_a_vault_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(StateLost, match="cannot write"):
            Shelf(tmp_path)
    Shelf(tmp_path).write({1: b"one"}, end=True)


# damaged pages ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE vault_top SET page = substr(page, 1, 30)",
        "UPDATE vault_top SET page = x'00'",
        "UPDATE vault_leaves SET page = substr(page, 2)",
        "DELETE FROM vault_leaves",
    ],
)
def test_damaged_pages_are_state_lost_and_a_repair_goes_on_without_them(shelf: Shelf, damage: str) -> None:
    shelf.connection.execute(damage)
    shelf.drop()
    with pytest.raises(StateLost):
        Shelf(shelf.directory)
    mended = Shelf(shelf.directory, leniently=True)
    with pytest.raises(StateLost):
        mended.content()
    mended.write(dict.fromkeys((1, 2, 3), b"new"), end=True)
    mended.drop()
    assert Shelf(shelf.directory).content() == dict.fromkeys((1, 2, 3), b"new")


def test_without_its_key_a_repair_begins_a_period_after_all_that_were(shelf: Shelf) -> None:
    shelf.drop()
    (shelf.directory / KEY_FILE).unlink()
    mended = Shelf(shelf.directory, leniently=True)
    mended.write(dict.fromkeys((1, 2, 3), b"new"), end=True)
    assert read_vault(shelf.directory, mended.connection, os.urandom).leaves[0] is not None
    mended.drop()
    assert Shelf(shelf.directory).content() == dict.fromkeys((1, 2, 3), b"new")


def test_values_of_an_earlier_version_are_refused(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.connection.execute("INSERT INTO things VALUES (1, 0, x'00')")
    shelf.connection.execute("DELETE FROM vault_top")
    shelf.drop()
    with pytest.raises(StateLost, match="earlier version"):
        Shelf(tmp_path)
