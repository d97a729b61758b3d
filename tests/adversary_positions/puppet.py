# SPDX-License-Identifier: Apache-2.0
"""A middlebox that does what a test tells it, and the hub that stands behind a position."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, cast

from sealway.adversary.middlebox import Middlebox
from sealway.adversary.passing import Kind, Leg, Passing

Decision = Callable[[Passing], list[Passing]]


class Puppet:
    """Honest, except where ``on`` says otherwise."""

    def __init__(self) -> None:
        self.seen: list[Passing] = []
        self.reached: list[Passing] = []
        self.held: dict[tuple[Leg, str], list[Passing]] = defaultdict(list)
        self._decisions: dict[tuple[Kind, Leg], Decision] = {}

    def on(self, kind: Kind, leg: Leg, decision: Decision) -> None:
        """Decide on this kind in this direction from now on."""
        self._decisions[kind, leg] = decision

    def inject(self, passing: Passing) -> None:
        """Let something go when its mailbox is next looked at."""
        self.held[passing.leg, passing.subject].append(passing)

    def pass_on(self, passing: Passing) -> list[Passing]:
        self.seen.append(passing)
        decide: Decision = self._decisions.get((passing.kind, passing.leg), lambda one: [one])
        return decide(passing)

    def due(self, leg: Leg, subject: str) -> list[Passing]:
        return self.held.pop((leg, subject), [])

    def note_reached(self, passing: Passing) -> None:
        self.reached.append(passing)

    def kinds(self) -> set[tuple[Kind, Leg]]:
        """What was decided on."""
        return {(passing.kind, passing.leg) for passing in self.seen}


def box(puppet: Puppet) -> Middlebox:
    """The puppet, as a position takes it."""
    return cast(Middlebox, cast(Any, puppet))
