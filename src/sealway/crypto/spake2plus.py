# SPDX-License-Identifier: Apache-2.0
"""SPAKE2+ (RFC 9383) in the suite P256-SHA256-HKDF-SHA256-HMAC-SHA256: two ends that share a short code agree on a key.

The prover knows the code; the verifier keeps only what lets it recognise who knows it. Here the prover is the
commissioner, and the verifier the device.

Invariant: the shared key leaves this module only after the other end's confirmation was found right, compared in
constant time; a wrong code gives each attempt one guess and no more. Received points are validated before anything
secret touches them; a product that is the identity ends the exchange. No object serves a second exchange.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Final

from sealway.crypto.kdf import HASH_BYTES, hkdf_expand, hkdf_extract, hmac_sha256
from sealway.crypto.keys import SCALAR_BYTES, generate_scalar
from sealway.crypto.p256 import (
    POINT_BYTES,
    EccPoint,
    base_times,
    decode_point,
    encode_point,
    reduced,
    times,
    total,
)
from sealway.crypto.ports import Random
from sealway.crypto.secret import Secret
from sealway.errors import LocalMisuse, Malformed, NotAuthentic

SHARE_BYTES: Final = POINT_BYTES
CONFIRMATION_BYTES: Final = HASH_BYTES
SALT_BYTES: Final = 16

_WIDE_BYTES: Final = 40
"""Bytes of each half before it is reduced: 64 bits more than the order has (RFC 9383 §3.2)."""

# RFC 9383 §4, uncompressed; nobody knows their discrete logarithms.
_M: Final = decode_point(
    bytes.fromhex(
        "04886e2f97ace46e55ba9dd7242579f2993b64e16ef3dcab95afd497333d8fa12f"
        "5ff355163e43ce224e0b0e65ff02ac8e5c7be09419c785e0ca547d55a12e2d20"
    )
)
_N: Final = decode_point(
    bytes.fromhex(
        "04d8bbd6c639c62937b04d997f38c3770719c629d7014d49a24b4f98baa1292b49"
        "07d60aa6bfade45008a636337f5168c64d9bd36034808cd564490b1e656edbe7"
    )
)
_MINUS_M: Final = -_M
_MINUS_N: Final = -_N
_ENCODED_M_N: Final = (encode_point(_M), encode_point(_N))


@dataclass(frozen=True, slots=True)
class ScryptCost:
    """What a guess costs whoever stole a verifier (RFC 7914), within bounds that a small computer can afford.

    Args:
        n: a power of two, 2^14 to 2^17; times r times 128 are the bytes of memory.
        r: 8.
        p: 1 to 4.

    Raises:
        Malformed: outside these bounds; a device may not choose what its commissioner has to pay.
    """

    n: int = 2**15
    r: int = 8
    p: int = 1

    def __post_init__(self) -> None:
        if self.n not in (2**14, 2**15, 2**16, 2**17) or self.r != 8 or not 1 <= self.p <= 4:
            raise Malformed("a scrypt cost outside its bounds")

    @property
    def memory(self) -> int:
        """The bytes that scrypt may take, with room for its own blocks."""
        return 128 * self.r * (self.n + self.p + 2)


STATED_COST: Final = ScryptCost()
"""What a device is made with: 32 MiB and about a tenth of a second."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """How the code was stretched; public. The salt has 16 bytes. Raises Malformed for another length."""

    salt: bytes
    cost: ScryptCost = STATED_COST

    def __post_init__(self) -> None:
        if len(self.salt) != SALT_BYTES:
            raise Malformed("a salt is not 16 bytes long")


@dataclass(frozen=True, slots=True)
class VerifierRecord:
    """What the device keeps: it recognises who knows the code, and cannot itself pretend to know it.

    Args:
        w0: a scalar, 32 bytes; who has it can guess codes offline.
        point: L = w1 times the base point, uncompressed, 65 bytes.
        parameters: how both came from the code.

    Raises:
        Malformed, NotAuthentic: ``point`` is no point; ``w0`` has another length.
    """

    w0: Secret = field(repr=False)
    point: bytes = field(repr=False)
    parameters: Parameters

    def __post_init__(self) -> None:
        if len(self.w0) != SCALAR_BYTES:
            raise Malformed("the verifier's scalar is not 32 bytes long")
        decode_point(self.point)


@dataclass(frozen=True, slots=True)
class ProverKey:
    """What only who knows the code can make: w0 and w1, scalars of 32 bytes each."""

    w0: Secret = field(repr=False)
    w1: Secret = field(repr=False)

    def record(self, parameters: Parameters) -> VerifierRecord:
        """Return what the device gets (RFC 9383 §3.2): w0 and L = w1 times the base point."""
        return VerifierRecord(self.w0, encode_point(base_times(self.w1)), parameters)


def derive(password: bytes, parameters: Parameters) -> ProverKey:
    """Return (w0, w1) of a password: scrypt gives 80 bytes, and each half is reduced modulo n as in RFC 9383 §3.2.

    What scrypt takes is the password alone, without the lengths and the names of both ends that §3.2 puts around it:
    the salt is this device's own, and its serial number is in the transcript.
    """
    cost = parameters.cost
    wide = hashlib.scrypt(
        password,
        salt=parameters.salt,
        n=cost.n,
        r=cost.r,
        p=cost.p,
        maxmem=cost.memory,
        dklen=2 * _WIDE_BYTES,
    )
    return ProverKey(reduced(wide[:_WIDE_BYTES]), reduced(wide[_WIDE_BYTES:]))


@dataclass(frozen=True, slots=True)
class Binding:
    """What both ends must agree on besides the code (RFC 9383 §3.3): a context, and who each of them is."""

    context: bytes
    prover: bytes
    verifier: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """The verifier's answer: its share, 65 bytes, and its confirmation, 32 bytes."""

    share: bytes
    confirmation: bytes


