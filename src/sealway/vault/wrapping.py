# SPDX-License-Identifier: Apache-2.0
"""A secret value as it lies in the database: under a key of its own that is derived from the key of a period.

Invariant: every wrapping draws a salt, so no key wraps twice, not even in a restored or a copied directory: that is why
the nonce may be constant. A value opens only in the slot and as the kind that it was wrapped for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sealway.crypto.kdf import hmac_sha256
from sealway.crypto.ports import Random
from sealway.crypto.secret import Secret
from sealway.errors import StateLost

KEY_BYTES: Final = 16
"""Of a value's key and of a page's: AES-128."""
PERIOD_KEY_BYTES: Final = 32
NUMBER_BYTES: Final = 6
SALT_BYTES: Final = 12
HEADER_BYTES: Final = NUMBER_BYTES + SALT_BYTES
TAG_BYTES: Final = 16
OVERHEAD: Final = HEADER_BYTES + TAG_BYTES
"""What wrapping adds to a value, in bytes."""

SLOT_END: Final = 1 << 39
"""Slots are lower, so that their pages have 32-bit numbers."""

_NONCE: Final = bytes(12)
_SLOT_BYTES: Final = 5
_REPAIR: Final = "run sealway state repair, which begins sessions anew"


@dataclass(frozen=True, slots=True, repr=False)
class Period:
    """The time between two forgettings: its number, which only grows, and its key."""

    number: int
    key: Secret

    def key_of(self, slot: int, salt: bytes) -> bytes:
        """Return the key of one writing of a slot."""
        return hmac_sha256(self.key.reveal(), slot.to_bytes(_SLOT_BYTES), salt)[:KEY_BYTES]

    def begin(self, random: Random) -> bytes:
        """Return the header of a value that is written now: the period's number and a new salt."""
        return self.number.to_bytes(NUMBER_BYTES) + random(SALT_BYTES)


def period_of(wrapped: bytes) -> int:
    """Return the number of the period in which a value, or the beginning of one, was written."""
    return int.from_bytes(wrapped[:NUMBER_BYTES])


def salt_of(wrapped: bytes) -> bytes:
    """Return the salt of a wrapped value."""
    return wrapped[NUMBER_BYTES:HEADER_BYTES]


def encrypt(key: bytes, content: bytes, bound_to: bytes) -> bytes:
    """Encrypt under a key that encrypts nothing else."""
    return AESGCM(key).encrypt(_NONCE, content, bound_to)


def decrypt(key: bytes, encrypted: bytes, bound_to: bytes) -> bytes:
    """Return what ``encrypt`` was given. Raises StateLost if it is not that."""
    try:
        return AESGCM(key).decrypt(_NONCE, encrypted, bound_to)
    except (InvalidTag, ValueError):
        raise StateLost("a stored secret is damaged", hint=_REPAIR) from None


def binding(kind: bytes, slot: int) -> bytes:
    """Return what a value is bound to: where and as what it is stored."""
    return slot.to_bytes(_SLOT_BYTES) + kind
