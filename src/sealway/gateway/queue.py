# SPDX-License-Identifier: Apache-2.0
"""The durable queue of a gateway: envelopes on their way up and down, and the consents it collects under.

Invariant: what ``put`` or ``store`` returned for is on the disk and stays until it is settled, acknowledged or expired.
Nothing of it is kept in memory: a hub that is away for a day costs disk, not RAM.
"""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sealway.errors import RateLimited, TransportFailed
from sealway.gateway.limits import Limits
from sealway.storage.store import Store
from sealway.transports.ports import Collected, Deposit

FILE_NAME: Final = "queue.sqlite"
BATCH: Final = 100  # envelopes of one upstream call (the hop's own limit)
_BATCH_BYTES: Final = 2_097_152

# A row of `held` counts each side, kept by triggers: true after every commit and every rollback.
_SCHEMA: Final = """
CREATE TABLE outbound (
  id INTEGER PRIMARY KEY AUTOINCREMENT, mailbox TEXT NOT NULL, digest BLOB NOT NULL, envelope BLOB NOT NULL,
  hops INTEGER NOT NULL, held_since REAL NOT NULL, retry_at REAL NOT NULL DEFAULT 0, UNIQUE (mailbox, digest));
CREATE INDEX outbound_due ON outbound (retry_at, id);
CREATE TABLE inbound (
  id INTEGER PRIMARY KEY AUTOINCREMENT, mailbox TEXT NOT NULL, digest BLOB NOT NULL, envelope BLOB NOT NULL,
  held_since REAL NOT NULL, UNIQUE (mailbox, digest));
CREATE INDEX inbound_order ON inbound (mailbox, id);
CREATE TABLE consents (mailbox TEXT PRIMARY KEY, consent BLOB NOT NULL, expires INTEGER NOT NULL);
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE held (side TEXT PRIMARY KEY, envelopes INTEGER NOT NULL, bytes INTEGER NOT NULL);
INSERT INTO held VALUES ('outbound', 0, 0), ('inbound', 0, 0);
CREATE TRIGGER outbound_in AFTER INSERT ON outbound BEGIN
  UPDATE held SET envelopes = envelopes + 1, bytes = bytes + length(new.envelope) WHERE side = 'outbound'; END;
CREATE TRIGGER outbound_out AFTER DELETE ON outbound BEGIN
  UPDATE held SET envelopes = envelopes - 1, bytes = bytes - length(old.envelope) WHERE side = 'outbound'; END;
CREATE TRIGGER inbound_in AFTER INSERT ON inbound BEGIN
  UPDATE held SET envelopes = envelopes + 1, bytes = bytes + length(new.envelope) WHERE side = 'inbound'; END;
CREATE TRIGGER inbound_out AFTER DELETE ON inbound BEGIN
  UPDATE held SET envelopes = envelopes - 1, bytes = bytes - length(old.envelope) WHERE side = 'inbound'; END;
"""

_EXPIRE: Final = {  # the expired ones among the 1000 oldest
    "outbound": """DELETE FROM outbound WHERE id IN (
      SELECT id FROM (SELECT id, held_since FROM outbound ORDER BY id LIMIT 1000) WHERE held_since < ?)""",
    "inbound": """DELETE FROM inbound WHERE id IN (
      SELECT id FROM (SELECT id, held_since FROM inbound ORDER BY id LIMIT 1000) WHERE held_since < ?)""",
}


@dataclass(frozen=True, slots=True)
class Outbound:
    """An envelope on its way up, and the row that holds it."""

    row: int
    deposit: Deposit


@dataclass(frozen=True, slots=True)
class Consent:
    """A device's consent as it was accepted upstream; ``expires`` in seconds since the Unix epoch."""

    mailbox: str
    encoded: bytes
    expires: int


