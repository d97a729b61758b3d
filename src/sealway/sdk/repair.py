# SPDX-License-Identifier: Apache-2.0
"""Makes a state that is damaged, or was restored from a backup, fit to be used: its sessions are begun anew.

Invariants: all of it is one transaction; nothing is set aside without a row that says so, in counts only; no key is
used or made here. What is left is what spec/session.md, "Moving", leaves: the endpoint begins other sessions when it
runs again, and unacknowledged messages move there with their first identities (docs/adr/0007).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sealway.crypto.suites import SUITE_1
from sealway.errors import StateLost
from sealway.protocol.policy import DEFAULT_POLICY
from sealway.protocol.ranges import RangeSet
from sealway.protocol.receiving import Receiving
from sealway.protocol.sending import Sending
from sealway.protocol.session import Session
from sealway.protocol.snapshot import restore, snapshot
from sealway.sdk.examination import (
    IS_RECORD,
    Condition,
    DamagedRow,
    Findings,
    SessionFinding,
    StoredState,
    as_lost,
    demand_state,
)
from sealway.sdk.schema import DATABASE, SCRIPTS, SESSION, WRAPPED
from sealway.sdk.sessions import Leaving, stored_log
from sealway.storage.directory import DirectoryLock
from sealway.storage.store import connect, migrate, transaction
from sealway.vault.vault import Vault, open_vault
from sealway.vault.wrapping import SLOT_END

RESTORED: Final = "this state was restored from a backup"
DAMAGED: Final = "its stored state was damaged"

_SET_ASIDE = (
    "INSERT INTO set_aside (at, what, peer, session, why, bytes, unacknowledged, opened)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_LEAVE = "UPDATE sessions SET slot = ?, state = ?, leaving = ?, resumed = ? WHERE hash = ?"
_EMPTY = "UPDATE sent SET envelope = NULL, message = NULL WHERE session = ? AND number = ?"
_OPENED = "SELECT number FROM inbox WHERE session = ? AND typeof(number) = 'integer' AND number >= 0"
_HIGHEST = "SELECT coalesce(max(number), -1) FROM sent WHERE session = ?"
_DROP_ODD = f"DELETE FROM sent WHERE session = ? AND NOT ({IS_RECORD})"  # noqa: S608 - a constant


@dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """What a repair does.

    Args:
        restored: the state is one of a backup.
        left: whole sessions that are left from now on.
        damaged: sessions whose stored state is set aside, and another one begun.
        nameless: such sessions that do not say whose they are: none can be begun for them.
        rows: other damaged rows that are set aside.
    """

    restored: bool
    left: tuple[SessionFinding, ...]
    damaged: tuple[SessionFinding, ...]
    nameless: tuple[SessionFinding, ...]
    rows: tuple[DamagedRow, ...]
    newest_is_damaged: bool

    @classmethod
    def of(cls, findings: Findings, *, restored: bool = False) -> Plan:
        """Return what is to be done about what was found. Raises StateLost if the file itself is damaged."""
        if findings.file:
            hint = "put a backup in its place and run sealway state repair --restored, or begin anew"
            raise StateLost(f"the database file is damaged: {findings.file[0]}", hint=hint)
        damaged = [found for found in findings.sessions if found.condition is Condition.DAMAGED]
        left = [f for f in findings.sessions if f.condition is not Condition.DAMAGED and (restored or f.has_to_be_left)]
        return cls(
            restored,
            tuple(left),
            tuple(found for found in damaged if found.names_peer),
            tuple(found for found in damaged if not found.names_peer),
            findings.rows,
            findings.newest_is_damaged,
        )

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.restored or self.left or self.damaged or self.nameless or self.rows)

    @property
    def moving(self) -> int:
        """Unacknowledged messages that go on in another session."""
        return sum(len(f.waiting) - len(f.unreadable) for f in (*self.left, *self.damaged) if not _is_done(f))

    @property
    def lost(self) -> int:
        """Unacknowledged messages that cannot: their content is damaged, or nobody knows for whom they were."""
        return sum(len(f.unreadable) for f in (*self.left, *self.damaged)) + sum(len(f.waiting) for f in self.nameless)


def _is_done(found: SessionFinding) -> bool:
    return bool(found.row.leaving == int(Leaving.DONE))


@contextmanager
def opened(directory: Path) -> Iterator[StoredState]:
    """Open a state to repair it, and keep everybody else out meanwhile.

    Raises:
        InUse: a process runs there.
        LocalMisuse: no endpoint ever did.
        StateLost: it cannot be read or written.
    """
    demand_state(directory)
    with DirectoryLock(directory, "endpoint"), as_lost(directory), closing(connect(directory / DATABASE)) as connection:
        migrate(connection, SCRIPTS, "endpoint")
        yield StoredState(directory, connection)


def repair(state: StoredState, plan: Plan, now_ms: int) -> None:
    """Do it, all or nothing. What it replaces is forgotten at the end.

    Raises:
        sqlite3.Error, StateLost: it cannot be written.
    """
    if plan.is_empty:
        return
    connection = state.connection
    vault = open_vault(state.directory, connection, WRAPPED, os.urandom, leniently=True)
    with transaction(connection):
        _repair(connection, vault, plan, now_ms)
        ending = vault.end_period(settled=True)
        ending.write(connection)
    ending.settle()


def _repair(connection: sqlite3.Connection, vault: Vault, plan: Plan, now_ms: int) -> None:
    for found in (*plan.left, *plan.damaged):
        for number in found.unreadable:
            _set_aside(connection, now_ms, "message", found, f"what is stored of message {number} is damaged")
            connection.execute(_EMPTY, (found.row.hash, number))
        connection.execute(_DROP_ODD, (found.row.hash,))
    for found in plan.left:
        _leave(connection, vault, found, restored=plan.restored)
    for found in plan.damaged:
        _replace(connection, vault, found, now_ms, restored=plan.restored)
    for found in plan.nameless:
        _close(connection, found, now_ms)
    for row in plan.rows:
        _drop(connection, row, now_ms)
    if plan.restored:
        connection.execute("DELETE FROM one_time")
        connection.execute("DELETE FROM prekeys")


def _leave(connection: sqlite3.Connection, vault: Vault, found: SessionFinding, *, restored: bool) -> None:
    """Let the endpoint leave a session when it runs; in one of a restored state it never seals or opens again."""
    row = found.row
    state, names = vault.unwrap(row.slot, SESSION, row.state), (row.hash, row.peer, row.kid)
    session = restore(state, stored_log(connection, row.hash), DEFAULT_POLICY, names=names)
    if restored:
        session.stopped = session.stopped or RESTORED
    leaving = _leaving(row.leaving, lost=restored or found.condition is Condition.LOST)
    wrapped = vault.wrap(row.slot, SESSION, snapshot(session, named=False))
    connection.execute(_LEAVE, (row.slot, wrapped, int(leaving), row.resumed, row.hash))


def _leaving(before: Any, *, lost: bool) -> Leaving:
    if before in (Leaving.DONE, Leaving.LOST):
        return Leaving(before)
    return Leaving.LOST if lost else Leaving.WANTED


def _replace(
    connection: sqlite3.Connection, vault: Vault, found: SessionFinding, now_ms: int, *, restored: bool
) -> None:  # fmt: skip
    """Put a stopped session without any key in the place of a damaged one: it keeps what is owed, and what the inbox
    remembers as opened, so that messages which the peer moves from there are not handed out again."""
    row = found.row
    numbers = RangeSet((number, number) for (number,) in connection.execute(_OPENED, (row.hash,)))
    (highest,) = connection.execute(_HIGHEST, (row.hash,)).fetchone()
    waiting = RangeSet((number, number) for number in found.waiting if number not in found.unreadable)
    created = row.created if isinstance(row.created, int) else now_ms
    stub = Session(
        SUITE_1, row.hash, row.peer, False, b"", False, b"", row.kid, b"", created,
        Sending(next_number=highest + 1, acked=RangeSet(waiting.gaps(highest + 1))), Receiving(closed=numbers),
        stored_log(connection, row.hash), stepped_ms=created, heard_ms=created,
        stopped=RESTORED if restored else DAMAGED,
    )  # fmt: skip
    resumed = row.resumed if isinstance(row.resumed, int) else None
    _set_aside(connection, now_ms, "session", found, found.why, opened=numbers.count)
    leaving = _leaving(row.leaving, lost=restored)
    slot = row.slot if isinstance(row.slot, int) and 0 <= row.slot < SLOT_END else vault.allocate()
    wrapped = vault.wrap(slot, SESSION, snapshot(stub, named=False))
    connection.execute(_LEAVE, (slot, wrapped, int(leaving), resumed, row.hash))


def _close(connection: sqlite3.Connection, found: SessionFinding, now_ms: int) -> None:
    (opened_count,) = connection.execute("SELECT count(*) FROM inbox WHERE session = ?", (found.row.hash,)).fetchone()
    _set_aside(connection, now_ms, "session", found, found.why, opened=opened_count)
    connection.execute("UPDATE sessions SET state = NULL, closed = ? WHERE hash = ?", (now_ms, found.row.hash))
    connection.execute("DELETE FROM sent WHERE session = ?", (found.row.hash,))


def _drop(connection: sqlite3.Connection, row: DamagedRow, now_ms: int) -> None:
    connection.execute(_SET_ASIDE, (now_ms, row.what, row.peer, "", row.why, row.size, 0, 0))
    if row.what == "bundle":
        connection.execute("DELETE FROM one_time WHERE bundle = ?", (row.key[0][1],))
    where = " AND ".join(f"{column} = ?" for column, _ in row.key)
    connection.execute(f"DELETE FROM {row.table} WHERE {where}", tuple(value for _, value in row.key))  # noqa: S608


def _set_aside(
    connection: sqlite3.Connection, now_ms: int, what: str, found: SessionFinding, why: str, *, opened: int = 0
) -> None:
    row = found.row
    digest = row.hash.hex() if isinstance(row.hash, bytes) else ""
    size = len(row.state) if what == "session" and isinstance(row.state, bytes | str) else 0
    owed = len(found.waiting) if what == "session" else 1
    peer = row.peer if found.names_peer else ""
    connection.execute(_SET_ASIDE, (now_ms, what, peer, digest, why, size, owed, opened))
