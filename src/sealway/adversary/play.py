# SPDX-License-Identifier: Apache-2.0
"""A scenario performed: one act after the other, each until it has done all that it may or its time is up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sealway.adversary.ledger import Tally
from sealway.adversary.middlebox import Middlebox
from sealway.adversary.scenario import Scenario
from sealway.errors import LocalMisuse

GRACE_S: Final = 10.0
"""How long an act whose time is up may still wait for what it has sent to arrive."""


@dataclass(frozen=True, slots=True)
class Performed:
    """An act that is over: its account, when it began and ended (Unix seconds), and why it could not begin, if so."""

    tally: Tally
    began: float
    ended: float
    failure: str = ""


class Play:
    """A scenario on a middlebox. Nothing here waits: whoever performs it calls ``look`` now and then.

    Args:
        scenario: what to do.
        middlebox: who does it.
        now: Unix seconds.
    """

    def __init__(self, scenario: Scenario, middlebox: Middlebox, now: Callable[[], float]) -> None:
        self.scenario = scenario
        self.performed: list[Performed] = []
        self._middlebox, self._now = middlebox, now
        self._began = 0.0
        self._is_on = False

    @property
    def is_over(self) -> bool:
        """True if there is no act left."""
        return not self._is_on and len(self.performed) == len(self.scenario.acts)

    @property
    def act_on(self) -> str:
        """The name of the attack that is on; empty if none is."""
        return self.scenario.acts[len(self.performed)].attack.name if self._is_on else ""

    def look(self) -> None:
        """End the act that is over, begin the next."""
        if self._is_on and (self._middlebox.is_over or self._is_overdue()):
            self._end()
        if not self._is_on and not self.is_over:
            self._begin()

    def stop(self) -> None:
        """End the act that is on; the others are not performed."""
        if self._is_on:
            self._end()

    def _begin(self) -> None:
        act, self._began = self.scenario.acts[len(self.performed)], self._now()
        try:
            self._middlebox.begin(act)
        except LocalMisuse as failure:
            nothing = Tally(act.attack.name, act.attack.expected, 0, 0, ())
            self.performed.append(Performed(nothing, self._began, self._began, failure.message))
        else:
            self._is_on = True

    def _end(self) -> None:
        self._is_on = False
        self.performed.append(Performed(self._middlebox.end(), self._began, self._now()))

    def _is_overdue(self) -> bool:
        seconds = self.scenario.acts[len(self.performed)].select.seconds
        return self._now() >= self._began + seconds + GRACE_S
