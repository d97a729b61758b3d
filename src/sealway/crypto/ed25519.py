# SPDX-License-Identifier: Apache-2.0
"""Ed25519 public keys (RFC 8032 §5.1), checked before anything is verified with them.

Invariant: a key that is loaded here is the canonical encoding of a point on the curve, and not of small order. With one
of small order a signature can verify for many messages, so it would prove nothing; OpenSSL checks the length alone.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from sealway.errors import Malformed, NotAuthentic

KEY_BYTES: Final = 32
PRIME: Final = 2**255 - 19
D: Final = -121665 * pow(121666, -1, PRIME) % PRIME
"""The curve's d: -x² + y² = 1 + d x² y²."""

_Y_OF_ORDER_8: Final = 2707385501144840649318225287225658788936804267575313519463743609750303402022
SMALL_ORDER: Final = frozenset({0, 1, PRIME - 1, _Y_OF_ORDER_8, PRIME - _Y_OF_ORDER_8})
"""The y-coordinates of the eight points whose order divides 8."""

_SIGN_OF_X: Final = 1 << 255
_MOST_LOADED: Final = 128


@lru_cache(_MOST_LOADED)
def load_public(encoded: bytes) -> Ed25519PublicKey:
    """Return the key object of a public key.

    Raises:
        Malformed: not 32 bytes.
        NotAuthentic: not in its canonical encoding, not on the curve, or of small order.
    """
    if len(encoded) != KEY_BYTES:
        raise Malformed("not an Ed25519 public key")
    y = int.from_bytes(encoded, "little") & ~_SIGN_OF_X
    if y >= PRIME:
        raise NotAuthentic("an Ed25519 public key is not in its canonical encoding")
    if y in SMALL_ORDER:
        raise NotAuthentic("an Ed25519 public key is of small order")
    # RFC 8032 §5.1.3: x² = (y² - 1) / (d y² + 1) has to be a square; d is none, so the denominator is never zero.
    square = (y * y - 1) * pow(D * y * y + 1, -1, PRIME) % PRIME
    if pow(square, (PRIME - 1) // 2, PRIME) != 1:
        raise NotAuthentic("an Ed25519 public key is not on the curve")
    return Ed25519PublicKey.from_public_bytes(encoded)
