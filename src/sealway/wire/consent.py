# SPDX-License-Identifier: Apache-2.0
"""CarryConsent: a device allows a gateway to collect from its mailbox. A COSE_Sign1 by the device's certificate's key.

Invariant: ``SignedConsent.claims`` are exactly what its signature's payload says. ``identity`` proves the signature.
"""

from __future__ import annotations

from dataclasses import dataclass

from sealway.errors import Malformed
from sealway.wire import cbor, shape
from sealway.wire.address import Name
from sealway.wire.cose import TYP_CONSENT, Sign1, X5t, expect_type

MAX_CONSENT_BYTES = 1024


@dataclass(frozen=True, slots=True)
class ConsentClaims:
    """Who may carry for whom, and how long.

    Fields: ``device`` and ``gateway`` names with these roles; ``mailbox`` the identifier of the device's mailbox;
    ``issued`` and ``expires`` seconds since the Unix epoch.
    """

    device: Name
    gateway: Name
    mailbox: str
    issued: int
    expires: int

    def __post_init__(self) -> None:
        _check_role(self.device, "device")
        _check_role(self.gateway, "gateway")
        if self.mailbox != self.device.mailbox:
            raise Malformed("consent: the mailbox is not the device's")
        shape.period(self.issued, self.expires, "consent")

    def encode(self) -> bytes:
        """Return the payload that is signed."""
        return cbor.encode(
            {1: str(self.device), 2: str(self.gateway), 3: self.mailbox, 4: self.issued, 5: self.expires}
        )

    @classmethod
    def decode(cls, data: bytes) -> ConsentClaims:
        """Read a payload. Raises Malformed or TooLarge."""
        found = shape.fields(cbor.decode(data, limit=MAX_CONSENT_BYTES, depth=1), "consent", (1, 2, 3, 4, 5))
        return cls(Name.parse(found[1]), Name.parse(found[2]), found[3], found[4], found[5])


@dataclass(frozen=True, slots=True)
class SignedConsent:
    """A consent with its signature by the device's certificate's key, named by x5t."""

    sign1: Sign1
    claims: ConsentClaims

    def __post_init__(self) -> None:
        expect_type(self.sign1.typ, TYP_CONSENT)
        if not isinstance(self.sign1.key_ref, X5t):
            raise Malformed("consent: signed by the device's certificate's key, named by x5t")
        if self.claims.encode() != self.sign1.payload:
            raise Malformed("consent: claims and payload differ")

    def encode(self) -> bytes:
        """Return the tagged COSE_Sign1."""
        return self.sign1.encode()

    @classmethod
    def decode(cls, data: bytes) -> SignedConsent:
        """Read untrusted bytes. Raises Malformed, or TooLarge above 1024 bytes."""
        sign1 = Sign1.decode(data, limit=MAX_CONSENT_BYTES)
        expect_type(sign1.typ, TYP_CONSENT)
        return cls(sign1, ConsentClaims.decode(sign1.payload))


def _check_role(name: object, role: str) -> None:
    if not isinstance(name, Name) or name.role != role:
        raise Malformed(f"consent: the name of a {role} expected")
