# SPDX-License-Identifier: Apache-2.0
"""Keys, signatures and agreement on P-256."""

from __future__ import annotations

import copy
import hashlib
import pickle
from collections.abc import Callable, Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from hypothesis import given
from hypothesis import strategies as st

from sealway.crypto.keys import (
    ORDER,
    SoftAgreer,
    SoftSigner,
    VerifyingKey,
    agree,
    generate_scalar,
    private_key,
    public_x,
    validated_x,
)
from sealway.crypto.secret import Secret
from sealway.errors import LocalMisuse, Malformed, NotAuthentic

ONE = Secret((1).to_bytes(32))
GENERATOR_X = bytes.fromhex("6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296")
GENERATOR = b"\x03" + GENERATOR_X  # its y is odd

scalars = st.integers(1, ORDER - 1).map(lambda value: Secret(value.to_bytes(32)))


def drawn(*values: bytes) -> Callable[[int], bytes]:
    """A source of randomness that gives these values in turn."""
    remaining: Iterator[bytes] = iter(values)
    return lambda _: next(remaining)


class TestSecret:
    def test_is_never_shown(self) -> None:
        secret = Secret(b"hidden")
        assert f"{secret} {secret!r} {secret!s} {secret:>20}" == " ".join(["[redacted]"] * 4)

    def test_compares_by_content(self) -> None:
        assert Secret(b"a") == Secret(b"a")
        assert Secret(b"a") != Secret(b"b")
        assert Secret(b"a") != b"a"

    def test_has_length_and_content(self) -> None:
        assert (len(Secret(b"abc")), Secret(b"abc").reveal()) == (3, b"abc")

    @pytest.mark.parametrize("leak", [hash, pickle.dumps, copy.copy, copy.deepcopy])
    def test_is_not_hashed_pickled_or_copied(self, leak: Callable[[object], object]) -> None:
        with pytest.raises(TypeError):
            leak(Secret(b"a"))


class TestGeneration:
    def test_takes_what_it_draws(self) -> None:
        assert generate_scalar(drawn(b"\x07" * 32)) == Secret(b"\x07" * 32)

    def test_draws_again_outside_the_group_order(self) -> None:
        drawing = drawn(bytes(32), ORDER.to_bytes(32), b"\xff" * 32, (ORDER - 1).to_bytes(32))
        assert generate_scalar(drawing).reveal() == (ORDER - 1).to_bytes(32)

    def test_gives_up_on_a_broken_source(self) -> None:
        with pytest.raises(LocalMisuse, match="broken"):
            generate_scalar(bytes)

    def test_refuses_a_source_that_gives_too_little(self) -> None:
        with pytest.raises(LocalMisuse, match="number of bytes"):
            generate_scalar(lambda count: b"\x01" * (count - 1))

    @pytest.mark.parametrize("bad", [b"", bytes(32), ORDER.to_bytes(32), b"\x01", b"\x00" * 32 + b"\x01"])
    def test_refuses_what_is_no_scalar(self, bad: bytes) -> None:
        for use in (SoftSigner, SoftAgreer, public_x, private_key):
            with pytest.raises(LocalMisuse):
                use(Secret(bad))


class TestVerifyingKey:
    def test_holds_a_point(self) -> None:
        key = VerifyingKey(GENERATOR)
        loaded = key.to_cryptography()
        assert isinstance(loaded, ec.EllipticCurvePublicKey)
        assert loaded.public_numbers().x == int.from_bytes(GENERATOR_X)
        assert VerifyingKey.from_certificate_key(key.to_cryptography()) == key

    def test_kid_is_the_beginning_of_the_hash(self) -> None:
        assert VerifyingKey(GENERATOR).kid == hashlib.sha256(GENERATOR).digest()[:8]

    @pytest.mark.parametrize("bad", [b"", GENERATOR[:-2], GENERATOR + b"\0", b"\x04" + GENERATOR_X, b"\x00" * 33])
    def test_refuses_what_is_no_compressed_point(self, bad: bytes) -> None:
        with pytest.raises(Malformed):
            VerifyingKey(bad)

    @pytest.mark.parametrize("x", [(1).to_bytes(32), b"\xff" * 32])
    def test_refuses_a_point_off_the_curve(self, x: bytes) -> None:
        with pytest.raises(NotAuthentic, match="curve"):
            VerifyingKey(b"\x02" + x)

    def test_refuses_keys_of_another_kind(self) -> None:
        others = [
            ec.generate_private_key(ec.SECP384R1()).public_key(),
            x25519.X25519PrivateKey.generate().public_key(),
        ]
        for other in others:
            with pytest.raises(Malformed, match="P-256"):
                VerifyingKey.from_certificate_key(other)


