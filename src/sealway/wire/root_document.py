# SPDX-License-Identifier: Apache-2.0
"""The owner root document: the trust anchor of a domain. A COSE_Sign by m of n owner keys.

Invariant: ``SignedRoot.claims`` are exactly what its signatures' payload says, and neither an owner key nor a signer is
named twice, so counting signatures counts keys. Whether they verify and suffice, ``identity`` decides.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from sealway.errors import Malformed
from sealway.wire import cbor, shape
from sealway.wire.address import check_domain
from sealway.wire.cose import MAX_CERTIFICATE_BYTES, MAX_DOCUMENT_BYTES, TYP_ROOT, Sign, expect_type

VERSION = 1
MAX_OWNER_KEYS = 8
MAX_ISSUING_CAS = 4
MAX_AUTHORITIES = 8
POINT_BYTES = 33  # a compressed P-256 point (SEC 1 §2.3.3)


@dataclass(frozen=True, slots=True)
class Authority:
    """A delegated key and its limit: ``point`` 33 bytes compressed, ``not_after`` seconds since the Unix epoch."""

    point: bytes
    not_after: int

    def __post_init__(self) -> None:
        _check_point(self.point, "authority's key")
        shape.instant(self.not_after, "authority's limit")

    def to_value(self) -> list[Any]:
        """Return [point, not_after]."""
        return [self.point, self.not_after]


@dataclass(frozen=True, slots=True)
class RootClaims:
    """Who speaks for a domain.

    Fields: ``domain`` its name; ``domain_id`` 16 bytes, fixed for its life; ``number`` from 1, higher in every newer
    document; ``issued`` and ``expires`` seconds since the Unix epoch; ``owner_keys`` 1 to 8 compressed points;
    ``threshold`` how many of them must sign; ``issuing_cas`` 1 to 4 CA certificates, DER; ``grant_keys``,
    ``revocation_keys``, ``status_keys`` up to 8 authorities each.
    """

    domain: str
    domain_id: bytes
    number: int
    issued: int
    expires: int
    owner_keys: tuple[bytes, ...]
    threshold: int
    issuing_cas: tuple[bytes, ...]
    grant_keys: tuple[Authority, ...] = ()
    revocation_keys: tuple[Authority, ...] = ()
    status_keys: tuple[Authority, ...] = ()

    def __post_init__(self) -> None:
        check_domain(self.domain)
        shape.bstr(self.domain_id, "domain id", 16)
        shape.uint(self.number, "root document's number", 1)
        shape.period(self.issued, self.expires, "root document")
        for point in shape.sequence(self.owner_keys, "owner keys", 1, MAX_OWNER_KEYS):
            _check_point(point, "owner key")
        shape.distinct(self.owner_keys, "owner keys")
        shape.uint(self.threshold, "threshold", 1, len(self.owner_keys))
        for certificate in shape.sequence(self.issuing_cas, "issuing CAs", 1, MAX_ISSUING_CAS):
            shape.bstr(certificate, "issuing CA's certificate", 1, MAX_CERTIFICATE_BYTES)
        shape.distinct(self.issuing_cas, "issuing CAs")
        for authorities in (self.grant_keys, self.revocation_keys, self.status_keys):
            _check_authorities(authorities)

    def encode(self) -> bytes:
        """Return the payload that is signed."""
        value: dict[int, Any] = {1: VERSION, 2: self.domain, 3: self.domain_id, 4: self.number}
        value |= {5: self.issued, 6: self.expires, 7: list(self.owner_keys), 8: self.threshold}
        value[9] = list(self.issuing_cas)
        for label, authorities in ((10, self.grant_keys), (11, self.revocation_keys), (12, self.status_keys)):
            value[label] = [authority.to_value() for authority in authorities]
        return cbor.encode(value)

    @classmethod
    def decode(cls, data: bytes) -> RootClaims:
        """Read a payload. Raises Malformed or TooLarge."""
        found = shape.fields(cbor.decode(data, limit=MAX_DOCUMENT_BYTES), "root document", range(1, 13))
        shape.constant(found[1], "root document's version", VERSION)
        return cls(
            domain=found[2],
            domain_id=found[3],
            number=found[4],
            issued=found[5],
            expires=found[6],
            owner_keys=tuple(shape.array(found[7], "owner keys", 1, MAX_OWNER_KEYS)),
            threshold=found[8],
            issuing_cas=tuple(shape.array(found[9], "issuing CAs", 1, MAX_ISSUING_CAS)),
            grant_keys=_authorities(found[10]),
            revocation_keys=_authorities(found[11]),
            status_keys=_authorities(found[12]),
        )


@dataclass(frozen=True, slots=True)
class SignedRoot:
    """A root document with its signatures."""

    sign: Sign
    claims: RootClaims

    def __post_init__(self) -> None:
        expect_type(self.sign.typ, TYP_ROOT)
        if self.claims.encode() != self.sign.payload:
            raise Malformed("root document: claims and payload differ")

    @property
    def hash(self) -> bytes:
        """SHA-256 of the encoded document, signatures included: what is pinned at first use."""
        return hashlib.sha256(self.encode()).digest()

    def encode(self) -> bytes:
        """Return the tagged COSE_Sign."""
        return self.sign.encode()

    @classmethod
    def decode(cls, data: bytes) -> SignedRoot:
        """Read untrusted bytes. Raises Malformed or TooLarge."""
        sign = Sign.decode(data)
        expect_type(sign.typ, TYP_ROOT)
        return cls(sign, RootClaims.decode(sign.payload))


def _check_point(value: object, what: str) -> None:
    if shape.bstr(value, what, POINT_BYTES)[0] not in (2, 3):
        raise Malformed(f"{what}: a compressed point expected")


def _check_authorities(authorities: object) -> None:
    listed = shape.sequence(authorities, "authorities", 0, MAX_AUTHORITIES)
    if not all(isinstance(authority, Authority) for authority in listed):
        raise Malformed("authorities: an Authority expected")
    shape.distinct([authority.point for authority in listed], "authorities")


def _authorities(value: object) -> tuple[Authority, ...]:
    pairs = [shape.array(pair, "authority", 2, 2) for pair in shape.array(value, "authorities", 0, MAX_AUTHORITIES)]
    return tuple(Authority(point, not_after) for point, not_after in pairs)
