# SPDX-License-Identifier: Apache-2.0
"""X25519 and Ed25519: published vectors, and every key that must not be taken."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import x25519 as openssl
from hypothesis import given
from hypothesis import strategies as st

from sealway.crypto import ed25519, x25519
from sealway.crypto.curves import P256, X25519, Curve
from sealway.crypto.ed25519 import D, load_public
from sealway.crypto.keys import SignatureAlgorithm, SoftSigner, VerifyingKey
from sealway.crypto.secret import Secret
from sealway.errors import LocalMisuse, Malformed, NotAuthentic

PRIME = 2**255 - 19
scalars = st.binary(min_size=32, max_size=32).map(Secret)
ALICE = Secret(b"\x07" * 32)
# RFC 8032 §7.1, TEST 1 and 2: seed, public key, message, signature
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24"
        "655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aee"
        "b00d291612bb0c00",
    ),
]


def test_rfc_7748_function_vector() -> None:
    # RFC 7748 §5.2, the first one
    scalar = Secret(bytes.fromhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"))
    u = bytes.fromhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")
    assert x25519.agree(scalar, u).reveal().hex() == "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"


def test_rfc_7748_agreement() -> None:
    # RFC 7748 §6.1: Bob's private key and Alice's public one
    bob = Secret(bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"))
    alice = bytes.fromhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
    assert x25519.public(bob).hex() == "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
    assert x25519.agree(bob, alice).reveal().hex() == "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"


@pytest.mark.parametrize("curve", [P256, X25519], ids=repr)
def test_both_ends_agree(curve: Curve) -> None:
    one, other = (Secret(bytes([value]) * 32) for value in (7, 9))
    agreed = curve.agree(one, curve.public(other))
    assert curve.agreer(other).agree(curve.agreer(one).public) == agreed == curve.agree(other, curve.public(one))
    assert curve.validated(curve.public(one)) == curve.public(one)


@given(scalars, scalars)
def test_openssl_agrees(one: Secret, other: Secret) -> None:
    theirs = openssl.X25519PrivateKey.from_private_bytes(one.reveal())
    public = openssl.X25519PrivateKey.from_private_bytes(other.reveal()).public_key()
    assert x25519.agree(one, x25519.public(other)).reveal() == theirs.exchange(public)


@pytest.mark.parametrize("above", range(19))
def test_an_x25519_key_that_is_not_canonical_is_refused(above: int) -> None:
    """RFC 7748 §5 would reduce p + n to n: two encodings of one key."""
    with pytest.raises(NotAuthentic, match="canonical"):
        x25519.agree(ALICE, (PRIME + above).to_bytes(32, "little"))


def test_an_x25519_key_with_its_highest_bit_set_is_refused() -> None:
    """RFC 7748 §5 would mask it."""
    masked = bytearray(x25519.public(ALICE))
    masked[31] |= 0x80
    with pytest.raises(NotAuthentic, match="canonical"):
        x25519.validated(bytes(masked))


@pytest.mark.parametrize("u", sorted(x25519.SMALL_ORDER))
def test_an_x25519_key_of_small_order_is_refused(u: bytes) -> None:
    with pytest.raises(NotAuthentic, match="small order"):
        x25519.agree(ALICE, u)
    with pytest.raises(ValueError, match="shared key"):  # the other witness: it is one of those that give zero
        openssl.X25519PrivateKey.generate().exchange(openssl.X25519PublicKey.from_public_bytes(u))


def test_an_x25519_result_of_zero_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should the list lack one: the result itself is looked at."""
    monkeypatch.setattr(x25519, "SMALL_ORDER", frozenset())
    with pytest.raises(NotAuthentic, match="zero"):
        x25519.agree(ALICE, bytes(32))


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_x25519_keys_have_32_bytes(length: int) -> None:
    with pytest.raises(Malformed, match="32 bytes"):
        x25519.validated(bytes(length))
    with pytest.raises(LocalMisuse):
        x25519.public(Secret(bytes(length)))


