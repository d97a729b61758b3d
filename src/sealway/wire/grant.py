# SPDX-License-Identifier: Apache-2.0
"""Grants: what the owner allows one holder to do at some devices. A CWT (RFC 8392) in a COSE_Sign1 by a grant key.

Invariant: ``SignedGrant.claims`` are exactly what its signature's payload says. Whether the signer may grant, and
whether a grant covers a request, ``identity`` decides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sealway.errors import Malformed
from sealway.wire import cbor, shape
from sealway.wire.address import MAX_NAME_BYTES, Name, check_domain
from sealway.wire.cose import TYP_GRANT, Kid, Sign1, expect_type

MAX_GRANT_BYTES = 1024  # so that it fits the option in which it travels
MAX_DEVICES = 16
MAX_SCOPES = 32

_ISS, _SUB, _AUD, _EXP, _NBF, _IAT, _CTI = range(1, 8)  # RFC 8392 §3.1
_CNF, _SCOPE = 8, 9  # RFC 8747 §3.1, RFC 9200 §5.9.2
_ALL = (_ISS, _SUB, _AUD, _EXP, _NBF, _IAT, _CTI, _CNF, _SCOPE)
_COSE_KEY = 1  # the method of confirmation: a COSE_Key (RFC 8747 §3.2)
_EC2, _P256 = 2, 1  # RFC 9053 §7.1
_OKP, _ED25519 = 1, 6  # RFC 9053 §7.2
_RESOURCE = re.compile(r"[a-z0-9][a-z0-9._/-]{0,62}", re.ASCII)
_PERMISSION = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}", re.ASCII)
_EVERY_DEVICE = "/device/*"


@dataclass(frozen=True, slots=True)
class Scope:
    """What may be done: ``resource`` such as "valve", ``permission`` such as "write"; as text "valve:write"."""

    resource: str
    permission: str

    def __post_init__(self) -> None:
        allowed = "of lower-case letters, digits, '.', '_', '-'"
        shape.matching(self.resource, _RESOURCE, f"scope: a resource {allowed}, '/', at most 63,")
        shape.matching(self.permission, _PERMISSION, f"scope: a permission {allowed}, at most 32,")

    def __str__(self) -> str:
        return f"{self.resource}:{self.permission}"

    @classmethod
    def parse(cls, text: str) -> Scope:
        """Read the text form. Raises Malformed."""
        resource, separator, permission = shape.tstr(text, "scope", 1, 128).partition(":")
        if not separator:
            raise Malformed("scope: RESOURCE:PERMISSION expected")
        return cls(resource, permission)


@dataclass(frozen=True, slots=True)
class GrantClaims:
    """What is granted, to whom, where, and how long.

    Fields: ``issuer`` the owner's domain; ``holder`` the endpoint that may; ``audience`` 1 to 16 texts, each a
    device's name or ``every_device(domain)``; ``expires``, ``not_before``, ``issued`` seconds since the Unix epoch;
    ``grant_id`` 16 bytes; ``holder_x`` and ``holder_y`` the coordinates (32 bytes each) of the holder's certified key,
    or, of an Ed25519 key, its encoding and None; ``scopes`` 1 to 32, distinct.
    """

    issuer: str
    holder: Name
    audience: tuple[str, ...]
    expires: int
    not_before: int
    issued: int
    grant_id: bytes
    holder_x: bytes
    holder_y: bytes | None
    scopes: tuple[Scope, ...]

    def __post_init__(self) -> None:
        check_domain(self.issuer)
        if not isinstance(self.holder, Name):
            raise Malformed("grant: the holder's Name expected")
        for device in shape.sequence(self.audience, "audience", 1, MAX_DEVICES):
            _check_device(device)
        shape.distinct(self.audience, "audience")
        shape.period(self.not_before, self.expires, "grant")
        shape.instant(self.issued, "grant's issue")
        shape.bstr(self.grant_id, "grant id", 16)
        shape.bstr(self.holder_x, "holder's key", 32)
        if self.holder_y is not None:
            shape.bstr(self.holder_y, "holder's key", 32)
        if not all(isinstance(scope, Scope) for scope in shape.sequence(self.scopes, "scopes", 1, MAX_SCOPES)):
            raise Malformed("scopes: a Scope expected")
        shape.distinct(self.scopes, "scopes")

    def encode(self) -> bytes:
        """Return the payload that is signed."""
        value: dict[int, Any] = {_ISS: self.issuer, _SUB: str(self.holder), _AUD: list(self.audience)}
        value |= {_EXP: self.expires, _NBF: self.not_before, _IAT: self.issued, _CTI: self.grant_id}
        value[_CNF] = {_COSE_KEY: self._holder_key()}
        value[_SCOPE] = cbor.encode([[scope.resource, scope.permission] for scope in self.scopes])
        return cbor.encode(value)

    def _holder_key(self) -> dict[int, Any]:
        if self.holder_y is None:
            return {1: _OKP, -1: _ED25519, -2: self.holder_x}
        return {1: _EC2, -1: _P256, -2: self.holder_x, -3: self.holder_y}

    @classmethod
    def decode(cls, data: bytes) -> GrantClaims:
        """Read a payload. Raises Malformed or TooLarge."""
        found = shape.fields(cbor.decode(data, limit=MAX_GRANT_BYTES), "grant", _ALL)
        x, y = _holder_key(found[_CNF])
        return cls(
            issuer=found[_ISS],
            holder=Name.parse(found[_SUB]),
            audience=tuple(shape.array(found[_AUD], "audience", 1, MAX_DEVICES)),
            expires=found[_EXP],
            not_before=found[_NBF],
            issued=found[_IAT],
            grant_id=found[_CTI],
            holder_x=x,
            holder_y=y,
            scopes=_scopes(found[_SCOPE]),
        )


@dataclass(frozen=True, slots=True)
class SignedGrant:
    """A grant with its signature by one of the owner's grant keys, named by kid. At most 1024 bytes."""

    sign1: Sign1
    claims: GrantClaims

    def __post_init__(self) -> None:
        expect_type(self.sign1.typ, TYP_GRANT)
        if not isinstance(self.sign1.key_ref, Kid):
            raise Malformed("grant: signed by a grant key, named by kid")
        if self.claims.encode() != self.sign1.payload:
            raise Malformed("grant: claims and payload differ")
        if len(self.sign1.encode()) > MAX_GRANT_BYTES:
            raise Malformed(f"grant: more than {MAX_GRANT_BYTES} bytes; grant fewer devices or scopes at once")

    def encode(self) -> bytes:
        """Return the tagged COSE_Sign1."""
        return self.sign1.encode()

    @classmethod
    def decode(cls, data: bytes) -> SignedGrant:
        """Read untrusted bytes. Raises Malformed, or TooLarge above 1024 bytes."""
        sign1 = Sign1.decode(data, limit=MAX_GRANT_BYTES)
        expect_type(sign1.typ, TYP_GRANT)
        return cls(sign1, GrantClaims.decode(sign1.payload))


