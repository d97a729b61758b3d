# SPDX-License-Identifier: Apache-2.0
"""What an adversary did and what the ends say, put together: one row for each attack, and what is wrong with it.

Pure: it takes the adversary's account and the ends' evidence as plain values, so tests and the demo judge alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from sealway.adversary.attack import Attack, Expected
from sealway.adversary.catalogue import ATTACKS
from sealway.adversary.ledger import Tally

Sent: TypeAlias = tuple[str, str, str]
"""Who sent it, to whom, and what tells it from every other message between these two."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the ends and their users saw, while the act was on and until all was settled after it.

    Args:
        refused: (digest, name of the error), one for each refusal that an endpoint told of.
        reported: how often each thing was reported: the names of events, and of errors that a call raised.
        sent: every message that was handed to an endpoint to be sent, once.
        handled: every message that a handler got, as often as it got it.
        late: how many commands were executed after they had ceased to be fresh.
        accepted: how many sessions were accepted of a flood of authentic starts.
    """

    refused: Sequence[tuple[str, str]] = ()
    reported: Mapping[str, int] = field(default_factory=dict)
    sent: Sequence[Sent] = ()
    handled: Sequence[Sent] = ()
    late: int = 0
    accepted: int = 0

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Evidence:
        """Read what was JSON: the same names, lists in place of tuples. Raises KeyError, TypeError, ValueError."""
        return cls(
            [(str(digest), str(error)) for digest, error in plain["refused"]],
            dict(plain.get("reported", {})),
            _messages(plain["sent"]),
            _messages(plain["handled"]),
            int(plain.get("late", 0)),
            int(plain.get("accepted", 0)),
        )


def judge(tally: Tally, evidence: Evidence) -> dict[str, Any]:
    """Return the row of an attack, as it stands in the demo's evidence.

    ``wrong_at_handler``: messages that a handler got and nobody sent, or got once more, or too late.
    ``undetected``: harmful items without a refusal; originals that never arrived; what was to be reported and was not.
    """
    attack = ATTACKS[tally.name]
    return {
        "name": tally.name,
        "tried": tally.tried,
        "reached_network": tally.reached_network,
        "expected": str(tally.expected),
        "wrong_at_handler": _wrong(evidence),
        "undetected": _undetected(attack, tally, evidence),
        "reported_as": _reported_as(attack, tally, evidence),
    }


def faults(row: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a row, in words; nothing if it is as it should be."""
    found = []
    if not row["tried"]:
        found.append("nothing was tried")
    if row["reached_network"] != row["tried"]:
        found.append(f"{row['tried'] - row['reached_network']} of {row['tried']} did not reach the network")
    if row["wrong_at_handler"]:
        found.append(f"{row['wrong_at_handler']} wrong at a handler")
    if row["undetected"]:
        found.append(f"{row['undetected']} undetected")
    return found


def _wrong(evidence: Evidence) -> int:
    handled, sent = Counter(evidence.handled), set(evidence.sent)
    foreign = sum(times for message, times in handled.items() if message not in sent)
    again = sum(times - 1 for message, times in handled.items() if message in sent)
    return foreign + again + evidence.late


def _undetected(attack: Attack, tally: Tally, evidence: Evidence) -> int:
    if attack.expected is Expected.REPORTED:
        return 0 if any(evidence.reported.get(name) for name in attack.reports) else tally.tried
    lost = len(set(evidence.sent) - set(evidence.handled))
    if attack.expected is Expected.HEALED:
        return lost
    return lost + max(0, not_refused(tally, evidence) - min(evidence.accepted, attack.tolerated))


def not_refused(tally: Tally, evidence: Evidence) -> int:
    """Return the number of items that no refusal stands against; each refusal stands against one."""
    delivered = Counter(digest for digest, _ in tally.items)
    refusals = Counter(digest for digest, _ in evidence.refused)
    return (delivered - refusals).total()


def _reported_as(attack: Attack, tally: Tally, evidence: Evidence) -> dict[str, int]:
    items = {digest for digest, _ in tally.items}
    told = Counter(error for digest, error in evidence.refused if digest in items)
    if attack.expected is Expected.REPORTED:
        told.update({name: evidence.reported.get(name, 0) for name in attack.reports})
    return {name: times for name, times in sorted(told.items()) if times}


def _messages(rows: Iterable[Sequence[Any]]) -> list[Sent]:
    return [(str(sender), str(receiver), str(what)) for sender, receiver, what in rows]
