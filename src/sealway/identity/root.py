# SPDX-License-Identifier: Apache-2.0
"""The owner root document: the one trust anchor of a domain, numbered, signed by m of n owner keys, as TUF's root role.

Invariant: after the first, an OwnerRoot is only replaced by one with a greater number that a quorum of the old owner
keys and a quorum of the new ones have signed. The first is known by its fingerprint; trusting whatever comes first is
a function of its own. Whoever uses an OwnerRoot asks it again whether it is still current.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import InitVar, dataclass, field
from hmac import compare_digest
from typing import Final

from sealway.crypto.keys import VerifyingKey
from sealway.crypto.ports import Signer
from sealway.errors import LocalMisuse, NotAuthentic, NotTrusted
from sealway.identity.certificates import Certificate, check_authority, read_certificate, subject_key_id
from sealway.identity.clock import check_period
from sealway.identity.proof import Proof
from sealway.wire.cose import TYP_ROOT, Kid, Sign, SignerSignature, sign_to_be_signed
from sealway.wire.root_document import RootClaims, SignedRoot

FINGERPRINT_BYTES: Final = 32

_PROOF: Final = Proof("verify_root, recall_root or trust_root_on_first_use")


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerRoot:
    """A verified root document.

    Args:
        claims: what it says.
        encoded: the document as it travels.
        fingerprint: SHA-256 of ``encoded``, 32 bytes: what is pinned.
        anchors: its issuing CA certificates.
        owner_keys: the keys that may sign the next one.
    """

    claims: RootClaims
    encoded: bytes = field(repr=False)
    fingerprint: bytes
    anchors: tuple[Certificate, ...] = field(repr=False)
    owner_keys: tuple[VerifyingKey, ...] = field(repr=False)
    proof: InitVar[object]

    def __post_init__(self, proof: object) -> None:
        _PROOF.demand(proof)

    @property
    def domain(self) -> str:
        """The domain's name."""
        return self.claims.domain

    @property
    def domain_id(self) -> bytes:
        """The domain's identifier, 16 bytes, the same for all its life."""
        return self.claims.domain_id

    @property
    def number(self) -> int:
        """The document's number, from 1."""
        return self.claims.number

    @property
    def issuing_cas(self) -> tuple[bytes, ...]:
        """The issuing CA certificates, DER."""
        return self.claims.issuing_cas

    def demand_current(self, now: int, *, now_is_floor: bool = False) -> None:
        """Return if the document is within its period at ``now`` (Unix seconds). Raises NotTrusted."""
        check_period("the root document", self.claims.issued, self.claims.expires, now, now_is_floor=now_is_floor)

    def grant_key(self, kid: bytes, now: int) -> VerifyingKey:
        """Return the grant key with this kid, if its time is not over at ``now``. Raises NotTrusted."""
        for authority in self.claims.grant_keys:
            key = VerifyingKey(authority.point)
            if key.kid == kid:
                if now > authority.not_after:
                    raise NotTrusted("a grant key's time is over", hint="have the grant issued anew")
                return key
        raise NotTrusted("signed by a key that the owner has not named for grants")


def sign_root(claims: RootClaims, signers: Sequence[Signer]) -> bytes:
    """Return the encoded root document, signed by all ``signers``.

    Args:
        claims: what it says; its issuing CAs are checked.
        signers: a quorum of the owner keys in ``claims``; for an update also a quorum of the old ones.

    Raises:
        LocalMisuse: no quorum.
        Malformed, NotTrusted: an issuing CA certificate that nobody would accept.
    """
    _anchors(claims)
    present = {signer.public.point for signer in signers}
    if len(present & set(claims.owner_keys)) < claims.threshold:
        raise LocalMisuse(f"a root document needs {claims.threshold} of its own owner keys to sign it")
    payload = claims.encode()
    by_kid = {signer.public.kid: signer for signer in signers}
    signatures = [
        SignerSignature(Kid(kid), signer.sign(sign_to_be_signed(TYP_ROOT, Kid(kid), payload)))
        for kid, signer in sorted(by_kid.items())
    ]
    return SignedRoot(Sign(TYP_ROOT, payload, tuple(signatures)), claims).encode()


