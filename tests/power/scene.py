# SPDX-License-Identifier: Apache-2.0
"""What runs while the power fails: ``python -m tests.power.scene DIRECTORY NOW``.

The story of tests/system/killed_process.py with less to do, in which everything that writes to the disk happens often:
keys' periods end all the time, and the write-ahead log is moved into the database and begun anew several times.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from pathlib import Path
from unittest import mock

from sealway.sdk import endpoint, journal
from sealway.storage import store
from tests.system.killed_process import FINISH, play

READINGS = 24
COMMANDS = 6
LOG_PAGES = 150
"""Pages in the log after which SQLite moves them into the database: the default is 1 000."""


async def tell(directory: Path, now: int, *, kept: bool = False) -> None:
    """Do everything that is left to do."""
    genuine = store.connect

    def connect(path: Path) -> sqlite3.Connection:
        connection = genuine(path)
        connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
        return connection

    with (
        mock.patch.object(endpoint, "TICK_S", 0.02),
        mock.patch.object(endpoint, "PAUSE_S", 0.02),
        mock.patch.object(journal, "PERIOD_MS", 20),
        mock.patch.object(store, "connect", connect),
    ):
        (directory / FINISH).touch()
        await play(directory, now, readings=READINGS, commands=COMMANDS, kept=kept)


if __name__ == "__main__":
    asyncio.run(tell(Path(sys.argv[1]), int(sys.argv[2])))
