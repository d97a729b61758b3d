# SPDX-License-Identifier: Apache-2.0
"""Epochs and chains as a receiver knows them, and the finding of the one candidate key for an envelope.

Invariant: nothing here changes what is known. ``candidate`` derives on scratch and returns a ``Candidate``; only after
its key has opened the envelope does receiving.py take it over. One envelope has exactly one candidate key.
spec/session.md, "Chains".
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sealway.errors import GapTooLarge, NotAuthentic, Replayed
from sealway.protocol import schedule
from sealway.protocol.policy import Policy
from sealway.wire.header import Opener


class Contradicts(NotAuthentic):
    """An opener that contradicts what is known and cannot be verified: forged, or a copy of the peer made it."""


@dataclass(slots=True, repr=False)
class Chain:
    """A run of numbers under one hash chain, named by its first. ``key`` is None once the next chain is known."""

    first: int
    j: int
    salt: bytes
    next: int
    key: bytes | None
    skipped: dict[int, bytes] = field(default_factory=dict)
    """Message secrets of numbers that were jumped over."""


@dataclass(slots=True, repr=False)
class Epoch:
    """What one ratchet step of the peer began. ``reseed_root`` is R_j for ``j`` = ``next_j``."""

    x: bytes
    first: int
    reseed_root: bytes
    next_j: int = 1
    chains: list[Chain] = field(default_factory=list)
    """In the order of j."""
    skipped_roots: dict[int, bytes] = field(default_factory=dict)
    superseded_ms: int | None = None
    """When a newer epoch was learned, milliseconds since the Unix epoch."""


@dataclass(frozen=True, slots=True, repr=False)
class NewRoots:
    """How an epoch's reseed roots change when a chain of reseed ``j`` is learned."""

    used: int | None
    """A skipped root that is spent, or None."""
    next_j: int
    reseed_root: bytes
    skipped: dict[int, bytes]


@dataclass(frozen=True, slots=True, repr=False)
class Candidate:
    """The one key that may open an envelope, and what to change if it does."""

    epoch: Epoch
    chain: Chain
    secret: bytes
    skipped: dict[int, bytes]
    """Secrets of the numbers that are walked over."""
    lost: tuple[int, int] | None
    """Numbers walked over whose secrets are too many to keep."""
    key_after: bytes | None
    """The chain key after this number; None when the secret had been skipped."""
    new_chain: bool = False
    new_epoch: bool = False
    new_root: bytes | None = None
    """The session's root after the peer's step."""
    roots: NewRoots | None = None
    cost: int = 0
    """Chain steps that it took."""


@dataclass(frozen=True, slots=True, repr=False)
class Step:
    """A peer's ratchet step, derived but not believed yet."""

    epoch: Epoch
    chain_key: bytes
    root: bytes


def find_named(epochs: list[Epoch], opener: Opener) -> Epoch | None:
    """Return the known epoch that an opener speaks of: by x (None if unknown), else the newest at or before S."""
    if opener.x is not None:
        return next((e for e in epochs if e.x == opener.x), None)
    started = [e for e in epochs if e.first <= opener.chain_first]
    if not started:
        raise NotAuthentic("no known epoch begins at or before this chain")
    highest = max(e.first for e in started)
    return next(e for e in reversed(started) if e.first == highest)


def find_unnamed(epochs: list[Epoch], number: int) -> tuple[Epoch, Chain]:
    """Without an opener: the known chain with the greatest S at or before the number, of equals the newest."""
    best: tuple[Epoch, Chain] | None = None
    for epoch in reversed(epochs):
        for chain in reversed(epoch.chains):
            if chain.first <= number and (best is None or chain.first > best[1].first):
                best = epoch, chain
    if best is None:
        raise NotAuthentic("no known chain begins at or before this number")
    return best


def on_chain(epoch: Epoch, chain: Chain, number: int, policy: Policy) -> Candidate:
    """Return the candidate for a number of a chain that is known."""
    if number in chain.skipped:
        return Candidate(epoch, chain, chain.skipped[number], {}, None, None)
    if chain.key is None or number < chain.next:
        raise Replayed("this number was opened before, or its key is gone")
    return _walk(epoch, chain, number, policy, start=chain.next, key=chain.key)


