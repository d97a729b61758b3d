# SPDX-License-Identifier: Apache-2.0
"""The model of the chain rules holds, fails when a rule is taken away, and is a model of this very code."""

from __future__ import annotations

import random as rng
from collections import Counter
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest

from sealway.errors import PeerForked, SealwayError, StateLost
from sealway.protocol.policy import DEFAULT_POLICY
from sealway.protocol.receiptclock import ReceiptClock
from sealway.wire.envelope import Envelope
from spec.model import chains as model
from spec.model import explore
from spec.model.explore import Budget, Violation
from tests.protocol.session_pair import End, ends

SMALL = Budget(seals=4, steps=1, restarts=1, copies=0)
COPIED = Budget(seals=4, steps=2, restarts=0, copies=1)


@pytest.mark.parametrize("budget", [SMALL, COPIED], ids=str)
def test_every_promise_holds_in_every_state(budget: Budget) -> None:
    found = explore.explore(budget)
    assert found.opened
    assert found.replays
    assert bool(found.forks) == bool(found.healed) == bool(budget.copies)


# a model without one of the rules must fail ------------------------------------------------------------------------
def _no_reseed(end: model.End, *, with_receipt: bool, _seal: Any = model.seal) -> Any:
    return _seal(end._replace(must_reseed=False), with_receipt=with_receipt)


def _keeps_its_step_key(end: model.End, root: model.Root, _derives: Any = model.derives_root) -> bool:
    return bool(_derives(end._replace(sending=None), root)) or root[: len(end.root)] == end.root


def _any_chain_may_come_late(*_: object) -> None:
    return None


def _oldest_of_equals(end: model.End, opener: Any, number: int, _find: Any = model.find) -> Any:
    if opener is not None:
        return _find(end, opener, number)
    known = [(c.base.first, -e, -k) for e, p in enumerate(end.epochs) for k, c in enumerate(p.chains)]
    _, e, k = max(entry for entry in known if entry[0] <= number)
    return model.Candidate(end.epochs, -e, -k)


def _keys_stay(chains: list[model.Chain]) -> list[model.Chain]:
    return chains


def _no_opener(*_: object) -> None:
    return None


