# SPDX-License-Identifier: Apache-2.0
"""The chain rules of session.md as a model: what an end knows, how it seals, what it opens.

Cryptography is symbolic: a key is the tuple of what it was derived from, so two keys are equal exactly if their inputs
are. Every value is immutable; nothing is bounded by a policy. explore.py visits what can happen with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

Fresh = tuple[str, int]
"""A random value, named by who drew it and how many that one had drawn before."""
Root = tuple[Fresh, ...]
"""The session's root key: all agreement keys that went into it, in order."""


class Base(NamedTuple):
    """A chain's first key: the root of its epoch, which reseed of it, the reseed's salt, and the first number."""

    root: Root
    j: int
    salt: Fresh | None
    first: int


class Opener(NamedTuple):
    """What an envelope shows. ``x`` and ``epoch_first`` come together; ``reseed`` is (j, salt)."""

    first: int
    x: Fresh | None = None
    epoch_first: int | None = None
    reseed: tuple[int, Fresh] | None = None


class Envelope(NamedTuple):
    """Sealed by ``base`` and ``number``; ``receipt`` travels under the seal."""

    to: int
    number: int
    opener: Opener | None
    receipt: int | None
    base: Base


class Chain(NamedTuple):
    """A receiver's chain. ``next`` is None once its key is forgotten; ``skipped`` are numbers whose keys are kept."""

    base: Base
    next: int | None
    skipped: frozenset[int] = frozenset()


class Epoch(NamedTuple):
    """What one step of the peer began; ``roots`` are the reseeds that were jumped over, ``next_j`` the next."""

    x: Fresh
    first: int
    root: Root
    next_j: int
    roots: frozenset[int]
    chains: tuple[Chain, ...]


class SendingEpoch(NamedTuple):
    """What the sender's newest step began, and its live chain."""

    x: Fresh
    first: int
    base: Base


class End(NamedTuple):
    """One end's whole state. ``drawn`` counts the random values that ``name`` has drawn."""

    name: str
    root: Root
    my_turn: bool
    sending: SendingEpoch | None
    epochs: tuple[Epoch, ...] = ()
    next: int = 0
    acknowledged: int = -1
    opened: frozenset[int] = frozenset()
    must_reseed: bool = False
    drawn: int = 0
    starting: bool = False
    stopped: bool = False

    @property
    def side(self) -> int:
        """0 of the initiator, 1 of the responder, whatever copy this is."""
        return 0 if self.name.startswith("A") else 1


class Refused(Exception):
    """The receiver does not open an envelope; nothing changes."""


class PeerForked(Refused):
    """It opens, and proves that two copies of the peer's state seal."""


# sealing -------------------------------------------------------------------------------------------------------------
def draw(end: End) -> tuple[Fresh, End]:
    """Return a random value, and the end that has drawn it."""
    return (end.name, end.drawn), end._replace(drawn=end.drawn + 1)


def step(end: End) -> End:
    """Begin a new epoch; only the holder of the turn may."""
    x, end = draw(end)
    root = (*end.root, x)
    return end._replace(
        root=root,
        my_turn=False,
        must_reseed=False,
        sending=SendingEpoch(x, end.next, Base(root, 0, None, end.next)),
    )


def seal(end: End, *, with_receipt: bool) -> tuple[Envelope, End]:
    """Seal under the next number, after a reseed if the state was opened anew."""
    sending = end.sending
    if sending is None:
        raise LookupError("no chain to seal with")
    if end.must_reseed:
        salt, end = draw(end)
        base = Base(sending.base.root, sending.base.j + 1, salt, end.next)
        sending = sending._replace(base=base)
        end = end._replace(must_reseed=False, sending=sending)
    receipt = max(end.opened) if with_receipt and end.opened else None
    envelope = Envelope(1 - end.side, end.next, _opener(end, sending), receipt, sending.base)
    return envelope, end._replace(next=end.next + 1)


