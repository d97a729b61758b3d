# SPDX-License-Identifier: Apache-2.0
"""Secrets that can be forgotten, although neither SQLite nor flash erases anything.

Every secret value has a slot, and is written under a key that is derived from the key of the present period and a new
salt. When the period ends, the key of the last writing of each slot goes into a page of keys (leaves.py), under the
next period's key, and the key of this one is overwritten. So what was written over or deleted is unreadable, wherever
in the file or its log it still lies. docs/adr/0016.

Invariants: a value that was committed can be read before, during and after the end of a period, whatever is cut off
where; whoever has the directory after the end of a period cannot read what was replaced or deleted in it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sealway.crypto.ports import Random
from sealway.crypto.secret import Secret
from sealway.errors import StateLost
from sealway.storage.store import transaction
from sealway.vault import keyfile
from sealway.vault.leaves import Leaf, Leaves, read_leaf, read_top, stored_top
from sealway.vault.wrapping import (
    HEADER_BYTES,
    PERIOD_KEY_BYTES,
    SLOT_END,
    Period,
    binding,
    decrypt,
    encrypt,
    period_of,
    salt_of,
)

SCRIPT: Final = """
    CREATE TABLE vault_top (                -- one row: the keys of the pages, under the key of the period
        number INTEGER NOT NULL,            -- of the period
        page BLOB NOT NULL,
        settled INTEGER NOT NULL            -- 1: nothing was written since the period began
    );
    CREATE TABLE vault_leaves (number INTEGER PRIMARY KEY, page BLOB NOT NULL);
    CREATE TABLE vault_freed (slot INTEGER PRIMARY KEY);    -- deleted since the period began, by triggers
"""
"""The vault's tables. Whoever stores wrapped values adds triggers: vault_freed gets the slots of deleted ones."""

_TOP: Final = "SELECT number, page, settled FROM vault_top"
_SET_TOP: Final = "UPDATE vault_top SET number = ?, page = ?, settled = ?"
_SET_LEAF: Final = "INSERT INTO vault_leaves VALUES (?, ?) ON CONFLICT (number) DO UPDATE SET page = excluded.page"
"""A quarter of what INSERT OR REPLACE costs."""
_FREED: Final = "SELECT slot FROM vault_freed"
_LOST_HINT: Final = "restore database and vault.key of one time together, or run sealway state repair --restored"


@dataclass(frozen=True, slots=True)
class Place:
    """A column in which wrapped values lie. Its table has a column named slot, NULL where nothing is wrapped."""

    table: str
    column: str


@dataclass(slots=True, repr=False)
class Ending:
    """The end of a period, to be written with the transaction that ends it.

    Args:
        following: the period that begins.
        written: the key of the last writing of each slot in the one that ends.
        settled: nothing more is written by this process.
    """

    vault: Vault
    following: Period
    written: dict[int, bytes]
    settled: bool
    _pages: dict[int, Leaf] = field(default_factory=dict)
    _freed: tuple[int, ...] = ()

    def write(self, connection: sqlite3.Connection) -> None:
        """Write the pages that changed, inside the caller's transaction."""
        self._freed = tuple(slot for (slot,) in connection.execute(_FREED))
        keys: dict[int, bytes | None] = {**self.written, **dict.fromkeys(self._freed)}
        leaves, random = self.vault.leaves, self.vault.random
        self._pages = leaves.changed(keys, random)
        kept = [(n, page.stored(n)) for n, page in sorted(self._pages.items()) if not page.is_empty]
        gone = [(n,) for n, page in self._pages.items() if page.is_empty]
        connection.executemany(_SET_LEAF, kept)
        connection.executemany("DELETE FROM vault_leaves WHERE number = ?", gone)
        connection.execute("DELETE FROM vault_freed")
        top = stored_top(self.following, leaves.top(self._pages), random)
        connection.execute(_SET_TOP, (self.following.number, top, int(self.settled)))

    def settle(self) -> None:
        """After the commit: overwrite the key of the period that has ended. In any thread; it waits for the disk.

        Raises:
            StateLost: it cannot be overwritten.
        """
        self.vault.ended(self._pages, self._freed)


