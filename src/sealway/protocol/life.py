# SPDX-License-Identifier: Apache-2.0
"""How a session goes on, as tables: which state follows which, and on what.

The code of this package decides by the fields of a session, each rule where it belongs; here they stand together. Tests
drive real ends and watch them: no step is taken that is not in a table, and each that is in one is taken. The diagrams
of spec/diagrams.md are drawn from them. Steps that lead back to the same state are left out, unless something is done.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final, NamedTuple

from sealway.protocol.receiptclock import ReceiptClock
from sealway.protocol.session import Session


class Step(NamedTuple):
    """From one state to the next. ``before`` is None where something begins, ``after`` where it is forgotten."""

    before: Enum | None
    on: str
    after: Enum | None


@dataclass(frozen=True, slots=True)
class Machine:
    """One table.

    Args:
        name: one word, for links and files.
        title: what goes through these states.
    """

    name: str
    title: str
    states: type[Enum]
    steps: tuple[Step, ...]

    def allows(self, before: Enum | None, after: Enum | None) -> bool:
        """Say whether a step from one of these states to the other stands in the table; to itself it always does."""
        return before is after or any((step.before, step.after) == (before, after) for step in self.steps)


class Life(StrEnum):
    """What a session still has to prove to the peer before it is the plain steady thing."""

    UNANSWERED = "unanswered"
    """The initiator shows the start with every message."""
    UNCONFIRMED = "unconfirmed"
    """The responder names its kid in every message."""
    ESTABLISHED = "established"
    STOPPED = "stopped"
    """It neither seals nor opens any more."""


class Turn(StrEnum):
    """Who may step next, and whether this end must renew its chain before it seals."""

    OWED = "has the turn and no chain yet"
    HELD = "has the turn"
    AWAITED = "waits for the peer's step"
    HELD_ANEW = "has the turn, state opened anew"
    AWAITED_ANEW = "waits, state opened anew"


class Telling(StrEnum):
    """What of the peer's messages no receipt has told it of yet."""

    NOTHING = "nothing to tell"
    BARE = "bare receipts only"
    MESSAGES = "messages"
    DUE = "due within T-ack"


def life_of(session: Session) -> Life:
    """Return where a session is in its life."""
    if session.stopped is not None:
        return Life.STOPPED
    if session.start is not None:
        return Life.UNANSWERED
    return Life.UNCONFIRMED if session.announce_kid else Life.ESTABLISHED


def turn_of(session: Session) -> Turn:
    """Return whose turn it is, as this end knows it."""
    if session.send.epoch is None:
        return Turn.OWED
    if session.send.must_reseed:
        return Turn.HELD_ANEW if session.my_turn else Turn.AWAITED_ANEW
    return Turn.HELD if session.my_turn else Turn.AWAITED


def telling_of(clock: ReceiptClock) -> Telling:
    """Return what a receipt sealed now would be the first to tell of."""
    if clock.due_ms is not None:
        return Telling.DUE
    if clock.waiting:
        return Telling.MESSAGES
    return Telling.BARE if clock.quiet else Telling.NOTHING


def _each(before: Iterable[Enum | None], on: str, after: Enum | None) -> tuple[Step, ...]:
    return tuple(Step(state, on, after) for state in before)


_ALIVE: Final = (Life.UNANSWERED, Life.UNCONFIRMED, Life.ESTABLISHED)

LIFE: Final = Machine(
    "life",
    "A session at one end",
    Life,
    (
        Step(None, "start made", Life.UNANSWERED),
        Step(None, "start accepted", Life.UNCONFIRMED),
        Step(Life.UNANSWERED, "first reply opened", Life.ESTABLISHED),
        Step(Life.UNCONFIRMED, "message without a start header opened", Life.ESTABLISHED),
        *_each(_ALIVE, "forked or lost state proven, or failed-opens reached", Life.STOPPED),
        *_each(Life, "idle for held-for, and nothing owed", None),
    ),
)

TURN: Final = Machine(
    "turn",
    "The turn of the ratchet at one end",
    Turn,
    (
        Step(None, "start accepted", Turn.OWED),
        Step(None, "start made", Turn.AWAITED),
        Step(Turn.OWED, "anything sealed, by a step", Turn.AWAITED),
        Step(Turn.AWAITED, "the peer's step opened", Turn.HELD),
        Step(Turn.HELD, "message sealed when a step is due, by that step", Turn.AWAITED),
        Step(Turn.HELD, "state opened anew", Turn.HELD_ANEW),
        Step(Turn.AWAITED, "state opened anew", Turn.AWAITED_ANEW),
        Step(Turn.HELD_ANEW, "anything sealed, by a reseed", Turn.HELD),
        Step(Turn.HELD_ANEW, "message sealed when a step is due, by that step", Turn.AWAITED),
        Step(Turn.AWAITED_ANEW, "anything sealed, by a reseed", Turn.AWAITED),
        Step(Turn.AWAITED_ANEW, "the peer's step opened", Turn.HELD_ANEW),
    ),
)

TELLING: Final = Machine(
    "receipts",
    "What is still to be told in a receipt",
    Telling,
    (
        Step(None, "session begun", Telling.NOTHING),
        Step(Telling.NOTHING, "bare receipt opened", Telling.BARE),
        *_each((Telling.NOTHING, Telling.BARE), "message opened", Telling.MESSAGES),
        *_each(
            (Telling.NOTHING, Telling.BARE, Telling.MESSAGES),
            "start, opener, replay, suspicion, or own void numbers listed as missing",
            Telling.DUE,
        ),
        *_each((Telling.BARE, Telling.MESSAGES, Telling.DUE), "receipt sealed", Telling.NOTHING),
    ),
)
