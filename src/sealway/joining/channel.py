# SPDX-License-Identifier: Apache-2.0
"""The channel between commissioner and device once both have shown that they have the code.

Invariant: each direction has its own key and counts its messages from 0; one that is not the next, or was altered, ends
the channel. Nothing is ever decrypted with two keys, and no nonce serves twice, since a channel is made anew of fresh
nonces each time.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag

from sealway.crypto.kdf import HASH_BYTES, hkdf_expand, hkdf_extract
from sealway.crypto.secret import Secret
from sealway.crypto.suites import SUITE_2
from sealway.errors import LocalMisuse, NotAuthentic
from sealway.joining.messages import RESUME_ID_BYTES
from sealway.wire import cbor

_MOST_MESSAGES: Final = 64
_TO_DEVICE: Final = b"sealway join to device"
_TO_COMMISSIONER: Final = b"sealway join to commissioner"
_BINDING: Final = b"sealway join binding"
_RESUME: Final = b"sealway join resume"
_RESUME_ID: Final = b"sealway join resume id"


@dataclass(frozen=True, slots=True)
class Resumption:
    """What lets the same two ends go on where they were: an identifier, and a secret of 32 bytes."""

    id: bytes
    secret: Secret = field(repr=False)


class Direction:
    """One direction: seals or opens messages in their order.

    Args:
        secret: the channel's pseudorandom key.
        label: which direction.
    """

    __slots__ = ("_aead", "_iv", "_next")

    def __init__(self, secret: Secret, label: bytes) -> None:
        length = SUITE_2.key_length + SUITE_2.nonce_length
        material = hkdf_expand(secret.reveal(), label, length)
        self._aead = SUITE_2.aead(material[: SUITE_2.key_length])
        self._iv = int.from_bytes(material[SUITE_2.key_length :])
        self._next = 0

    def seal(self, plaintext: bytes) -> bytes:
        """Return the next message, sealed with AES-CCM-16-128-128. Raises LocalMisuse after 64."""
        return self._aead.encrypt(self._nonce(), plaintext, None)

    def open(self, sealed: bytes) -> bytes:
        """Return the plaintext of the next message. Raises NotAuthentic; the channel is over then."""
        try:
            return self._aead.decrypt(self._nonce(), sealed, None)
        except InvalidTag:
            self._next = _MOST_MESSAGES
            raise NotAuthentic("a message of the joining channel is not authentic") from None

    def _nonce(self) -> bytes:
        if self._next >= _MOST_MESSAGES:
            raise LocalMisuse("the joining channel is over")
        number, self._next = self._next, self._next + 1
        return (self._iv ^ number).to_bytes(SUITE_2.nonce_length)


class Channel:
    """Both directions at one end, and what comes of the agreement besides.

    Args:
        agreed: K_shared, or the secret of an earlier channel that is resumed.
        hellos: the encoded Hello and Offer with which this one began; both nonces are in them.
        is_device: which end this is.
    """

    __slots__ = ("binding", "inward", "outward", "resumption")

    def __init__(self, agreed: Secret, hellos: tuple[bytes, bytes], *, is_device: bool) -> None:
        secret = Secret(hkdf_extract(opening_hash(hellos), agreed.reveal()))
        ours, theirs = (_TO_COMMISSIONER, _TO_DEVICE) if is_device else (_TO_DEVICE, _TO_COMMISSIONER)
        self.outward = Direction(secret, ours)
        self.inward = Direction(secret, theirs)
        self.binding: bytes = hkdf_expand(secret.reveal(), _BINDING, HASH_BYTES)
        """32 bytes that are this channel's alone: the device signs them."""
        self.resumption = Resumption(
            hkdf_expand(secret.reveal(), _RESUME_ID, RESUME_ID_BYTES),
            Secret(hkdf_expand(secret.reveal(), _RESUME, HASH_BYTES)),
        )


def opening_hash(hellos: tuple[bytes, bytes]) -> bytes:
    """Return SHA-256 over the encoded Hello and Offer, each behind its length, as one CBOR array."""
    return hashlib.sha256(cbor.encode(list(hellos))).digest()


def context_of(hellos: tuple[bytes, bytes]) -> bytes:
    """Return the context of SPAKE2+ (RFC 9383 §3.3): which protocol this is, and how both began it."""
    return b"sealway join 0" + opening_hash(hellos)


def signed_text(binding: bytes, csr: bytes, root_document: bytes) -> bytes:
    """Return what the birth certificate's key signs: this channel, this request, and this owner."""
    digests = [hashlib.sha256(part).digest() for part in (csr, root_document)]
    return cbor.encode(["sealway join", binding, *digests])