class Vault:
    """The vault of an open state directory, which the caller has locked.

    Args:
        directory: where the key file lies.
        periods: the present period and the next one, both in the key file.
        random: fresh randomness.
    """

    def __init__(self, directory: Path, periods: tuple[Period, Period], leaves: Leaves, random: Random) -> None:
        self._directory = directory
        self._now, self._next = periods
        self._before: Period | None = None
        self._written: dict[int, bytes] = {}
        self._end = 0
        self._free: list[int] = []
        self.leaves = leaves
        self.random = random
        self.is_dirty = False
        """Whether something was written, or deleted, in this period."""
        self.is_settled = True
        """Whether the database says that nothing was written since the period began."""

    def allocate(self) -> int:
        """Return a slot that no stored value has."""
        if self._free:
            return self._free.pop()
        self._end += 1
        return self._end - 1

    def wrap(self, slot: int, kind: bytes, value: bytes) -> bytes:
        """Return a value as it is to be stored, in a statement of the group that is noted now.

        Args:
            slot: of this value alone; what was wrapped for it before is forgotten at the end of the period.
            kind: as what it is stored.
        """
        header = self._now.begin(self.random)
        key = self._now.key_of(slot, salt_of(header))
        self._written[slot] = key
        self.is_dirty = True
        return header + encrypt(key, value, binding(kind, slot))

    def unwrap(self, slot: int, kind: bytes, stored: bytes) -> bytes:
        """Return what was wrapped. Raises StateLost if it is damaged, or was forgotten."""
        if not isinstance(stored, bytes) or not isinstance(slot, int) or not 0 <= slot < SLOT_END:
            raise StateLost("a stored secret is damaged", hint="run sealway state repair")
        return decrypt(self._key(slot, stored), stored[HEADER_BYTES:], binding(kind, slot))

    def _key(self, slot: int, stored: bytes) -> bytes:
        number = period_of(stored)
        for period in (self._now, self._before):
            if period is not None and period.number == number:
                return period.key_of(slot, salt_of(stored))
        key = self.leaves[slot]
        if key is None:
            raise StateLost("the key of a stored secret was forgotten", hint="run sealway state repair")
        return key

    def count_slots(self) -> None:
        """Learn which slots are free; once, when no value is stored whose key is not in a page."""
        self._end, self._free = self.leaves.end, list(self.leaves.free())[::-1]

    def recall(self, slot: Any, beginning: Any) -> None:
        """Take in a value that an earlier process wrote, if it was in this period."""
        usable = isinstance(slot, int) and 0 <= slot < SLOT_END and isinstance(beginning, bytes)
        if usable and period_of(beginning) == self._now.number:
            self._written[slot] = self._now.key_of(slot, salt_of(beginning))

    def keep_next(self) -> None:
        """Put the next period's key in the file, in the place of what is there. Raises StateLost."""
        keyfile.replace(self._directory, self._next)

    def announce(self, connection: sqlite3.Connection) -> bool:
        """Note inside a transaction that the period has to be ended; return whether something that a slot held was
        deleted."""
        if self.is_settled:
            self.is_settled = False
            connection.execute("UPDATE vault_top SET settled = 0")
        return connection.execute("SELECT 1 FROM vault_freed LIMIT 1").fetchone() is not None

    def end_period(self, *, settled: bool = False) -> Ending:
        """Begin the next period; what was wrapped until now is part of the transaction that ends this one."""
        ending = Ending(self, self._next, self._written, settled)
        self._before, self._now, self._next = self._now, self._next, _period(self._next.number + 1, self.random)
        self._written, self.is_dirty, self.is_settled = {}, False, settled
        return ending

    def ended(self, pages: dict[int, Leaf], freed: Sequence[int]) -> None:
        """Forget the period before this one: its end is durable. Raises StateLost."""
        self.leaves.update(pages)
        keyfile.replace(self._directory, self._next)
        self._before = None
        self._free += freed


