# SPDX-License-Identifier: Apache-2.0
"""Signed documents: COSE_Sign1 (tag 18) and COSE_Sign (tag 98), RFC 9052 §4, strict in both directions.

Invariant: decoding and encoding again gives the same bytes, so ``to_be_signed`` is computed from what really arrived.
One algorithm (ES256 or EdDSA), one type text (RFC 9596) and one way to name the key stand in the protected header; the
unprotected header is empty. Nothing here verifies a signature: ``identity`` does, with these bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sealway.errors import Malformed
from sealway.wire import cbor, shape
from sealway.wire.header import HASH_SHA_256, certificate_hash

MAX_DOCUMENT_BYTES = 32_768
MAX_CERTIFICATE_BYTES = 4096
MAX_CHAIN = 4
MAX_SIGNATURES = 16
SIGNATURE_BYTES = 64  # r and s of ES256, R and S of EdDSA with Ed25519 (RFC 9053 §2.1, §2.2)
KID_BYTES = 8  # the first 8 bytes of SHA-256 of the compressed point

TYP_BUNDLE = "application/sealway-bundle+cbor"
TYP_ROOT = "application/sealway-root+cbor"
TYP_GRANT = "application/sealway-grant+cbor"
TYP_CONSENT = "application/sealway-consent+cbor"
TYP_ENROLMENT = "application/sealway-enrolment+cbor"
TYP_MANIFEST = "application/sealway-manifest+cbor"
TYPES = (TYP_BUNDLE, TYP_ROOT, TYP_GRANT, TYP_CONSENT, TYP_ENROLMENT, TYP_MANIFEST)

ES256, EDDSA = -7, -8
ALGORITHMS = (ES256, EDDSA)
TAG_SIGN1, TAG_SIGN = 18, 98
LABEL_ALG, LABEL_KID, LABEL_TYP, LABEL_X5CHAIN, LABEL_X5T = 1, 4, 16, 33, 34


@dataclass(frozen=True, slots=True)
class Kid:
    """Names a key by the first 8 bytes of SHA-256 of its compressed point."""

    kid: bytes

    def __post_init__(self) -> None:
        shape.bstr(self.kid, "kid", KID_BYTES)


@dataclass(frozen=True, slots=True)
class X5t:
    """Names a certificate by its SHA-256, 32 bytes (RFC 9360 §2)."""

    digest: bytes

    def __post_init__(self) -> None:
        shape.bstr(self.digest, "x5t", 32)


@dataclass(frozen=True, slots=True)
class X5chain:
    """Carries the certificates themselves, DER, leaf first, 1 to 4 (RFC 9360 §2)."""

    certificates: tuple[bytes, ...]

    def __post_init__(self) -> None:
        check_chain(self.certificates, "x5chain")


KeyRef = Kid | X5t | X5chain


@dataclass(frozen=True, slots=True)
class Sign1:
    """A document with one signature.

    Fields: ``typ`` one of TYPES; ``payload`` encoded claims; ``signature`` 64 bytes; ``alg`` ES256, or EDDSA of a
    certificate's key.
    """

    typ: str
    key_ref: KeyRef
    payload: bytes
    signature: bytes
    alg: int = ES256

    def __post_init__(self) -> None:
        _check_signed(self.typ, self.payload)
        _check_signer(self.key_ref, self.signature)
        _check_alg(self.alg, self.key_ref)

    @property
    def to_be_signed(self) -> bytes:
        """The encoded Sig_structure (RFC 9052 §4.4) that the signature covers."""
        return sign1_to_be_signed(self.typ, self.key_ref, self.payload, self.alg)

    def encode(self) -> bytes:
        """Return the tagged COSE_Sign1."""
        protected = cbor.encode(_signer_header(self.key_ref, self.alg) | {LABEL_TYP: self.typ})
        return cbor.encode_tagged(TAG_SIGN1, [protected, {}, self.payload, self.signature])

    @classmethod
    def decode(cls, data: bytes, *, limit: int = MAX_DOCUMENT_BYTES) -> Sign1:
        """Read untrusted bytes. Raises Malformed, or TooLarge above ``limit``."""
        value = cbor.decode_tagged(TAG_SIGN1, data, limit=limit)
        protected, unprotected, payload, signature = shape.array(value, "COSE_Sign1", 4, 4)
        shape.fields(unprotected, "unprotected header", ())
        header = _decode_header(protected, (LABEL_ALG, LABEL_TYP))
        return cls(header[LABEL_TYP], _key_ref(header), payload, signature, header[LABEL_ALG])


@dataclass(frozen=True, slots=True)
class SignerSignature:
    """One signer's part of a COSE_Sign: the key, named by kid, and 64 bytes of signature."""

    key_ref: Kid
    signature: bytes

    def __post_init__(self) -> None:
        if not isinstance(self.key_ref, Kid):
            raise Malformed("COSE_Sign: signers are named by kid")
        _check_signer(self.key_ref, self.signature)


