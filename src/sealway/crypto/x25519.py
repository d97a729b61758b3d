# SPDX-License-Identifier: Apache-2.0
"""X25519 (RFC 7748): agreement on Curve25519, for software endpoints.

Invariant: a u-coordinate is used only in its one canonical encoding and only if it is of large order, so no peer can
choose what an agreement gives; a result of zero is refused all the same (RFC 7748 §6.1). These are stricter rules than
the RFC's, whose §5 masks the highest bit and reduces: one key then has several names, and transcripts differ.
"""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.asymmetric import x25519

from sealway.crypto.ports import Random
from sealway.crypto.secret import Secret
from sealway.errors import LocalMisuse, Malformed, NotAuthentic

KEY_BYTES: Final = 32
PRIME: Final = 2**255 - 19

_ORDER_8: Final = (
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
)
SMALL_ORDER: Final = frozenset(u.to_bytes(KEY_BYTES, "little") for u in (0, 1, PRIME - 1, *_ORDER_8))
"""Every canonical u of small order on the curve or its twist: multiplied by any scalar they give zero."""


class X25519Agreer:
    """An Agreer whose scalar is in this process's memory; for a scalar that agrees more than once.

    Args:
        scalar: 32 bytes, any; RFC 7748 §5 clamps them at their use. Raises LocalMisuse for another length.
    """

    __slots__ = ("_key",)

    def __init__(self, scalar: Secret) -> None:
        if len(scalar) != KEY_BYTES:
            raise LocalMisuse("not an X25519 private key")
        self._key = x25519.X25519PrivateKey.from_private_bytes(scalar.reveal())

    @property
    def public(self) -> bytes:
        """The public half: a 32-byte u-coordinate."""
        return self._key.public_key().public_bytes_raw()

    def agree(self, peer: bytes) -> Secret:
        """Return the agreed 32-byte u-coordinate; see the function of the same name."""
        public = x25519.X25519PublicKey.from_public_bytes(validated(peer))
        try:
            return Secret(self._key.exchange(public))
        except ValueError:  # RFC 7748 §6.1: all-zero; unreachable while SMALL_ORDER is complete
            raise NotAuthentic("an agreement gave zero") from None


def draw(random: Random) -> Secret:
    """Draw a private key: 32 bytes. Raises LocalMisuse if the source of randomness gives another number of them."""
    drawn = random(KEY_BYTES)
    if len(drawn) != KEY_BYTES:
        raise LocalMisuse("the source of randomness returned a wrong number of bytes")
    return Secret(drawn)


def public(scalar: Secret) -> bytes:
    """Return the 32-byte u-coordinate of the public half. Raises LocalMisuse for a private key of another length."""
    return X25519Agreer(scalar).public


def agree(scalar: Secret, peer: bytes) -> Secret:
    """Return the 32-byte u-coordinate that both ends compute.

    Raises:
        Malformed: ``peer`` is not 32 bytes.
        NotAuthentic: it is not the canonical encoding of a u-coordinate, or of small order; or the result is zero.
        LocalMisuse: a private key of another length.
    """
    return X25519Agreer(scalar).agree(peer)


def validated(u: bytes) -> bytes:
    """Return ``u`` once it is known to be canonical and of large order. Raises Malformed, NotAuthentic as ``agree``."""
    if len(u) != KEY_BYTES:
        raise Malformed("an agreement key is not 32 bytes long")
    if int.from_bytes(u, "little") >= PRIME:
        raise NotAuthentic("an agreement key is not in its canonical encoding")
    if u in SMALL_ORDER:
        raise NotAuthentic("an agreement key is of small order")
    return u
