# SPDX-License-Identifier: Apache-2.0
"""Points of P-256 with both coordinates, for protocols that add them: SPAKE2+ alone. Elsewhere x-coordinates travel.

Invariant: a point that came from outside is on the curve, in the one encoding that the protocol knows (SEC 1 §2.3.3,
uncompressed, 65 bytes, coordinates below p) and not the identity. The group's order is prime, so any such point is in
the group. Multiplication takes the same time for all scalars; the library blinds it with randomness of its own, which
no result depends on.
"""

from __future__ import annotations

from typing import Final

from Cryptodome.PublicKey.ECC import EccPoint
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sealway.crypto.keys import COORDINATE_BYTES, ORDER, SCALAR_BYTES, private_key
from sealway.crypto.secret import Secret
from sealway.errors import Malformed, NotAuthentic

__all__ = ["ORDER", "POINT_BYTES", "EccPoint", "base_times", "decode_point", "encode_point", "times", "total"]

FIELD: Final = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
"""The prime p of the field (SP 800-186 §3.2.1.3)."""

POINT_BYTES: Final = 1 + 2 * COORDINATE_BYTES


def decode_point(encoded: bytes) -> EccPoint:
    """Return the point of an uncompressed encoding.

    Raises:
        Malformed: not 65 bytes beginning with 04: other lengths, compressed and hybrid forms, the identity's 00.
        NotAuthentic: a coordinate is not below p, or no such point is on the curve.
    """
    if len(encoded) != POINT_BYTES or encoded[0] != 4:
        raise Malformed("not an uncompressed P-256 point")
    x, y = int.from_bytes(encoded[1 : 1 + COORDINATE_BYTES]), int.from_bytes(encoded[1 + COORDINATE_BYTES :])
    # The library takes (0, 0) for the identity, and would reduce nothing: so both are looked at here.
    if x >= FIELD or y >= FIELD or (x, y) == (0, 0):
        raise NotAuthentic("a coordinate of a point is out of range")
    try:
        return EccPoint(x, y, "p256")
    except ValueError:
        raise NotAuthentic("a point is not on the curve") from None


def encode_point(point: EccPoint) -> bytes:
    """Return the 65 bytes of the uncompressed encoding. Raises NotAuthentic for the identity, which has none."""
    if point.is_point_at_infinity():
        raise NotAuthentic("an agreement gave the identity")
    x, y = point.xy  # both at once: each of ``x`` and ``y`` alone costs the same inversion
    return b"\x04" + int(x).to_bytes(COORDINATE_BYTES) + int(y).to_bytes(COORDINATE_BYTES)


def times(scalar: Secret, point: EccPoint) -> EccPoint:
    """Return ``scalar`` times ``point``; the scalar is 32 bytes, big-endian.

    The library pads it to the length of the order, from the version on that pyproject.toml demands.
    """
    return point * int.from_bytes(scalar.reveal())


def total(point: EccPoint, *others: EccPoint) -> EccPoint:
    """Return the sum; ``point`` itself becomes it, since the library's copies cost as much as half a multiplication."""
    for other in others:
        point += other
    return point


def base_times(scalar: Secret) -> EccPoint:
    """Return ``scalar`` times the base point. Raises LocalMisuse unless it is 32 bytes, in 1 to n-1."""
    public = private_key(scalar).public_key()  # OpenSSL has tables for the base point: fifty times as fast
    return decode_point(public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))


def reduced(wide: bytes) -> Secret:
    """Return ``wide``, big-endian, modulo n, as a scalar of 32 bytes."""
    return Secret((int.from_bytes(wide) % ORDER).to_bytes(SCALAR_BYTES))