@dataclass(frozen=True, slots=True)
class Sign:
    """A document with 1 to 16 signatures by different keys, in ascending order of their kid."""

    typ: str
    payload: bytes
    signatures: tuple[SignerSignature, ...]

    def __post_init__(self) -> None:
        _check_signed(self.typ, self.payload)
        kids = [_kid_of(signature) for signature in shape.sequence(self.signatures, "signatures", 1, MAX_SIGNATURES)]
        shape.distinct(kids, "signatures")
        if kids != sorted(kids):
            raise Malformed("signatures: not in ascending order of kid")

    def to_be_signed(self, key_ref: Kid) -> bytes:
        """Return the encoded Sig_structure that this signer's signature covers (RFC 9052 §4.4)."""
        return sign_to_be_signed(self.typ, key_ref, self.payload)

    def encode(self) -> bytes:
        """Return the tagged COSE_Sign."""
        signatures = [[cbor.encode(_signer_header(s.key_ref)), {}, s.signature] for s in self.signatures]
        return cbor.encode_tagged(TAG_SIGN, [cbor.encode({LABEL_TYP: self.typ}), {}, self.payload, signatures])

    @classmethod
    def decode(cls, data: bytes, *, limit: int = MAX_DOCUMENT_BYTES) -> Sign:
        """Read untrusted bytes. Raises Malformed, or TooLarge above ``limit``."""
        value = cbor.decode_tagged(TAG_SIGN, data, limit=limit)
        protected, unprotected, payload, signatures = shape.array(value, "COSE_Sign", 4, 4)
        shape.fields(unprotected, "unprotected header", ())
        header = shape.fields(_header_map(protected), "protected header", (LABEL_TYP,))
        listed = shape.array(signatures, "signatures", 1, MAX_SIGNATURES)
        return cls(header[LABEL_TYP], payload, tuple(map(_signer_signature, listed)))


def sign1_to_be_signed(typ: str, key_ref: KeyRef, payload: bytes, alg: int = ES256) -> bytes:
    """Return ["Signature1", protected, h'', payload] (RFC 9052 §4.4): what the signer of a Sign1 signs."""
    _check_signed(typ, payload)
    _check_alg(alg, key_ref)
    protected = cbor.encode(_signer_header(key_ref, alg) | {LABEL_TYP: typ})
    return cbor.encode(["Signature1", protected, b"", payload])


def sign_to_be_signed(typ: str, key_ref: Kid, payload: bytes) -> bytes:
    """Return ["Signature", protected, signer's protected, h'', payload] (RFC 9052 §4.4)."""
    _check_signed(typ, payload)
    return cbor.encode(["Signature", cbor.encode({LABEL_TYP: typ}), cbor.encode(_signer_header(key_ref)), b"", payload])


def check_chain(certificates: object, what: str) -> None:
    """Check a certificate chain: a tuple of 1 to 4 times 1 to 4096 bytes of DER. Raises Malformed."""
    for certificate in shape.sequence(certificates, what, 1, MAX_CHAIN):
        shape.bstr(certificate, what, 1, MAX_CERTIFICATE_BYTES)


def expect_type(actual: str, expected: str) -> None:
    """Check that a document is of the type its reader asked for (RFC 9596 §2). Raises Malformed."""
    if actual != expected:
        raise Malformed(f"a document of type {expected} expected")


def _check_alg(alg: object, key_ref: object) -> None:
    if type(alg) is not int or alg not in ALGORITHMS:
        raise Malformed("alg: -7 or -8 expected")
    if alg != ES256 and isinstance(key_ref, Kid):
        raise Malformed("alg: a key that is named by kid is the owner's, and signs with ES256")


def _check_signed(typ: object, payload: object) -> None:
    if not isinstance(typ, str) or typ not in TYPES:
        raise Malformed("typ: not a type of document that Sealway knows")
    shape.bstr(payload, "payload", 1, MAX_DOCUMENT_BYTES)


def _check_signer(key_ref: object, signature: object) -> None:
    if not isinstance(key_ref, KeyRef):
        raise Malformed("signer: named by kid, x5t or x5chain")
    shape.bstr(signature, "signature", SIGNATURE_BYTES)


def _kid_of(signature: object) -> bytes:
    if not isinstance(signature, SignerSignature):
        raise Malformed("signatures: a SignerSignature expected")
    return signature.key_ref.kid


def _signer_header(key_ref: KeyRef, alg: int = ES256) -> dict[int, Any]:
    if isinstance(key_ref, Kid):
        return {LABEL_ALG: alg, LABEL_KID: key_ref.kid}
    if isinstance(key_ref, X5t):
        return {LABEL_ALG: alg, LABEL_X5T: [HASH_SHA_256, key_ref.digest]}
    chain = list(key_ref.certificates)  # RFC 9360 §2: a single certificate travels without an array around it
    return {LABEL_ALG: alg, LABEL_X5CHAIN: chain[0] if len(chain) == 1 else chain}


def _header_map(protected: object) -> Any:
    return cbor.decode(shape.bstr(protected, "protected header", 1, MAX_DOCUMENT_BYTES), limit=MAX_DOCUMENT_BYTES)


def _decode_header(protected: object, required: tuple[int, ...]) -> dict[int, Any]:
    # RFC 9052 §3.1: crit (2) is among the labels that are unknown here, and so refused.
    header = shape.fields(_header_map(protected), "protected header", required, (LABEL_KID, LABEL_X5CHAIN, LABEL_X5T))
    if len(header) != len(required) + 1:
        raise Malformed("protected header: exactly one of kid, x5t, x5chain expected")
    return header


def _key_ref(header: dict[int, Any]) -> KeyRef:
    if LABEL_KID in header:
        return Kid(header[LABEL_KID])
    if LABEL_X5T in header:
        return X5t(certificate_hash(header[LABEL_X5T]))
    chain = header[LABEL_X5CHAIN]
    return X5chain(tuple(shape.array(chain, "x5chain", 2, MAX_CHAIN)) if isinstance(chain, list) else (chain,))


def _signer_signature(value: object) -> SignerSignature:
    protected, unprotected, signature = shape.array(value, "COSE_Signature", 3, 3)
    shape.fields(unprotected, "unprotected header", ())
    header = _decode_header(protected, (LABEL_ALG,))
    shape.constant(header[LABEL_ALG], "alg", ES256)
    key_ref = _key_ref(header)
    if not isinstance(key_ref, Kid):
        raise Malformed("COSE_Sign: signers are named by kid")
    return SignerSignature(key_ref, signature)
