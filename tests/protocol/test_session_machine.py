# SPDX-License-Identifier: Apache-2.0
"""The session as a state machine: Hypothesis chooses what two ends, the channel and whoever copies state do."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sealway.crypto.suites import SUITES, Suite
from sealway.protocol.policy import DEFAULT_POLICY
from sealway.wire.header import Opener
from tests.protocol.session_pair import recorded_keys
from tests.protocol.session_world import World

pytestmark = pytest.mark.no_cover  # as in test_session_runs.py

# Small, so that every bound is met: evictions, gone numbers, forgotten epochs, a full window, far jumps.
SMALL = replace(
    DEFAULT_POLICY, skipped=4, walk=40, gap_ranges=50, chains=4, epochs=2, step_after_messages=3,
    ack_every=4, failed_walk_refill_per_ms=0.01, held_for_ms=3 * 86_400_000,
)  # fmt: skip

ENDS = st.integers(0, 1)
ANY = st.integers(0, 1 << 16)
OPENERS = st.one_of(
    st.none(),
    st.builds(
        Opener,
        st.integers(0, 30),
        reseed=st.tuples(st.integers(1, 60), st.binary(min_size=16, max_size=16)),
    ),
    st.binary(min_size=32, max_size=32).flatmap(lambda x: st.integers(0, 30).map(lambda s: Opener(s, x, s))),
)


class SessionMachine(RuleBasedStateMachine):
    """Every rule ends in the checks of session_world.py."""

    def __init__(self) -> None:
        super().__init__()
        self._recording = recorded_keys()
        self.recorder = self._recording.__enter__()

    @initialize(seed=st.integers(0, 1 << 32), suite=st.sampled_from(list(SUITES.values())))
    def begin(self, seed: int, suite: Suite) -> None:
        self.world = World(seed, SMALL, self.recorder, suite)

    @rule(who=ENDS, count=st.sampled_from([1, 1, 2, 3, 7]), commit=st.sampled_from([True, True, True, False]))
    def seal(self, who: int, count: int, commit: bool) -> None:
        self.world.send(who, count, commit=commit)

    @rule(who=ENDS)
    def bare_receipt_when_due(self, who: int) -> None:
        self.world.receipt(who)

    @rule(who=ENDS)
    def sign_of_life(self, who: int) -> None:
        self.world.heartbeat(who)

    @rule(to=ENDS, index=ANY, again=st.booleans(), commit=st.sampled_from([True, True, True, False]))
    def deliver(self, to: int, index: int, again: bool, commit: bool) -> None:
        self.world.deliver(to, index, again=again, commit=commit)

    @rule(to=ENDS, count=st.integers(1, 12))
    def deliver_in_order(self, to: int, count: int) -> None:
        for _ in range(count):
            self.world.deliver(to, 0)

    @rule(to=ENDS, index=ANY)
    def lose(self, to: int, index: int) -> None:
        self.world.lose(to, index)

    @rule(to=ENDS, index=ANY, position=ANY, bit=st.integers(0, 7))
    def corrupt(self, to: int, index: int, position: int, bit: int) -> None:
        self.world.corrupt(to, index, position, bit)

    @rule(to=ENDS, index=ANY, length=ANY)
    def truncate(self, to: int, index: int, length: int) -> None:
        self.world.truncate(to, index, length)

    @rule(to=ENDS, number=st.integers(0, 80), opener=OPENERS)
    def invent(self, to: int, number: int, opener: Opener | None) -> None:
        self.world.invent(to, number, opener)

    @rule(who=ENDS, index=ANY)
    def reflect(self, who: int, index: int) -> None:
        self.world.reflect(who, index)

    @rule(who=ENDS)
    def restart(self, who: int) -> None:
        self.world.restart(who)

    @rule(who=ENDS)
    def move_what_is_gone(self, who: int) -> None:
        self.world.nodes[who].reseal_gone()
        self.world.nodes[who].commit()

    @rule(ms=st.sampled_from([1, 5_000, 60_000, 3_600_000, 90_000_000, 400_000_000]))
    def pass_time(self, ms: int) -> None:
        self.world.pass_time(ms)

    @invariant()
    def bounds_hold(self) -> None:
        for node in self.world.nodes:
            receive = node.session.receive
            stored = sum(len(c.skipped) for e in receive.epochs for c in e.chains)
            roots = sum(len(e.skipped_roots) for e in receive.epochs)
            assert stored <= SMALL.skipped
            assert roots <= SMALL.skipped
            assert len(receive.epochs) <= SMALL.epochs
            assert len(receive.void) <= SMALL.void_ranges
            assert len(receive.closed) <= SMALL.gap_ranges + 1
            assert len(receive.marks) <= len(receive.closed)

    def teardown(self) -> None:
        try:
            if hasattr(self, "world"):
                self.world.settle()
        finally:
            self._recording.__exit__(None, None, None)


class CopiedSessionMachine(SessionMachine):
    """With copies of state directories in use: no key repeats and no number opens twice, whatever else breaks."""

    @precondition(lambda self: len(self.world.nodes[0].history) > 1)
    @rule(who=ENDS, back=st.integers(0, 5), count=st.integers(1, 4))
    def clone_seals_beside_the_original(self, who: int, back: int, count: int) -> None:
        self.world.clone(who, back, count)

    @precondition(lambda self: len(self.world.nodes[0].history) > 1)
    @rule(who=ENDS, back=st.integers(0, 5))
    def older_copy_is_restored(self, who: int, back: int) -> None:
        self.world.restore_older(who, back)


RUNS = settings(
    max_examples=100, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)

TestSession = SessionMachine.TestCase
TestSession.settings = RUNS
TestCopiedSession = CopiedSessionMachine.TestCase
TestCopiedSession.settings = RUNS
