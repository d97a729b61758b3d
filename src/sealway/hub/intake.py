# SPDX-License-Identifier: Apache-2.0
"""What becomes of deposits: looked at one by one as they come, written a batch at a time.

Invariant: an envelope is accepted only if its parcel is in the transaction whose commit the answer waits for, or was in
the mailbox before. Quotas hold inside a batch as between batches.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, TypeAlias

from sealway.errors import NotFound, RateLimited, SealwayError, Stale, TooLarge
from sealway.hub import mailbox_rows
from sealway.hub.config import Limits
from sealway.hub.digests import Digests
from sealway.hub.mailbox_rows import Load, Row
from sealway.hub.parcels import packed, portions
from sealway.hub.steady import expiry_of, is_steady


@dataclass(frozen=True, slots=True, eq=False)
class Accepted:
    """A deposit that is durable; ``status`` is 201, or 200 if the same bytes were held already. There are two of it."""

    status: int


CREATED: Final = Accepted(201)
ALREADY_HELD: Final = Accepted(200)

Verdict: TypeAlias = Accepted | SealwayError
Term: TypeAlias = tuple[int, bool]
"""When something expires, and whether that is before its time."""


class Lot:
    """Envelopes for one mailbox; their places in the batch; and when some of them expire, as their sender says."""

    __slots__ = ("asked", "envelopes", "places")

    def __init__(self) -> None:
        self.envelopes, self.places = list[bytes](), list[int]()
        self.asked: dict[int, int] = {}  # by place


@dataclass(frozen=True, slots=True)
class Examined:
    """A batch of ``count`` deposits: what there is to hold, by mailbox, and by place what is refused."""

    count: int
    lots: dict[str, Lot]
    refused: dict[int, SealwayError]


class Intake:
    """The way in of all mailboxes. ``examined`` is for any thread, ``hold`` for the one that writes."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._digests = Digests()
        self._latest: int | None = None

    def examined(self, deposits: Sequence[tuple[str, bytes]], now: int) -> Examined:
        """Return of deposits what there is to hold, and what is refused, and why."""
        most, examined = self._limits.envelope_bytes, Examined(len(deposits), {}, {})
        for place, (mailbox, envelope) in enumerate(deposits):
            expires = None
            if len(envelope) > most or not is_steady(envelope):
                try:
                    expires = _unusual(envelope, most, now)
                except SealwayError as error:
                    examined.refused[place] = error
                    continue
            lot = examined.lots.get(mailbox)
            if lot is None:
                lot = examined.lots[mailbox] = Lot()
            lot.envelopes.append(envelope)
            lot.places.append(place)
            if expires is not None:
                lot.asked[place] = expires
        return examined

    def hold(self, db: sqlite3.Connection, examined: Examined, now: int) -> list[Verdict]:
        """Put into mailboxes what may go there; one verdict each, in order. Inside a transaction."""
        batch = _Batch(db, self._limits, self._digests, now, self._term(db, now))
        verdicts: list[Verdict] = [CREATED] * examined.count
        for place, error in examined.refused.items():
            verdicts[place] = error
        for mailbox, lot in examined.lots.items():
            for place, verdict in batch.take(mailbox, lot):
                verdicts[place] = verdict
        batch.write()
        return verdicts

    def _term(self, db: sqlite3.Connection, now: int) -> Term:
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

    __slots__ = ("_bytes", "_envelopes", "_sooner", "_term", "envelopes", "marks", "number", "size")

    def __init__(self, load: Load, limits: Limits, term: Term) -> None:
        self.number, held, size = load
        self._envelopes, self._bytes = limits.envelopes_per_mailbox - held, limits.bytes_per_mailbox - size
        self._term = term
        self._sooner: dict[int, Term] = {}  # of those that expire before their time, by where they stand
        self.envelopes, self.marks, self.size = list[bytes](), list[int](), 0

    def take(self, envelopes: Sequence[bytes], marks: Sequence[int], asked: Sequence[int | None] = ()) -> bool:
        """Take envelopes if there is room for all of them, and say whether there was."""
        size = sum(map(len, envelopes))
        if len(self.envelopes) + len(envelopes) > self._envelopes or self.size + size > self._bytes:
            return False
        for at, expires in enumerate(asked, len(self.envelopes)):
            if expires is not None and expires < self._term[0]:
                self._sooner[at] = expires, True
        self.envelopes += envelopes
        self.marks += marks
        self.size += size
        return True

    def parcels(self) -> Iterator[tuple[Term, Sequence[bytes]]]:
        """Give what was taken, in order, as parcels: (when it expires, envelopes)."""
        if not self._sooner:
            yield from ((self._term, envelopes) for envelopes in portions(self.envelopes))
            return
        for term, places in groupby(range(len(self.envelopes)), lambda at: self._sooner.get(at, self._term)):
            for envelopes in portions([self.envelopes[at] for at in places]):
                yield term, envelopes


