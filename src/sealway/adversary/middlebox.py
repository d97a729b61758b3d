# SPDX-License-Identifier: Apache-2.0
"""The middlebox: decides on each thing that passes, by the act that is on.

Invariants: it has no key of an endpoint's and needs none; without an act everything passes as it came; what an act
held back is given back when it ends; what is remembered is bounded. Chance comes from one seed, time from outside.
"""

from __future__ import annotations

import random
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from itertools import count
from typing import Final

from sealway.adversary.attack import Act, Expected, Tools, Working
from sealway.adversary.forging import Forger
from sealway.adversary.ledger import Ledger, Tally
from sealway.adversary.memory import Memory
from sealway.adversary.passing import Leg, Passing
from sealway.errors import LocalMisuse, PeerMisbehaved

_MOST_OWN: Final = 65_536
_MOST_CLOSED: Final = 16
"""Acts that are over and have sent something that has not arrived."""
_UNBOUNDED: Final = 1 << 30


class Middlebox:
    """One adversary, wherever and in how many places it stands.

    Args:
        seed: of its chance.
        now: Unix seconds.

    A position calls, for each thing that passes, ``pass_on``; at every deposit to and every look into a mailbox,
    ``due``; and ``note_reached`` with each of the things these gave it, when the next hop has taken it or who asked has
    got it. None of these calls waits for anything.
    """

    def __init__(self, *, seed: int, now: Callable[[], float]) -> None:
        self.memory = Memory()
        self._now = now
        self._random = random.Random(seed)  # noqa: S311 - repeatable on purpose; no key of use to anyone comes from it
        self._forger = Forger(self._random.randbytes, now)
        self._numbers = count(1)
        self._own: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._given_back: defaultdict[tuple[Leg, str], list[Passing]] = defaultdict(list)
        self._act: Act | None = None
        self._working: Working | None = None
        self._ledger: Ledger | None = None
        self._closed: deque[Ledger] = deque(maxlen=_MOST_CLOSED)
        self._eligible = 0
        self._ends_at = 0.0

    # acts ------------------------------------------------------------------------------------------------------
    def begin(self, act: Act) -> None:
        """Begin an act. Raises LocalMisuse while another is on."""
        if self._act is not None:
            raise LocalMisuse("another act is on; end it first")
        self._ledger = Ledger(act.attack.name, act.attack.expected)
        tools = Tools(
            self._random, self._now, self.memory, self._forger, self._ledger, lambda: next(self._numbers), self._room,
            act.concerns,
        )  # fmt: skip
        self._act, self._working = act, act.attack.work(act.parameters, tools)
        self._eligible, self._ends_at = 0, self._now() + act.select.seconds

    def end(self) -> Tally:
        """End the act, give back what it held, and return its account. Raises LocalMisuse if none is on."""
        return self.close().tally()

    def close(self) -> Ledger:
        """As ``end``; what the act has sent and has not arrived yet is still noted in the account that is returned."""
        if self._working is None or self._ledger is None:
            raise LocalMisuse("no act is on")
        for original in self._working.stop():
            self._given_back[original.leg, original.subject].append(original)
        ledger = self._ledger
        if ledger.pending:
            self._closed.append(ledger)
        self._act = self._working = self._ledger = None
        return ledger

    @property
    def tally(self) -> Tally | None:
        """The account of the act that is on, as it stands."""
        return self._ledger.tally() if self._ledger is not None else None

    @property
    def holds(self) -> int:
        """How many originals the act that is on has taken up and will do something with yet."""
        return self._working.load if self._working is not None else 0

    @property
    def is_over(self) -> bool:
        """True if the act has done all that it may, or its time is up, and all that it made has arrived."""
        if self._ledger is None or self._working is None or self._ledger.pending:
            return False
        has_done_all = not self._lasts and not self._working.load and self._room() == 0
        return self._time_is_up() or has_done_all

    @property
    def _lasts(self) -> bool:
        """What is to be reported must last until it is."""
        return self._act is not None and self._act.attack.expected is Expected.REPORTED

    def _time_is_up(self) -> bool:
        return self._now() >= self._ends_at

    def _room(self) -> int:
        act, ledger, working = self._act, self._ledger, self._working
        if act is None or ledger is None or self._time_is_up():
            return 0
        if act.select.count is None:
            return _UNBOUNDED
        return max(0, act.select.count - ledger.tried - (working.load if working is not None else 0))

    # what passes -----------------------------------------------------------------------------------------------
    def pass_on(self, passing: Passing) -> list[Passing]:
        """Return what goes on instead of this, now: itself, nothing, other things, more than one.

        Of a document (``passing.DOCUMENTS``) and of a verdict at most one; nothing means "not found".
        """
        if (passing.subject, passing.digest) in self._own:
            return [passing]
        self.memory.saw(passing)
        outcome = self._decided(passing)
        if self._working is not None:
            self._working.sees(passing)
        return [passing] if outcome is None else self._noted(outcome, passing)

    def due(self, leg: Leg, subject: str) -> list[Passing]:
        """Return what was held, or is injected, and is to go there now."""
        going = self._given_back.pop((leg, subject), [])
        if self._working is not None:
            going += self._noted(self._working.due(leg, subject), None)
        return going

    def note_reached(self, passing: Passing) -> None:
        """Take note that the next hop took this, or that it was handed to who asked."""
        for ledger in (*self._closed, *([self._ledger] if self._ledger is not None else [])):
            ledger.arrived(passing)

    def _decided(self, passing: Passing) -> list[Passing] | None:
        act, working = self._act, self._working
        if act is None or working is None or passing.kind not in act.attack.kinds:
            return None
        if not act.concerns(passing.leg, passing.subject):
            return None
        if working.again(passing):
            return working.meets(passing)
        if self._room() == 0:
            return None
        self._eligible += 1
        return self._met(working, passing) if self._eligible % act.select.every == 0 else None

    @staticmethod
    def _met(working: Working, passing: Passing) -> list[Passing] | None:
        try:
            return working.meets(passing)
        except PeerMisbehaved:
            return None  # it is not what should pass here, and nothing can be made of it

    def _noted(self, outcome: list[Passing], original: Passing | None) -> list[Passing]:
        """Remember what is not genuine, so that it is not taken for an original where it passes a second time."""
        for passing in outcome:
            if passing.item is not None and not self._is_genuine(passing, original):
                self._own[passing.subject, passing.digest] = None
                if len(self._own) > _MOST_OWN:
                    self._own.popitem(last=False)
        return outcome

    def _is_genuine(self, passing: Passing, original: Passing | None) -> bool:
        if original is not None and passing.content == original.content:
            return True
        return self.memory.has_envelope(passing.digest)
