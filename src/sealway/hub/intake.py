# SPDX-License-Identifier: Apache-2.0
"""What becomes of deposits: looked at one by one as they come, written a batch at a time.

Invariant: an envelope is accepted only if its row is in the transaction whose commit the answer waits for, or was in
the mailbox before. Quotas hold inside a batch as between batches.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from sealway.errors import NotFound, RateLimited, SealwayError, Stale, TooLarge
from sealway.hub import mailbox_rows
from sealway.hub.config import Limits
from sealway.hub.digests import Digests, digest_of, indexed
from sealway.hub.mailbox_rows import Load, Row
from sealway.hub.steady import expiry_of


@dataclass(frozen=True, slots=True)
class Accepted:
    """A deposit that is durable; ``status`` is 201, or 200 if the same bytes were held already."""

    status: int


CREATED: Final = Accepted(201)
ALREADY_HELD: Final = Accepted(200)

Verdict: TypeAlias = Accepted | SealwayError
Sound: TypeAlias = tuple[str, bytes, bytes, int | None]
"""A mailbox, an envelope, the digest of both, and when the envelope expires, if that is before its time."""


class Intake:
    """The way in of all mailboxes. ``examined`` is for any thread, ``hold`` for the one that writes."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._digests = Digests()
        self._latest: int | None = None

    def examined(self, mailbox: str, envelope: bytes, now: int) -> Sound | SealwayError:
        """Return what there is to hold, or why not."""
        if len(envelope) > self._limits.envelope_bytes:
            return TooLarge(f"an envelope has at most {self._limits.envelope_bytes} bytes here")
        try:
            expires = expiry_of(envelope)
        except SealwayError as error:
            return error
        if expires is not None and expires <= now:
            return Stale("the envelope has expired")
        return mailbox, envelope, digest_of(mailbox, envelope), expires

    def hold(self, db: sqlite3.Connection, items: Sequence[Sound | SealwayError], now: int) -> list[Verdict]:
        """Put into mailboxes what may go there; one verdict each, in order. Inside a transaction."""
        last = mailbox_rows.last_number(db)
        self._digests.look_up(db, [item[2] for item in items if not isinstance(item, SealwayError)], last)
        batch = _Batch(db, self._limits, self._digests, last, now, self._expiry(db, now))
        verdicts = [item if isinstance(item, SealwayError) else batch.take(*item) for item in items]
        batch.write()
        return verdicts

    def _expiry(self, db: sqlite3.Connection, now: int) -> tuple[int, bool]:
        """When what comes now expires, and whether that is before what came earlier: a clock or a limit was changed."""
        if self._latest is None:
            self._latest = mailbox_rows.latest_expiry(db)
        expires = now + self._limits.held_for
        early = expires < self._latest
        self._latest = max(self._latest, expires)
        return expires, early


class _Room:
    """What a mailbox may still take, and what it gets now."""

    __slots__ = ("added", "envelopes", "number", "octets", "size")

    def __init__(self, load: Load, limits: Limits) -> None:
        self.number, envelopes, octets = load
        self.envelopes = limits.envelopes_per_mailbox - envelopes
        self.octets = limits.bytes_per_mailbox - octets
        self.added, self.size = 0, 0

    def take(self, octets: int) -> bool:
        """Say whether there is room, and take it."""
        if self.added >= self.envelopes or self.size + octets > self.octets:
            return False
        self.added += 1
        self.size += octets
        return True


class _Batch:
    """What one piece of work puts into mailboxes."""

    def __init__(
        self, db: sqlite3.Connection, limits: Limits, digests: Digests, last: int, now: int, expiry: tuple[int, bool]
    ) -> None:
        self._db = db
        self._limits = limits
        self._digests = digests
        self._last = last
        self._now = now
        self._expires, self._early = expiry
        self._rows: list[Row] = []
        self._numbers: dict[bytes, int] = {}
        self._rooms: dict[str, _Room | None] = {}

    def take(self, mailbox: str, envelope: bytes, digest: bytes, asked: int | None) -> Verdict:
        """Decide about one envelope, knowing those before it."""
        room = self._rooms[mailbox] if mailbox in self._rooms else self._room_of(mailbox)
        if room is None:
            return NotFound("there is no such mailbox")
        if digest in self._numbers or self._digests.is_held(self._db, digest, room.number, envelope, self._now):
            return ALREADY_HELD
        if not room.take(len(envelope)):
            return RateLimited("the mailbox is full", hint="try again when its owner has collected")
        self._last += 1
        self._numbers[digest] = self._last
        sooner = asked is not None and asked < self._expires
        expires, early = (asked or 0, True) if sooner else (self._expires, self._early)
        self._rows.append((self._last, room.number, indexed(digest), envelope, expires, early))
        return CREATED

    def write(self) -> None:
        """Insert what was taken, and count it."""
        if not self._rows:
            return
        mailbox_rows.hold(self._db, self._rows)
        for room in self._rooms.values():
            if room is not None and room.added:
                mailbox_rows.add_load(self._db, room.number, room.added, room.size)
        self._digests.add(self._db, self._numbers, self._last)

    def _room_of(self, mailbox: str) -> _Room | None:
        load = mailbox_rows.load_of(self._db, mailbox)
        room = self._rooms[mailbox] = None if load is None else _Room(load, self._limits)
        return room
