# SPDX-License-Identifier: Apache-2.0
"""A second reading of spec/session.md, by somebody who has nothing but the specification: keys, chains, receipts.

As foreign_wire.py: no code shared with the implementation. Bounds that need thousands of messages are not here.
"""

from __future__ import annotations

import copy
import hashlib
import hmac
import itertools
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from tests.vectors import foreign_wire as wire
from tests.vectors.foreign_wire import Refused, demand

WALK, SKIPPED = 65_536, 1_024
ALG_OF_SUITE = {suite: alg for alg, suite in wire.SUITE_OF_ALG.items()}
RECEIPT, RECEIVE_KID, SIGNATURE, NEWEST, VOID, FORKED = 65003, 65013, 65009, 65011, 65015, 65021


# keys ----------------------------------------------------------------------------------------------------------------
def mac(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, hashlib.sha256).digest()


def expand(prk: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869 §2.3."""
    block, out, count = b"", b"", 1
    while len(out) < length:
        block = mac(prk, block + info + bytes([count]))
        out, count = out + block, count + 1
    return out[:length]


def u32(number: int) -> bytes:
    return number.to_bytes(4, "big")


def agree(scalar: bytes, x: bytes, suite: int = 1) -> bytes:
    """RFC 6090 §4.2, or RFC 7748 §5. Refused: not-authentic."""
    if suite == 3:
        return _agree_x25519(scalar, x)
    try:
        peer = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x02" + x)
    except ValueError as error:
        raise Refused("not-authentic") from error
    private = ec.derive_private_key(int.from_bytes(scalar, "big"), ec.SECP256R1())
    return private.exchange(ec.ECDH(), peer)


def _agree_x25519(scalar: bytes, u: bytes) -> bytes:
    """README.md, Conventions. All of small order give zero, which the library refuses."""
    demand(int.from_bytes(u, "little") < 2**255 - 19, "not-authentic")
    try:
        return X25519PrivateKey.from_private_bytes(scalar).exchange(X25519PublicKey.from_public_bytes(u))
    except ValueError as error:
        raise Refused("not-authentic") from error


def public(scalar: bytes, suite: int = 1) -> bytes:
    if suite == 3:
        return X25519PrivateKey.from_private_bytes(scalar).public_key().public_bytes_raw()
    numbers = ec.derive_private_key(int.from_bytes(scalar, "big"), ec.SECP256R1()).public_key().public_numbers()
    return numbers.x.to_bytes(32, "big")


def message_key(secret: bytes, suite: int) -> tuple[bytes, bytes]:
    """Key and Base IV."""
    if suite == 3:
        return mac(secret, b"key"), mac(secret, b"iv")[:12]
    return secret[:16], secret[16:29]


def start_keys(agreements: bytes, session_hash: bytes) -> tuple[bytes, bytes, bytes]:
    """Root, R_1 and CK of a start."""
    okm = expand(mac(bytes(32), b"\xff" * 32 + agreements), b"sealway start" + session_hash, 96)
    return okm[:32], okm[32:64], okm[64:]


def step_keys(root: bytes, agreed: bytes, x: bytes, first: int) -> tuple[bytes, bytes, bytes]:
    """Root, R_1 and CK of a step."""
    okm = expand(mac(root, agreed), b"sealway step" + x + u32(first), 96)
    return okm[:32], okm[32:64], okm[64:]


def advance(chain: bytes) -> tuple[bytes, bytes]:
    """The message secret, and the next chain key."""
    return mac(chain, b"\x01"), mac(chain, b"\x02")


def verify_signature(
    point: ec.EllipticCurvePublicKey | Ed25519PublicKey, data: bytes, signature: bytes
) -> None:  # fmt: skip
    """ES256 or EdDSA. Refused: not-authentic."""
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    try:
        if isinstance(point, Ed25519PublicKey):
            return point.verify(signature, data)
        point.verify(encode_dss_signature(r, s), data, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError) as error:
        raise Refused("not-authentic") from error


# one direction, as its receiver knows it -----------------------------------------------------------------------------
@dataclass
class Chain:
    j: int
    salt: bytes
    first: int
    next: int
    key: bytes | None
    skipped: dict[int, bytes] = field(default_factory=dict)


@dataclass
class Epoch:
    x: bytes
    first: int
    root: bytes
    """R_k."""
    k: int = 1
    skipped_roots: dict[int, bytes] = field(default_factory=dict)
    chains: list[Chain] = field(default_factory=list)


@dataclass
class SendingEpoch:
    scalar: bytes
    x: bytes
    first: int
    root: bytes
    """R_(j+1)."""
    chain: bytes
    chain_first: int
    j: int = 0
    salt: bytes = b""


@dataclass
class Session:
    """One end of a session."""

    session_hash: bytes
    initiator: bool
    root: bytes
    my_turn: bool
    peer_x: bytes
    kid_in: bytes
    kid_out: bytes
    sending: SendingEpoch | None = None
    start: dict[str, Any] | None = None
    """The start header, while an initiator's start is unanswered."""
    announce_kid: bool = False
    must_reseed: bool = False
    next: int = 0
    acknowledged: int = -1
    acknowledged_in: int = -1
    acked: set[int] = field(default_factory=set)
    given_up: set[int] = field(default_factory=set)
    tags: dict[int, bytes] = field(default_factory=dict)
    sealed_at: dict[int, tuple[bytes, int]] = field(default_factory=dict)
    epochs: list[Epoch] = field(default_factory=list)
    opened: dict[int, bytes] = field(default_factory=dict)
    void: set[int] = field(default_factory=set)
    gone: set[int] = field(default_factory=set)
    reported: tuple[int, bytes] | None = None
    stopped: bool = False
    suite: int = 1

    # sealing -----------------------------------------------------------------------------------------------------
    def seal(self, plaintext: bytes, *, step: bytes | None, salt: bytes | None) -> bytes:
        """Seal a whole message; a step's private key and a reseed's salt are given where they are needed."""
        demand(not self.stopped, "stopped")
        if step is not None:
            self._step(step)
        sending = self.sending
        if sending is None:
            raise Refused("no chain")
        demand(self.must_reseed == (salt is not None), "a reseed where none belongs, or none where one does")
        if salt is not None:
            sending.j, sending.salt, sending.chain_first = sending.j + 1, salt, self.next
            sending.chain = mac(sending.root, b"seed" + salt + u32(self.next))
            sending.root, self.must_reseed = mac(sending.root, b"next"), False
        self._check_own_options(plaintext)
        secret, sending.chain = advance(sending.chain)
        header = {
            "alg": ALG_OF_SUITE[self.suite],
            "kid": self.kid_out,
            "number": self.next,
            "start": self.start,
            "opener": self._opener(),
        }
        envelope = wire.encrypt(header, *message_key(secret, self.suite), plaintext)
        self.tags[self.next] = self._tag_prefix(envelope)
        if plaintext[0] == 0:
            self.given_up.add(self.next)
        self.next += 1
        return envelope

    def _tag_prefix(self, ciphertext: bytes) -> bytes:
        """Of the tag, which ends it, the first 4 bytes."""
        tag = ciphertext[-wire.TAG_OF_ALG[ALG_OF_SUITE[self.suite]] :]
        return tag[:4]

    def _step(self, scalar: bytes) -> None:
        demand(self.my_turn, "not the turn")
        x = public(scalar, self.suite)
        root, reseed, chain = step_keys(self.root, agree(scalar, self.peer_x, self.suite), x, self.next)
        self.sending = SendingEpoch(scalar, x, self.next, reseed, chain, self.next)
        self.root, self.my_turn, self.must_reseed = root, False, False

    def _opener(self) -> dict[str, Any] | None:
        sending = self.sending
        if sending is None:
            return None
        first_of_all = self.initiator and sending.first == 0
        show_x = not first_of_all and self.acknowledged < sending.first
        show_reseed = sending.j > 0 and self.acknowledged < sending.chain_first
        if not show_x and not show_reseed:
            return None
        return {
            "first": sending.chain_first,
            "x": sending.x if show_x else None,
            "epoch": sending.first if show_x else None,
            "reseed": (sending.j, sending.salt) if show_reseed else None,
        }

    def _check_own_options(self, plaintext: bytes) -> None:
        """What the rules say of the options that a sender adds itself."""
        options = wire.read_message(plaintext)["options"]
        if RECEIPT in options:
            demand(options[RECEIPT][0] == wire.deterministic(self.receipt()), "another receipt than the rules give")
        demand((SIGNATURE in options) == (NEWEST in options) == (self.start is not None), "start options")
        demand((RECEIVE_KID in options) == self.announce_kid, "receive-kid")
        if VOID in options:
            numbers = _numbers(wire.strict_cbor(options[VOID][0]))
            demand(numbers <= self.given_up, "a number is told as void that may still come")

    # opening -----------------------------------------------------------------------------------------------------
    def open(self, data: bytes) -> dict[str, Any]:
        """Open an envelope: number, plaintext, what a receipt in it covers. Refused by a verdict."""
        demand(not self.stopped, "stopped")
        envelope = wire.read_envelope(data)
        demand(envelope["alg"] == ALG_OF_SUITE[self.suite], "not-authentic")
        demand(not (self.initiator and envelope["start"] is not None), "not-authentic")
        scratch = copy.deepcopy(self)
        try:
            plaintext = scratch._open(envelope)
        except Refused as refusal:
            if str(refusal) == "peer-forked":
                self.stopped = True
            raise
        self.__dict__.update(scratch.__dict__)
        return self._read(envelope, plaintext)

    def _open(self, envelope: dict[str, Any]) -> bytes:
        number = envelope["number"]
        demand(number not in self.void, "replayed")
        try:
            epoch, chain, is_new, cost = self._chain_of(envelope)
        except Refused as refusal:
            seen = number in self.opened and str(refusal) == "not-authentic"
            raise Refused("replayed") if seen else refusal from None
        new_epoch = epoch not in self.epochs
        secret = self._secret(chain, number, cost)
        plaintext = wire.decrypt(envelope, *message_key(secret, self.suite))
        if is_new:
            self._plausible(epoch, chain, number, new_epoch=new_epoch)
            self._insert(epoch, chain, new_epoch=new_epoch)
        self.opened[number] = self._tag_prefix(envelope["ciphertext"])
        self.gone.discard(number)
        return plaintext

    def _chain_of(self, envelope: dict[str, Any]) -> tuple[Epoch, Chain, bool, int]:
        number, opener = envelope["number"], envelope["opener"]
        if opener is None and envelope["start"] is not None:
            opener = {"first": 0, "x": envelope["start"]["ephemeral"], "epoch": 0, "reseed": None}
        if opener is None:
            known = [
                (c.first, e, c.j) for e, epoch in enumerate(self.epochs) for c in epoch.chains if c.first <= number
            ]
            demand(bool(known), "not-authentic")
            _, place, j = max(known)
            return self.epochs[place], next(c for c in self.epochs[place].chains if c.j == j), False, 0
        epoch, is_new = self._epoch_of(opener)
        if opener["reseed"] is None:
            return epoch, epoch.chains[0], is_new, self._closing(opener["first"], epoch) if is_new else 0
        j, salt = opener["reseed"]
        for chain in epoch.chains:
            if chain.j == j:
                demand((chain.salt, chain.first) == (salt, opener["first"]), "not-authentic, suspected")
                return epoch, chain, False, 0
        cost = max(0, j - epoch.k) + self._closing(opener["first"], epoch)
        return epoch, self._reseeded(epoch, j, salt, opener["first"]), True, cost

    def _closing(self, first: int, epoch: Epoch) -> int:
        """What lies before a new chain: since the newest known one, or, if there is none, since the epoch began."""
        if not self.epochs:
            return first - epoch.first
        last = self.epochs[-1].chains[-1]
        return max(0, first - last.next) if last.key is not None else 0

    def _epoch_of(self, opener: dict[str, Any]) -> tuple[Epoch, bool]:
        if opener["x"] is None:
            known = [(epoch.first, place) for place, epoch in enumerate(self.epochs) if epoch.first <= opener["first"]]
            demand(bool(known), "not-authentic")
            return self.epochs[max(known)[1]], False
        for epoch in self.epochs:
            if epoch.x == opener["x"]:
                return epoch, False
        demand(not self.epochs or opener["epoch"] >= self.epochs[0].first, "not-authentic")
        if self.my_turn or self.sending is None:
            raise Refused("not-authentic, suspected")
        agreed = agree(self.sending.scalar, opener["x"], self.suite)
        root, reseed, key = step_keys(self.root, agreed, opener["x"], opener["epoch"])
        epoch = Epoch(opener["x"], opener["epoch"], reseed)
        epoch.chains.append(Chain(0, b"", opener["epoch"], opener["epoch"], key))
        self._root_of_new = root
        return epoch, True

    def _reseeded(self, epoch: Epoch, j: int, salt: bytes, first: int) -> Chain:
        if j < epoch.k:
            demand(j in epoch.skipped_roots, "not-authentic")
            root = epoch.skipped_roots.pop(j)
        else:
            demand(j - epoch.k <= SKIPPED, "gap-too-large")
            while epoch.k < j:
                epoch.skipped_roots[epoch.k], epoch.root, epoch.k = epoch.root, mac(epoch.root, b"next"), epoch.k + 1
            root, epoch.root, epoch.k = epoch.root, mac(epoch.root, b"next"), j + 1
        return Chain(j, salt, first, first, mac(root, b"seed" + salt + u32(first)))

    def _secret(self, chain: Chain, number: int, cost: int) -> bytes:
        if number in chain.skipped:
            return chain.skipped.pop(number)
        demand(chain.key is not None and number >= chain.next, "replayed")
        demand(number - chain.next + cost <= WALK, "gap-too-large")
        while True:
            secret, chain.key = advance(chain.key or b"")
            at, chain.next = chain.next, chain.next + 1
            if at == number:
                break
            if at < number - SKIPPED:
                self.gone |= {at} - set(self.opened) - self.void
            elif at not in self.void:
                chain.skipped[at] = secret
        return secret

    def _plausible(self, epoch: Epoch, chain: Chain, number: int, *, new_epoch: bool) -> None:
        ordered = [c for e in self.epochs for c in e.chains]
        first = epoch.first if new_epoch else chain.first
        before, after = (ordered[-1] if ordered else None), None
        if not new_epoch:
            place = self.epochs.index(epoch)
            older = [c for e in self.epochs[:place] for c in e.chains] + [c for c in epoch.chains if c.j < chain.j]
            newer = [c for c in epoch.chains if c.j > chain.j] + [c for e in self.epochs[place + 1 :] for c in e.chains]
            before, after = (older[-1] if older else None), (newer[0] if newer else None)
        demand(before is None or first >= before.first, "peer-forked")
        demand(after is None or number < after.first, "peer-forked")
        top = after.first - 1 if after is not None else max(self.opened, default=-1)
        demand(not any(first <= n <= top for n in self.opened), "peer-forked")

    def _insert(self, epoch: Epoch, chain: Chain, *, new_epoch: bool) -> None:
        if new_epoch:
            self.epochs.append(epoch)
            self.root, self.my_turn, self.peer_x = self._root_of_new, True, epoch.x
        if chain not in epoch.chains:
            epoch.chains.append(chain)
            epoch.chains.sort(key=lambda c: c.j)
        ordered = [c for e in self.epochs for c in e.chains]
        for older, following in itertools.pairwise(ordered):
            while older.key is not None and older.next < following.first:
                secret, older.key = advance(older.key)
                if older.next not in self.void:
                    older.skipped[older.next] = secret
                older.next += 1
            older.key = None
            older.skipped = {n: secret for n, secret in older.skipped.items() if n < following.first}

    def _read(self, envelope: dict[str, Any], plaintext: bytes) -> dict[str, Any]:
        if envelope["start"] is None:
            self.announce_kid = False
        outcome: dict[str, Any] = {"number": envelope["number"], "plaintext": plaintext}
        try:
            message = wire.read_message(plaintext)
            self._check_control(message["options"], starting=envelope["start"] is not None)
        except Refused:
            return outcome | {"defective": True}
        options = message["options"]
        if self.start is not None and RECEIVE_KID in options:
            self.kid_out, self.start = options[RECEIVE_KID][0], None
        if VOID in options:
            self._drop({n for n in _numbers(wire.strict_cbor(options[VOID][0])) if n < envelope["number"]})
        if RECEIPT in options:
            receipt = wire.read_receipt(wire.strict_cbor(options[RECEIPT][0]))
            outcome |= self._acknowledged(receipt, envelope["number"])
        return outcome

    def _check_control(self, options: dict[int, Any], *, starting: bool) -> None:
        demand(starting == (SIGNATURE in options) == (NEWEST in options))
        demand(starting or FORKED not in options)
        demand(self.start is None or RECEIVE_KID in options)

    def _drop(self, numbers: set[int]) -> None:
        self.void |= numbers - set(self.opened)
        self.gone -= numbers
        for epoch in self.epochs:
            for chain in epoch.chains:
                chain.skipped = {n: secret for n, secret in chain.skipped.items() if n not in numbers}

    # receipts ----------------------------------------------------------------------------------------------------
    def _acknowledged(self, receipt: dict[str, Any], carried: int) -> dict[str, Any]:
        number = receipt["number"]
        if self.tags.get(number) != receipt["tag"]:
            self.stopped = True
            raise Refused("state-lost")
        backwards = carried > self.acknowledged_in and number < self.acknowledged
        ahead = carried < self.acknowledged_in and number > self.acknowledged
        if backwards or ahead:
            self.stopped = True
            raise Refused("peer-forked")
        listed = _spread(receipt["missing"]) | _spread(receipt["gone"])
        covered = set(range(number + 1)) - listed - self.acked
        self.acked |= covered
        outcome: dict[str, Any] = {"covered": covered, "again": set(), "moved": set()}
        if carried > self.acknowledged_in:
            self.acknowledged, self.acknowledged_in = number, carried
            owed = self.acked | self.given_up
            outcome["again"] = _spread(receipt["missing"]) - owed
            outcome["moved"] = _spread(receipt["gone"]) - owed
        return outcome

    def receipt(self) -> list[Any]:
        """What a receipt of this end says now, as CBOR items."""
        highest = max(self.opened)
        missing = [n for n in range(highest) if n not in self.opened and n not in self.void]
        pieces: list[tuple[int, int, bool]] = []
        for n in missing:
            is_gone = n in self.gone
            if pieces and pieces[-1][1] == n - 1 and pieces[-1][2] == is_gone:
                pieces[-1] = (pieces[-1][0], n, is_gone)
            else:
                pieces.append((n, n, is_gone))
        number = highest
        if len(pieces) > 8:
            below = [n for n in self.opened if n < pieces[8][0]]
            number = max(below) if below else self._end_of_lowest_run()
        tag = self.opened[number]
        if self.reported is not None and self.reported[0] > number:
            number, tag = self.reported
        self.reported = number, tag
        pieces = _merged([piece for piece in pieces if piece[0] < number])
        gone = [edge for first, last, is_gone in pieces if is_gone for edge in (first, last)]
        listed = [edge for first, last, is_gone in pieces if not is_gone for edge in (first, last)]
        return [number, tag, listed, gone] if gone else [number, tag, listed]

    def _end_of_lowest_run(self) -> int:
        at = min(self.opened)
        while at + 1 in self.opened:
            at += 1
        return at

    # commands ----------------------------------------------------------------------------------------------------
    def fresh(self, reference: list[Any], boot: bytes, uptime_ms: int, cap_ms: int) -> None:
        """Session.md, Freshness. Refused: stale."""
        number, tag, max_age_s = reference
        sealed = self.sealed_at.get(number)
        demand(sealed is not None and self.tags[number] == tag, "stale")
        known_boot, at = sealed or (b"", 0)
        demand(known_boot == boot and 0 <= uptime_ms - at <= min(max_age_s * 1_000, cap_ms), "stale")


def _spread(ranges: list[tuple[int, int]]) -> set[int]:
    return {n for first, last in ranges for n in range(first, last + 1)}


def _numbers(flat: list[int]) -> set[int]:
    return _spread(list(zip(flat[::2], flat[1::2], strict=True)))


def _merged(pieces: list[tuple[int, int, bool]]) -> list[tuple[int, int, bool]]:
    while len(pieces) > 8:
        between = [pieces[i + 1][0] - pieces[i][1] for i in range(len(pieces) - 1)]
        i = between.index(min(between))
        (first, end, gone), (begin, last, also) = pieces[i], pieces[i + 1]
        pieces[i : i + 2] = [(first, last, gone and also and end + 1 == begin)]
    joined: list[tuple[int, int, bool]] = []
    for piece in pieces:
        if joined and joined[-1][1] + 1 == piece[0] and joined[-1][2] == piece[2]:
            joined[-1] = (joined[-1][0], piece[1], piece[2])
        else:
            joined.append(piece)
    return joined
