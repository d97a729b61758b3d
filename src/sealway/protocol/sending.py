# SPDX-License-Identifier: Apache-2.0
"""The sending direction of a session: numbers, the live chain, and what openers must still show.

Invariants: a number is used once; a message secret is handed out once; after a restart no secret is handed out before a
reseed or a step, so that a restored or cloned copy never repeats a key and nonce, whatever its counters say.
spec/session.md, "Chains".
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sealway.crypto.curves import Curve
from sealway.crypto.ports import Random
from sealway.crypto.secret import Secret
from sealway.errors import LocalMisuse, PeerForked, StateLost
from sealway.protocol import schedule
from sealway.protocol.ranges import Range, RangeSet
from sealway.wire.header import Opener
from sealway.wire.message import Receipt

HIGHEST_NUMBER = 2**32 - 1
SALT_LENGTH = 16


@dataclass(slots=True, repr=False)
class SendingEpoch:
    """Everything sent between two ratchet steps of this end. ``j`` counts reseeds; the chain is the live one only."""

    x: bytes
    x_secret: Secret
    first: int
    reseed_root: bytes
    chain: bytes
    chain_first: int
    j: int = 0
    salt: bytes = b""


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What a receipt says about this end's messages; ranges of numbers."""

    covered: tuple[Range, ...]
    """Newly acknowledged: their sealed bytes may be forgotten."""
    missing: tuple[Range, ...]
    """Still missing at the peer: offer the same bytes again."""
    gone: tuple[Range, ...]
    """The peer can no longer open these: seal their contents anew."""


