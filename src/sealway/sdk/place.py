# SPDX-License-Identifier: Apache-2.0
"""Whether a state is where it was: a copy, a backup that was put back, or another computer shows in most cases.

Invariant: nothing relies on it. It tells; no key and nonce is used twice whether it does or not. A roll-back within the
same file (a snapshot of the whole computer or file system, an overwriting in place) does not show.
"""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sealway.protocol.events import Event
from sealway.sdk.journal import Journal

MACHINE_ID = Path("/etc/machine-id")

_MARK: Final = "place"
_BYTES: Final = 7  # of the hash; what SQLite keeps as an integer has eight, with a sign


@dataclass(frozen=True, slots=True)
class Moved(Event):
    """This endpoint's state is in another file, or on another computer, than when it was last opened: it was moved,
    copied, or put back from a backup. ``peer`` is this endpoint itself; there is no session."""


def place_of(database: Path) -> int:
    """Name the computer and the file. Raises OSError if there is no such file.

    The number of the device is left out: on many systems it changes with each boot, or with each start of a container.
    """
    machine = b""
    with suppress(OSError):
        machine = MACHINE_ID.read_bytes()
    digest = hashlib.sha256(b"%d " % database.stat().st_ino + machine).digest()
    return int.from_bytes(digest[:_BYTES])


def has_moved(connection: sqlite3.Connection, journal: Journal, place: int) -> bool:
    """Say whether the state was at another place at its last opening, and note this one."""
    before = connection.execute("SELECT value FROM marks WHERE name = ?", (_MARK,)).fetchone()
    if before == (place,):
        return False
    journal.note("INSERT OR REPLACE INTO marks VALUES (?, ?)", _MARK, place)
    return before is not None
