# SPDX-License-Identifier: Apache-2.0
"""The tables of life.py are what sessions really do: nothing is seen that is not in them, and all that is in them is
seen. That a session is closed and forgotten is not its own doing: tests/sdk."""

from __future__ import annotations

import random as rng
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from enum import Enum

import pytest

from sealway.errors import SealwayError
from sealway.protocol.life import LIFE, TELLING, TURN, Life, Machine, life_of, telling_of, turn_of
from sealway.protocol.outcome import Sealed
from sealway.wire.envelope import Envelope
from tests.protocol.session_pair import End, ends, talking

Seen = set[tuple[Enum | None, Enum]]
MACHINES = {machine.name: machine for machine in (LIFE, TURN, TELLING)}


def _states(end: End) -> dict[str, Enum]:
    session = end.session
    return {"life": life_of(session), "turn": turn_of(session), "receipts": telling_of(session.clock)}


class Watch:
    """Two ends, a copy of one of them now and then, and a channel that loses, doubles and falsifies."""

    def __init__(self, seed: int, seen: dict[str, Seen]) -> None:
        self.dice, self.seen = rng.Random(seed), seen
        fresh = seed % 2 == 0  # the others are in the steady state, in which openers are rare
        begin, steps = (ends, 3) if fresh else (talking, 64)
        self.ends = list(begin(seed, step_after_messages=steps, ack_every=5, failed_opens=6))
        self.channel: list[tuple[int, bytes]] = []
        for end in self.ends if fresh else []:
            for name, state in _states(end).items():
                seen[name].add((None, state))

    @contextmanager
    def watching(self, end: End) -> Iterator[None]:
        before = _states(end)
        with suppress(SealwayError):
            yield
        for name, after in _states(end).items():
            assert MACHINES[name].allows(before[name], after), (name, before[name], after)
            self.seen[name].add((before[name], after))

    def act(self) -> None:
        side, chance = self.dice.randrange(2), self.dice.random()
        end = self.ends[side]
        with self.watching(end):
            if chance < 0.25:
                self._leaves(side, end.seal())
            elif chance < 0.35:
                self._leaves(side, end.receipt())
            elif chance < 0.4:
                end.restart()
            elif chance < 0.43:
                end.now_ms += 25 * 3_600_000
            elif chance < 0.45:
                self._leaves(side, end.copy().seal())
            else:
                end.open(self._arrives(side))

    def _leaves(self, side: int, sealed: Sealed) -> None:
        if side == 0 or self.ends[1].session.receive.highest >= 0:  # a responder begins with what it has opened
            self.channel.append((1 - side, sealed.envelope))

    def _arrives(self, side: int) -> Envelope:
        waiting = [encoded for to, encoded in self.channel if to == side][-6:]
        envelope = Envelope.decode(self.dice.choice(waiting)) if waiting else Envelope(b"A", 0, bytes(9))
        return replace(envelope, ciphertext=bytes(20)) if self.dice.random() < 0.05 else envelope


@pytest.fixture(scope="module")
def seen() -> dict[str, Seen]:
    """What two hundred runs show."""
    found: dict[str, Seen] = {name: set() for name in MACHINES}
    for seed in range(200):
        watch = Watch(seed, found)
        for _ in range(60):
            watch.act()
    return found


@pytest.mark.no_cover
@pytest.mark.parametrize("name", MACHINES)
def test_what_is_in_the_table_is_done_and_nothing_else(name: str, seen: dict[str, Seen]) -> None:
    told = {(step.before, step.after) for step in MACHINES[name].steps if step.after is not None}
    assert {pair for pair in seen[name] if pair[0] is not pair[1]} == told


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_every_state_is_reached_and_named_once(machine: Machine) -> None:
    assert {step.after for step in machine.steps} - {None} == set(machine.states)
    assert len(set(machine.steps)) == len(machine.steps)


def test_what_a_table_allows() -> None:
    assert LIFE.allows(Life.UNANSWERED, Life.ESTABLISHED) and LIFE.allows(Life.STOPPED, Life.STOPPED)
    assert not LIFE.allows(Life.STOPPED, Life.ESTABLISHED)
