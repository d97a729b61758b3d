# SPDX-License-Identifier: Apache-2.0
"""What a hub holds, read from its directory; the process may be running, stopped or dead."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from sealway.errors import StateLost
from sealway.hub.store import DATABASE
from sealway.storage.store import connect_readonly

_QUESTIONS: Final = {
    "in_flight": "SELECT coalesce(sum(held), 0) FROM mailboxes",
    "bytes": "SELECT coalesce(sum(bytes), 0) FROM mailboxes",
    "mailboxes": "SELECT count(*) FROM mailboxes",
    "credentials": "SELECT count(*) FROM credentials",
    "bundles": "SELECT count(*) FROM bundles",
    "one_time_keys": "SELECT count(*) FROM one_time",
    "consents": "SELECT count(*) FROM consents",
}


def hub_status(state_dir: Path) -> dict[str, int]:
    """Return counts of what is durably held; all zero where no hub has run yet.

    ``in_flight`` is the number of envelopes held and not acknowledged. Reads only; no hub waits for it.

    Raises:
        StateLost: the database cannot be read.
    """
    path = state_dir / DATABASE
    if not path.exists():
        return dict.fromkeys(_QUESTIONS, 0)
    try:
        with closing(connect_readonly(path)) as connection:
            connection.execute("BEGIN")  # one snapshot for all the answers
            if connection.execute("PRAGMA user_version").fetchone() == (0,):
                return dict.fromkeys(_QUESTIONS, 0)
            return {name: connection.execute(question).fetchone()[0] for name, question in _QUESTIONS.items()}
    except sqlite3.Error:
        raise StateLost(f"the hub's database in {state_dir} cannot be read") from None