def verify_root(
    encoded: bytes,
    *,
    now: int,
    pinned: OwnerRoot | None = None,
    fingerprint: bytes | None = None,
    now_is_floor: bool = False,
) -> OwnerRoot:
    """Verify a root document: as successor of a pinned one, or by its fingerprint.

    Args:
        encoded: untrusted bytes.
        now: Unix seconds.
        pinned: the document held so far; it may have expired. The very same document is returned as it is.
        fingerprint: SHA-256 of the document, from a trusted source (32 bytes). Either this or ``pinned``.
        now_is_floor: ``now`` is only the latest time known to have passed.

    Raises:
        Malformed, TooLarge: not a root document in its strict form, or an issuing CA certificate is not.
        NotTrusted: another domain, not newer, expired, no quorum, or another fingerprint.
        LocalMisuse: neither ``pinned`` nor ``fingerprint``, or both.
    """
    match pinned, fingerprint:
        case OwnerRoot(), None:
            root = pinned if encoded == pinned.encoded else _successor(encoded, pinned)
        case None, bytes():
            root = recall_root(encoded, fingerprint)
        case _:
            raise LocalMisuse("a root document is verified by the one before it, or by its fingerprint")
    root.demand_current(now, now_is_floor=now_is_floor)
    return root


def recall_root(encoded: bytes, fingerprint: bytes) -> OwnerRoot:
    """Return the root document with this fingerprint, expired or not: one that was stored when it was pinned.

    Raises:
        NotTrusted: another fingerprint, or no quorum of its own keys.
        Malformed, TooLarge: not a root document.
    """
    root = _self_signed(encoded)
    if len(fingerprint) != FINGERPRINT_BYTES or not compare_digest(root.fingerprint, fingerprint):
        raise NotTrusted(
            "the root document is not the one expected",
            hint="compare the fingerprint with the one that the owner shows",
        )
    return root


def trust_root_on_first_use(encoded: bytes, *, now: int, now_is_floor: bool = False) -> OwnerRoot:
    """Accept a root document that nothing vouches for but its own signatures.

    Dangerous: whoever brings it becomes the owner. Only for a first contact over a way that is trusted otherwise; pin
    the result at once. Raises as ``verify_root``.
    """
    root = _self_signed(encoded)
    root.demand_current(now, now_is_floor=now_is_floor)
    return root


def _successor(encoded: bytes, pinned: OwnerRoot) -> OwnerRoot:
    """TUF specification §5.3.4 to §5.3.6: signed by both quorums, the same domain, a greater number."""
    root = _self_signed(encoded)
    if (root.domain, root.domain_id) != (pinned.domain, pinned.domain_id):
        raise NotTrusted(f"a root document of {root.domain} cannot follow one of {pinned.domain}")
    if root.number <= pinned.number:
        raise NotTrusted(f"root document {root.number} is not newer than {pinned.number}, which is held already")
    _demand_quorum(SignedRoot.decode(encoded).sign, pinned.owner_keys, pinned.claims.threshold, "the old")
    return root


def _self_signed(encoded: bytes) -> OwnerRoot:
    document = SignedRoot.decode(encoded)
    claims = document.claims
    owner_keys = tuple(map(VerifyingKey, claims.owner_keys))
    _demand_quorum(document.sign, owner_keys, claims.threshold, "its own")
    return OwnerRoot(
        claims=claims,
        encoded=encoded,
        fingerprint=document.hash,
        anchors=_anchors(claims),
        owner_keys=owner_keys,
        proof=_PROOF,
    )


def _demand_quorum(sign: Sign, keys: Sequence[VerifyingKey], threshold: int, whose: str) -> None:
    """Return if ``threshold`` of ``keys`` signed; others count for nothing (TUF §5.3.4). Raises NotTrusted."""
    valid = len(_proven_signers(sign, keys))
    if valid < threshold:
        raise NotTrusted(f"the root document has {valid} valid signatures of {whose} owner keys, and needs {threshold}")


def _proven_signers(sign: Sign, keys: Sequence[VerifyingKey]) -> list[VerifyingKey]:
    by_kid = {signature.key_ref.kid: signature for signature in sign.signatures}
    proven = []
    for key in keys:
        signature = by_kid.get(key.kid)
        if signature is not None:
            with suppress(NotAuthentic):
                key.verify(sign.to_be_signed(signature.key_ref), signature.signature)  # RFC 9052 §4.4
                proven.append(key)
    return proven


def _anchors(claims: RootClaims) -> tuple[Certificate, ...]:
    # RFC 5280 §6.1.1 (d): a trust anchor is its name and its key; it must look like an authority all the same.
    anchors = tuple(map(read_certificate, claims.issuing_cas))
    for anchor in anchors:
        check_authority(anchor, below=0)
        subject_key_id(anchor)
    return anchors
