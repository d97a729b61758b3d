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
from sealway.hub.digests import Digests, Key, digest_of
from sealway.hub.mailbox_rows import Row
from sealway.hub.steady import expiry_of


@dataclass(frozen=True, slots=True)
class Accepted:
    """A deposit that is durable; ``status`` is 201, or 200 if the same bytes were held already."""

    status: int


CREATED: Final = Accepted(201)
ALREADY_HELD: Final = Accepted(200)

Verdict: TypeAlias = Accepted | SealwayError
Sound: TypeAlias = tuple[Key, bytes, int]
"""A mailbox and a digest, the envelope, and when it expires."""


class Intake:
    """The way in of all mailboxes. ``examined`` is for any thread, ``hold`` for the one that writes."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._digests = Digests()

    def examined(self, mailbox: str, envelope: bytes, now: int) -> Sound | SealwayError:
        """Return what there is to hold, or why not."""
        limits = self._limits
        if len(envelope) > limits.envelope_bytes:
            return TooLarge(f"an envelope has at most {limits.envelope_bytes} bytes here")
        try:
            asked = expiry_of(envelope)
        except SealwayError as error:
            return error
        expires = now + limits.held_for if asked is None else min(asked, now + limits.held_for)
        if expires <= now:
            return Stale("the envelope has expired")
        return (mailbox, digest_of(envelope)), envelope, expires

    def hold(self, db: sqlite3.Connection, items: Sequence[Sound | SealwayError], now: int) -> list[Verdict]:
        """Put into mailboxes what may go there; one verdict each, in order. Inside a transaction."""
        last = mailbox_rows.last_number(db)
        self._digests.catch_up(db, last)
        batch = _Batch(db, self._limits, self._digests, last, now)
        verdicts = [item if isinstance(item, SealwayError) else batch.take(*item) for item in items]
        batch.write()
        return verdicts


class _Room:
    """What a mailbox may still take, and what it gets now."""

    __slots__ = ("added", "envelopes", "octets", "size")

    def __init__(self, envelopes: int, octets: int) -> None:
        self.envelopes, self.octets = envelopes, octets
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

    def __init__(self, db: sqlite3.Connection, limits: Limits, digests: Digests, last: int, now: int) -> None:
        self._db = db
        self._limits = limits
        self._digests = digests
        self._last = last
        self._now = now
        self._rows: list[Row] = []
        self._numbers: dict[Key, int] = {}
        self._rooms: dict[str, _Room | None] = {}

    def take(self, key: Key, envelope: bytes, expires: int) -> Verdict:
        """Decide about one envelope, knowing those before it."""
        mailbox, digest = key
        room = self._rooms[mailbox] if mailbox in self._rooms else self._room_of(mailbox)
        if room is None:
            return NotFound("there is no such mailbox")
        if key in self._numbers or self._digests.held(self._db, key, self._now):
            return ALREADY_HELD
        if not room.take(len(envelope)):
            return RateLimited("the mailbox is full", hint="try again when its owner has collected")
        self._last += 1
        self._numbers[key] = self._last
        self._rows.append((self._last, mailbox, digest, envelope, expires))
        return CREATED

    def write(self) -> None:
        """Insert what was taken, and count it."""
        if not self._rows:
            return
        mailbox_rows.hold(self._db, self._rows)
        for mailbox, room in self._rooms.items():
            if room is not None and room.added:
                mailbox_rows.add_load(self._db, mailbox, room.added, room.size)
        self._digests.add(self._db, self._numbers, self._last)

    def _room_of(self, mailbox: str) -> _Room | None:
        load = mailbox_rows.load_of(self._db, mailbox)
        room = None
        if load is not None:
            room = _Room(self._limits.envelopes_per_mailbox - load[0], self._limits.bytes_per_mailbox - load[1])
        self._rooms[mailbox] = room
        return room