def _opener(end: End, sending: SendingEpoch) -> Opener | None:
    """What no receipt has covered. While the start is unanswered its header stands for x and epoch 0."""
    base = sending.base
    first_of_all = end.side == 0 and sending.first == 0
    show_x = not first_of_all and end.acknowledged < sending.first
    reseed = (base.j, base.salt) if base.salt is not None and end.acknowledged < base.first else None
    if show_x:
        return Opener(base.first, sending.x, sending.first, reseed)
    if reseed is not None:
        return Opener(base.first, reseed=reseed)
    return Opener(0, sending.x, 0) if end.starting and first_of_all else None


# opening -------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Candidate:
    """The one chain that may hold an envelope, by its place, and the epochs as they would be with it."""

    epochs: tuple[Epoch, ...]
    epoch: int
    chain: int
    new_chain: bool = False
    new_epoch: bool = False

    @property
    def found(self) -> Chain:
        """The chain."""
        return self.epochs[self.epoch].chains[self.chain]


def open_envelope(end: End, envelope: Envelope) -> End:
    """Return the end that has opened an envelope. Raises Refused, or PeerForked."""
    candidate = find(end, envelope.opener, envelope.number)
    chain, number = candidate.found, envelope.number
    if number not in chain.skipped and (chain.next is None or number < chain.next):
        raise Refused("replayed")
    if chain.base != envelope.base:
        raise Refused("not authentic")
    if candidate.new_chain:
        _plausible(end, candidate, number)
    return _taken(end, candidate, envelope)


def find(end: End, opener: Opener | None, number: int) -> Candidate:
    """Return the one candidate: by the opener, or the known chain with the greatest first number at or before."""
    epochs = end.epochs
    if opener is None:
        known = [(c.base.first, e, k) for e, p in enumerate(epochs) for k, c in enumerate(p.chains)]
        fitting = [entry for entry in known if entry[0] <= number]
        if not fitting:
            raise Refused("no chain")
        _, e, k = max(fitting)
        return Candidate(epochs, e, k)
    place, new_epoch = _named(epochs, opener), False
    if place is None:
        if end.my_turn or end.sending is None or opener.x is None or opener.epoch_first is None:
            raise Refused("a new key out of turn")
        root = (*end.root, opener.x)
        first_chain = Chain(Base(root, 0, None, opener.epoch_first), opener.epoch_first)
        epochs = (*epochs, Epoch(opener.x, opener.epoch_first, root, 1, frozenset(), (first_chain,)))
        place, new_epoch = len(epochs) - 1, True
    if opener.reseed is None:
        return Candidate(epochs, place, 0, new_epoch, new_epoch)
    return _reseeded(epochs, place, opener, new_epoch=new_epoch)


def _named(epochs: tuple[Epoch, ...], opener: Opener) -> int | None:
    if opener.x is not None:
        return next((e for e, epoch in enumerate(epochs) if epoch.x == opener.x), None)
    started = [(epoch.first, e) for e, epoch in enumerate(epochs) if epoch.first <= opener.first]
    if not started:
        raise Refused("no epoch")
    return max(started)[1]


def _reseeded(epochs: tuple[Epoch, ...], place: int, opener: Opener, *, new_epoch: bool) -> Candidate:
    j, salt = opener.reseed or (0, ("", 0))
    epoch = epochs[place]
    for k, chain in enumerate(epoch.chains):
        if chain.base.j == j:
            if (chain.base.salt, chain.base.first) != (salt, opener.first):
                raise Refused("a known reseed with another salt")
            return Candidate(epochs, place, k)
    roots, next_j = epoch.roots, epoch.next_j
    if j >= next_j:
        roots, next_j = roots | set(range(next_j, j)), j + 1
    elif j in roots:
        roots -= {j}
    else:
        raise Refused("the root of this reseed is gone")
    chain = Chain(Base(epoch.root, j, salt, opener.first), opener.first)
    chains = tuple(sorted((*epoch.chains, chain), key=lambda c: c.base.j))
    epoch = epoch._replace(roots=roots, next_j=next_j, chains=chains)
    return Candidate((*epochs[:place], epoch, *epochs[place + 1 :]), place, chains.index(chain), True, new_epoch)


