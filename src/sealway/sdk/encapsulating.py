# SPDX-License-Identifier: Apache-2.0
"""Encapsulation with the cryptography package, which draws the randomness itself; so it is kept out of the core."""

from __future__ import annotations

from sealway.crypto.kem import Encapsulated, loaded_public_key
from sealway.crypto.secret import Secret


def encapsulate(public: bytes) -> Encapsulated:
    """Draw a secret and encapsulate it (FIPS 203 §7.2). Raises Malformed if ``public`` is not an ML-KEM-768 key."""
    shared, ciphertext = loaded_public_key(public).encapsulate()
    return Encapsulated(ciphertext, Secret(shared))
