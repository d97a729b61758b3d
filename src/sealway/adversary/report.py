# SPDX-License-Identifier: Apache-2.0
"""What an adversary reports of itself: what it tried, what reached the network; as JSON and as text.

It knows nothing of what the ends made of it: verdict.py puts both together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sealway.adversary.catalogue import ATTACKS
from sealway.adversary.play import Performed
from sealway.adversary.scenario import Scenario


def as_plain(scenario: Scenario, performed: Sequence[Performed]) -> dict[str, Any]:
    """Return the report as a value for JSON; ``items`` are [digest, mailbox or other subject]."""
    return {
        "scenario": scenario.name,
        "seed": scenario.seed,
        "acts": [_plain(act) for act in performed],
        "not_performed": [act.attack.name for act in scenario.acts[len(performed) :]],
    }


def as_text(scenario: Scenario, performed: Sequence[Performed]) -> str:
    """Return the report as lines for a terminal."""
    width = max([len(act.tally.name) for act in performed], default=0)
    lines = [f"{scenario.name}, seed {scenario.seed}"]
    for act in performed:
        tally = act.tally
        outcome = act.failure or f"{tally.tried:6} tried, {tally.reached_network:6} reached the network"
        lines.append(f"  {tally.name:{width}}  {outcome}  (to be {tally.expected})")
    left = [act.attack.name for act in scenario.acts[len(performed) :]]
    return "\n".join([*lines, f"  not performed: {', '.join(left)}"] if left else lines)


def attacks_as_text() -> str:
    """Return every attack with what it does and what sound ends make of it."""
    width = max(map(len, ATTACKS))
    return "\n".join(f"{name:{width}}  {a.expected:8}  {a.says}" for name, a in sorted(ATTACKS.items()))


def _plain(act: Performed) -> dict[str, Any]:
    tally = act.tally
    plain: dict[str, Any] = {
        "name": tally.name,
        "expected": str(tally.expected),
        "tried": tally.tried,
        "reached_network": tally.reached_network,
        "began": act.began,
        "ended": act.ended,
        "items": [list(item) for item in tally.items],
    }
    return plain | ({"failure": act.failure} if act.failure else {})
