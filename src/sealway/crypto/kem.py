# SPDX-License-Identifier: Apache-2.0
"""ML-KEM-768 (FIPS 203): what a start adds against who records today and has a quantum computer later.

Invariants: no public key is used before its coefficients were checked (FIPS 203 §7.2); a private key is its 64-byte
seed d ‖ z, in a Secret, and becomes a key object only in a Decapsulator, which lives no longer than its bundle. A
ciphertext for another key does not raise: it gives another secret (implicit rejection, §6.3), so that only what is
opened with it tells.

The library draws the randomness of an encapsulation itself and takes none. The core draws nothing, so whoever begins a
start hands in an ``Encapsulator``; ``sdk.encapsulating`` has the one of the library.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey

from sealway.crypto.ports import Random
from sealway.crypto.secret import Secret
from sealway.errors import LocalMisuse, Malformed

SEED_BYTES: Final = 64
PUBLIC_BYTES: Final = 1184
CIPHERTEXT_BYTES: Final = 1088
SHARED_BYTES: Final = 32
_MOST_LOADED: Final = 16  # public keys that stay loaded: a bundle is verified, and then encapsulated for


@dataclass(frozen=True, slots=True)
class Encapsulated:
    """A shared secret (32 bytes), and the ciphertext (1088 bytes) from which the holder of the key learns it."""

    ciphertext: bytes
    shared: Secret

    def __post_init__(self) -> None:
        if len(self.ciphertext) != CIPHERTEXT_BYTES or len(self.shared) != SHARED_BYTES:
            raise LocalMisuse("not what ML-KEM-768 gives")


Encapsulator: TypeAlias = Callable[[bytes], Encapsulated]
"""Draws a secret and encapsulates it for a public key of 1184 bytes. Raises Malformed for one that is none."""


def generate_seed(random: Random) -> Secret:
    """Draw a private key. Raises LocalMisuse if the source of randomness gives the wrong length."""
    seed = Secret(random(SEED_BYTES))
    if len(seed) != SEED_BYTES:
        raise LocalMisuse("the source of randomness returned a wrong number of bytes")
    return seed


def public_key(seed: Secret) -> bytes:
    """Return the encapsulation key, 1184 bytes. Raises LocalMisuse unless ``seed`` has 64 bytes."""
    _check_seed(seed)
    return MLKEM768PrivateKey.from_seed_bytes(seed.reveal()).public_key().public_bytes_raw()


@lru_cache(_MOST_LOADED)
def loaded_public_key(public: bytes) -> MLKEM768PublicKey:
    """Return the key object of the cryptography package. Raises Malformed: wrong length, or a coefficient of q or
    more (FIPS 203 §7.2, type and modulus check)."""
    try:
        return MLKEM768PublicKey.from_public_bytes(public)
    except ValueError:
        raise Malformed("not an ML-KEM-768 encapsulation key") from None


class Decapsulator:
    """A private key at work: loaded from its seed when it is first needed, which costs more than to decapsulate.

    Args:
        seed: 64 bytes, d ‖ z. Raises LocalMisuse otherwise.
    """

    __slots__ = ("_key", "_seed")

    def __init__(self, seed: Secret) -> None:
        _check_seed(seed)
        self._seed = seed
        self._key: MLKEM768PrivateKey | None = None

    def decapsulate(self, ciphertext: bytes) -> Secret:
        """Return the 32-byte secret that was encapsulated, or another one if it was not for this key. Raises Malformed
        unless ``ciphertext`` has 1088 bytes."""
        if len(ciphertext) != CIPHERTEXT_BYTES:
            raise Malformed("an ML-KEM-768 ciphertext is not 1088 bytes long")
        if self._key is None:
            self._key = MLKEM768PrivateKey.from_seed_bytes(self._seed.reveal())
        return Secret(self._key.decapsulate(ciphertext))


def _check_seed(seed: Secret) -> None:
    if len(seed) != SEED_BYTES:
        raise LocalMisuse("not the seed of an ML-KEM-768 key")
