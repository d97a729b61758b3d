# SPDX-License-Identifier: Apache-2.0
"""Suites: a number names a whole set of algorithms; nothing negotiates single ones.

Invariant: an envelope's alg decides nothing by itself. It must be that of the session's suite, pinned by a
signed bundle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from sealway.errors import LocalMisuse, Malformed


@dataclass(frozen=True, slots=True)
class Suite:
    """One named set of algorithms; lengths in bytes. Curve P-256, signature ES256, hash SHA-256."""

    number: int
    cose_alg: int
    key_length: int
    nonce_length: int
    tag_length: int

    @property
    def longest_message(self) -> int:
        """The most bytes that one message may have: CCM counts them in 15 - (nonce length) bytes, RFC 3610 §2.1."""
        return (1 << 8 * (15 - self.nonce_length)) - 1

    def aead(self, key: bytes) -> AESCCM:
        """Return the AEAD under ``key``; it takes (nonce, data, aad). Raises LocalMisuse for a wrong key length."""
        if len(key) != self.key_length:
            raise LocalMisuse(f"suite {self.number} needs a key of {self.key_length} bytes")
        return AESCCM(key, self.tag_length)


SUITE_1: Final = Suite(number=1, cose_alg=10, key_length=16, nonce_length=13, tag_length=8)
"""AES-CCM-16-64-128 (RFC 9053 §4.2), the default: what secure elements and microcontrollers accelerate."""

# RFC 9053 §4.2 and §4.3: AES-CCM-16-128-128 and ChaCha20/Poly1305. The numbers are taken; nothing is built on them yet.
RESERVED_ALGS: Final[dict[int, int]] = {2: 30, 3: 24}


def suite(number: int) -> Suite:
    """Return the suite with this number. Raises LocalMisuse if it is reserved or unknown."""
    if number == SUITE_1.number:
        return SUITE_1
    if number in RESERVED_ALGS:
        raise LocalMisuse(f"suite {number} is reserved and not available in this version", hint="use suite 1")
    raise LocalMisuse(f"there is no suite {number}", hint="use suite 1")


def suite_of_alg(alg: int) -> Suite:
    """Return the suite of a received COSE alg. Raises Malformed for one that this version does not open."""
    if alg == SUITE_1.cose_alg:
        return SUITE_1
    raise Malformed(f"COSE alg {alg} belongs to no suite of this version")