class _Batch:
    """What one piece of work puts into mailboxes."""

    def __init__(self, db: sqlite3.Connection, limits: Limits, digests: Digests, now: int, term: Term) -> None:
        self._db = db
        self._limits = limits
        self._digests = digests
        self._now = now
        self._term = term
        self._last = mailbox_rows.last_number(db)
        self._rooms: list[_Room] = []
        digests.begin(db, self._last)

    def take(self, mailbox: str, lot: Lot) -> Iterable[tuple[int, Verdict]]:
        """Decide about the envelopes for one mailbox, each knowing those before it; give those that are not CREATED."""
        load = mailbox_rows.load_of(self._db, mailbox)
        if load is None:
            return [(place, NotFound("there is no such mailbox")) for place in lot.places]
        room = _Room(load, self._limits, self._term)
        self._rooms.append(room)
        envelopes, marks = lot.envelopes, list(map(hash, lot.envelopes))
        asked: list[int | None] = [lot.asked.get(place) for place in lot.places] if lot.asked else []
        candidates = self._digests.candidates(self._db, mailbox, room.number, envelopes, marks)
        if not candidates and len(set(envelopes)) == len(envelopes) and room.take(envelopes, marks, asked):
            return ()
        held, asked = self._held(room.number, candidates), asked or [None] * len(envelopes)
        each = zip(lot.places, envelopes, marks, asked, strict=True)
        return [(place, _take_one(room, held, envelope, mark, expires)) for place, envelope, mark, expires in each]

    def write(self) -> None:
        """Insert what was taken, and count it."""
        for room in self._rooms:
            if room.envelopes:
                self._write(room)

    def _write(self, room: _Room) -> None:
        rows: list[Row] = []
        for (expires, early), envelopes in room.parcels():
            self._last += len(envelopes)
            rows.append((self._last, room.number, expires, early, len(envelopes), *packed(envelopes)))
        mailbox_rows.hold(self._db, rows)
        mailbox_rows.add_load(self._db, room.number, len(room.envelopes), room.size)
        at = 0
        for last, _, _, _, count, _, _ in rows:
            self._digests.add(self._db, room.number, last, room.marks[at : at + count])
            at += count

    def _held(self, mailbox: int, candidates: Mapping[bytes, Sequence[int]]) -> set[bytes]:
        """Return those that one of the parcels named does hold, byte for byte; expired copies are forgotten."""
        wanted: dict[int, set[bytes]] = {}
        for envelope, lasts in candidates.items():
            for last in lasts:
                wanted.setdefault(last, set()).add(envelope)
        held = set[bytes]()
        for last, some in wanted.items():
            expires, envelopes = mailbox_rows.parcel(self._db, last, mailbox)
            found = some.intersection(envelopes)
            if expires > self._now:
                held |= found
            elif found:
                first = last - len(envelopes) + 1
                mailbox_rows.thin(self._db, last, envelopes, [first + envelopes.index(one) for one in found])
        return held


def _take_one(room: _Room, held: set[bytes], envelope: bytes, mark: int, asked: int | None) -> Verdict:
    if envelope in held:
        return ALREADY_HELD
    if not room.take([envelope], [mark], [asked]):
        return RateLimited("the mailbox is full", hint="try again when its owner has collected")
    held.add(envelope)
    return CREATED
