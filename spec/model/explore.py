# SPDX-License-Identifier: Apache-2.0
"""Every state that the model of the chains can reach, within bounds: ``python -m spec.model [--deep]``.

It explores **every** order in which two ends can seal, step, reseed after a restart, be copied or restored from a copy,
and in which a channel can deliver, delay, lose and repeat what they sealed, up to bounds on how often.

What must hold in every state that can be reached (each is asserted, and `Violation` names the actions that led there):

1. no message key serves two messages, whatever copies do;
2. an end opens a number once;
3. as long as no copy of a state was used, a genuine message is opened whenever it comes first, and nobody is called
   forked;
4. forward secrecy: what an end has opened or sealed cannot be opened with what that end still holds;
5. healing: what is sealed after the robbed end has stepped cannot be opened with a state that was stolen before.

Bounds of the policy, receipts that travel late, and moves between sessions are not in the model.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from spec.model.chains import (
    Base,
    Chain,
    End,
    Envelope,
    Epoch,
    Fresh,
    PeerForked,
    Refused,
    Root,
    SendingEpoch,
    derives,
    derives_root,
    open_envelope,
    seal,
    step,
)


class World(NamedTuple):
    """Both ends, copies of them on the shelf or in use, everything ever sealed, and what may still be done."""

    ends: tuple[End, End]
    copies: frozenset[End]
    sealed: frozenset[Envelope]
    forked: bool
    """A copy was used."""
    left: Budget


class Budget(NamedTuple):
    """How often each thing may still happen."""

    seals: int = 4
    steps: int = 2
    restarts: int = 1
    copies: int = 0


class Violation(AssertionError):
    """A promise does not hold."""


@dataclass
class Found:
    """What an exploration has seen."""

    states: int = 0
    opened: int = 0
    replays: int = 0
    forks: int = 0
    healed: int = 0
    worlds: set[World] = field(default_factory=set)


def beginning(budget: Budget) -> World:
    """Return the world in which the initiator has begun a session, and the responder has accepted none of it yet."""
    x: Fresh = ("A", 0)
    root: Root = (x,)
    base = Base(root, 0, None, 0)
    initiator = End("A", root, False, SendingEpoch(x, 0, base), drawn=1, starting=True)
    epoch = Epoch(x, 0, root, 1, frozenset(), (Chain(base, 0),))
    responder = End("B", root, True, None, (epoch,))
    return World((initiator, responder), frozenset(), frozenset(), False, budget)


def explore(budget: Budget) -> Found:
    """Visit every state within the budget and check each. Raises Violation."""
    found, first = Found(), beginning(budget)
    found.worlds.add(first)
    waiting: list[tuple[World, tuple[str, ...]]] = [(first, ())]
    while waiting:
        world, path = waiting.pop()
        found.states += 1
        try:
            check(world, found)
            for action, following in successors(world, found):
                if following not in found.worlds:
                    found.worlds.add(following)
                    waiting.append((following, (*path, action)))
        except Violation as violation:
            raise Violation(f"{violation} after {' | '.join(path)}") from None
    return found


def successors(world: World, found: Found) -> Iterator[tuple[str, World]]:
    """Yield every world that one action leads to."""
    for index, end in enumerate(world.ends):
        if not end.stopped:
            yield from _acts(world, index, end)
            yield from _deliveries(world, index, end, found)
    for copy in world.copies:
        yield from _copy_acts(world, copy)


def _acts(world: World, index: int, end: End) -> Iterator[tuple[str, World]]:
    left = world.left
    if left.seals and (end.side == 0 or end.opened):
        if end.my_turn and left.steps:
            cheaper = left._replace(steps=left.steps - 1)
            yield from _seals(world, index, step(end), f"{end.name} steps and", cheaper)
        if end.sending is not None:
            yield from _seals(world, index, end, end.name, left)
    if left.restarts and end.sending is not None and not end.must_reseed:
        restarted = _with(world, index, end._replace(must_reseed=True))
        yield f"{end.name} restarts", restarted._replace(left=left._replace(restarts=left.restarts - 1))
    if left.copies:
        copy = end._replace(name=end.name + "'", must_reseed=end.sending is not None)
        yield (
            f"{end.name} is copied",
            world._replace(copies=world.copies | {copy}, left=left._replace(copies=left.copies - 1)),
        )


def _seals(world: World, index: int, end: End, who: str, left: Budget) -> Iterator[tuple[str, World]]:
    for with_receipt in (False, True) if end.opened else (False,):
        envelope, after = seal(end, with_receipt=with_receipt)
        _refuse_reuse(world, envelope)
        following = _with(world, index, after)
        following = following._replace(sealed=world.sealed | {envelope}, left=left._replace(seals=left.seals - 1))
        yield f"{who} seals {envelope.number}{' with a receipt' * with_receipt}", following


def _copy_acts(world: World, copy: End) -> Iterator[tuple[str, World]]:
    """A copy is used beside the original, or put in its place (a backup that is restored)."""
    index, others, left = copy.side, world.copies - {copy}, world.left
    if left.seals and copy.sending is not None:
        envelope, after = seal(copy, with_receipt=False)
        _refuse_reuse(world, envelope)
        following = world._replace(
            copies=others | {after},
            sealed=world.sealed | {envelope},
            forked=True,
            left=left._replace(seals=left.seals - 1),
        )
        yield f"{copy.name} seals {envelope.number}", following
    if world.ends[index].name != copy.name:
        restored = _with(world, index, copy)
        yield (
            f"{copy.name} takes its original's place",
            restored._replace(copies=others, forked=True),
        )


def _deliveries(world: World, index: int, end: End, found: Found) -> Iterator[tuple[str, World]]:
    for envelope in world.sealed:
        if envelope.to != index:
            continue
        fresh = envelope.number not in end.opened
        try:
            after = open_envelope(end, envelope)
        except PeerForked:
            if not world.forked:
                raise Violation(f"{end.name} takes its peer for forked at {envelope.number}") from None
            found.forks += 1
            yield f"{end.name} stops at {envelope.number}", _with(world, index, end._replace(stopped=True))
            continue
        except Refused as refusal:
            if fresh and not world.forked:
                raise Violation(f"{end.name} refuses genuine {envelope.number}: {refusal}") from None
            found.replays += not fresh
            continue
        if not fresh:
            raise Violation(f"{end.name} opens {envelope.number} twice")
        found.opened += 1
        yield f"{end.name} opens {envelope.number}", _with(world, index, after)


def _with(world: World, index: int, end: End) -> World:
    ends = (end, world.ends[1]) if index == 0 else (world.ends[0], end)
    return world._replace(ends=ends)


# what must hold ------------------------------------------------------------------------------------------------------
def _refuse_reuse(world: World, envelope: Envelope) -> None:
    if any(e.to == envelope.to and e.base == envelope.base and e.number == envelope.number for e in world.sealed):
        raise Violation(f"the key of {envelope.number} is used for a second message")


def check(world: World, found: Found) -> None:
    """Assert forward secrecy and healing in this state. Raises Violation."""
    if world.forked:
        return
    for end in world.ends:
        for envelope in world.sealed:
            mine = envelope.to != end.side
            past = envelope.number < end.next if mine else envelope.number in end.opened
            if past and derives(end, envelope.base, envelope.number):
                raise Violation(f"{end.name} still holds the key of {envelope.number}")
    for thief in world.copies:  # a copy that nobody has used yet is what a thief has
        _check_healed(world, thief, found)


def _check_healed(world: World, thief: End, found: Found) -> None:
    robbed = world.ends[thief.side]
    for envelope in world.sealed:
        if any(who == robbed.name and drawn >= thief.drawn for who, drawn in envelope.base.root):
            if derives_root(thief, envelope.base.root):
                raise Violation(f"a stolen state of {robbed.name} still leads to the key of {envelope.number}")
            found.healed += 1


# running -------------------------------------------------------------------------------------------------------------
QUICK = (Budget(5, 2, 1, 0), Budget(4, 1, 2, 0), Budget(4, 3, 0, 1), Budget(4, 1, 1, 1))
DEEP = (Budget(6, 3, 1, 0), Budget(6, 2, 2, 0), Budget(5, 2, 1, 1), Budget(4, 1, 1, 2))


def main() -> int:
    """Explore, print what was seen, and return 0, or 1 if a promise does not hold."""
    parser = argparse.ArgumentParser(description="Explore the model of the chains.")
    parser.add_argument("--deep", action="store_true", help="larger bounds: minutes and gigabytes instead of seconds")
    for budget in DEEP if parser.parse_args().deep else QUICK:
        try:
            found = explore(budget)
        except Violation as violation:
            print(f"{budget}: {violation}", file=sys.stderr)
            return 1
        print(
            f"{budget}: {found.states} states, {found.opened} openings, {found.replays} replays refused,"
            f" {found.forks} forks seen, {found.healed} times healed"
        )
    return 0