# opening -------------------------------------------------------------------------------------------------------------
def open_vault(
    directory: Path, connection: sqlite3.Connection, places: Sequence[Place], random: Random, *, leniently: bool = False
) -> Vault:  # fmt: skip
    """Open the vault of a state directory, or make one; a period that was cut off ends now.

    Args:
        connection: to the database, outside a transaction.
        places: where wrapped values lie.
        leniently: go on without the keys that are lost, for a repair.

    Raises:
        StateLost: database and key file are damaged, or not of one time.
        sqlite3.Error: the database cannot be read or written.
    """
    row = connection.execute(_TOP).fetchone()
    if row is None:
        return _made(directory, connection, places, random)
    if leniently and row[0] not in keyfile.read(directory):
        _begin_without_keys(directory, connection, row[0], random)
    vault = read_vault(directory, connection, random, leniently=leniently)
    vault.keep_next()  # a new one: an attempt to end the period may have left pages under the one that was there
    if not row[2]:
        _end_what_was_cut_off(vault, connection, places)
    vault.count_slots()
    return vault


def read_vault(directory: Path, connection: sqlite3.Connection, random: Random, *, leniently: bool = False) -> Vault:
    """Return the vault of a state, only to unwrap with it.

    Args:
        leniently: without the keys that are lost: what they open is damaged.

    Raises:
        StateLost: database and key file are damaged, or not of one time.
        sqlite3.Error: the database cannot be read.
    """
    number, top, _ = connection.execute(_TOP).fetchone() or (0, b"", 1)
    periods, following = keyfile.read(directory), _period(number + 1, random)
    if number not in periods:
        if not leniently:
            raise StateLost(_without_key(directory, number, periods), hint=_LOST_HINT)
        return Vault(directory, (_period(number, random), following), Leaves(), random)
    leaves = _leaves(connection, periods[number], top, leniently=leniently)
    return Vault(directory, (periods[number], following), leaves, random)


def _without_key(directory: Path, number: int, periods: dict[int, Period]) -> str:
    if not periods:
        return f"{directory / keyfile.KEY_FILE} is missing or damaged: nothing opens the keys in the database"
    older = max(periods) < number
    names = ("vault.key", "the database") if older else ("the database", "vault.key")
    return f"in {directory} {names[0]} is older than {names[1]}"


def _leaves(connection: sqlite3.Connection, period: Period, top: bytes, *, leniently: bool) -> Leaves:
    found: dict[int, Leaf] = {}
    forgiven = (StateLost,) if leniently else ()
    with suppress(*forgiven):
        pages = dict(connection.execute("SELECT number, page FROM vault_leaves"))
        for number, key in read_top(period, top).items():
            with suppress(*forgiven):
                found[number] = read_leaf(key, pages.get(number, b""), number)
    return Leaves(found)


def _made(directory: Path, connection: sqlite3.Connection, places: Sequence[Place], random: Random) -> Vault:
    """Make a vault for a database that has none. The file first: without it the database would be of no use."""
    for place in places:
        stored = f"SELECT 1 FROM {place.table} WHERE {place.column} IS NOT NULL LIMIT 1"  # noqa: S608
        if connection.execute(stored).fetchone():
            hint = "move the directory away and begin anew"
            raise StateLost("this state was written by an earlier version, before the first release", hint=hint)
    periods = _period(1, random), _period(2, random)
    keyfile.make(directory, periods)
    top = stored_top(periods[0], b"", random)
    connection.execute("INSERT INTO vault_top VALUES (?, ?, 1)", (periods[0].number, top))
    return Vault(directory, periods, Leaves(), random)


def _begin_without_keys(directory: Path, connection: sqlite3.Connection, number: int, random: Random) -> None:
    """Begin a period after all that were: what was wrapped before is lost."""
    number = max([number, *keyfile.read(directory)]) + 1
    periods = _period(number, random), _period(number + 1, random)
    keyfile.make(directory, periods)
    connection.execute(_SET_TOP, (number, stored_top(periods[0], b"", random), 0))


def _end_what_was_cut_off(vault: Vault, connection: sqlite3.Connection, places: Sequence[Place]) -> None:
    """End the period in which a process was killed: what was written in it is found by its header."""
    for place in places:
        header = f"substr({place.column}, 1, {HEADER_BYTES})"
        rows = connection.execute(f"SELECT slot, {header} FROM {place.table} WHERE slot IS NOT NULL")  # noqa: S608
        for slot, beginning in rows:
            vault.recall(slot, beginning)
    ending = vault.end_period(settled=True)
    with transaction(connection):
        ending.write(connection)
    ending.settle()


def _period(number: int, random: Random) -> Period:
    return Period(number, Secret(random(PERIOD_KEY_BYTES)))
