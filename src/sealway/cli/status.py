# SPDX-License-Identifier: Apache-2.0
"""What a device or an application has durably, read beside it: it may be running, stopped or dead."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any, Final

from sealway.errors import StateLost
from sealway.sdk.schema import DATABASE
from sealway.storage.store import connect_readonly
from sealway.wire.bundle import SignedBundle

SENT_MARK: Final = "sent:"
"""Marks with this beginning count events that were sealed, in the transaction that sealed them."""

_UNACKNOWLEDGED: Final = "SELECT count(*) FROM sent WHERE envelope IS NOT NULL"
_UNHANDLED: Final = "SELECT count(*) FROM inbox WHERE message IS NOT NULL"
_SESSIONS: Final = "SELECT count(*) FROM sessions WHERE state IS NOT NULL"
_SENT: Final = "SELECT coalesce(sum(value), 0) FROM marks WHERE substr(name, 1, 5) = 'sent:'"
# An answer is an encoded message; its first byte is the CoAP code, and class 2 is below 0x80.
_EXECUTED: Final = "SELECT count(*) FROM executed WHERE answer IS NOT NULL AND hex(substr(answer, 1, 1)) < '80'"
_ASKED: Final = "SELECT count(*) FROM asked"
_ANSWERED: Final = "SELECT count(*) FROM asked WHERE answer IS NOT NULL AND hex(substr(answer, 1, 1)) < '80'"
_REFUSED: Final = "SELECT count(*) FROM asked WHERE answer IS NOT NULL AND hex(substr(answer, 1, 1)) >= '80'"
_NEWEST_BUNDLE: Final = "SELECT encoded FROM prekeys ORDER BY sequence DESC LIMIT 1"
_READINGS: Final = "SELECT envelope_bytes - message_bytes, received - sent_at FROM inbox WHERE sent_at IS NOT NULL"


def device_status(state_dir: Path) -> dict[str, Any]:
    """Return counts; all zero where no device has run. Raises StateLost if the state cannot be read.

    ``in_flight`` sealed and not acknowledged by the other end; ``sent`` events sealed; ``executed`` commands;
    ``sessions``; ``suites`` that its newest bundle lists; ``counters``.
    """
    questions = {"in_flight": _UNACKNOWLEDGED, "sent": _SENT, "executed": _EXECUTED, "sessions": _SESSIONS}
    with closing(_database(state_dir)) as database:
        return _asked(database, questions) | {"suites": _suites(database), "counters": _counters(database)}


def app_status(state_dir: Path) -> dict[str, Any]:
    """Return counts; all zero where no application has run. Raises StateLost if the state cannot be read.

    ``in_flight`` is ``unacknowledged`` own envelopes and ``unhandled`` messages; ``received`` readings handled;
    commands ``asked``, ``answered``, ``refused``; ``sessions``; ``suites`` as a device's; of readings,
    ``overhead_bytes`` and ``latency_ms``; ``counters``.
    """
    own = {"unacknowledged": _UNACKNOWLEDGED, "unhandled": _UNHANDLED}
    questions = {"asked": _ASKED, "answered": _ANSWERED, "refused": _REFUSED, "sessions": _SESSIONS}
    with closing(_database(state_dir)) as database:
        counters, held = _counters(database), _asked(database, own)
        overheads, latencies = _measured(database)
        return {
            "in_flight": sum(held.values()),
            **held,
            "received": counters.get("handled", 0),
            **_asked(database, questions),
            "suites": _suites(database),
            "overhead_bytes": _spread(overheads),
            "latency_ms": {"p50": percentile(latencies, 50), "p99": percentile(latencies, 99)},
            "counters": counters,
        }


def sessions_with(state_dir: Path, peer: str) -> int:
    """Return how many sessions an endpoint holds with a peer. Raises StateLost if the state cannot be read."""
    with closing(_database(state_dir)) as database:
        name = peer.replace("'", "''")
        query = f"SELECT count(*) FROM sessions WHERE state IS NOT NULL AND peer = '{name}'"  # noqa: S608
        return int(next(iter(_rows(database, query)), (0,))[0])


def percentile(values: Sequence[int], percent: int) -> int | None:
    """Return the nearest-rank percentile; None of nothing."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)] if ordered else None


def _spread(values: Sequence[int]) -> dict[str, float | None]:
    if not values:
        return {"min": None, "median": None, "max": None}
    return {"min": min(values), "median": median(values), "max": max(values)}


def _database(state_dir: Path) -> sqlite3.Connection:
    """Open the state, or an empty one in memory where there is none; one snapshot for all the answers."""
    path = state_dir / DATABASE
    try:
        database = connect_readonly(path) if path.exists() else sqlite3.connect(":memory:", isolation_level=None)
        database.execute("BEGIN")
    except sqlite3.Error as error:
        raise StateLost(f"cannot read {path}: {error}") from None
    return database


def _asked(database: sqlite3.Connection, questions: dict[str, str]) -> dict[str, int]:
    return {name: next(iter(_rows(database, question)), (0,))[0] for name, question in questions.items()}


def _suites(database: sqlite3.Connection) -> list[int]:
    """Return what this endpoint takes part in, the preferred first; nothing before it has made a bundle."""
    newest = next(iter(_rows(database, _NEWEST_BUNDLE)), None)
    return [] if newest is None else list(SignedBundle.decode(newest[0]).claims.suites)


def _counters(database: sqlite3.Connection) -> dict[str, int]:
    return dict(_rows(database, "SELECT name, value FROM counters ORDER BY name"))


def _measured(database: sqlite3.Connection) -> tuple[list[int], list[int]]:
    rows = _rows(database, _READINGS)
    return [overhead for overhead, _ in rows], [latency for _, latency in rows]


def _rows(database: sqlite3.Connection, question: str) -> list[Any]:
    """Return rows; none from a state that was killed before its first commit."""
    try:
        if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'marks'").fetchone() is None:
            return []
        return database.execute(question).fetchall()
    except sqlite3.Error as error:
        raise StateLost(f"the state cannot be read: {error}") from None
