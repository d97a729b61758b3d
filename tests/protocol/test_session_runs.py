# SPDX-License-Identifier: Apache-2.0
"""Seeded random runs of two ends over a bad channel: what the model of the chain rules did, on the real session."""

from __future__ import annotations

import os
import random
from dataclasses import replace

import pytest

from sealway.crypto.suites import SUITES
from sealway.protocol.policy import DEFAULT_POLICY, Policy
from tests.protocol.session_pair import recorded_keys
from tests.protocol.session_world import World

pytestmark = pytest.mark.no_cover  # five times as fast; each branch is counted in a test of its own

ROOMY = replace(DEFAULT_POLICY, step_after_messages=6, ack_every=8)
TIGHT = replace(
    DEFAULT_POLICY, skipped=6, walk=80, gap_ranges=60, chains=6, epochs=3, step_after_messages=4, ack_every=5
)  # fmt: skip
HOUR_MS = 3_600_000
SEEDS = 40 if os.environ.get("HYPOTHESIS_PROFILE") == "deep" else 8
"""Runs of a block. Hypothesis searches the same ground in test_session_machine.py."""


def run(seed: int, policy: Policy, *, copies: bool, forgeries: bool, rounds: int = 250) -> World:
    dice = random.Random(seed)
    with recorded_keys() as recorder:
        world = World(seed, policy, recorder, SUITES[1 + seed % len(SUITES)])
        for _ in range(rounds):
            one_thing(world, dice, copies=copies, forgeries=forgeries)
        world.settle()
    return world


def one_thing(world: World, dice: random.Random, *, copies: bool, forgeries: bool) -> None:
    chance, who, index = dice.random(), dice.randrange(2), dice.randrange(1 << 16) if dice.random() < 0.5 else 0
    if chance < 0.03:
        world.restart(who)
    elif chance < 0.05 and copies:
        world.clone(who, dice.randrange(3), dice.randrange(1, 4))
    elif chance < 0.055 and copies:
        world.restore_older(who, dice.randrange(6))
    elif chance < 0.08 and forgeries:
        world.corrupt(who, index, dice.randrange(1 << 16), dice.randrange(4))
    elif chance < 0.11:
        world.pass_time(dice.choice([1, 5_000, 5_000, HOUR_MS, 25 * HOUR_MS]))
    elif chance < 0.17:
        world.receipt(who)
    elif chance < 0.19:
        world.heartbeat(who)
    elif chance < 0.5:
        world.send(who, dice.choice([1, 1, 1, 2, 5]), commit=dice.random() < 0.9)
    elif chance < 0.6:
        world.lose(who, index)
    else:
        world.deliver(who, index, again=dice.random() < 0.2, commit=dice.random() < 0.9)


@pytest.mark.parametrize("block", range(4))
@pytest.mark.parametrize("policy", [ROOMY, TIGHT], ids=["roomy", "tight"])
def test_everything_arrives_once_over_a_bad_channel(block: int, policy: Policy) -> None:
    opened = 0
    for seed in range(block * SEEDS, (block + 1) * SEEDS):
        opened += run(seed, policy, copies=False, forgeries=seed % 2 == 1).tally.get("opened", 0)
    assert opened > 20 * SEEDS  # the runs do something


@pytest.mark.parametrize("block", range(3))
@pytest.mark.parametrize("policy", [ROOMY, TIGHT], ids=["roomy", "tight"])
def test_copies_of_a_state_never_repeat_a_key_nor_a_number(block: int, policy: Policy) -> None:
    fatal = 0
    for seed in range(block * SEEDS, (block + 1) * SEEDS):
        fatal += run(seed, policy, copies=True, forgeries=True).tally.get("fatal", 0)
    assert fatal > 0  # some forks are found out