def _plausible(end: End, candidate: Candidate, number: int) -> None:
    order = [(e, k) for e, epoch in enumerate(candidate.epochs) for k in range(len(epoch.chains))]
    first = candidate.found.base.first
    at = order.index((candidate.epoch, candidate.chain))
    if candidate.new_epoch:
        first, at = candidate.epochs[-1].first, order.index((candidate.epoch, 0))
    before = _chain(candidate, order[at - 1]).base.first if at else None
    following = order[order.index((candidate.epoch, candidate.chain)) + 1 :]
    after = _chain(candidate, following[0]).base.first if following else None
    top = after if after is not None else max(end.opened, default=-1) + 1
    crowded = (before is not None and first < before) or (after is not None and number >= after)
    if crowded or any(n in end.opened for n in range(first, top)):
        raise PeerForked("two copies of the peer's state are in use")


def _chain(candidate: Candidate, place: tuple[int, int]) -> Chain:
    return candidate.epochs[place[0]].chains[place[1]]


def _taken(end: End, candidate: Candidate, envelope: Envelope) -> End:
    number, epochs = envelope.number, [list(epoch.chains) for epoch in candidate.epochs]
    chain = candidate.found
    if number in chain.skipped:
        chain = chain._replace(skipped=chain.skipped - {number})
    elif chain.next is not None:
        chain = chain._replace(next=number + 1, skipped=chain.skipped | set(range(chain.next, number)))
    epochs[candidate.epoch][candidate.chain] = chain
    closed = _closed([c for chains in epochs for c in chains])
    rebuilt, at = [], 0
    for epoch in candidate.epochs:
        rebuilt.append(epoch._replace(chains=tuple(closed[at : at + len(epoch.chains)])))
        at += len(epoch.chains)
    end = end._replace(epochs=tuple(rebuilt), opened=end.opened | {number}, starting=False)
    if candidate.new_epoch:
        end = end._replace(root=rebuilt[-1].root, my_turn=True)
    if envelope.receipt is not None:
        end = end._replace(acknowledged=max(end.acknowledged, envelope.receipt))
    return end


def _closed(chains: list[Chain]) -> list[Chain]:
    """Where the next chain is known, its first number ends the one before: its key goes, skipped keys stay."""
    closed = []
    for chain, following in zip(chains, [*chains[1:], None], strict=True):
        if following is None:
            closed.append(chain)
            continue
        first = following.base.first
        rest = set(range(chain.next, first)) if chain.next is not None else set()
        closed.append(chain._replace(next=None, skipped=frozenset(n for n in chain.skipped | rest if n < first)))
    return closed


# what a thief of an end's state can derive ---------------------------------------------------------------------------
def derives(end: End, base: Base, number: int) -> bool:
    """Say whether whoever holds this end's state, and has seen everything that was sent, has a message's key."""
    sending = end.sending
    if sending is not None and base.root == sending.base.root:
        if base == sending.base and number >= end.next and not end.must_reseed:
            return True
        if base.j > sending.base.j:
            return True
    for epoch in end.epochs:
        if epoch.root != base.root:
            continue
        if base.j >= epoch.next_j or base.j in epoch.roots:
            return True
        for chain in epoch.chains:
            ahead = chain.next is not None and number >= chain.next
            if chain.base == base and (ahead or number in chain.skipped):
                return True
    return False


def derives_root(end: End, root: Root) -> bool:
    """Say whether a thief of this state can follow to a later root.

    A step mixes in the agreement of its new key with the peer's newest one. The thief has the private half of this
    end's newest key only, so it follows the peer's next step and, after this end's next one, nothing.
    """
    known = end.root
    if root[: len(known)] != known:
        return False
    mine = {end.sending.x} if end.sending is not None else set()
    for x in root[len(known) :]:
        against = known[-1]
        if x not in mine and against not in mine:
            return False
        known = (*known, x)
    return True
