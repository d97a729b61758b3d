# SPDX-License-Identifier: Apache-2.0
"""Attacks that send a genuine envelope a second time: at once, later, after something has changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sealway.adversary.attack import Attack, Expected, NoParameters, Queueing, Tools, Working
from sealway.adversary.dissecting import Header, taken_apart
from sealway.adversary.passing import Kind, Passing
from sealway.wire.envelope import LABEL_KID, LABEL_OPENER, LABEL_START


@dataclass(frozen=True, slots=True)
class LaterParameters:
    """Args: seconds: how long afterwards."""

    seconds: float = 5.0


class Duplicate(Working):
    """The same envelope twice in one go."""

    def meets(self, passing: Passing) -> list[Passing] | None:
        """See ``Working``."""
        return [passing, self.tools.item(passing)]


class ReplayLater(Queueing):
    """Once more, at the next occasion or after a time."""

    parameters: LaterParameters | NoParameters

    def meets(self, passing: Passing) -> list[Passing] | None:
        """See ``Working``."""
        seconds = self.parameters.seconds if isinstance(self.parameters, LaterParameters) else 0.0
        self.send_later(passing, seconds)
        return [passing]


class ReplayStart(ReplayLater):
    """Starts alone."""

    def meets(self, passing: Passing) -> list[Passing] | None:
        """See ``Working``."""
        parts = taken_apart(passing.content)
        return super().meets(passing) if parts is not None and LABEL_START in parts[0] else None


class ReplayAfter(Queueing):
    """Once more, after what an envelope shows in its opener: a key step, or a sender that was opened anew."""

    def __init__(self, parameters: NoParameters, tools: Tools, *, step: bool) -> None:
        super().__init__(parameters, tools)
        self._step = step
        self._waiting: list[tuple[bytes, Passing]] = []
        self._signs = {sign for seen in tools.memory.envelopes() for sign in self._signs_in(seen)}

    @property
    def load(self) -> int:
        """See ``Working``."""
        return len(self._waiting) + super().load

    def meets(self, passing: Passing) -> list[Passing] | None:
        """See ``Working``: it passes, and a copy is kept."""
        parts = taken_apart(passing.content)
        if parts is None or (self._step and LABEL_START in parts[0]):
            return None  # a start goes to another kid than what follows it
        self._waiting.append((parts[0][LABEL_KID], passing))
        return [passing]

    def sees(self, passing: Passing) -> None:
        """See ``Working``."""
        fresh = self._signs_in(passing) - self._signs
        self._signs |= fresh
        for kid, _ in fresh:
            ripe = [row for row in self._waiting if (not self._step or row[0] == kid) and row[1] is not passing]
            for row in ripe:
                self._waiting.remove(row)
                self.send_later(row[1])

    def _signs_in(self, passing: Passing) -> set[tuple[bytes, bytes]]:
        """What an opener shows: (kid, key of a new epoch), or (kid, salt of a reseed)."""
        parts = taken_apart(passing.content) if passing.kind is Kind.ENVELOPE else None
        opener = parts[0].get(LABEL_OPENER) if parts is not None else None
        if parts is None or opener is None:
            return set()
        return {(parts[0][LABEL_KID], shown) for shown in self._shown(parts[0], opener)}

    def _shown(self, header: Header, opener: list[object]) -> list[bytes]:
        wanted = opener[1] if self._step else opener[-1]
        is_there = len(opener) in (2, 5) if self._step else len(opener) in (3, 5)
        return [wanted] if is_there and isinstance(wanted, bytes) else []


def attacks() -> Iterator[Attack]:
    """Every attack of this module."""
    refused = Expected.REFUSED
    yield Attack("duplicate", refused, "Delivers an envelope twice in one go.", Duplicate)
    yield Attack("replay-at-once", refused, "Delivers an envelope again, at the next occasion.", ReplayLater)
    yield Attack(
        "replay-later", refused, "Delivers an envelope again, after a time.", ReplayLater, parameters=LaterParameters
    )
    yield Attack(
        "replay-start", refused, "Delivers a start again, after a time.", ReplayStart, parameters=LaterParameters
    )
    yield Attack(
        "replay-after-step",
        refused,
        "Delivers an envelope again, after its sender has taken a key step.",
        lambda parameters, tools: ReplayAfter(parameters, tools, step=True),
    )
    yield Attack(
        "replay-after-restart",
        refused,
        "Delivers an envelope again, after an end was opened anew, which its next opener shows.",
        lambda parameters, tools: ReplayAfter(parameters, tools, step=False),
    )
