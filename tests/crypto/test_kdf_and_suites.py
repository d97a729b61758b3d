# SPDX-License-Identifier: Apache-2.0
"""Key derivation and suites against published vectors."""

from __future__ import annotations

import hashlib
import hmac
import re
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from sealway.crypto.kdf import hkdf_expand, hkdf_extract, hmac_sha256, hmac_sha256_pair
from sealway.crypto.suites import (
    SUITE_1,
    SUITE_2,
    SUITE_3,
    SUITES,
    Suite,
    known_suites,
    served_by,
    suite,
    suite_of_alg,
)
from sealway.errors import LocalMisuse, Malformed


def test_rfc_5869_vector_1() -> None:
    prk = hkdf_extract(bytes(range(13)), b"\x0b" * 22)
    assert prk.hex() == "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5"
    okm = hkdf_expand(prk, bytes(range(0xF0, 0xFA)), 42)
    assert okm.hex() == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"


@given(st.binary(max_size=80), st.binary(max_size=80), st.binary(max_size=80), st.integers(1, 200))
def test_hkdf_agrees_with_cryptography(salt: bytes, ikm: bytes, info: bytes, length: int) -> None:
    theirs = HKDF(hashes.SHA256(), length, salt, info).derive(ikm)
    assert hkdf_expand(hkdf_extract(salt, ikm), info, length) == theirs


def test_hkdf_gives_its_longest_output() -> None:
    assert len(hkdf_expand(bytes(32), b"", 255 * 32)) == 8160


@pytest.mark.parametrize(("prk", "length"), [(bytes(32), 0), (bytes(32), 8161), (bytes(32), -1), (bytes(31), 16)])
def test_hkdf_refuses_what_it_cannot_give(prk: bytes, length: int) -> None:
    with pytest.raises(LocalMisuse):
        hkdf_expand(prk, b"", length)


def test_hmac_joins_its_parts() -> None:
    expected = hmac.new(b"k", b"abc", hashlib.sha256).digest()
    assert hmac_sha256(b"k", b"a", b"", b"bc") == hmac_sha256(b"k", b"abc") == expected


@given(st.binary(max_size=100), st.binary(max_size=80), st.binary(max_size=80))
def test_a_pair_of_hmacs_is_two_hmacs(key: bytes, first: bytes, second: bytes) -> None:
    assert hmac_sha256_pair(key, first, second) == (hmac_sha256(key, first), hmac_sha256(key, second))


def test_suite_1_is_aes_ccm_16_64_128() -> None:
    # RFC 3610 §8 packet vector 1 has the same nonce and tag lengths: 13 and 8 bytes
    key = bytes(range(0xC0, 0xD0))
    nonce = bytes.fromhex("00000003020100a0a1a2a3a4a5")
    sealed = SUITE_1.aead(key).encrypt(nonce, bytes(range(8, 31)), bytes(range(8)))
    assert sealed.hex() == "588c979a61c663d2f066d0c2c0f989806d5f6b61dac38417e8d12cfdf926e0"
    assert (SUITE_1.nonce_length, SUITE_1.tag_length) == (13, 8)
    with pytest.raises(InvalidTag):
        SUITE_1.aead(key).decrypt(nonce, sealed, b"")


def test_suite_2_is_aes_ccm_16_128_128() -> None:
    """RFC 3610's algorithm with M = 16 and L = 2; OpenSSL's own, asked for another tag length, is the other witness."""
    key, nonce = bytes(range(16)), bytes(range(13))
    sealed = SUITE_2.aead(key).encrypt(nonce, b"message", b"aad")
    assert sealed == AESCCM(key, tag_length=16).encrypt(nonce, b"message", b"aad")
    assert len(sealed) == 7 + 16 == 7 + SUITE_2.tag_length
    with pytest.raises(InvalidTag):
        SUITE_1.aead(key).decrypt(nonce, sealed, b"aad")


def test_suite_3_is_chacha20_poly1305() -> None:
    # RFC 8439 §2.8.2
    key, nonce = bytes(range(0x80, 0xA0)), bytes.fromhex("070000004041424344454647")
    aad = bytes.fromhex("50515253c0c1c2c3c4c5c6c7")
    text = (
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would"
        b" be it."
    )
    sealed = SUITE_3.aead(key).encrypt(nonce, text, aad)
    assert sealed[:16].hex() == "d31a8d34648e60db7b86afbc53ef7ec2"
    assert sealed[-16:].hex() == "1ae10b594f09e26a7e902ecbd0600691"
    assert (SUITE_3.key_length, SUITE_3.nonce_length, SUITE_3.tag_length) == (32, 12, 16)


def test_suites_are_found_by_number_and_alg() -> None:
    assert suite(1) is suite_of_alg(10) is SUITE_1
    assert suite(2) is suite_of_alg(30) is SUITE_2
    assert suite(3) is suite_of_alg(24) is SUITE_3


def test_the_suites_of_the_code_are_those_of_the_page() -> None:
    page = (Path(__file__).parents[2] / "spec" / "labels.md").read_text()
    for each in SUITES.values():
        signature, lengths = each.signature.jose, f"{each.key_length}, {each.nonce_length}, {each.tag_length}"
        row = rf"\| {each.number} \| {each.curve} \| {signature} \| [^|]*\({each.cose_alg}\) \| {lengths} \| SHA-256 \|"
        assert len(re.findall(row, page)) == 1, row


@pytest.mark.parametrize(("of", "length"), [(of, n) for of in SUITES.values() for n in (0, 15, 17, 24, 31, 33)])
def test_a_key_of_another_length_is_refused(of: Suite, length: int) -> None:
    with pytest.raises(LocalMisuse, match=f"{of.key_length} bytes"):
        of.aead(bytes(length))


@pytest.mark.parametrize("number", [-1, 0, 4, 256])
def test_unknown_suites_are_refused(number: int) -> None:
    with pytest.raises(LocalMisuse, match="no suite"):
        suite(number)


@pytest.mark.parametrize("alg", [0, 1, 3, 11, 31, -7])
def test_a_received_alg_of_no_suite_is_malformed(alg: int) -> None:
    with pytest.raises(Malformed):
        suite_of_alg(alg)


def test_what_an_endpoint_lists() -> None:
    assert [served_by(each) for each in SUITES.values()] == [(1, 2), (2,), (3,)]
    assert known_suites((2, 3, 7, 1)) == (SUITE_2, SUITE_3, SUITE_1)
    assert known_suites((4, 5)) == ()
