# SPDX-License-Identifier: Apache-2.0
"""CarryConsent: a device allows one gateway to collect from the device's mailbox.

Invariant: a ProvenConsent was signed by the very certificate of the device it speaks for, names that device and a
gateway of the same domain, and is in its time. It gives nobody a key: what is carried stays sealed.
"""

from __future__ import annotations

from dataclasses import InitVar, dataclass
from typing import Final

from sealway.crypto.ports import Signer
from sealway.errors import LocalMisuse, NotTrusted
from sealway.identity.clock import check_period
from sealway.identity.credentials import Credential
from sealway.identity.documents import sign_document, verify_document
from sealway.identity.proof import Proof
from sealway.wire.address import Name
from sealway.wire.consent import ConsentClaims, SignedConsent
from sealway.wire.cose import TYP_CONSENT, X5t

_PROOF: Final = Proof("verify_consent")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenConsent:
    """A consent that is its device's; made by ``verify_consent`` only.

    Args:
        device: who consents, proven.
        claims: what it says.
        encoded: the signed consent as it travels.
    """

    device: Credential
    claims: ConsentClaims
    encoded: bytes
    proof: InitVar[object]

    def __post_init__(self, proof: object) -> None:
        _PROOF.demand(proof)


def sign_consent(device: Credential, gateway: Name, signer: Signer, *, now: int, seconds: int) -> bytes:
    """Return the encoded consent of ``device`` that ``gateway`` carries for it: from ``now`` (Unix), for ``seconds``.

    Raises:
        LocalMisuse: the key is not the credential's.
        Malformed: the names have other roles than device and gateway.
    """
    if signer.public != device.key:
        raise LocalMisuse("a consent is signed with the key of the device's certificate")
    claims = ConsentClaims(device.name, gateway, device.name.mailbox, now, now + seconds)
    key_ref, payload = X5t(device.x5t), claims.encode()
    return SignedConsent(sign_document(TYP_CONSENT, key_ref, payload, signer), claims).encode()


def verify_consent(encoded: bytes, device: Credential, now: int) -> ProvenConsent:
    """Prove a consent.

    Args:
        encoded: untrusted bytes.
        device: the device that it must be of.
        now: Unix seconds.

    Raises:
        Malformed, TooLarge: not a consent in its strict form.
        NotAuthentic: the signature does not verify.
        NotTrusted: another device's or certificate's, a gateway of another domain, expired, or from the future.
    """
    consent = SignedConsent.decode(encoded)
    claims = consent.claims
    # RFC 9360 §2: x5t names the certificate; it must be the one that was proven.
    if consent.sign1.key_ref != X5t(device.x5t) or claims.device != device.name:
        raise NotTrusted(f"a consent was not signed by the certificate of {device.name}")
    verify_document(consent.sign1, device.key)
    if claims.gateway.domain != device.name.domain:
        raise NotTrusted(f"{device.name} consents to a gateway of another domain")
    check_period("a consent", claims.issued, claims.expires, now, now_is_floor=False)
    return ProvenConsent(device=device, claims=claims, encoded=encoded, proof=_PROOF)
