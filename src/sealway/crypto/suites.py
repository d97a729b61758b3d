# SPDX-License-Identifier: Apache-2.0
"""Suites: a number names a whole set of algorithms; nothing negotiates single ones.

Invariant: an envelope's alg decides nothing by itself. It must be that of the session's suite, pinned by a
signed bundle.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESCCM, ChaCha20Poly1305

from sealway.crypto.curves import P256, X25519, Curve
from sealway.crypto.keys import SignatureAlgorithm
from sealway.errors import LocalMisuse, Malformed

LONGEST_MESSAGE: Final = 65_535
"""The most bytes that one message may have in any suite, so that it fits wherever it moves: suites 1 and 2 count them
in two bytes (CCM with a nonce of 13, RFC 3610 §2.1); suite 3 could count further."""


@dataclass(frozen=True, slots=True)
class Suite:
    """One named set of algorithms; lengths in bytes. The hash is SHA-256 in all of them."""

    number: int
    cose_alg: int
    key_length: int
    nonce_length: int
    tag_length: int
    curve: Curve
    signature: SignatureAlgorithm

    @property
    def longest_ciphertext(self) -> int:
        """The most bytes of a message with its tag."""
        return LONGEST_MESSAGE + self.tag_length

    def aead(self, key: bytes) -> AESCCM | ChaCha20Poly1305:
        """Return the AEAD under ``key``; it takes (nonce, data, aad). Raises LocalMisuse for a wrong key length."""
        if len(key) != self.key_length:
            raise LocalMisuse(f"suite {self.number} needs a key of {self.key_length} bytes")
        return AESCCM(key, self.tag_length) if self.curve is P256 else ChaCha20Poly1305(key)


SUITE_1: Final = Suite(1, 10, 16, 13, 8, P256, SignatureAlgorithm.ES256)
"""AES-CCM-16-64-128 (RFC 9053 §4.2), the default: what secure elements and microcontrollers accelerate."""
SUITE_2: Final = Suite(2, 30, 16, 13, 16, P256, SignatureAlgorithm.ES256)
"""AES-CCM-16-128-128 (RFC 9053 §4.2): the same with a tag of 16 bytes."""
SUITE_3: Final = Suite(3, 24, 32, 12, 16, X25519, SignatureAlgorithm.EDDSA)
"""ChaCha20/Poly1305 (RFC 9053 §4.3), for software endpoints."""

SUITES: Final = {each.number: each for each in (SUITE_1, SUITE_2, SUITE_3)}
_BY_ALG: Final = {each.cose_alg: each for each in SUITES.values()}


def suite(number: int) -> Suite:
    """Return the suite with this number. Raises LocalMisuse if there is none."""
    found = SUITES.get(number)
    if found is None:
        raise LocalMisuse(f"there is no suite {number}", hint="use suite 1, 2 or 3")
    return found


def suite_of_alg(alg: int) -> Suite:
    """Return the suite of a received COSE alg. Raises Malformed for one that this version does not open."""
    found = _BY_ALG.get(alg)
    if found is None:
        raise Malformed(f"COSE alg {alg} belongs to no suite of this version")
    return found


def known_suites(numbers: Iterable[int]) -> tuple[Suite, ...]:
    """Return those of the listed suites that this version has, in their order; others are skipped."""
    return tuple(SUITES[number] for number in numbers if number in SUITES)


def served_by(chosen: Suite) -> tuple[int, ...]:
    """Return the suites that an endpoint lists which was set up for this one, the preferred first.

    The keys of suites 1 and 2 are the same: who prefers the first takes part in the second where the other end wants
    it. Who chose the second wants its tags of 16 bytes and no others.
    """
    return (1, 2) if chosen is SUITE_1 else (chosen.number,)
