# SPDX-License-Identifier: Apache-2.0
"""ML-KEM-768: published values, and the library against FIPS 203 as scripts/vectors writes it down."""

from __future__ import annotations

import hashlib

import pytest

from scripts.vectors import ml_kem as fips203
from sealway.crypto import kem
from sealway.crypto.secret import Secret
from sealway.errors import LocalMisuse, Malformed
from sealway.sdk.encapsulating import encapsulate

SEED = Secret(bytes(range(64)))

# Wycheproof, testvectors_v1/mlkem_768_keygen_seed_test.json, test 1: the seed, and SHA-256 of its encapsulation key.
PUBLISHED_SEED = bytes.fromhex(
    "7c9935a0b07694aa0c6d10e4db6b1add2fd81a25ccb148032dcd739936737f2d"
    "8626ed79d451140800e03b59b956f8210e556067407d13dc90fa9e8b872bfb8f"
)
PUBLISHED_KEY = "86adbca81f4fee893e2fb58fb98aa2fe188f501fed268d7f4056f8c05c4e53c4"


def test_a_published_seed_gives_the_published_key() -> None:
    assert hashlib.sha256(kem.public_key(Secret(PUBLISHED_SEED))).hexdigest() == PUBLISHED_KEY
    assert hashlib.sha256(fips203.public_key(PUBLISHED_SEED)).hexdigest() == PUBLISHED_KEY


@pytest.mark.parametrize("number", range(5))
def test_the_library_does_what_fips_203_says(number: int) -> None:
    seed = hashlib.shake_256(bytes([number])).digest(64)
    public = kem.public_key(Secret(seed))
    assert public == fips203.public_key(seed)
    shared, ciphertext = fips203.encapsulate(public, hashlib.sha256(seed).digest())
    assert kem.Decapsulator(Secret(seed)).decapsulate(ciphertext) == Secret(shared)


def test_what_is_encapsulated_is_what_comes_out() -> None:
    sent, again = encapsulate(kem.public_key(SEED)), encapsulate(kem.public_key(SEED))
    assert (len(sent.ciphertext), len(sent.shared)) == (kem.CIPHERTEXT_BYTES, kem.SHARED_BYTES)
    assert kem.Decapsulator(SEED).decapsulate(sent.ciphertext) == sent.shared
    assert (sent.ciphertext, sent.shared) != (again.ciphertext, again.shared)


def test_another_ciphertext_gives_another_secret_and_no_error() -> None:
    sent = encapsulate(kem.public_key(SEED))
    changed = bytes([sent.ciphertext[0] ^ 1]) + sent.ciphertext[1:]
    assert kem.Decapsulator(SEED).decapsulate(changed) != sent.shared
    assert kem.Decapsulator(Secret(bytes(64))).decapsulate(sent.ciphertext) != sent.shared


def test_a_key_whose_coefficients_are_too_large_is_refused() -> None:
    good = kem.public_key(SEED)
    assert kem.loaded_public_key(good).public_bytes_raw() == good
    too_large = (3329).to_bytes(2, "little")  # the first of 12 bits is q itself
    for bad in (b"\xff" * 1184, too_large[:1] + bytes([too_large[1] | good[1] & 0xF0]) + good[2:], good[:-1], b""):
        with pytest.raises(Malformed, match="ML-KEM-768"):
            encapsulate(bad)


def test_lengths_are_checked() -> None:
    for length in (0, 63, 65):
        with pytest.raises(LocalMisuse):
            kem.public_key(Secret(bytes(length)))
        with pytest.raises(LocalMisuse):
            kem.Decapsulator(Secret(bytes(length)))
        with pytest.raises(LocalMisuse):
            kem.generate_seed(lambda _, length=length: bytes(length))  # type: ignore[misc]
    for length in (0, 1087, 1089):
        with pytest.raises(Malformed):
            kem.Decapsulator(SEED).decapsulate(bytes(length))
    for ciphertext, shared in ((1087, 32), (1088, 31)):
        with pytest.raises(LocalMisuse):
            kem.Encapsulated(bytes(ciphertext), Secret(bytes(shared)))


def test_a_seed_is_what_was_drawn_and_shows_nowhere() -> None:
    seed = kem.generate_seed(lambda count: bytes(range(count)))
    assert seed == SEED
    assert "redacted" in repr(seed)
    assert "redacted" in repr(encapsulate(kem.public_key(seed)))