class TestSignatures:
    def test_rfc_6979_vector(self) -> None:
        # RFC 6979 appendix A.2.5, P-256 with SHA-256, message "sample"
        scalar = bytes.fromhex("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721")
        r = "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
        s = "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"
        assert SoftSigner(Secret(scalar)).sign(b"sample").hex() == r + s

    @given(scalars, st.binary(max_size=64))
    def test_what_is_signed_verifies(self, scalar: Secret, message: bytes) -> None:
        signer = SoftSigner(scalar)
        signer.public.verify(message, signer.sign(message))

    @given(st.integers(0, 511))
    def test_any_other_bit_does_not_verify(self, bit: int) -> None:
        signer = SoftSigner(ONE)
        signature = bytearray(signer.sign(b"message"))
        signature[bit // 8] ^= 1 << bit % 8
        with pytest.raises(NotAuthentic):
            signer.public.verify(b"message", bytes(signature))

    @pytest.mark.parametrize("bad", [b"", bytes(63), bytes(64), bytes(65), b"\xff" * 64])
    def test_refuses_what_is_no_signature(self, bad: bytes) -> None:
        with pytest.raises(NotAuthentic):
            VerifyingKey(GENERATOR).verify(b"", bad)

    def test_another_message_or_key_does_not_verify(self) -> None:
        signer, other = SoftSigner(ONE), SoftSigner(Secret((2).to_bytes(32)))
        for key, message in ((signer.public, b"b"), (other.public, b"a")):
            with pytest.raises(NotAuthentic):
                key.verify(message, signer.sign(b"a"))


class TestAgreement:
    @given(scalars, scalars)
    def test_both_ends_agree_by_x_alone(self, one: Secret, other: Secret) -> None:
        assert agree(one, SoftAgreer(other).public) == SoftAgreer(other).agree(public_x(one))

    def test_rfc_5903_vector(self) -> None:
        # RFC 5903 §8.1
        i = Secret(bytes.fromhex("c88f01f510d9ac3f70a292daa2316de544e9aab8afe84049c62a9c57862d1433"))
        gr_x = bytes.fromhex("d12dfb5289c8d4f81208b70270398c342296970a0bccb74c736fc7554494bf63")
        shared = bytes.fromhex("d6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de")
        assert agree(i, gr_x).reveal() == shared

    @pytest.mark.parametrize("length", [0, 31, 33, 64])
    def test_refuses_a_wrong_length(self, length: int) -> None:
        with pytest.raises(Malformed):
            agree(ONE, bytes(length))

    @pytest.mark.parametrize("x", [b"\xff" * 32, (1).to_bytes(32)])
    def test_refuses_an_x_off_the_curve(self, x: bytes) -> None:
        for use in (lambda: agree(ONE, x), lambda: validated_x(x)):
            with pytest.raises(NotAuthentic, match="curve"):
                use()

    def test_refuses_a_product_of_zero(self) -> None:
        # x = 0 is on P-256, and 1 times that point is itself
        assert validated_x(bytes(32)) == bytes(32)
        with pytest.raises(NotAuthentic, match="zero"):
            agree(ONE, bytes(32))

    def test_validated_x_returns_its_argument(self) -> None:
        assert validated_x(GENERATOR_X) == GENERATOR_X == public_x(ONE)
