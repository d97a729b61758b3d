# SPDX-License-Identifier: Apache-2.0
"""A vault against a plain dictionary, with crashes at every step: what was committed is there, what was forgotten is
not."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sealway.vault.keyfile import BLOCK_BYTES, KEY_FILE
from tests.vault.shelf import Shelf
from tests.vault.thief import Thief

NAMES = st.integers(0, 400)
CHANGES = st.dictionaries(NAMES, st.booleans(), min_size=1, max_size=6)
POINTS = ("before the commit", "before the key is overwritten", "while it is overwritten", "after all")


class VaultMachine(RuleBasedStateMachine):
    """``model`` is what was committed; ``superseded`` what was replaced or deleted, by a commit."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.thief = Thief()
        self.thief.listen(self.patch)
        self.patch.setattr(os, "fdatasync", lambda descriptor: None)  # no power fails here, and many keys are written
        self.patch.setattr(os, "fsync", lambda descriptor: None)
        self.folder = TemporaryDirectory()
        self.directory = Path(self.folder.name)
        self.shelf = Shelf(self.directory)
        self.model: dict[int, bytes] = {}
        self.superseded: set[bytes] = set()
        self.count = 0

    def teardown(self) -> None:
        self.shelf.drop()
        self.folder.cleanup()
        self.patch.undo()

    def values(self, changes: dict[int, bool]) -> dict[int, bytes | None]:
        """A new value, unlike every other, where True; a deletion where False."""
        self.count += 1
        return {n: b"secret %d of %d" % (self.count, n) if kept else None for n, kept in changes.items()}

    def committed(self, changes: dict[int, bytes | None]) -> None:
        for name, value in changes.items():
            if name in self.model:
                self.superseded.add(self.model.pop(name))
            if value is not None:
                self.model[name] = value

    @rule(changes=CHANGES)
    def write(self, changes: dict[int, bool]) -> None:
        values = self.values(changes)
        self.shelf.write(values)
        self.committed(values)

    @rule(changes=CHANGES)
    def write_and_end(self, changes: dict[int, bool]) -> None:
        values = self.values(changes)
        self.shelf.write(values, end=True)
        self.committed(values)
        self.nothing_superseded_is_readable()

    @rule()
    def close_and_open(self) -> None:
        self.shelf.close()
        self.nothing_superseded_is_readable()
        self.shelf = Shelf(self.directory)

    @rule(changes=CHANGES, end=st.booleans(), settled=st.booleans(), point=st.sampled_from(POINTS))
    def crash(self, changes: dict[int, bool], end: bool, settled: bool, point: str) -> None:
        values = self.values(changes)
        ending = self.shelf.begin(values, end=end, settled=settled)
        if point != POINTS[0]:
            self.shelf.connection.execute("COMMIT")
            self.committed(values)
        if ending is not None and point == POINTS[2]:
            self.tear(ending.following.number + 1)
        if ending is not None and point == POINTS[3]:
            ending.settle()
        self.reopen()

    @rule()
    def kill(self) -> None:
        self.reopen()

    def reopen(self) -> None:
        self.shelf.drop()
        self.shelf = Shelf(self.directory)
        self.nothing_superseded_is_readable()

    @precondition(lambda self: self.model)
    @rule()
    def restored_copy(self) -> None:
        """The whole directory, put back at a moment when nothing runs: goes on from there."""
        self.shelf.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        files = {name: (self.directory / name).read_bytes() for name in ("state.sqlite", KEY_FILE)}
        model = dict(self.model)
        self.shelf.write(self.values(dict.fromkeys(self.model, True)), end=True)
        self.shelf.close()
        for path in self.directory.iterdir():
            path.unlink()
        for name, content in files.items():
            (self.directory / name).write_bytes(content)
        self.shelf = Shelf(self.directory)
        self.model = model
        self.superseded.clear()  # what was in the copy is in it

    def tear(self, number: int) -> None:
        """The power fails in the middle of a block."""
        with (self.directory / KEY_FILE).open("r+b") as file:
            file.seek(number % 2 * BLOCK_BYTES + 8)
            file.write(os.urandom(20))

    @invariant()
    def all_that_was_committed_is_there(self) -> None:
        assert self.shelf.content() == self.model

    def nothing_superseded_is_readable(self) -> None:
        read = set(self.thief.reads(self.directory))
        assert not read & self.superseded
        assert read >= set(self.model.values())


TestVault = VaultMachine.TestCase
TestVault.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)


def test_the_control_before_the_end_everything_is_readable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    thief = Thief()
    thief.listen(monkeypatch)
    shelf = Shelf(tmp_path)
    for value in (b"first", b"second"):
        shelf.write({1: value})
    assert thief.reads(tmp_path) == [b"first", b"second"]
    shelf.write({}, end=True)
    assert thief.reads(tmp_path) == [b"second"]
    shelf.drop()