class DurableQueue:
    """What changes something returns after its commit, which it shares with others. Times are Unix seconds.

    The caller holds the lock on the directory. The constructor raises StateLost if the database is damaged; every
    method raises TransportFailed when the disk refuses.
    """

    def __init__(self, state_dir: Path, limits: Limits) -> None:
        self._limits = limits
        self._store = Store(state_dir / FILE_NAME, [_SCHEMA], "gateway")

    async def close(self) -> None:
        """Commit what waits and close the database."""
        await asyncio.to_thread(self._store.close)

    async def put(self, deposit: Deposit, now: float) -> bool:
        """Hold a deposit for the next hop; False if the same envelope is held for this mailbox already.

        Raises TransportFailed when the queue is full.
        """
        most = self._limits.queue_bytes
        return await self._store.write(lambda database: _put(database, deposit, now, most))

    async def next_batch(self, now: float) -> list[Outbound]:
        """The oldest envelopes that are due, at most 100 and about 2 MiB."""
        return await self._store.read(lambda database: _due(database, now))

    async def settle(self, finished: Sequence[int], later: Sequence[int], retry_at: float) -> None:
        """Forget the rows that are finished; offer those of ``later`` again at ``retry_at``."""
        await self._store.write(lambda database: _settle(database, finished, later, retry_at))

    async def next_due(self) -> float | None:
        """When the first outbound envelope is due, or None if there is none."""
        query = "SELECT min(retry_at) FROM outbound"
        due: float | None = (await self._store.read(lambda database: database.execute(query).fetchone()))[0]
        return due

    async def store(self, items: Sequence[Collected], now: float) -> None:
        """Hold what was collected for devices; the same envelope in the same mailbox once."""
        rows = [(item.mailbox, _digest(item.envelope), item.envelope, now) for item in items]
        insert = "INSERT OR IGNORE INTO inbound (mailbox, digest, envelope, held_since) VALUES (?, ?, ?, ?)"
        await self._store.write(lambda database: database.executemany(insert, rows).rowcount)

    async def waiting(self, mailbox: str, most: int) -> list[Collected]:
        """What waits for a device, the oldest first; ``sequence`` is the gateway's own."""
        query = "SELECT id, envelope FROM inbound WHERE mailbox = ? ORDER BY id LIMIT ?"
        rows = await self._store.read(lambda database: database.execute(query, (mailbox, most)).fetchall())
        return [Collected(mailbox, row, envelope) for row, envelope in rows]

    async def acknowledge(self, mailbox: str, sequences: Iterable[int]) -> int:
        """Forget what a device holds durably; returns how many there were."""
        rows = [(sequence, mailbox) for sequence in sequences]
        delete = "DELETE FROM inbound WHERE id = ? AND mailbox = ?"
        return max(0, await self._store.write(lambda database: database.executemany(delete, rows).rowcount))

    async def remember(self, consent: Consent) -> None:
        """Keep a consent that the next hop accepted. Raises RateLimited when too many are kept."""
        most = self._limits.consents
        await self._store.write(lambda database: _remember(database, consent, most))

    async def forget_consent(self, consent: Consent) -> None:
        """Collect no longer under exactly this consent."""
        delete = "DELETE FROM consents WHERE mailbox = ? AND consent = ?"
        await self._store.write(lambda database: database.execute(delete, (consent.mailbox, consent.encoded)).rowcount)

    async def consents(self) -> list[Consent]:
        """All consents kept, expired ones included, by mailbox."""
        query = "SELECT mailbox, consent, expires FROM consents ORDER BY mailbox"
        rows = await self._store.read(lambda database: database.execute(query).fetchall())
        return [Consent(*row) for row in rows]

    async def full_inboxes(self) -> set[str]:
        """Mailboxes that hold so much for their device that nothing more should be collected for them."""
        query = "SELECT mailbox FROM inbound GROUP BY mailbox HAVING sum(length(envelope)) >= ?"
        most = self._limits.inbox_bytes
        rows = await self._store.read(lambda database: database.execute(query, (most,)).fetchall())
        return {mailbox for (mailbox,) in rows}

    async def expire(self, now: float) -> tuple[int, int]:
        """Drop what is held for longer than allowed; returns how many (outbound, inbound)."""
        horizon = now - self._limits.held_for.total_seconds()
        outbound = await self._expire_side("outbound", horizon)
        return outbound, await self._expire_side("inbound", horizon)

    async def _expire_side(self, side: str, horizon: float) -> int:
        dropped = 0
        while step := await self._store.write(lambda database: _expire_step(database, side, horizon)):
            dropped += step
        return dropped

    async def save_counters(self, values: Mapping[str, int]) -> None:
        """Write counters down."""
        rows = list(values.items())
        upsert = "INSERT OR REPLACE INTO counters VALUES (?, ?)"
        await self._store.write(lambda database: database.executemany(upsert, rows).rowcount)

    async def counters(self) -> dict[str, int]:
        """The counters as written last."""
        return dict(await self._store.read(lambda database: database.execute("SELECT * FROM counters").fetchall()))

    async def held(self) -> dict[str, int]:
        """{"outbound_envelopes", "outbound_bytes", "inbound_envelopes", "inbound_bytes"}."""
        return await self._store.read(held_now)


