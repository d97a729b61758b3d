# SPDX-License-Identifier: Apache-2.0
"""What peers and strangers may cost: one session, one peer, all together; and that time gives it back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sealway.protocol.allowance import FREE_WALK, STRANGERS, Allowance, Bucket, SharedAllowance, frugal
from sealway.protocol.policy import DEFAULT_POLICY

POLICY = replace(
    DEFAULT_POLICY, walk=100, failed_walk_refill_per_ms=1.0, walk_in_all=500, refill_in_all_per_ms=2.0
)  # fmt: skip


def test_a_bucket_is_full_at_first_and_refills_with_time_up_to_full() -> None:
    bucket = Bucket()
    assert bucket.refill(1_000, 10, 1.0)
    bucket.steps -= 30
    assert not bucket.refill(1_010, 10, 1.0)
    assert bucket.refill(1_021, 10, 1.0)
    assert bucket.refill(9_999, 10, 1.0) and bucket.steps == 10


def test_a_clock_that_is_set_back_gives_nothing() -> None:
    bucket = Bucket()
    bucket.refill(1_000, 10, 1.0)
    bucket.steps -= 10
    assert not bucket.refill(0, 10, 1.0)


def test_what_a_session_has_spent_leaves_it_what_is_free() -> None:
    allowance = Allowance()
    assert allowance.left(0, POLICY) == (True, POLICY)
    allowance.spend(200)
    assert allowance.left(0, POLICY) == (False, frugal(POLICY))
    assert frugal(POLICY).walk == FREE_WALK
    assert allowance.left(1, POLICY) == (True, POLICY)


def test_a_smaller_walk_than_what_is_free_stays() -> None:
    assert frugal(replace(POLICY, walk=3)).walk == 3


def test_the_sessions_of_a_peer_pay_from_one_bucket() -> None:
    shared = SharedAllowance(POLICY)
    first, second, other = (Allowance(shared=shared, payer=payer) for payer in ("a", "a", "b"))
    for allowance in (first, second, other):
        allowance.left(0, POLICY)
    first.spend(200)
    assert second.left(0, POLICY) == (False, frugal(POLICY))
    assert other.left(0, POLICY) == (True, POLICY)
    assert shared.was_asked


def test_all_peers_together_run_into_their_own_bound() -> None:
    shared = SharedAllowance(POLICY)
    for payer in "abc":
        allowance = Allowance(shared=shared, payer=payer)
        allowance.left(0, POLICY)
        allowance.walked(170)  # it opened: the session and the peer have something left
        assert allowance.left(0, POLICY)[0]
    assert Allowance(shared=shared).left(0, POLICY) == (True, frugal(POLICY))
    assert Allowance(shared=shared).left(6, POLICY) == (True, POLICY)


@pytest.mark.parametrize("shared", [None, SharedAllowance(POLICY)])
def test_what_opened_costs_the_session_itself_nothing(shared: SharedAllowance | None) -> None:
    allowance = Allowance(shared=shared)
    allowance.left(0, POLICY)
    allowance.walked(0)
    allowance.walked(150)
    assert allowance.steps == 2 * POLICY.walk
    assert shared is None or shared.payers[STRANGERS].steps == 2 * POLICY.walk - 150


def test_who_has_cost_nothing_for_a_while_is_forgotten() -> None:
    shared = SharedAllowance(POLICY)
    for payer, steps in (("a", 10), ("b", 100)):
        shared.left(payer, 0)
        shared.spend(payer, steps)
    shared.forget_full(50)
    assert set(shared.payers) == {"b"}
    shared.forget_full(100)
    assert not shared.payers
