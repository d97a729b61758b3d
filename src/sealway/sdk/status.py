# SPDX-License-Identifier: Apache-2.0
"""Look into an endpoint's durable state from outside, while its process runs, is stopped or is dead. Reads only."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final

from sealway.errors import StateLost
from sealway.sdk.schema import DATABASE
from sealway.storage.store import connect_readonly

_COUNTS: Final = {
    "outbox": "SELECT count(*) FROM sent WHERE envelope IS NOT NULL",
    "unhandled": "SELECT count(*) FROM inbox WHERE message IS NOT NULL",
    "sessions": "SELECT count(*) FROM sessions WHERE state IS NOT NULL",
    "executed": "SELECT count(*) FROM executed WHERE answer IS NOT NULL",
    "asked": "SELECT count(*) FROM asked",
    "answered": "SELECT count(*) FROM asked WHERE answer IS NOT NULL",
    "one_time_keys": "SELECT count(*) FROM one_time",
}


def endpoint_status(state_dir: Path) -> dict[str, Any]:
    """Return what an endpoint's state holds.

    ``in_flight``: own envelopes that no sealed receipt covers, and opened messages not handled yet (``outbox`` and
    ``unhandled``); ``sessions``; ``executed`` requests answered here; ``asked`` and ``answered`` requests sent from here;
    ``marks`` and ``counters`` by name; ``readings``: how many events were handled, the time from sealing to opening
    (``latency_ms`` p50 and p99) and what sealing added (``overhead_bytes`` min, median, max), None where there are none.

    Raises:
        StateLost: there is no state, or it cannot be read.
    """
    path = state_dir / DATABASE
    if not path.exists():
        raise StateLost(f"there is no endpoint's state in {state_dir}")
    try:
        with closing(connect_readonly(path)) as connection:
            connection.execute("BEGIN")  # one snapshot for all the answers
            return _status(connection)
    except sqlite3.Error as error:
        raise StateLost(f"the state in {state_dir} cannot be read: {error}") from None


def _status(connection: sqlite3.Connection) -> dict[str, Any]:
    status: dict[str, Any] = {name: connection.execute(query).fetchone()[0] for name, query in _COUNTS.items()}
    status["in_flight"] = status["outbox"] + status["unhandled"]
    status["marks"] = dict(connection.execute("SELECT name, value FROM marks").fetchall())
    status["counters"] = dict(connection.execute("SELECT name, value FROM counters").fetchall())
    status["readings"] = _readings(connection)
    return status


def _readings(connection: sqlite3.Connection) -> dict[str, Any]:
    rows = connection.execute(
        "SELECT received - sent_at, envelope_bytes - message_bytes FROM inbox WHERE event AND message IS NULL"
    ).fetchall()
    latencies = [latency for latency, _ in rows if latency is not None]
    return {
        "count": len(rows),
        "latency_ms": _percentiles(latencies),
        "overhead_bytes": _spread([overhead for _, overhead in rows]),
    }


def _percentiles(values: list[int]) -> dict[str, float] | None:
    if len(values) < 2:
        return {"p50": float(values[0]), "p99": float(values[0])} if values else None
    cuts = quantiles(values, n=100, method="inclusive")
    return {"p50": round(cuts[49], 1), "p99": round(cuts[98], 1)}


def _spread(values: list[int]) -> dict[str, float] | None:
    return {"min": min(values), "median": median(values), "max": max(values)} if values else None