@dataclass(slots=True)
class Sending:
    """One direction, seen from the end that seals."""

    epoch: SendingEpoch | None = None
    next_number: int = 0
    must_reseed: bool = False
    acked: RangeSet = field(default_factory=RangeSet)
    unkept: RangeSet = field(default_factory=RangeSet)
    """Own numbers that will not come again: bare receipts, and messages that moved to a new number."""
    void: RangeSet = field(default_factory=RangeSet)
    """The part of ``unkept`` that the peer misses and has to be told of."""
    highest_acked: int = -1
    highest_acked_in: int = -1
    """The number of the peer's message that carried it."""

    # sealing ---------------------------------------------------------------------------------------------------
    def step(self, root: bytes, peer_x: bytes, random: Random, curve: Curve) -> bytes:
        """Begin a new epoch with a fresh key; return the session's next root. The caller holds the turn."""
        scalar = curve.draw(random)
        x, agreed = curve.public(scalar), curve.agree(scalar, peer_x)
        keys = schedule.step_keys(root, agreed.reveal(), x, self.next_number)
        self.epoch = SendingEpoch(x, scalar, self.next_number, keys.reseed_root, keys.chain, self.next_number)
        self.must_reseed = False  # a fresh key serves as well as a fresh salt
        return keys.root

    def take(self, random: Random) -> tuple[int, bytes]:
        """Return (number, message secret) for the next message, reseeding first when the state was opened anew."""
        epoch = self.epoch
        if epoch is None:
            raise LocalMisuse("this direction has no chain yet")
        self.refuse_if_used_up()
        if self.must_reseed:
            self._reseed(epoch, random(SALT_LENGTH))
        secret, epoch.chain = schedule.advance(epoch.chain)
        number, self.next_number = self.next_number, self.next_number + 1
        return number, secret

    def refuse_if_used_up(self) -> None:
        """Raise LocalMisuse when no number is left."""
        if self.next_number > HIGHEST_NUMBER:
            raise LocalMisuse("the session has used all its numbers", hint="begin a new session with this peer")

    def _reseed(self, epoch: SendingEpoch, salt: bytes) -> None:
        epoch.j, epoch.salt, epoch.chain_first = epoch.j + 1, salt, self.next_number
        epoch.chain = schedule.reseed_chain(epoch.reseed_root, salt, self.next_number)
        epoch.reseed_root = schedule.next_reseed_root(epoch.reseed_root)
        self.must_reseed = False

    def opener(self, *, x_is_known: bool) -> Opener | None:
        """Return what the next envelope must show: all that no sealed acknowledgement has covered yet.

        Args:
            x_is_known: the start header shows x already, or the peer's first reply proved that it knows it.
        """
        epoch = self.epoch
        if epoch is None:
            return None
        show_x = not x_is_known and self.highest_acked < epoch.first
        show_reseed = epoch.j > 0 and self.highest_acked < epoch.chain_first
        if not show_x and not show_reseed:
            return None
        return Opener(
            epoch.chain_first,
            epoch.x if show_x else None,
            epoch.first if show_x else None,
            (epoch.j, epoch.salt) if show_reseed else None,
        )

    @property
    def chain_is_acknowledged(self) -> bool:
        """Whether something of the present chain was acknowledged. Then no opener is due: epochs begin no later."""
        epoch = self.epoch
        return epoch is not None and self.highest_acked >= epoch.chain_first

    @property
    def unacknowledged(self) -> int:
        """How many numbers follow the highest acknowledged one: what the peer may have to walk to the next message."""
        return self.next_number - 1 - self.highest_acked

    # acknowledgements --------------------------------------------------------------------------------------------
    def acknowledge(self, receipt: Receipt, carried_by: int, tag: bytes | None) -> Acknowledgement:
        """Take in a sealed receipt.

        Args:
            receipt: from an opened message of the peer.
            carried_by: that message's number.
            tag: first 4 bytes of the tag of own message ``receipt.number``, or None if it is no longer remembered.

        Raises:
            StateLost: the peer opened a number that this state never sealed, or sealed differently.
            PeerForked: a later message of the peer acknowledges less than an earlier one did.
        """
        self._plausible(receipt, carried_by, tag)
        newest = carried_by > self.highest_acked_in
        covered = self._cover(receipt)
        if not newest:
            return Acknowledgement(covered, (), ())  # what it calls missing may have arrived since
        self.highest_acked, self.highest_acked_in = receipt.number, carried_by
        self.void = RangeSet(self._among(receipt.missing + receipt.gone, self.unkept))
        return Acknowledgement(covered, self._wanted(receipt.missing), self._wanted(receipt.gone))

    def _plausible(self, receipt: Receipt, carried_by: int, tag: bytes | None) -> None:
        if receipt.number >= self.next_number:
            raise StateLost(
                "the peer acknowledges a message that this state never sealed",
                hint="this state directory is older than one that was in use",
            )
        if tag is not None and tag != receipt.tag:
            raise StateLost(
                "the peer acknowledges another message under this number", hint="two copies of this state were in use"
            )
        if carried_by > self.highest_acked_in:
            fallen = receipt.number < self.highest_acked
        else:  # an earlier message that comes late
            fallen = receipt.number > self.highest_acked
        if fallen:
            raise PeerForked("the peer acknowledges less in a later message than in an earlier one")

    def _cover(self, receipt: Receipt) -> tuple[Range, ...]:
        listed = RangeSet(receipt.missing + receipt.gone)
        opened = listed.gaps(receipt.number + 1)
        fresh = [part for first, last in opened for part in self.acked.outside(first, last)]
        for first, last in fresh:
            self.acked.add(first, last)
            self.unkept.remove(first, last)
            self.void.remove(first, last)
        return tuple(fresh)

    def _wanted(self, listed: tuple[Range, ...]) -> tuple[Range, ...]:
        unknown = [part for first, last in listed for part in self.acked.outside(first, last)]
        return tuple(part for first, last in unknown for part in self.unkept.outside(first, last))

    @staticmethod
    def _among(listed: tuple[Range, ...], members: RangeSet) -> list[Range]:
        return [part for first, last in listed for part in members.within(first, last)]

    def give_up(self, first: int, last: int, *, tell: bool = False) -> None:
        """Note that these numbers will not be offered again; ``tell`` the peer, if it is known to miss them."""
        if last >= self.next_number:
            raise LocalMisuse("a number that was never sealed cannot be given up")
        for part in self.acked.outside(first, last):
            self.unkept.add(*part)
            if tell:
                self.void.add(*part)
