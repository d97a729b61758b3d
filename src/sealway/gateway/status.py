# SPDX-License-Identifier: Apache-2.0
"""Look into a gateway's state from outside, while it runs, is stopped or is dead."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from sealway.errors import StateLost
from sealway.gateway.queue import FILE_NAME, held_now
from sealway.storage.store import connect_readonly


def gateway_status(state_dir: Path) -> dict[str, Any]:
    """Return what the gateway of this directory holds, read-only.

    ``{"in_flight": envelopes held in both directions, "outbound": …, "inbound": …, "outbound_bytes": …,
    "inbound_bytes": …, "consents": devices it collects for, "counters": {…, at most a second old}}``. All zero when the
    directory holds no queue yet. Raises StateLost if the database cannot be read.
    """
    path = Path(state_dir) / FILE_NAME
    if not path.exists():
        return _status({}, 0, {})
    try:
        return _read(path)
    except sqlite3.Error as error:
        raise StateLost(f"cannot read {path}: {error}") from error


def _read(path: Path) -> dict[str, Any]:
    with closing(connect_readonly(path)) as database:
        database.execute("BEGIN")  # one snapshot for all
        if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'held'").fetchone() is None:
            return _status({}, 0, {})  # killed before its first commit
        held = held_now(database)
        (consents,) = database.execute("SELECT count(*) FROM consents").fetchone()
        counters = dict(database.execute("SELECT name, value FROM counters").fetchall())
        return _status(held, consents, counters)


def _status(held: dict[str, int], consents: int, counters: dict[str, int]) -> dict[str, Any]:
    outbound, inbound = held.get("outbound_envelopes", 0), held.get("inbound_envelopes", 0)
    return {
        "in_flight": outbound + inbound,
        "outbound": outbound,
        "inbound": inbound,
        "outbound_bytes": held.get("outbound_bytes", 0),
        "inbound_bytes": held.get("inbound_bytes", 0),
        "consents": consents,
        "counters": counters,
    }