def test_a_drawn_x25519_key_is_what_was_drawn() -> None:
    assert x25519.draw(lambda count: b"\x07" * count) == Secret(b"\x07" * 32)
    with pytest.raises(LocalMisuse, match="number of bytes"):
        x25519.draw(lambda count: b"\x07" * (count - 1))


@pytest.mark.parametrize(("seed", "public", "message", "signature"), RFC_8032)
def test_rfc_8032_vectors(seed: str, public: str, message: str, signature: str) -> None:
    signer = SoftSigner(Secret(bytes.fromhex(seed)), SignatureAlgorithm.EDDSA)
    assert signer.public.point.hex() == public
    assert signer.sign(bytes.fromhex(message)).hex() == signature
    signer.public.verify(bytes.fromhex(message), bytes.fromhex(signature))
    assert signer.public.algorithm is SignatureAlgorithm.EDDSA


@given(st.integers(0, 511))
def test_any_other_bit_of_an_ed25519_signature_does_not_verify(bit: int) -> None:
    signer = SoftSigner(Secret(b"\x01" * 32), SignatureAlgorithm.EDDSA)
    signature = bytearray(signer.sign(b"message"))
    signature[bit // 8] ^= 1 << bit % 8
    with pytest.raises(NotAuthentic):
        signer.public.verify(b"message", bytes(signature))


def test_an_ed25519_signature_whose_s_is_not_reduced_does_not_verify() -> None:
    """RFC 8032 §5.1.7: or one signature would have several encodings."""
    order = 2**252 + 27742317777372353535851937790883648493
    signer = SoftSigner(Secret(b"\x01" * 32), SignatureAlgorithm.EDDSA)
    signature = signer.sign(b"message")
    s = int.from_bytes(signature[32:], "little") + order
    with pytest.raises(NotAuthentic):
        signer.public.verify(b"message", signature[:32] + s.to_bytes(32, "little"))


@pytest.mark.parametrize("sign", [0, 1 << 255])
@pytest.mark.parametrize("y", sorted(ed25519.SMALL_ORDER))
def test_an_ed25519_key_of_small_order_is_refused(y: int, sign: int) -> None:
    with pytest.raises(NotAuthentic, match="small order"):
        VerifyingKey((y | sign).to_bytes(32, "little"))
    assert _times_8(_point(y)) == (0, 1)


@pytest.mark.parametrize("above", range(19))
def test_an_ed25519_key_that_is_not_canonical_is_refused(above: int) -> None:
    with pytest.raises(NotAuthentic, match="canonical"):
        load_public((PRIME + above).to_bytes(32, "little"))


def test_an_ed25519_key_off_the_curve_is_refused() -> None:
    with pytest.raises(NotAuthentic, match="not on the curve"):
        load_public((2).to_bytes(32, "little"))
    with pytest.raises(Malformed):
        load_public(bytes(31))


def test_an_ed25519_seed_has_32_bytes() -> None:
    for length in (0, 31, 33):
        with pytest.raises(LocalMisuse):
            SoftSigner(Secret(bytes(length)), SignatureAlgorithm.EDDSA)


def _point(y: int) -> tuple[int, int]:
    square = (y * y - 1) * pow(D * y * y + 1, -1, PRIME) % PRIME
    x = pow(square, (PRIME + 3) // 8, PRIME)
    if x * x % PRIME != square:
        x = x * pow(2, (PRIME - 1) // 4, PRIME) % PRIME
    assert x * x % PRIME == square
    return x, y


def _times_8(point: tuple[int, int]) -> tuple[int, int]:
    for _ in range(3):
        (x, y), k = point, D * point[0] * point[0] * point[1] * point[1]
        point = 2 * x * y * pow(1 + k, -1, PRIME) % PRIME, (y * y + x * x) * pow(1 - k, -1, PRIME) % PRIME
    return point
