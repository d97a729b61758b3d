# SPDX-License-Identifier: Apache-2.0
"""Keys as types: a public half cannot be taken for a private one, and no key exists unvalidated.

Signatures are ES256 (P-256) or EdDSA (Ed25519). Agreement here is P-256's; curves.py has both groups.

Invariant: a VerifyingKey is a point on its curve; an agreement never uses a peer's x-coordinate that is not on it.
Private keys are kept as raw scalars (an OpenSSL key object costs 2.2 KiB) and become key objects only while they work;
a SoftSigner or a SoftAgreer is one that works. Of public keys, which are no secret, the last few stay decompressed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sealway.crypto.ed25519 import load_public
from sealway.crypto.ports import Random
from sealway.crypto.secret import Secret
from sealway.errors import LocalMisuse, Malformed, NotAuthentic

__all__ = [
    "Secret",
    "SignatureAlgorithm",
    "SoftAgreer",
    "SoftSigner",
    "VerifyingKey",
    "agree",
    "agreed_x",
    "generate_scalar",
    "lifted",
    "private_key",
    "public_x",
    "validated_x",
]

ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""The order n of the P-256 group (SP 800-186 §3.2.1.3)."""

SCALAR_BYTES: Final = 32
COORDINATE_BYTES: Final = 32
POINT_BYTES: Final = 33
SIGNATURE_BYTES: Final = 64
_ED25519_BYTES: Final = 32
_MOST_LIFTED: Final = 128  # public keys that stay decompressed; 2 KiB each
_DRAWS: Final = 16  # a fair source is refused once with a chance of 2^-32

_CURVE: Final = ec.SECP256R1()
_ECDH: Final = ec.ECDH()
_VERIFY: Final = ec.ECDSA(hashes.SHA256())
# RFC 6979: no randomness at signing time, so none that could fail or repeat.
_SIGN: Final = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)


