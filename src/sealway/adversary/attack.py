# SPDX-License-Identifier: Apache-2.0
"""What an attack is: a description that scenarios name, and the working half that decides on what passes."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sealway.adversary.forging import Forger
from sealway.adversary.ledger import Ledger
from sealway.adversary.memory import Memory
from sealway.adversary.passing import Kind, Leg, Passing


class Expected(StrEnum):
    """What sound ends make of an attack."""

    REFUSED = "refused"
    """Each harmful thing that an end is handed, it refuses with a typed error."""
    HEALED = "healed"
    """No harm lies in any single thing; every original arrives at last, exactly once."""
    REPORTED = "reported"
    """It cannot be undone from where the ends are; they say so."""


@dataclass(frozen=True, slots=True)
class NoParameters:
    """An attack that needs none."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What of the traffic an act takes up.

    Args:
        leg: where it stands; None: wherever the attack belongs.
        subjects: mailboxes, names or hashes; empty: all.
        every: each nth of what it could take up.
        count: after so many it is over; None: only time ends it.
        seconds: after this time it is over.
    """

    leg: Leg | None = None
    subjects: frozenset[str] = frozenset()
    every: int = 1
    count: int | None = None
    seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Tools:
    """What an attack may use: chance, the clock, what passed, keys of its own, the account; nothing of an endpoint's.

    Args:
        now: Unix seconds.
        number: gives the next item's number.
        room: how many items the act may still make.
        stands: whether the act concerns this leg and subject.
    """

    random: random.Random
    now: Callable[[], float]
    memory: Memory
    forger: Forger
    ledger: Ledger
    number: Callable[[], int]
    room: Callable[[], int]
    stands: Callable[[Leg, str], bool]

    def item(self, like: Passing, content: bytes | None = None, *, subject: str | None = None) -> Passing:
        """Return a thing of the adversary's own that goes on: a copy of ``like``, with other bytes or to elsewhere."""
        made = Passing(
            like.kind,
            like.leg,
            like.subject if subject is None else subject,
            like.content if content is None else content,
            None,
            self.number(),
        )
        self.ledger.goes_on(made)
        return made


class Working:
    """An attack under way. As it stands here it lets everything pass.

    Args:
        parameters: of the attack's own type.
        tools: see ``Tools``.
    """

    def __init__(self, parameters: Any, tools: Tools) -> None:
        self.parameters = parameters
        self.tools = tools

    @property
    def load(self) -> int:
        """Originals that are held and will be acted on yet: they count against the act's ``count``."""
        return 0

    def meets(self, passing: Passing) -> list[Passing] | None:
        """Return what goes on instead of an original; None if the attack has no use for it.

        The original itself, if it goes on, is the very same object, and comes first but for what is meant to precede
        it.
        """
        return None

    def again(self, passing: Passing) -> bool:
        """Say whether an original is one that the act took up before and means to keep away, whatever its limits."""
        return False

    def sees(self, passing: Passing) -> None:
        """Take note of any original, selected or not, after it was decided on."""

    def due(self, leg: Leg, subject: str) -> list[Passing]:
        """Return what is to go there now."""
        return []

    def stop(self) -> list[Passing]:
        """Return the originals that are still held, to be given back."""
        return []


class Queueing(Working):
    """An attack that sends things of its own later, when their place is looked at."""

    def __init__(self, parameters: Any, tools: Tools) -> None:
        super().__init__(parameters, tools)
        self._queued: list[tuple[float, Passing]] = []

    @property
    def load(self) -> int:
        """See ``Working``."""
        return len(self._queued)

    def send_later(self, passing: Passing, seconds: float = 0.0) -> None:
        """Send these bytes to their place, some time from now."""
        self._queued.append((self.tools.now() + seconds, passing))

    def due(self, leg: Leg, subject: str) -> list[Passing]:
        """See ``Working``."""
        now = self.tools.now()
        ripe = [row for row in self._queued if row[0] <= now and row[1].leg is leg and row[1].subject == subject]
        for row in ripe:
            self._queued.remove(row)
        return [self.tools.item(passing) for _, passing in ripe]


@dataclass(frozen=True, slots=True)
class Attack:
    """An attack as scenarios, reports and the demo name it.

    Args:
        name: in kebab-case.
        expected: what sound ends make of it.
        says: in one sentence, what it does.
        work: makes its working half.
        kinds: what it takes up.
        parameters: their type, a frozen dataclass whose fields are int, float, str or bool.
        legs: where it stands unless a scenario says otherwise.
        reports: for "reported": what an end says, at least one of these.
        tolerated: for a flood of authentic starts: how many sessions an end may accept of it.
    """

    name: str
    expected: Expected
    says: str
    work: Callable[[Any, Tools], Working]
    kinds: frozenset[Kind] = frozenset({Kind.ENVELOPE})
    parameters: type = NoParameters
    legs: frozenset[Leg] = frozenset({Leg.DOWN})
    reports: frozenset[str] = frozenset()
    tolerated: int = 0


@dataclass(frozen=True, slots=True)
class Act:
    """One attack, with its parameters, on a part of the traffic."""

    attack: Attack
    parameters: Any
    select: Selection = Selection()

    @property
    def legs(self) -> frozenset[Leg]:
        """Where it stands."""
        return self.attack.legs if self.select.leg is None else frozenset({self.select.leg})

    def concerns(self, leg: Leg, subject: str) -> bool:
        """Say whether this leg and subject are among what was selected."""
        return leg in self.legs and (not self.select.subjects or subject in self.select.subjects)