@dataclass(frozen=True, slots=True)
class Keys:
    """What comes of one exchange (RFC 9383 §3.4). No one else has it; until both confirmations held, no one may use it.

    Args:
        confirm_prover: K_confirmP.
        confirm_verifier: K_confirmV.
        shared: K_shared, 32 bytes.
    """

    confirm_prover: Secret = field(repr=False)
    confirm_verifier: Secret = field(repr=False)
    shared: Secret = field(repr=False)


class Prover:
    """The end that knows the code.

    Args:
        key: what the code gives.
        binding: as the verifier has it.
        random: draws the ephemeral scalar.
    """

    __slots__ = ("_binding", "_key", "_scalar", "share")

    def __init__(self, key: ProverKey, binding: Binding, random: Random) -> None:
        self._key, self._binding = key, binding
        scalar = generate_scalar(random)
        self._scalar: Secret | None = scalar
        self.share: bytes = encode_point(total(base_times(scalar), times(key.w0, _M)))
        """shareP = x·P + w0·M, 65 bytes, to be sent."""

    def confirm(self, reply: Reply) -> tuple[bytes, Secret]:
        """Return (confirmation for the verifier, shared key) once the verifier proved that it has this code's record.

        Raises:
            NotAuthentic: a bad point, or another code than the verifier's.
            Malformed: not the lengths of a share and a confirmation.
            LocalMisuse: called a second time.
        """
        scalar = self._take()
        blinded = total(decode_point(reply.share), times(self._key.w0, _MINUS_N))
        z, v = times(scalar, blinded), times(self._key.w1, blinded)
        keys = schedule(transcript(self._binding, self.share, reply.share, (z, v), self._key.w0))
        _require(hmac_sha256(keys.confirm_verifier.reveal(), self.share), reply.confirmation)
        return hmac_sha256(keys.confirm_prover.reveal(), reply.share), keys.shared

    def _take(self) -> Secret:
        scalar, self._scalar = self._scalar, None
        if scalar is None:
            raise LocalMisuse("this exchange is over")
        return scalar


class Verifier:
    """The end that keeps the record of the code.

    Args:
        record: w0 and L.
        binding: as the prover has it.
        random: draws the ephemeral scalar.
    """

    __slots__ = ("_binding", "_keys", "_random", "_record", "_share")

    def __init__(self, record: VerifierRecord, binding: Binding, random: Random) -> None:
        self._record, self._binding, self._random = record, binding, random
        self._keys: Keys | None = None
        self._share = b""

    def answer(self, share: bytes) -> Reply:
        """Return this end's share and confirmation. From here on the other end knows whether its code was right.

        Raises:
            NotAuthentic: ``share`` is no point of the group, or a product is the identity.
            Malformed: it is not an uncompressed point.
            LocalMisuse: called a second time.
        """
        if self._share:
            raise LocalMisuse("this exchange has been answered")
        record, received = self._record, decode_point(share)
        scalar = generate_scalar(self._random)
        own = encode_point(total(base_times(scalar), times(record.w0, _N)))
        unblinded = total(received, times(record.w0, _MINUS_M))
        z, v = times(scalar, unblinded), times(scalar, decode_point(record.point))
        self._keys, self._share = schedule(transcript(self._binding, share, own, (z, v), record.w0)), own
        return Reply(own, hmac_sha256(self._keys.confirm_verifier.reveal(), share))

    def finish(self, confirmation: bytes) -> Secret:
        """Return the shared key once the prover proved that it knows the code.

        Raises:
            NotAuthentic: it does not.
            Malformed: not the length of a confirmation.
            LocalMisuse: nothing was answered, or called a second time.
        """
        keys, self._keys = self._keys, None
        if keys is None:
            raise LocalMisuse("there is no exchange to finish")
        _require(hmac_sha256(keys.confirm_prover.reveal(), self._share), confirmation)
        return keys.shared


def transcript(
    binding: Binding, prover_share: bytes, verifier_share: bytes, products: tuple[EccPoint, EccPoint], w0: Secret
) -> Secret:
    """Return TT of RFC 9383 §3.3: each part behind its length as 8 bytes, little-endian. It holds secrets.

    Raises:
        NotAuthentic: one of ``products``, Z and V, is the identity.
    """
    z, v = products
    parts = [binding.context, binding.prover, binding.verifier, *_ENCODED_M_N]
    parts += [prover_share, verifier_share, encode_point(z), encode_point(v), w0.reveal()]
    return Secret(b"".join(len(part).to_bytes(8, "little") + part for part in parts))


def schedule(tt: Secret) -> Keys:
    """Return the keys of a transcript (RFC 9383 §3.4, §4): K_main is its SHA-256 and stays here."""
    pseudorandom = hkdf_extract(b"", hashlib.sha256(tt.reveal()).digest())
    confirmation = hkdf_expand(pseudorandom, b"ConfirmationKeys", 2 * HASH_BYTES)
    shared = hkdf_expand(pseudorandom, b"SharedKey", HASH_BYTES)
    return Keys(Secret(confirmation[:HASH_BYTES]), Secret(confirmation[HASH_BYTES:]), Secret(shared))


def _require(expected: bytes, received: bytes) -> None:
    if len(received) != CONFIRMATION_BYTES:
        raise Malformed("a confirmation is not 32 bytes long")
    if not hmac.compare_digest(expected, received):
        raise NotAuthentic("the codes of the two ends differ")
