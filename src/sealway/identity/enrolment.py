# SPDX-License-Identifier: Apache-2.0
"""The enrolment: all that the owner hands to a new member, in one file. Nothing in it is secret.

Invariant: an Enrolment was signed by a grant key of the root document that is in it, and certifies the key of the
member who opens it. Trust in that root document comes first and from elsewhere: ``read_root`` gives it out
unverified, for ``verify_root`` (a fingerprint that the owner told) or ``trust_root_on_first_use``.

The file is a COSE_Sign1 (typ "application/sealway-enrolment+cbor", key named by kid) over a CBOR map:
{1: 1, 2: root document bstr, 3: [+ certificate bstr], 4: hub address tstr, ? 5: [gateway's name tstr, address tstr],
6: [* grant bstr], 7: [* name of a peer tstr], 8: issued uint (seconds)}
"""

from __future__ import annotations

import re
from dataclasses import InitVar, dataclass, field
from typing import Any, Final

from sealway.crypto.keys import VerifyingKey
from sealway.crypto.ports import Signer
from sealway.errors import Malformed, NotTrusted
from sealway.identity.credentials import Credential, verify_chain
from sealway.identity.documents import sign_document, verify_document
from sealway.identity.grants import Grant, verify_grant
from sealway.identity.proof import Proof
from sealway.identity.root import OwnerRoot
from sealway.wire import cbor, shape
from sealway.wire.address import Name, check_hub
from sealway.wire.cose import (
    MAX_DOCUMENT_BYTES,
    TYP_ENROLMENT,
    Kid,
    Sign1,
    check_chain,
    expect_type,
)

VERSION: Final = 1
MAX_GRANTS: Final = 16
MAX_PEERS: Final = 64

_GATEWAY: Final = re.compile(r"coaps?://[\[\]a-z0-9.:-]{1,255}", re.ASCII)
_PROOF: Final = Proof("verify_enrolment")