MUTANTS = {
    "a copy seals on without a reseed": (explore, "seal", _no_reseed, "is used for a second message"),
    "a chain that is learned late is not checked": (model, "_plausible", _any_chain_may_come_late, "twice"),
    "the oldest of equal chains is taken": (model, "find", _oldest_of_equals, "refuses genuine"),
    "a chain's key outlives it": (model, "_closed", _keys_stay, "twice|refuses genuine|still holds"),
    "openers are left out": (model, "_opener", _no_opener, "refuses genuine"),
    "a step leaves its key behind": (explore, "derives_root", _keeps_its_step_key, "still leads to the key"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_model_can_fail(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, name, wrong, expected = MUTANTS[mutant]
    monkeypatch.setattr(module, name, wrong)
    with pytest.raises(Violation, match=expected):
        _explore_all()


def _explore_all() -> None:
    for budget in (*explore.QUICK, Budget(5, 2, 1, 1)):
        explore.explore(budget)


# the model and the code do the same --------------------------------------------------------------------------------
class Pair:
    """A world of the model, and real sessions that do whatever its ends do. What differs is an assertion."""

    def __init__(self, seed: int) -> None:
        self.random = rng.Random(seed)
        self.model = list(explore.beginning(Budget()).ends)
        self.real = list(ends(seed))
        self.shelf: list[tuple[int, model.End, End]] = []
        self.sealed: list[tuple[model.Envelope, bytes]] = []
        self.counts: Counter[str] = Counter()

    def act(self) -> None:
        side = self.random.randrange(2)
        choice = self.random.random()
        if choice < 0.45:
            self._deliver(side)
        elif choice < 0.85:
            self._seal(side)
        elif choice < 0.93:
            self.model[side] = _restarted(self.model[side])
            self.real[side].restart()
        elif choice < 0.97:
            self._copy(side)
        elif self.shelf:
            self._use_copy()

    def _seal(self, side: int) -> None:
        end = self.model[side]
        if end.stopped or (side == 1 and not end.opened):
            return
        steps = end.my_turn and (end.sending is None or self.random.random() < 0.3)
        if steps:
            end = model.step(end)
        if end.sending is not None:
            self.model[side] = self._seal_both(end, self.real[side], steps=steps)

    def _seal_both(self, end: model.End, real: End, *, steps: bool) -> model.End:
        with_receipt = bool(end.opened) and self.random.random() < 0.5
        envelope, end = model.seal(end, with_receipt=with_receipt)
        session = real.session
        session.policy = replace(DEFAULT_POLICY, step_after_messages=0 if steps else 1 << 40)
        with mock.patch.object(ReceiptClock, "rides", return_value=with_receipt):
            sealed = real.seal().envelope
        seen = Envelope.decode(sealed)
        assert seen.number == envelope.number
        shown = envelope.opener if seen.start is None or envelope.opener != _of_start(envelope) else None
        assert (seen.opener is None) == (shown is None)
        if seen.opener is not None and shown is not None:
            assert (seen.opener.chain_first, seen.opener.epoch_first) == (shown.first, shown.epoch_first)
            assert (seen.opener.reseed or (None,))[0] == (shown.reseed or (None,))[0]
        self.sealed.append((envelope, sealed))
        self.counts["sealed"] += 1
        return end

    def _deliver(self, side: int) -> None:
        waiting = [(envelope, sealed) for envelope, sealed in self.sealed if envelope.to == side]
        if not waiting or self.model[side].stopped:
            return
        envelope, sealed = self.random.choice(waiting[-12:])
        expected = self._model_opens(side, envelope)
        try:
            self.real[side].open(sealed)
            outcome = "opened"
        except PeerForked:
            outcome = "forked"
        except StateLost:  # a receipt for what a copy has sealed: the model does not look at what receipts prove
            assert self.counts["copies sealed"]
            self.model[side] = self.model[side]._replace(stopped=True)
            return
        except SealwayError:
            outcome = "refused"
        assert outcome == expected, (envelope, self.model[side])
        if outcome == "forked":
            self.model[side] = self.model[side]._replace(stopped=True)
        self.counts[outcome] += 1

    def _model_opens(self, side: int, envelope: model.Envelope) -> str:
        try:
            self.model[side] = model.open_envelope(self.model[side], envelope)
        except model.PeerForked:
            return "forked"
        except model.Refused:
            return "refused"
        return "opened"

    def _copy(self, side: int) -> None:
        if self.model[side].sending is None or self.model[side].stopped or len(self.shelf) > 1:
            return
        copy = _restarted(self.model[side])._replace(name=self.model[side].name + "'" * (1 + len(self.shelf)))
        self.shelf.append((side, copy, self.real[side].copy()))

    def _use_copy(self) -> None:
        """A copy seals beside the original; receipts are left out, since what they prove is not in the model."""
        place = self.random.randrange(len(self.shelf))
        side, end, real = self.shelf[place]
        with mock.patch.object(self.random, "random", return_value=1.0):
            end = self._seal_both(end, real, steps=False)
        self.shelf[place] = side, end, real
        self.counts["copies sealed"] += 1


def _restarted(end: model.End) -> model.End:
    return end._replace(must_reseed=end.must_reseed or end.sending is not None)


def _of_start(envelope: model.Envelope) -> model.Opener:
    return model.Opener(0, ("A", 0), 0)


def _walk(seed: int, *, copies: bool) -> Counter[str]:
    pair = Pair(seed)
    for _ in range(60):
        if copies:
            pair.act()
        else:
            with mock.patch.object(pair, "_copy"):
                pair.act()
    return pair.counts


@pytest.mark.parametrize("copies", [False, True], ids=["no copies", "copies"])
def test_the_code_does_what_the_model_does(copies: bool) -> None:
    counts: Counter[str] = Counter()
    for seed in range(250):
        counts += _walk(seed, copies=copies)
    assert counts["opened"] > 1_000
    assert counts["refused"] > 100
    assert bool(counts["forked"]) == copies
