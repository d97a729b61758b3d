# SPDX-License-Identifier: Apache-2.0
"""The judging by itself: what counts as wrong, and as undetected."""

from __future__ import annotations

from typing import Any

import pytest

from sealway.adversary.catalogue import ATTACKS
from sealway.adversary.ledger import Tally
from sealway.adversary.verdict import Evidence, faults, judge

A, B = ("meter", "ops", "1"), ("meter", "ops", "2")


def row(name: str, *items: str, tried: int | None = None, **evidence: Any) -> dict[str, Any]:
    made = tuple((digest, "mailbox") for digest in items)
    tally = Tally(name, ATTACKS[name].expected, len(items) if tried is None else tried, len(items), made)
    return judge(tally, Evidence(**evidence))


def test_each_delivery_needs_a_refusal_of_its_own() -> None:
    assert row("replay-later", "x", "x", refused=[("x", "Replayed")])["undetected"] == 1
    green = row("replay-later", "x", "x", refused=[("x", "Replayed"), ("x", "Replayed"), ("y", "Stale")])
    assert green["undetected"] == 0 and green["reported_as"] == {"Replayed": 2} and not faults(green)


@pytest.mark.parametrize("name", ["tamper-tag", "drop-some"])
def test_what_never_arrived_is_undetected(name: str) -> None:
    refused = [("x", "NotAuthentic")]
    assert row(name, "x", refused=refused, sent=[A, B], handled=[A])["undetected"] == 1
    assert row(name, "x", refused=refused, sent=[A, B], handled=[B, A])["undetected"] == 0


def test_what_nobody_sent_or_came_again_or_too_late_is_wrong() -> None:
    assert row("drop-some", "x", sent=[A], handled=[A, A, A, B], late=1)["wrong_at_handler"] == 4


def test_what_is_to_be_reported_must_be() -> None:
    assert row("silence", "x", "y", sent=[A])["undetected"] == 2
    told = row("silence", "x", "y", sent=[A], reported={"Silent": 3, "NotFound": 1})
    assert told["undetected"] == 0 and told["reported_as"] == {"Silent": 3}


def test_a_stranger_gets_as_many_sessions_as_are_bounded() -> None:
    items = [f"{n}" for n in range(40)]
    refused = [(digest, "RateLimited") for digest in items[32:]]
    assert row("flood-stranger", *items, refused=refused, accepted=32)["undetected"] == 0
    assert row("flood-stranger", *items, refused=refused[1:], accepted=33)["undetected"] == 1
    assert row("flood-noise", "x", accepted=1)["undetected"] == 1


def test_the_faults_in_words() -> None:
    bad = row("tamper-tag", "x", tried=2, sent=[], handled=[A])
    assert faults(bad) == ["1 of 2 did not reach the network", "1 wrong at a handler", "1 undetected"]
    assert faults(row("drop-some")) == ["nothing was tried"]


def test_evidence_comes_from_json() -> None:
    plain = {"refused": [["x", "Stale"]], "sent": [list(A)], "handled": [list(A)], "reported": {"Silent": 1}}
    assert Evidence.from_plain(plain) == Evidence([("x", "Stale")], {"Silent": 1}, [A], [A])
    with pytest.raises(KeyError):
        Evidence.from_plain({})