@dataclass(frozen=True, slots=True)
class NextHop:
    """A gateway: its certified name, and its address (coap://HOST:PORT or coaps://HOST:PORT)."""

    name: Name
    address: str

    def __post_init__(self) -> None:
        if self.name.role != "gateway":
            raise Malformed("enrolment: the name of a gateway expected")
        if not isinstance(self.address, str) or not _GATEWAY.fullmatch(self.address):
            raise Malformed("enrolment: coap://HOST[:PORT] or coaps://HOST[:PORT] in lower case expected")


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentClaims:
    """What an enrolment says.

    Fields: ``root_document`` encoded; ``chain`` DER, leaf first; ``hub`` https://HOST[:PORT]; ``gateway`` None for
    members that reach the hub by themselves; ``grants`` encoded; ``peers`` whom the member talks to; ``issued`` Unix
    seconds.
    """

    root_document: bytes = field(repr=False)
    chain: tuple[bytes, ...] = field(repr=False)
    hub: str
    gateway: NextHop | None = None
    grants: tuple[bytes, ...] = field(default=(), repr=False)
    peers: tuple[Name, ...] = ()
    issued: int

    def __post_init__(self) -> None:
        shape.bstr(self.root_document, "root document", 1, MAX_DOCUMENT_BYTES)
        check_chain(self.chain, "enrolment's chain")
        check_hub(self.hub)
        for grant in shape.sequence(self.grants, "grants", 0, MAX_GRANTS):
            shape.bstr(grant, "grant", 1, MAX_DOCUMENT_BYTES)
        shape.distinct(shape.sequence(self.peers, "peers", 0, MAX_PEERS), "peers")
        shape.instant(self.issued, "enrolment's issue")

    def encode(self) -> bytes:
        """Return the payload that is signed."""
        value: dict[int, Any] = {1: VERSION, 2: self.root_document, 3: list(self.chain), 4: self.hub, 8: self.issued}
        value |= {6: list(self.grants), 7: [str(peer) for peer in self.peers]}
        if self.gateway is not None:
            value[5] = [str(self.gateway.name), self.gateway.address]
        return cbor.encode(value)

    @classmethod
    def decode(cls, data: bytes) -> EnrolmentClaims:
        """Read a payload. Raises Malformed or TooLarge."""
        found = shape.fields(cbor.decode(data, limit=MAX_DOCUMENT_BYTES), "enrolment", (1, 2, 3, 4, 6, 7, 8), (5,))
        shape.constant(found[1], "enrolment's version", VERSION)
        return cls(
            root_document=found[2],
            chain=tuple(shape.array(found[3], "enrolment's chain", 1, 4)),
            hub=found[4],
            gateway=_next_hop(found[5]) if 5 in found else None,
            grants=tuple(shape.array(found[6], "grants", 0, MAX_GRANTS)),
            peers=tuple(map(Name.parse, shape.array(found[7], "peers", 0, MAX_PEERS))),
            issued=found[8],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """An enrolment that the owner made for the member who opens it; made by ``verify_enrolment`` only.

    Args:
        root: the domain's root document.
        credential: the member's own.
        grants: what the member may do.
        claims: all of it, as it was signed.
    """

    root: OwnerRoot
    credential: Credential
    grants: tuple[Grant, ...]
    claims: EnrolmentClaims
    proof: InitVar[object]

    def __post_init__(self, proof: object) -> None:
        _PROOF.demand(proof)


def sign_enrolment(claims: EnrolmentClaims, signer: Signer) -> bytes:
    """Return the encoded enrolment, signed by one of the owner's grant keys."""
    key_ref, payload = Kid(signer.public.kid), claims.encode()
    return sign_document(TYP_ENROLMENT, key_ref, payload, signer).encode()


def read_root(encoded: bytes) -> bytes:
    """Return the root document that is in an enrolment, **unverified**. Raises Malformed, TooLarge."""
    return _decoded(encoded)[1].root_document


def verify_enrolment(encoded: bytes, root: OwnerRoot, now: int, *, member: VerifyingKey) -> Enrolment:
    """Prove an enrolment.

    Args:
        encoded: untrusted bytes.
        root: the verified root document, which must be the one in it.
        now: Unix seconds.
        member: the public half of the key that the member asked a certificate for.

    Raises:
        Malformed, TooLarge: not an enrolment in its strict form, or something in it is not.
        NotAuthentic: a signature does not verify.
        NotTrusted: another root document, a key that may not sign it, a certificate for somebody else, or expired.
        NotAuthorized: a grant in it has expired, or is another member's.
    """
    sign1, claims = _decoded(encoded)
    if claims.root_document != root.encoded:
        raise NotTrusted("the enrolment holds another root document than the one that is trusted")
    key_ref = sign1.key_ref
    key = root.grant_key(key_ref.kid if isinstance(key_ref, Kid) else b"", now)
    verify_document(sign1, key)
    credential = verify_chain(claims.chain, root, now)
    if credential.key != member:
        raise NotTrusted("the enrolment certifies another key", hint="enrol with the request that this key signed")
    return Enrolment(
        root=root,
        credential=credential,
        grants=tuple(_own_grant(grant, root, credential, now) for grant in claims.grants),
        claims=claims,
        proof=_PROOF,
    )


def _decoded(encoded: bytes) -> tuple[Sign1, EnrolmentClaims]:
    sign1 = Sign1.decode(encoded)
    expect_type(sign1.typ, TYP_ENROLMENT)
    return sign1, EnrolmentClaims.decode(sign1.payload)


def _own_grant(encoded: bytes, root: OwnerRoot, credential: Credential, now: int) -> Grant:
    return verify_grant(encoded, root, now).held_by(credential)


def _next_hop(value: object) -> NextHop:
    name, address = shape.array(value, "gateway", 2, 2)
    return NextHop(Name.parse(name), address)
