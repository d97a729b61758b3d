# SPDX-License-Identifier: Apache-2.0
"""Signed documents: the structures of RFC 9052 §4, checked with an independent implementation, and refusals."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from pycose.keys.curves import Ed25519
from pycose.keys.ec2 import EC2Key
from pycose.keys.okp import OKPKey
from pycose.messages.sign1message import Sign1Message
from pycose.messages.signmessage import SignMessage

from sealway.errors import Malformed, TooLarge
from sealway.wire import cbor, cose
from sealway.wire.cose import Kid, Sign, Sign1, SignerSignature, X5chain, X5t
from tests.wire.wire_samples import KID, SIGNATURE, X5T, filled

PRIVATE = ec.derive_private_key(int.from_bytes(filled(32, 1), "big"), ec.SECP256R1())
NUMBERS = PRIVATE.public_key().public_numbers()
THEIR_KEY = EC2Key(crv=1, x=NUMBERS.x.to_bytes(32, "big"), y=NUMBERS.y.to_bytes(32, "big"))


def sign(message: bytes) -> bytes:
    """ES256, r and s of 32 bytes each."""
    r, s = decode_dss_signature(PRIVATE.sign(message, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def test_the_bytes_that_are_signed() -> None:
    document = Sign1(cose.TYP_GRANT, KID, b"payload", SIGNATURE)
    protected = {1: -7, 4: KID.kid, 16: "application/sealway-grant+cbor"}
    assert document.to_be_signed == cbor2.dumps(["Signature1", cbor2.dumps(protected), b"", b"payload"])
    assert cbor2.loads(document.encode()[1:]) == [cbor2.dumps(protected), {}, b"payload", SIGNATURE]
    assert document.encode()[0] == 0xD2


def test_the_bytes_that_one_of_several_signs() -> None:
    document = Sign(cose.TYP_ROOT, b"payload", (SignerSignature(KID, SIGNATURE),))
    body, signer = cbor2.dumps({16: "application/sealway-root+cbor"}), cbor2.dumps({1: -7, 4: KID.kid})
    assert document.to_be_signed(KID) == cbor2.dumps(["Signature", body, signer, b"", b"payload"])
    assert cbor2.loads(document.encode()[2:]) == [body, {}, b"payload", [[signer, {}, SIGNATURE]]]
    assert document.encode()[:2] == b"\xd8\x62"


@pytest.mark.parametrize("key_ref", [KID, X5T, X5chain((b"leaf",)), X5chain((b"leaf", b"ca"))], ids=repr)
def test_an_independent_implementation_verifies_one_signature(key_ref: Any) -> None:
    signature = sign(cose.sign1_to_be_signed(cose.TYP_BUNDLE, key_ref, b"payload"))
    encoded = Sign1(cose.TYP_BUNDLE, key_ref, b"payload", signature).encode()
    theirs = Sign1Message.from_cose_obj(list(cbor2.loads(encoded[1:])), allow_unknown_attributes=True)
    theirs.key = THEIR_KEY
    assert theirs.verify_signature()
    theirs.payload = b"other"
    assert not theirs.verify_signature()


def test_an_independent_implementation_verifies_several_signatures() -> None:
    refs = (Kid(filled(8, 1)), Kid(filled(8, 2)))
    signatures = tuple(
        SignerSignature(ref, sign(cose.sign_to_be_signed(cose.TYP_ROOT, ref, b"payload"))) for ref in refs
    )
    encoded = Sign(cose.TYP_ROOT, b"payload", signatures).encode()
    theirs = SignMessage.from_cose_obj(list(cbor2.loads(encoded[2:])), allow_unknown_attributes=True)
    for signer in theirs.signers:
        signer.key = THEIR_KEY
        assert signer.verify_signature()


def test_an_independent_implementation_verifies_eddsa() -> None:
    key, ref = Ed25519PrivateKey.from_private_bytes(filled(32)), X5t(filled(32))
    signature = key.sign(cose.sign1_to_be_signed(cose.TYP_BUNDLE, ref, b"payload", cose.EDDSA))
    ours = Sign1(cose.TYP_BUNDLE, ref, b"payload", signature, cose.EDDSA)
    assert Sign1.decode(ours.encode()) == ours
    theirs = Sign1Message.from_cose_obj(list(cbor2.loads(ours.encode()[1:])), allow_unknown_attributes=True)
    theirs.key = OKPKey(crv=Ed25519, x=key.public_key().public_bytes_raw())
    assert theirs.verify_signature()


@pytest.mark.parametrize("alg", [cose.EDDSA, -9, True])
def test_keys_named_by_kid_sign_with_es256(alg: int) -> None:
    for make in (
        lambda: cose.sign1_to_be_signed(cose.TYP_GRANT, KID, b"p", alg),
        lambda: Sign1(cose.TYP_GRANT, KID, b"p", SIGNATURE, alg),
    ):
        with pytest.raises(Malformed, match="alg"):
            make()


def test_a_single_certificate_travels_without_an_array() -> None:
    # RFC 9360 §2
    one = Sign1(cose.TYP_BUNDLE, X5chain((b"leaf",)), b"p", SIGNATURE)
    assert cbor2.loads(cbor2.loads(one.encode()[1:])[0])[33] == b"leaf"
    assert Sign1.decode(one.encode()) == one


def raw(header: Any, unprotected: Any = None, payload: Any = b"p", signature: Any = SIGNATURE) -> bytes:
    """A COSE_Sign1 of any parts."""
    protected = cbor.encode(header) if isinstance(header, dict) else header
    return cbor.encode_tagged(18, [protected, {} if unprotected is None else unprotected, payload, signature])


GOOD = {1: -7, 4: KID.kid, 16: cose.TYP_GRANT}
X5 = {1: -7, 16: cose.TYP_GRANT}


@pytest.mark.parametrize(
    "data",
    [
        raw({4: KID.kid, 16: cose.TYP_GRANT}), raw({1: -7, 4: KID.kid}), raw(X5), raw(GOOD | {34: [-16, bytes(32)]}),
        raw(GOOD | {1: -8}), raw(X5 | {1: -9}), raw(GOOD | {1: True}), raw(GOOD | {1: "ES256"}), raw(GOOD | {1: [-7]}),
        raw(GOOD | {2: [16]}), raw(GOOD | {3: 60}),
        raw(GOOD | {4: b"short"}), raw(GOOD | {4: None}), raw(GOOD | {16: "application/cwt"}), raw(GOOD | {16: 60}),
        raw(GOOD | {16: [cose.TYP_GRANT]}),
        raw(X5 | {34: bytes(32)}), raw(X5 | {34: [-43, bytes(64)]}), raw(X5 | {34: [-16, bytes(31)]}),
        raw(X5 | {33: []}), raw(X5 | {33: [b"only one"]}), raw(X5 | {33: b""}), raw(X5 | {33: [b"a", "b"]}),
        raw(X5 | {33: [b"a"] * 5}), raw(X5 | {33: bytes(4097)}), raw(X5 | {33: None}),
        raw(GOOD, {4: KID.kid}), raw(GOOD, []), raw(GOOD, None, None), raw(GOOD, None, b""), raw(GOOD, None, "p"),
        raw(GOOD, None, b"p", bytes(63)), raw(GOOD, None, b"p", None), raw(b""), raw(b"\xa0"), raw(None),
        raw(GOOD)[1:], b"\xd0" + raw(GOOD)[1:], cbor.encode_tagged(18, [cbor.encode(GOOD), {}, b"p"]),
    ],
    ids=range(39),
)  # fmt: skip
def test_any_other_sign1_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        Sign1.decode(data)


def test_the_sign1_that_those_were_made_from_is_fine() -> None:
    assert Sign1.decode(raw(GOOD)) == Sign1(cose.TYP_GRANT, KID, b"p", SIGNATURE)
    with pytest.raises(TooLarge):
        Sign1.decode(raw(GOOD), limit=50)


def many(body: Any, signers: Any) -> bytes:
    """A COSE_Sign of any body header and signers."""
    return cbor.encode_tagged(98, [cbor.encode(body), {}, b"p", signers])


BODY = {16: cose.TYP_ROOT}
SIGNER = [cbor.encode({1: -7, 4: filled(8, 1)}), {}, SIGNATURE]
SECOND = [cbor.encode({1: -7, 4: filled(8, 2)}), {}, SIGNATURE]


@pytest.mark.parametrize(
    "data",
    [
        many({}, [SIGNER]), many(BODY | {1: -7}, [SIGNER]), many({16: "text/plain"}, [SIGNER]), many(BODY, []),
        many(BODY, None), many(BODY, [SIGNER, SIGNER]), many(BODY, [SECOND, SIGNER]), many(BODY, [SIGNER[:2]]),
        many(BODY, [[SIGNER[0], {4: b"k"}, SIGNATURE]]), many(BODY, [[SIGNER[0], {}, bytes(63)]]),
        many(BODY, [[cbor.encode({1: -7, 34: [-16, bytes(32)]}), {}, SIGNATURE]]),
        many(BODY, [[cbor.encode({1: -7, 4: KID.kid, 16: cose.TYP_ROOT}), {}, SIGNATURE]]),
        many(BODY, [[cbor.encode({4: KID.kid}), {}, SIGNATURE]]),
        many(BODY, [[cbor.encode({1: -7, 4: bytes((k,)) + bytes(7)}), {}, SIGNATURE] for k in range(17)]),
        cbor.encode_tagged(98, [cbor.encode(BODY), {1: 1}, b"p", [SIGNER]]),
    ],
    ids=range(15),
)  # fmt: skip
def test_any_other_sign_is_malformed(data: bytes) -> None:
    Sign.decode(many(BODY, [SIGNER, SECOND]))
    with pytest.raises(Malformed):
        Sign.decode(data)


def test_a_value_that_could_not_travel_can_not_be_made() -> None:
    pair = SignerSignature(KID, SIGNATURE)
    for wrong in (
        lambda: Kid(b"short"),
        lambda: X5t(bytes(31)),
        lambda: X5chain(()),
        lambda: X5chain([b"list"]),  # type: ignore[arg-type]
        lambda: Sign1("text/plain", KID, b"p", SIGNATURE),
        lambda: Sign1(cose.TYP_GRANT, KID.kid, b"p", SIGNATURE),  # type: ignore[arg-type]
        lambda: Sign1(cose.TYP_GRANT, KID, b"p", bytes(65)),
        lambda: SignerSignature(X5T, SIGNATURE),  # type: ignore[arg-type]
        lambda: Sign(cose.TYP_ROOT, b"p", (pair, pair)),
        lambda: Sign(cose.TYP_ROOT, b"p", (SIGNATURE,)),  # type: ignore[arg-type]
        lambda: cose.sign1_to_be_signed("text/plain", KID, b"p"),
        lambda: cose.sign_to_be_signed(cose.TYP_ROOT, KID, b""),
    ):
        with pytest.raises(Malformed):
            wrong()


def test_a_document_is_refused_where_another_type_is_expected() -> None:
    cose.expect_type(cose.TYP_GRANT, cose.TYP_GRANT)
    with pytest.raises(Malformed, match="sealway-root"):
        cose.expect_type(cose.TYP_GRANT, cose.TYP_ROOT)
