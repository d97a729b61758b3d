# SPDX-License-Identifier: Apache-2.0
"""The receiving direction of a session: what was opened, what is missing, and the receipts that say so.

Invariants: a number is opened once; nothing changes before a tag has verified; what is stored is bounded by the policy.
spec/session.md, "Chains" and "Receipts".
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise

from sealway.errors import GapTooLarge, PeerForked, Replayed
from sealway.protocol import schedule
from sealway.protocol.chains import (
    Candidate,
    Chain,
    Contradicts,
    Epoch,
    Step,
    find_named,
    find_unnamed,
    on_chain,
    on_new_epoch,
    on_reseed,
)
from sealway.protocol.policy import Policy
from sealway.protocol.ranges import Range, RangeSet
from sealway.wire.header import Opener
from sealway.wire.message import Receipt

RECEIPT_RANGES = 8


@dataclass(slots=True)
class Receiving:
    """One direction, seen from the end that opens."""

    epochs: list[Epoch] = field(default_factory=list)
    """Oldest first."""
    closed: RangeSet = field(default_factory=RangeSet)
    """Numbers that are not waited for: opened, or void."""
    gone: RangeSet = field(default_factory=RangeSet)
    """Missing numbers whose keys had to be given up."""
    void: RangeSet = field(default_factory=RangeSet)
    """Numbers that the peer said will not come again, and that were not opened."""
    marks: dict[int, bytes] = field(default_factory=dict)
    """For each range of ``closed``, the highest opened number and the first 4 bytes of its tag."""
    reported: tuple[int, bytes] | None = None
    """The number and tag of the last receipt; receipts never go back behind it."""

    @property
    def highest(self) -> int:
        """The highest opened number, or -1."""
        return max(self.marks, default=-1)

    def was_opened(self, number: int) -> bool:
        """Say whether a message with this number was opened (and not merely declared void)."""
        return number in self.closed and number not in self.void

    # finding the key ---------------------------------------------------------------------------------------------
    def candidate(self, number: int, opener: Opener | None, step: Step | None, policy: Policy) -> Candidate:
        """Return the one candidate for an envelope; changes nothing.

        Args:
            step: the peer's step, derived by the session, when the opener shows an x that no epoch has.

        Raises:
            Replayed: the number was opened before, or is not waited for.
            Contradicts: the opener speaks against what is known.
            NotAuthentic: no known chain can hold it.
            GapTooLarge: it would cost more than the policy allows.
        """
        if number in self.void:
            raise Replayed("the peer said that this number would not come again")
        if opener is None:
            epoch, chain = find_unnamed(self.epochs, number)
            return on_chain(epoch, chain, number, policy)
        if step is not None:
            return on_new_epoch(step, opener, number, policy, before=self._last_chain())
        epoch_named = find_named(self.epochs, opener)
        if epoch_named is None:
            raise Contradicts("a new key out of turn")
        if opener.reseed is None:
            return on_chain(epoch_named, epoch_named.chains[0], number, policy)
        return on_reseed(epoch_named, opener, number, policy, before=self._last_chain())

    def in_a_row(self, number: int) -> Chain | None:
        """Return the newest chain if ``number`` is its next, and the next after all that was opened; else None.

        ``candidate`` would find this very chain: the chains of a direction are ordered by their first numbers
        (``_plausible``), and nothing above the highest opened number is void.
        """
        if not self.epochs:
            return None
        chain = self.epochs[-1].chains[-1]
        follows = number == chain.next and number - 1 in self.marks and number - 1 == self.closed.highest
        return chain if follows and chain.key is not None else None

    def _last_chain(self) -> Chain | None:
        return self.epochs[-1].chains[-1] if self.epochs else None

    # taking it over ------------------------------------------------------------------------------------------------
    def check(self, found: Candidate, number: int, policy: Policy) -> None:
        """Refuse what an authentic message must not do; changes nothing.

        Raises:
            PeerForked: the new chain contradicts what was opened before, so two copies of the peer's state seal.
            GapTooLarge: it would leave more gaps than the policy allows; the sender offers it again.
        """
        if found.new_chain:
            self._plausible(found, number)
        lonely = not self.closed.touches(number - 1, number + 1)
        if lonely and len(self.closed) >= policy.gap_ranges:
            raise GapTooLarge("too many separate gaps")

    def _plausible(self, found: Candidate, number: int) -> None:
        """The chains of a direction are ordered by (epoch, j): a new one must fit between its neighbours.

        Its numbers end before the next chain begins, or a copy that seals on with an older epoch could use them again.
        """
        before, after = self._neighbours(found)
        first = found.epoch.first if found.new_epoch else found.chain.first
        top = after.first - 1 if after is not None else self.closed.highest
        crowded = (before is not None and first < before.first) or (after is not None and number >= after.first)
        if crowded or self._opened_between(first, top):
            raise PeerForked("the peer sealed the same numbers twice: two copies of its state are in use")

    def _opened_between(self, first: int, last: int) -> bool:
        return first <= last and any(self.void.outside(*part) for part in self.closed.within(first, last))

    def _neighbours(self, found: Candidate) -> tuple[Chain | None, Chain | None]:
        return (self._last_chain(), None) if found.new_epoch else self._around(found.epoch, found.chain.j)

    def _around(self, epoch: Epoch, j: int) -> tuple[Chain | None, Chain | None]:
        at = self.epochs.index(epoch)
        older = [c for e in self.epochs[:at] for c in e.chains] + [c for c in epoch.chains if c.j < j]
        newer = [c for c in epoch.chains if c.j > j] + [c for e in self.epochs[at + 1 :] for c in e.chains]
        return (older[-1] if older else None), (newer[0] if newer else None)

    def take(self, found: Candidate, number: int, tag: bytes, now_ms: int, policy: Policy) -> None:
        """Take over a candidate whose key has opened its envelope and which ``check`` has passed."""
        if found.new_epoch:
            if self.epochs:
                self.epochs[-1].superseded_ms = now_ms
            self.epochs.append(found.epoch)
        if found.new_chain:
            _insert(found)
        chain = found.chain
        if found.key_after is None:
            del chain.skipped[number]
        else:
            chain.skipped |= {n: secret for n, secret in found.skipped.items() if n not in self.void}
            chain.key, chain.next = found.key_after, number + 1
            if found.lost is not None:
                self._lose(*found.lost)
        if found.new_chain:
            self._close_superseded(policy)
        self._note(number, tag)
        if found.new_chain or found.skipped:
            self._evict(policy)

    def take_next(self, chain: Chain, number: int, key_after: bytes, tag: bytes) -> None:
        """Take over the number that ``in_a_row`` found, once its key has opened its envelope; as ``take`` would."""
        chain.key, chain.next = key_after, number + 1
        self.closed.add(number)
        del self.marks[number - 1]
        self.marks[number] = tag

    def _close_superseded(self, policy: Policy) -> None:
        """Where the next chain is known, turn what is left of a chain into skipped keys and forget its key."""
        ordered = [c for e in self.epochs for c in e.chains]
        for chain, following in pairwise(ordered):
            if chain.key is not None:
                keep_from = max(chain.next, following.first - policy.skipped)
                if keep_from > chain.next:
                    self._lose(chain.next, keep_from - 1)
                while chain.next < following.first:
                    secret, chain.key = schedule.advance(chain.key)
                    if chain.next >= keep_from and chain.next not in self.void:
                        chain.skipped[chain.next] = secret
                    chain.next += 1
                chain.key = None
            for number in [n for n in chain.skipped if n >= following.first]:
                del chain.skipped[number]  # they belong to a chain that was learned of later

    def _note(self, number: int, tag: bytes) -> None:
        self.closed.add(number)
        if self.gone:
            self.gone.remove(number, number)
        self.marks[number] = tag
        if number - 1 in self.marks and number + 1 not in self.closed:  # the common case: the next in a row
            del self.marks[number - 1]
            return
        self._keep_highest_mark(number)

    def _keep_highest_mark(self, number: int) -> None:
        first, last = self.closed.range_of(number)
        for lower in sorted(n for n in self.marks if first <= n <= last)[:-1]:
            del self.marks[lower]

    def drop(self, void: tuple[Range, ...], below: int, policy: Policy) -> None:
        """Stop waiting for numbers that the peer says will not come again; only those below the message that says so.

        What would be more than the policy allows is passed over, and receipts go on listing it: in the end the peer,
        whose acknowledgements do not get on, begins a new session. (To forget what was void would be wrong: it would
        count as opened, and what moved from there to another session as a repetition.)
        """
        for first, last in void:
            last = min(last, below - 1)
            lonely = not self.closed.touches(first - 1, last + 1)
            full = len(self.void) >= policy.void_ranges or (lonely and len(self.closed) >= policy.gap_ranges)
            if first > last or full:
                continue
            for low, high in self.closed.gaps(last + 1):
                if high >= first:
                    self.void.add(max(low, first), high)
            self.closed.add(first, last)
            self.gone.remove(first, last)
            self._forget_keys(first, last)
            self._keep_highest_mark(first)

    # bounds ----------------------------------------------------------------------------------------------------------
    def missing(self) -> list[Range]:
        """Return the ranges below the highest opened number that were not opened and are not void."""
        return self.closed.gaps(self.highest + 1)

    def _lose(self, first: int, last: int) -> None:
        for part in self.closed.gaps(last + 1):
            low, high = max(first, part[0]), min(last, part[1])
            if low <= high:
                self.gone.add(low, high)

    def _forget_keys(self, first: int, last: int) -> None:
        for epoch in self.epochs:
            for chain in epoch.chains:
                if chain.skipped:
                    for number in [n for n in chain.skipped if first <= n <= last]:
                        del chain.skipped[number]

    def _evict(self, policy: Policy) -> None:
        """Keep stored keys, roots, chains and epochs within the policy; whole gaps go, the lowest first."""
        excess = sum(len(c.skipped) for e in self.epochs for c in e.chains) - policy.skipped
        if excess > 0:
            self._evict_keys(excess)
        self._evict_roots(policy)
        if len(self.epochs) > policy.epochs:
            self._forget_epochs(len(self.epochs) - policy.epochs)
        self._evict_chains(policy)

    def _evict_keys(self, excess: int) -> None:
        stored = sorted(n for e in self.epochs for c in e.chains for n in c.skipped)
        border = stored[excess - 1]
        for first, last in self.closed.gaps(self.highest + 1):
            if first > border:
                break
            self._forget_keys(first, last)
            self.gone.add(first, last)

    def _evict_roots(self, policy: Policy) -> None:
        """Without its root a reseed that was jumped over cannot be opened: all that is missing around it is gone."""
        excess = sum(len(e.skipped_roots) for e in self.epochs) - policy.skipped
        for epoch in self.epochs:
            for j in sorted(epoch.skipped_roots)[: max(0, excess)]:
                del epoch.skipped_roots[j]
                excess -= 1
                before, after = self._around(epoch, j)
                if before is not None and after is not None:
                    self._forget_keys(before.first, after.first - 1)
                    self._lose(before.first, after.first - 1)

    def _evict_chains(self, policy: Policy) -> None:
        excess = sum(len(e.chains) for e in self.epochs) - policy.chains
        for epoch in self.epochs:
            for chain in list(epoch.chains[:-1]):
                if excess > 0 and chain.key is None and not chain.skipped and chain.j > 0:
                    epoch.chains.remove(chain)
                    excess -= 1

    @property
    def stored(self) -> int:
        """How many secrets and roots are stored for what was jumped over."""
        return sum(len(e.skipped_roots) + sum(len(c.skipped) for c in e.chains) for e in self.epochs)

    def keep_at_most(self, secrets: int, policy: Policy) -> None:
        """Give up stored secrets, and stored roots, above a number of each, as if the policy had it."""
        self._evict(replace(policy, skipped=secrets))

    def forget(self, now_ms: int, policy: Policy) -> None:
        """Forget epochs that were superseded longer than ``held_for`` ago; what they still missed is gone."""
        old = [e for e in self.epochs if e.superseded_ms is not None and e.superseded_ms + policy.held_for_ms <= now_ms]
        self._forget_epochs(len(old))

    def _forget_epochs(self, count: int) -> None:
        for epoch in self.epochs[:count]:
            for chain in epoch.chains:
                for number in chain.skipped:
                    self.gone.add(number)
        del self.epochs[:count]

    # receipts --------------------------------------------------------------------------------------------------
    def receipt(self) -> Receipt | None:
        """Return what this end has opened, as a receipt; None before the first message.

        The number is the highest opened one below which the gaps fit 8 ranges. It never falls: when a gap has been
        split since, the gaps that are closest to each other are told as one.
        """
        if not self.marks:
            return None
        pieces = self._pieces()
        number = self._receipt_number(pieces)
        if self.reported is not None and self.reported[0] > number:
            number, tag = self.reported
        else:
            tag = self.marks[number]
        listed = _merged([p for p in pieces if p[0] < number])
        self.reported = (number, tag)
        return Receipt(
            number,
            tag,
            tuple((first, last) for first, last, is_gone in listed if not is_gone),
            tuple((first, last) for first, last, is_gone in listed if is_gone),
        )

    def _pieces(self) -> list[tuple[int, int, bool]]:
        pieces: list[tuple[int, int, bool]] = []
        for first, last in self.missing():
            at = first
            for low, high in self.gone.within(first, last):
                if low > at:
                    pieces.append((at, low - 1, False))
                pieces.append((low, high, True))
                at = high + 1
            if at <= last:
                pieces.append((at, last, False))
        return pieces

    def _receipt_number(self, pieces: list[tuple[int, int, bool]]) -> int:
        if len(pieces) <= RECEIPT_RANGES:
            return self.highest
        ceiling = pieces[RECEIPT_RANGES][0]
        return max((n for n in self.marks if n < ceiling), default=min(self.marks))


def _insert(found: Candidate) -> None:
    epoch, roots = found.epoch, found.roots
    if roots is not None:
        if roots.used is not None:
            del epoch.skipped_roots[roots.used]
        epoch.next_j, epoch.reseed_root = roots.next_j, roots.reseed_root
        epoch.skipped_roots |= roots.skipped
    if all(chain is not found.chain for chain in epoch.chains):
        epoch.chains.append(found.chain)
        epoch.chains.sort(key=lambda c: c.j)


def _merged(pieces: list[tuple[int, int, bool]]) -> list[tuple[int, int, bool]]:
    """Tell at most 8 gaps: those that are closest to each other become one, which is gone only if both were."""
    pieces = list(pieces)
    while len(pieces) > RECEIPT_RANGES:
        at = min(range(len(pieces) - 1), key=lambda i: pieces[i + 1][0] - pieces[i][1])
        pieces[at : at + 2] = [_joined(pieces[at], pieces[at + 1])]
    for i in range(len(pieces) - 1, 0, -1):
        if pieces[i - 1][1] + 1 == pieces[i][0] and pieces[i - 1][2] == pieces[i][2]:
            pieces[i - 1 : i + 1] = [_joined(pieces[i - 1], pieces[i])]
    return pieces


def _joined(a: tuple[int, int, bool], b: tuple[int, int, bool]) -> tuple[int, int, bool]:
    return a[0], b[1], a[2] and b[2] and a[1] + 1 == b[0]
