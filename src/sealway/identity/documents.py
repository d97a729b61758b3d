# SPDX-License-Identifier: Apache-2.0
"""Signing and verifying documents with one signature (COSE_Sign1), whatever they say and whosever key it is.

Invariant: a document's alg decides nothing by itself. It must be that of the key that was proven to be the signer's.
"""

from __future__ import annotations

from sealway.crypto.keys import VerifyingKey
from sealway.crypto.ports import Signer
from sealway.errors import NotAuthentic
from sealway.wire.cose import KeyRef, Sign1, sign1_to_be_signed


def sign_document(typ: str, key_ref: KeyRef, payload: bytes, signer: Signer) -> Sign1:
    """Return a document of type ``typ``, signed as the signer's key does; ``key_ref`` names that key."""
    alg = int(signer.public.algorithm)
    return Sign1(typ, key_ref, payload, signer.sign(sign1_to_be_signed(typ, key_ref, payload, alg)), alg)


def verify_document(sign1: Sign1, key: VerifyingKey) -> None:
    """Return if ``sign1`` is signed by ``key`` (RFC 9052 §4.4). Raises NotAuthentic."""
    if sign1.alg != key.algorithm:  # RFC 9053 §2: a key is used with the one algorithm that it was made for
        raise NotAuthentic("a document names another algorithm than its signer's key has")
    key.verify(sign1.to_be_signed, sign1.signature)
