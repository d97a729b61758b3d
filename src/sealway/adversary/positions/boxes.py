# SPDX-License-Identifier: Apache-2.0
"""Mailboxes as whoever stands before them hands them out: what the next hop has, after the middlebox has decided on it.

Invariants: each item of the next hop is decided on once, however often it is brought; what is handed out is handed out
again until it is acknowledged, as every hop does; what stays here is bounded.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from sealway.adversary.middlebox import Middlebox
from sealway.adversary.passing import Kind, Leg, Passing

Row: TypeAlias = tuple[str, int, bytes]
"""Mailbox, the hop's sequence number, envelope: as in the wire's Collected."""

FIRST_INVENTED: Final = 1 << 62
"""Sequence numbers from here on are this position's own; no hop gets so far."""

MOST_WAITING: Final = 4_096
MOST_SETTLED: Final = 65_536
MOST_MAILBOXES: Final = 4_096


@dataclass(slots=True)
class _Box:
    waiting: OrderedDict[int, Passing] = field(default_factory=OrderedDict)
    handed: set[int] = field(default_factory=set)


class Boxes:
    """All mailboxes of one position.

    Args:
        middlebox: decides on each item.
    """

    def __init__(self, middlebox: Middlebox) -> None:
        self._middlebox = middlebox
        self._boxes: OrderedDict[str, _Box] = OrderedDict()
        self._settled: OrderedDict[tuple[str, int, bytes], None] = OrderedDict()
        self._next_invented = FIRST_INVENTED

    def arrived(self, rows: Iterable[Row]) -> list[tuple[str, int]]:
        """Take in what the next hop brought; return what it can forget, since the middlebox replaced or dropped it."""
        swallowed = []
        for mailbox, sequence, envelope in rows:
            box, key = self._box(mailbox), (mailbox, sequence, hashlib.sha256(envelope).digest())
            if sequence in box.waiting:
                continue
            if key in self._settled or not self._decided(box, Passing(Kind.ENVELOPE, Leg.DOWN, *_of(key, envelope))):
                swallowed.append((mailbox, sequence))
            self._settle(key)
        return swallowed

    def ready(self, mailboxes: Sequence[str], most: int) -> list[Row]:
        """Return what is to be handed out now, the oldest first: nothing of it is forgotten before ``acknowledged``."""
        rows: list[Row] = []
        for mailbox in mailboxes:
            box = self._box(mailbox)
            for passing in self._middlebox.due(Leg.DOWN, mailbox):
                self._invent(box, passing)
            rows += [(mailbox, sequence, passing.content) for sequence, passing in box.waiting.items()]
        return rows[:most]

    def has_news(self, mailbox: str) -> bool:
        """Say whether anything is to be handed out that was not yet."""
        box = self._box(mailbox)
        for passing in self._middlebox.due(Leg.DOWN, mailbox):
            self._invent(box, passing)
        return any(sequence not in box.handed for sequence in box.waiting)

    def handed_out(self, rows: Iterable[Row]) -> None:
        """Note that these were really given to who collects."""
        for mailbox, sequence, _ in rows:
            box = self._box(mailbox)
            passing = box.waiting.get(sequence)
            if passing is not None and sequence not in box.handed:
                box.handed.add(sequence)
                self._middlebox.note_reached(passing)

    def acknowledged(self, mailbox: str, sequences: Iterable[int]) -> list[int]:
        """Forget what was acknowledged; return the numbers that mean something to the next hop."""
        box, genuine = self._box(mailbox), []
        for sequence in sequences:
            box.waiting.pop(sequence, None)
            box.handed.discard(sequence)
            if sequence < FIRST_INVENTED:
                genuine.append(sequence)
        return genuine

    def _decided(self, box: _Box, original: Passing) -> bool:
        """Let the middlebox decide; return whether the original itself is among what goes on."""
        outcome = self._middlebox.pass_on(original)
        kept = next((at for at, one in enumerate(outcome) if one is original), None)
        if kept is None:  # the same bytes, sent in the adversary's own way
            kept = next((at for at, one in enumerate(outcome) if one.content == original.content), None)
        for at, one in enumerate(outcome):
            if at == kept and original.sequence is not None:
                self._wait(box, original.sequence, one)
            else:
                self._invent(box, one)
        return kept is not None

    def _invent(self, box: _Box, passing: Passing) -> None:
        self._wait(box, self._next_invented, passing)
        self._next_invented += 1

    def _wait(self, box: _Box, sequence: int, passing: Passing) -> None:
        box.waiting[sequence] = passing
        if len(box.waiting) > MOST_WAITING:
            forgotten, _ = box.waiting.popitem(last=False)
            box.handed.discard(forgotten)

    def _box(self, mailbox: str) -> _Box:
        box = self._boxes.setdefault(mailbox, _Box())
        self._boxes.move_to_end(mailbox)
        if len(self._boxes) > MOST_MAILBOXES:
            self._boxes.popitem(last=False)
        return box

    def _settle(self, key: tuple[str, int, bytes]) -> None:
        self._settled[key] = None
        if len(self._settled) > MOST_SETTLED:
            self._settled.popitem(last=False)


def _of(key: tuple[str, int, bytes], envelope: bytes) -> tuple[str, bytes, int]:
    mailbox, sequence, _ = key
    return mailbox, envelope, sequence