def every_device(domain: str) -> str:
    """Return the audience that means all devices of a domain: sealway://building.example/device/*."""
    return f"sealway://{check_domain(domain)}{_EVERY_DEVICE}"


def _check_device(text: object) -> None:
    device = shape.tstr(text, "audience", 1, MAX_NAME_BYTES)
    if device.endswith(_EVERY_DEVICE):
        device = device[:-1] + "all"  # the shape of a name is checked with any label in the star's place
    if Name.parse(device).role != "device":
        raise Malformed("audience: the name of a device expected")


def _holder_key(confirmation: object) -> tuple[bytes, bytes | None]:
    inner = shape.fields(confirmation, "cnf", (_COSE_KEY,))[_COSE_KEY]
    key = shape.fields(inner, "COSE_Key", (1, -1, -2), (-3,))
    edwards = -3 not in key
    shape.constant(key[1], "COSE_Key's type", _OKP if edwards else _EC2)
    shape.constant(key[-1], "COSE_Key's curve", _ED25519 if edwards else _P256)
    return key[-2], None if edwards else shape.bstr(key[-3], "holder's key", 32)


def _scopes(encoded: object) -> tuple[Scope, ...]:
    listed = cbor.decode(shape.bstr(encoded, "scope", 1, MAX_GRANT_BYTES), limit=MAX_GRANT_BYTES, depth=2)
    pairs = [shape.array(pair, "scope", 2, 2) for pair in shape.array(listed, "scope", 1, MAX_SCOPES)]
    return tuple(Scope(resource, permission) for resource, permission in pairs)