def on_new_epoch(step: Step, opener: Opener, number: int, policy: Policy, before: Chain | None) -> Candidate:
    """Return the candidate for an opener that names a key not seen before."""
    # Of a direction in which nothing was opened yet, the chain of the step itself is the one before.
    spent = _distance(before, opener.chain_first) if before is not None else opener.chain_first - step.epoch.first
    if opener.reseed is None:
        chain = Chain(step.epoch.first, 0, b"", step.epoch.first, step.chain_key)
        step.epoch.chains.append(chain)
        found = _walk(step.epoch, chain, number, policy, start=chain.first, key=step.chain_key, spent=spent)
        return _renewed(found, new_epoch=True, root=step.root, roots=None)
    # The chain of the step itself (j = 0) is unknown to this opener's number, but late messages of it may still come.
    first_chain = Chain(step.epoch.first, 0, b"", step.epoch.first, step.chain_key)
    step.epoch.chains.append(first_chain)
    found = on_reseed(step.epoch, opener, number, policy, before=None, spent=spent)
    return _renewed(found, new_epoch=True, root=step.root, roots=found.roots)


def on_reseed(
    epoch: Epoch, opener: Opener, number: int, policy: Policy, before: Chain | None, spent: int = 0
) -> Candidate:
    """Return the candidate for an opener with a reseed (j, salt) of a known epoch."""
    j, salt = opener.reseed or (0, b"")
    known = next((c for c in epoch.chains if c.j == j), None)
    if known is not None:
        if known.salt != salt or known.first != opener.chain_first:
            raise Contradicts("a known reseed with another salt")  # its root is gone: it cannot be verified
        return on_chain(epoch, known, number, policy)
    first = opener.chain_first
    spent += max(0, j - epoch.next_j) + _distance(before, first)
    _refuse_far(number - first + spent, policy)  # before any root is derived
    roots, root = _roots_for(epoch, j, policy)
    key = schedule.reseed_chain(root, salt, first)
    chain = Chain(first, j, salt, first, key)
    found = _walk(epoch, chain, number, policy, start=first, key=key, spent=spent)
    return _renewed(found, new_epoch=False, root=None, roots=roots)


def _roots_for(epoch: Epoch, j: int, policy: Policy) -> tuple[NewRoots, bytes]:
    if j < epoch.next_j:
        if j not in epoch.skipped_roots:
            raise NotAuthentic("the root of this reseed is gone")
        return NewRoots(j, epoch.next_j, epoch.reseed_root, {}), epoch.skipped_roots[j]
    if j - epoch.next_j > policy.skipped:
        raise GapTooLarge("too many reseeds were jumped over")
    root, skipped = epoch.reseed_root, {}
    for missed in range(epoch.next_j, j):
        skipped[missed], root = root, schedule.next_reseed_root(root)
    return NewRoots(None, j + 1, schedule.next_reseed_root(root), skipped), root


def _distance(before: Chain | None, first: int) -> int:
    """Steps that closing the chain before a new one will take."""
    return max(0, first - before.next) if before is not None and before.key is not None else 0


def _walk(
    epoch: Epoch, chain: Chain, number: int, policy: Policy, *, start: int, key: bytes, spent: int = 0
) -> Candidate:
    distance = number - start
    _refuse_far(distance + spent, policy)
    keep_from = max(start, number - policy.skipped)
    skipped: dict[int, bytes] = {}
    for walked in range(start, number):
        secret, key = schedule.advance(key)
        if walked >= keep_from:
            skipped[walked] = secret
    secret, key = schedule.advance(key)
    lost = (start, keep_from - 1) if keep_from > start else None
    return Candidate(epoch, chain, secret, skipped, lost, key, cost=distance + spent)


def _refuse_far(steps: int, policy: Policy) -> None:
    if steps > policy.walk:
        raise GapTooLarge(f"{steps} chain steps to this number; at most {policy.walk} are taken")


def _renewed(found: Candidate, *, new_epoch: bool, root: bytes | None, roots: NewRoots | None) -> Candidate:
    return Candidate(
        found.epoch, found.chain, found.secret, found.skipped, found.lost, found.key_after,
        new_chain=True, new_epoch=new_epoch, new_root=root, roots=roots, cost=found.cost,
    )  # fmt: skip