def held_now(database: sqlite3.Connection) -> dict[str, int]:
    """What is held on both sides, from any connection to the queue's database."""
    held: dict[str, int] = {}
    for side, envelopes, size in database.execute("SELECT side, envelopes, bytes FROM held"):
        held[f"{side}_envelopes"] = envelopes
        held[f"{side}_bytes"] = size
    return held


def _digest(envelope: bytes) -> bytes:
    return hashlib.sha256(envelope).digest()


def _put(database: sqlite3.Connection, deposit: Deposit, now: float, most: int) -> bool:
    (held,) = database.execute("SELECT bytes FROM held WHERE side = 'outbound'").fetchone()
    if held + len(deposit.envelope) > most:
        raise TransportFailed("the gateway's queue is full", hint="its hub may be away; try again later")
    insert = "INSERT OR IGNORE INTO outbound (mailbox, digest, envelope, hops, held_since) VALUES (?, ?, ?, ?, ?)"
    row = (deposit.mailbox, _digest(deposit.envelope), deposit.envelope, deposit.hops, now)
    return database.execute(insert, row).rowcount == 1


def _due(database: sqlite3.Connection, now: float) -> list[Outbound]:
    query = "SELECT id, mailbox, envelope, hops FROM outbound WHERE retry_at <= ? ORDER BY retry_at, id LIMIT ?"
    batch: list[Outbound] = []
    size = 0
    for row, mailbox, envelope, hops in database.execute(query, (now, BATCH)):
        batch.append(Outbound(row, Deposit(mailbox, envelope, hops)))
        size += len(envelope)
        if size >= _BATCH_BYTES:
            break
    return batch


def _settle(database: sqlite3.Connection, finished: Sequence[int], later: Sequence[int], retry_at: float) -> None:
    database.executemany("DELETE FROM outbound WHERE id = ?", [(row,) for row in finished])
    database.executemany("UPDATE outbound SET retry_at = ? WHERE id = ?", [(retry_at, row) for row in later])


def _remember(database: sqlite3.Connection, consent: Consent, most: int) -> None:
    (others,) = database.execute("SELECT count(*) FROM consents WHERE mailbox != ?", (consent.mailbox,)).fetchone()
    if others >= most:
        raise RateLimited("the gateway collects for as many devices as it may", hint="raise its limit of consents")
    row = (consent.mailbox, consent.encoded, consent.expires)
    database.execute("INSERT OR REPLACE INTO consents VALUES (?, ?, ?)", row)


def _expire_step(database: sqlite3.Connection, side: str, horizon: float) -> int:
    return database.execute(_EXPIRE[side], (horizon,)).rowcount
