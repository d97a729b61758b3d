# SPDX-License-Identifier: Apache-2.0
"""Attacks that withhold, delay and reorder: what every hop can do, and what nobody can prevent, only notice."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from sealway.adversary.attack import Attack, Expected, NoParameters, Tools, Working
from sealway.adversary.dissecting import header_of
from sealway.adversary.passing import DOCUMENTS, Kind, Leg, Passing
from sealway.wire.envelope import LABEL_CLAIMS, LABEL_START

BOTH: Final = frozenset(Leg)
_TOPIC: Final = -65537
_MOST_REMEMBERED: Final = 4_096

Wanted = Callable[[Passing, Any], bool]


@dataclass(frozen=True, slots=True)
class SizeParameters:
    """Args: most_bytes: of an envelope that is small."""

    most_bytes: int = 96


@dataclass(frozen=True, slots=True)
class HoldParameters:
    """Args: seconds: how long each is held; least_bytes: smaller ones, as bare receipts are, pass."""

    seconds: float = 5.0
    least_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ReorderParameters:
    """Args: together: how many are turned round; seconds: after which fewer are."""

    together: int = 4
    seconds: float = 2.0


class Withholding(Working):
    """Lets the chosen disappear; whoever offered them is told that they were taken."""

    def __init__(self, parameters: Any, tools: Tools, wanted: Wanted) -> None:
        super().__init__(parameters, tools)
        self._wanted = wanted

    def meets(self, passing: Passing) -> list[Passing] | None:
        """See ``Working``."""
        if not self._wanted(passing, self.parameters):
            return None
        self.tools.ledger.withheld(passing)
        return []


class ForGood(Working):
    """Lets an envelope disappear, and each later offer of the very same one."""

    def __init__(self, parameters: NoParameters, tools: Tools) -> None:
        super().__init__(parameters, tools)
        self._gone: OrderedDict[str, None] = OrderedDict()

    def meets(self, passing: Passing) -> list[Passing] | None:
        """See ``Working``."""
        self.tools.ledger.withheld(passing)
        self._gone[passing.digest] = None
        if len(self._gone) > _MOST_REMEMBERED:
            self._gone.popitem(last=False)
        return []

    def again(self, passing: Passing) -> bool:
        """See ``Working``."""
        return passing.digest in self._gone


class Holding(Working):
    """Keeps originals back and delivers them later."""

    def __init__(self, parameters: Any, tools: Tools) -> None:
        super().__init__(parameters, tools)
        self._held: list[tuple[float, Passing]] = []

    @property
    def load(self) -> int:
        """See ``Working``."""
        return len(self._held)

    def meets(self, passing: Passing) -> list[Passing] | None:
        """See ``Working``."""
        if isinstance(self.parameters, HoldParameters) and len(passing.content) < self.parameters.least_bytes:
            return None
        if not self.again(passing):
            self._held.append((self.tools.now(), passing))
        return []

    def again(self, passing: Passing) -> bool:
        """See ``Working``: while an envelope is held, its sender may offer it again in vain."""
        return any(held.digest == passing.digest for _, held in self._held)

    def due(self, leg: Leg, subject: str) -> list[Passing]:
        """See ``Working``."""
        since = self.tools.now() - self.parameters.seconds
        there = [row for row in self._held if (row[1].leg, row[1].subject) == (leg, subject)]
        ripe = self._ripe(there, since)
        for row in ripe:
            self._held.remove(row)
        return [self.tools.item(passing) for _, passing in ripe]

    def stop(self) -> list[Passing]:
        """See ``Working``."""
        return [passing for _, passing in self._held]

    def _ripe(self, there: list[tuple[float, Passing]], since: float) -> list[tuple[float, Passing]]:
        return [row for row in there if row[0] <= since]


class Reordering(Holding):
    """Keeps several back and delivers them the other way round."""

    def _ripe(self, there: list[tuple[float, Passing]], since: float) -> list[tuple[float, Passing]]:
        waited = bool(there) and there[0][0] <= since
        return list(reversed(there)) if len(there) >= self.parameters.together or waited else []


def _everything(passing: Passing, parameters: Any) -> bool:
    return True


def _is_small(passing: Passing, parameters: SizeParameters) -> bool:
    return len(passing.content) <= parameters.most_bytes


def _is_start(passing: Passing, parameters: Any) -> bool:
    return LABEL_START in header_of(passing.content)


def _has_topic(passing: Passing, parameters: Any) -> bool:
    return _TOPIC in header_of(passing.content).get(LABEL_CLAIMS, {})


def _withholding(wanted: Wanted) -> Callable[[Any, Tools], Working]:
    return lambda parameters, tools: Withholding(parameters, tools, wanted)


def attacks() -> Iterator[Attack]:
    """Every attack of this module."""
    healed = Expected.HEALED
    yield Attack("drop-some", healed, "Lets some envelopes disappear.", _withholding(_everything))
    yield Attack(
        "drop-everything", healed, "Lets everything disappear, for a while.", _withholding(_everything), legs=BOTH
    )
    yield Attack(
        "drop-small",
        healed,
        "Lets all small envelopes disappear, as most receipts are.",
        _withholding(_is_small),
        parameters=SizeParameters,
    )
    yield Attack("drop-starts", healed, "Lets all starts disappear.", _withholding(_is_start))
    yield Attack(
        "drop-with-topic", healed, "Lets all that discloses a topic disappear.", _withholding(_has_topic)
    )  # fmt: skip
    yield Attack(
        "accept-and-drop",
        healed,
        "Acknowledges what is deposited, and lets it disappear.",
        _withholding(_everything),
        legs=frozenset({Leg.UP}),
    )
    yield Attack(
        "acknowledge-unheard",
        healed,
        "Tells the hub that an endpoint has what it never got.",
        _withholding(_everything),
    )
    yield Attack(
        "swallow-acknowledgements",
        healed,
        "Keeps acknowledgements from the hub, so everything is served again.",
        _withholding(_everything),
        kinds=frozenset({Kind.ACKNOWLEDGEMENT}),
        legs=frozenset({Leg.UP}),
    )
    yield Attack("delay", healed, "Delivers later.", Holding, parameters=HoldParameters)
    yield Attack("reorder", healed, "Delivers in another order.", Reordering, parameters=ReorderParameters)
    yield Attack(
        "hold-commands",
        Expected.REFUSED,
        "Holds commands for longer than they are fresh, and then delivers them.",
        Holding,
        parameters=HoldParameters,
    )
    yield Attack(
        "silence",
        Expected.REPORTED,
        "Withholds everything for so long that the ends say so.",
        _withholding(_everything),
        legs=BOTH,
        reports=frozenset({"Silent", "Unacknowledged", "Missing"}),
    )
    yield Attack(
        "withhold-for-good",
        Expected.REPORTED,
        "Withholds some messages, however often they are offered.",
        ForGood,
        reports=frozenset({"Missing", "Unacknowledged"}),
    )
    yield Attack(
        "deny-directory",
        Expected.REPORTED,
        "Answers that there is no such bundle, certificate or root document.",
        _withholding(_everything),
        kinds=DOCUMENTS,
        reports=frozenset({"NotFound", "TransportFailed"}),
    )
