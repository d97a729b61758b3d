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
from sealway.hub.steady import expiry_of, is_steady


@dataclass(frozen=True, slots=True)
class Accepted:
    """A deposit that is durable; ``status`` is 201, or 200 if the same bytes were held already."""

    status: int


CREATED: Final = Accepted(201)
ALREADY_HELD: Final = Accepted(200)

Verdict: TypeAlias = Accepted | SealwayError
Sound: TypeAlias = tuple[str, bytes, bytes, int | None]
"""A mailbox, an envelope, the digest of both, and when the envelope expires if its sender says so."""


class Intake:
    """The way in of all mailboxes. ``examined`` is for any thread, ``hold`` for the one that writes."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._digests = Digests()
        self._latest: int | None = None

    def examined(self, deposits: Sequence[tuple[str, bytes]], now: int) -> list[Sound | SealwayError]:
        """Return of each deposit what there is to hold, or why not."""
        most, items = self._limits.envelope_bytes, list[Sound | SealwayError]()
        for mailbox, envelope in deposits:
            expires = None
            if len(envelope) > most or not is_steady(envelope):
                try:
                    expires = _unusual(envelope, most, now)
                except SealwayError as error:
                    items.append(error)
                    continue
            items.append((mailbox, envelope, digest_of(mailbox, envelope), expires))
        return items

    def hold(self, db: sqlite3.Connection, items: Sequence[Sound | SealwayError], now: int) -> list[Verdict]:
        """Put into mailboxes what may go there; one verdict each, in order. Inside a transaction."""
        sound = [item for item in items if not isinstance(item, SealwayError)]
        batch = _Batch(db, self._limits, self._digests, now)
        verdicts = iter(batch.take(sound, *self._expiry(db, now)))
        batch.write()
        return [item if isinstance(item, SealwayError) else next(verdicts) for item in items]

    def _expiry(self, db: sqlite3.Connection, now: int) -> tuple[int, bool]:
        """When what comes now expires, and whether that is before what came earlier: a clock or a limit was changed."""
        if self._latest is None:
            self._latest = mailbox_rows.latest_expiry(db)
        expires = now + self._limits.held_for
        early = expires < self._latest
        self._latest = max(self._latest, expires)
        return expires, early


def _unusual(envelope: bytes, most: int, now: int) -> int | None:
    """Return when an envelope expires that has not the common form, if its sender says so. Raises SealwayError."""
    if len(envelope) > most:
        raise TooLarge(f"an envelope has at most {most} bytes here")
    expires = expiry_of(envelope)
    if expires is not None and expires <= now:
        raise Stale("the envelope has expired")
    return expires


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

    def __init__(self, db: sqlite3.Connection, limits: Limits, digests: Digests, now: int) -> None:
        self._db = db
        self._limits = limits
        self._digests = digests
        self._now = now
        self._last = mailbox_rows.last_number(db)
        self._rows: list[Row] = []
        self._numbers: dict[bytes, int] = {}
        self._rooms: dict[str, _Room] = {}

    def take(self, items: Sequence[Sound], expires: int, early: bool) -> list[Verdict]:
        """Decide about envelopes, each knowing those before it.

        ``expires`` and ``early`` are for those whose sender does not ask for less.
        """
        digests = [item[2] for item in items]
        doubtful = self._digests.look_up(self._db, digests, self._last)
        verdicts: list[Verdict] = []
        for item, index in zip(items, map(indexed, digests), strict=True):
            mailbox, envelope, digest, asked = item
            room = self._rooms.get(mailbox) or self._room_of(mailbox)
            if room is None:
                verdicts.append(NotFound("there is no such mailbox"))
            elif digest in self._numbers or (digest in doubtful and self._is_held(item, room)):
                verdicts.append(ALREADY_HELD)
            elif not room.take(len(envelope)):
                verdicts.append(RateLimited("the mailbox is full", hint="try again when its owner has collected"))
            else:
                self._last += 1
                self._numbers[digest] = self._last
                sooner = asked is not None and asked < expires
                until, sooner = (asked or 0, True) if sooner else (expires, early)
                self._rows.append((self._last, room.number, index, envelope, until, sooner))
                verdicts.append(CREATED)
        return verdicts

    def write(self) -> None:
        """Insert what was taken, and count it."""
        if not self._rows:
            return
        mailbox_rows.hold(self._db, self._rows)
        for room in self._rooms.values():
            if room.added:
                mailbox_rows.add_load(self._db, room.number, room.added, room.size)
        self._digests.add(self._db, self._numbers, self._last)

    def _is_held(self, item: Sound, room: _Room) -> bool:
        _, envelope, digest, _ = item
        return self._digests.is_held(self._db, digest, room.number, envelope, self._now)

    def _room_of(self, mailbox: str) -> _Room | None:
        load = mailbox_rows.load_of(self._db, mailbox)
        if load is None:
            return None
        self._rooms[mailbox] = _Room(load, self._limits)
        return self._rooms[mailbox]
