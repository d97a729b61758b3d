# SPDX-License-Identifier: Apache-2.0
"""The key schedule: from a start's secrets to the key of each message. spec/session.md, "Key schedule".

Invariant: every function derives one way only; no output lets anyone compute its input or a sibling. The root that
begins the next epoch, the reseed root and the chain key are siblings, so none of them reveals another.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from sealway.crypto.kdf import HASH_BYTES, hkdf_expand, hkdf_extract, hmac_sha256_pair
from sealway.crypto.suites import Suite

_MESSAGE = b"\x01"
_CHAIN = b"\x02"


@dataclass(frozen=True, slots=True, repr=False)
class EpochKeys:
    """What one ratchet step yields; three secrets of 32 bytes."""

    root: bytes
    reseed_root: bytes
    chain: bytes


def start_keys(agreements: bytes, session_hash: bytes) -> EpochKeys:
    """Return the keys of epoch 0 from the concatenated X3DH agreements (and the ML-KEM secret, if there is one).

    As in X3DH §3.3 the input is led by 32 bytes of 0xFF, which no encoding of a coordinate can be, on either curve.
    """
    prk = hkdf_extract(bytes(32), b"\xff" * 32 + agreements)
    return _epoch_keys(prk, b"sealway start", session_hash)


def step_keys(root: bytes, agreement: bytes, x: bytes, first: int) -> EpochKeys:
    """Return the keys of the epoch that begins with key ``x`` at number ``first`` (Double Ratchet §2.4, KDF_RK)."""
    prk = hkdf_extract(root, agreement)
    return _epoch_keys(prk, b"sealway step", x + first.to_bytes(4, "big"))


def _epoch_keys(prk: bytes, label: bytes, context: bytes) -> EpochKeys:
    okm = hkdf_expand(prk, label + context, 96)
    return EpochKeys(okm[:32], okm[32:64], okm[64:])


def reseed_chain(reseed_root: bytes, salt: bytes, first: int) -> bytes:
    """Return the chain key of a reseed: HMAC(R_j, 'seed' ‖ salt ‖ S)."""
    return hmac.digest(reseed_root, b"seed" + salt + first.to_bytes(4, "big"), "sha256")


def next_reseed_root(reseed_root: bytes) -> bytes:
    """Return R_{j+1} = HMAC(R_j, 'next')."""
    return hmac.digest(reseed_root, b"next", "sha256")


def advance(chain: bytes) -> tuple[bytes, bytes]:
    """Return (message secret, next chain key): two HMACs, the whole cost of a message's key."""
    return hmac_sha256_pair(chain, _MESSAGE, _CHAIN)


def split(message_secret: bytes, suite: Suite) -> tuple[bytes, bytes]:
    """Return (key, Base IV) of one message: cut from its secret, or, where 32 bytes are too few, derived from it."""
    length = suite.key_length
    if length + suite.nonce_length <= HASH_BYTES:
        return message_secret[:length], message_secret[length : length + suite.nonce_length]
    key, base_iv = hmac_sha256_pair(message_secret, b"key", b"iv")
    return key, base_iv[: suite.nonce_length]
