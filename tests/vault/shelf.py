# SPDX-License-Identifier: Apache-2.0
"""A small database with a vault: one table of named values."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from sealway.storage.store import connect, migrate
from sealway.vault import vault
from sealway.vault.vault import Place, Vault, open_vault

KIND = b"thing"
PLACES = (Place("things", "value"),)
SCRIPTS = (
    vault.SCRIPT,
    """
    CREATE TABLE things (name INTEGER PRIMARY KEY, slot INTEGER NOT NULL, value BLOB NOT NULL);
    CREATE TRIGGER thing_deleted AFTER DELETE ON things BEGIN INSERT OR IGNORE INTO vault_freed VALUES (OLD.slot); END;
    """,
)


class Shelf:
    """An open one. Whoever drops it without ``close`` is a process that was killed."""

    def __init__(self, directory: Path, *, leniently: bool = False) -> None:
        self.directory = directory
        self.connection = connect(directory / "state.sqlite")
        self.connection.execute("PRAGMA synchronous = OFF")
        migrate(self.connection, SCRIPTS, "shelf")
        self.vault: Vault = open_vault(directory, self.connection, PLACES, os.urandom, leniently=leniently)

    def put(self, name: int, value: bytes) -> None:
        """Write a value, inside a transaction."""
        row = self.connection.execute("SELECT slot FROM things WHERE name = ?", (name,)).fetchone()
        slot = row[0] if row is not None else self.vault.allocate()
        wrapped = self.vault.wrap(slot, KIND, value)
        self.connection.execute("INSERT OR IGNORE INTO things VALUES (?, ?, x'')", (name, slot))
        self.connection.execute("UPDATE things SET value = ? WHERE name = ?", (wrapped, name))

    def remove(self, name: int) -> None:
        """Delete a value, inside a transaction."""
        self.connection.execute("DELETE FROM things WHERE name = ?", (name,))

    def content(self) -> dict[int, bytes]:
        """Return all values by name. Raises StateLost."""
        rows = self.connection.execute("SELECT name, slot, value FROM things").fetchall()
        return {name: self.vault.unwrap(slot, KIND, value) for name, slot, value in rows}

    def write(self, changes: dict[int, bytes | None], *, end: bool = False, settled: bool = False) -> None:
        """Commit values, None to delete one; end the period with it."""
        ending = self.begin(changes, end=end, settled=settled)
        self.connection.execute("COMMIT")
        if ending is not None:
            ending.settle()

    def begin(self, changes: dict[int, bytes | None], *, end: bool, settled: bool = False) -> vault.Ending | None:
        """Do all of ``write`` but the commit and what follows."""
        self.connection.execute("BEGIN IMMEDIATE")
        for name, value in changes.items():
            if value is None:
                self.remove(name)
            else:
                self.put(name, value)
        if not end:
            self.vault.announce(self.connection)
            return None
        ending = self.vault.end_period(settled=settled)
        ending.write(self.connection)
        return ending

    def close(self) -> None:
        """End the period and close."""
        self.write({}, end=True, settled=True)
        self.drop()

    def drop(self) -> None:
        """What happens to a killed process: its transaction is rolled back."""
        self.connection.close()


def in_file(connection: sqlite3.Connection) -> None:
    """Bring the log into the database file, so that the file alone can be copied."""
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