class SignatureAlgorithm(IntEnum):
    """How endpoints sign; the values are COSE's (RFC 9053 §2)."""

    ES256 = -7
    """ECDSA on P-256 with SHA-256."""
    EDDSA = -8
    """EdDSA on Ed25519."""

    @property
    def jose(self) -> str:
        """The name in a JWT (RFC 7518 §3.1, RFC 8037 §3.1)."""
        return "ES256" if self is SignatureAlgorithm.ES256 else "EdDSA"


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A public key that signatures are checked with.

    Args:
        point: P-256: compressed, SEC 1 §2.3.3, 33 bytes. Ed25519: RFC 8032 §5.1.2, 32 bytes.

    Raises:
        Malformed: not 33 bytes beginning with 02 or 03, nor 32 bytes.
        NotAuthentic: no such point on the curve; Ed25519: one of small order, or not in its canonical encoding.
    """

    point: bytes

    def __post_init__(self) -> None:
        self.to_cryptography()

    @classmethod
    def from_certificate_key(cls, key: object) -> VerifyingKey:
        """Take over the public key of a certificate or a CSR. Raises Malformed unless it is P-256 or Ed25519."""
        if isinstance(key, ed25519.Ed25519PublicKey):
            return cls(key.public_bytes_raw())
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise Malformed("neither a P-256 nor an Ed25519 key")
        return cls(key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint))

    @property
    def algorithm(self) -> SignatureAlgorithm:
        """What its signatures are."""
        return SignatureAlgorithm.ES256 if len(self.point) == POINT_BYTES else SignatureAlgorithm.EDDSA

    @property
    def kid(self) -> bytes:
        """The 8-byte key identifier: the beginning of SHA-256 over the point."""
        return hashlib.sha256(self.point).digest()[:8]

    def verify(self, message: bytes, signature: bytes) -> None:
        """Return if ``signature`` is this key's of ``message``. Raises NotAuthentic.

        It has 64 bytes: r‖s (RFC 9053 §2.1), or R‖S (RFC 8032 §5.1.7; S is checked to be below the group's order).
        """
        if len(signature) != SIGNATURE_BYTES:
            raise NotAuthentic("a signature is not 64 bytes long")
        key = self.to_cryptography()
        try:
            if isinstance(key, ed25519.Ed25519PublicKey):
                key.verify(signature, message)
            else:
                r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
                key.verify(encode_dss_signature(r, s), message, _VERIFY)
        except InvalidSignature:
            raise NotAuthentic("a signature does not verify") from None

    def to_cryptography(self) -> ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey:
        """Return the key object of the cryptography package."""
        if len(self.point) == _ED25519_BYTES:
            return load_public(self.point)
        if len(self.point) != POINT_BYTES or self.point[0] not in (2, 3):
            raise Malformed("not a compressed P-256 point")
        return _lift(self.point)


class SoftSigner:
    """A Signer whose private key is in this process's memory.

    Args:
        scalar: 32 bytes. ES256: big-endian, 1 to n-1. EdDSA: any (RFC 8032 §5.1.5). Raises LocalMisuse otherwise.
        algorithm: what it signs with.
    """

    __slots__ = ("_key", "_public")

    def __init__(self, scalar: Secret, algorithm: SignatureAlgorithm = SignatureAlgorithm.ES256) -> None:
        es256 = algorithm is SignatureAlgorithm.ES256
        self._key = private_key(scalar) if es256 else _ed25519_private(scalar)
        self._public = VerifyingKey.from_certificate_key(self._key.public_key())

    @property
    def public(self) -> VerifyingKey:
        """The public half."""
        return self._public

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature; the same message gives the same one (RFC 6979, RFC 8032)."""
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(message)
        r, s = decode_dss_signature(self._key.sign(message, _SIGN))
        return r.to_bytes(32) + s.to_bytes(32)


class SoftAgreer:
    """An Agreer whose scalar is in this process's memory; for a scalar that agrees more than once.

    Args:
        scalar: 32 bytes, big-endian, 1 to n-1. Raises LocalMisuse otherwise.
    """

    __slots__ = ("_key",)

    def __init__(self, scalar: Secret) -> None:
        self._key = private_key(scalar)

    @property
    def public(self) -> bytes:
        """The public half: a 32-byte x-coordinate."""
        return _x(self._key.public_key())

    def agree(self, peer_x: bytes) -> Secret:
        """Return the agreed 32-byte x-coordinate; see the function of the same name."""
        return _agreed(self._key, peer_x)


def generate_scalar(random: Random) -> Secret:
    """Draw a private P-256 scalar, evenly from 1 to n-1 (FIPS 186-5 appendix A.2.2, by rejection).

    Raises:
        LocalMisuse: the source of randomness gives the wrong length, or only unusable values.
    """
    for _ in range(_DRAWS):
        drawn = random(SCALAR_BYTES)
        if len(drawn) != SCALAR_BYTES:
            raise LocalMisuse("the source of randomness returned a wrong number of bytes")
        if 0 < int.from_bytes(drawn) < ORDER:
            return Secret(drawn)
    raise LocalMisuse("the source of randomness is broken", hint="check the operating system's random number generator")


def public_x(scalar: Secret) -> bytes:
    """Return the 32-byte x-coordinate of the public half of ``scalar``. Raises LocalMisuse for a bad scalar."""
    return _x(private_key(scalar).public_key())


def agree(scalar: Secret, peer_x: bytes) -> Secret:
    """Return the x-coordinate of the product (RFC 6090 §4.2: it does not depend on the sign of y), 32 bytes.

    Raises:
        Malformed: ``peer_x`` is not 32 bytes.
        NotAuthentic: no point on the curve has this x-coordinate, or the product is zero.
        LocalMisuse: a bad scalar.
    """
    return _agreed(private_key(scalar), peer_x)


def _agreed(key: ec.EllipticCurvePrivateKey, peer_x: bytes) -> Secret:
    return agreed_x(key.exchange(_ECDH, _lift_x(peer_x)))


def agreed_x(product: bytes) -> Secret:
    """Return the x-coordinate of a product, from wherever it was computed. Raises NotAuthentic for zero."""
    if not any(product):
        raise NotAuthentic("an agreement gave zero")
    return Secret(product)


def lifted(x: bytes) -> bytes:
    """Return a point with this x-coordinate, uncompressed (SEC 1 §2.3.3), 65 bytes, for what multiplies whole points.

    Which of the two it is does not matter to the product's x-coordinate. Raises Malformed, NotAuthentic as ``agree``.
    """
    return _lift_x(x).public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def validated_x(x: bytes) -> bytes:
    """Return ``x`` once it is known to be the x-coordinate of a point. Raises Malformed, NotAuthentic as ``agree``."""
    _lift_x(x)
    return x


def private_key(scalar: Secret) -> ec.EllipticCurvePrivateKey:
    """Return the key object for a scalar, to be used and dropped. Raises LocalMisuse unless it is in 1 to n-1."""
    value = int.from_bytes(scalar.reveal())
    if len(scalar) != SCALAR_BYTES or not 0 < value < ORDER:
        raise LocalMisuse("not a P-256 private scalar")
    return ec.derive_private_key(value, _CURVE)


def _ed25519_private(seed: Secret) -> ed25519.Ed25519PrivateKey:
    if len(seed) != SCALAR_BYTES:
        raise LocalMisuse("not an Ed25519 private key")
    return ed25519.Ed25519PrivateKey.from_private_bytes(seed.reveal())


def _lift_x(x: bytes) -> ec.EllipticCurvePublicKey:
    if len(x) != COORDINATE_BYTES:
        raise Malformed("an agreement key is not 32 bytes long")
    return _lift(b"\x02" + x)


@lru_cache(_MOST_LIFTED)
def _lift(point: bytes) -> ec.EllipticCurvePublicKey:
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, point)
    except ValueError:
        raise NotAuthentic("a public key is not on the curve") from None


def _x(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)[1:]
