# SPDX-License-Identifier: Apache-2.0
"""Prekey bundles: signed by their endpoint, proven by everyone who begins or accepts a session with it.

Invariant: a ProvenBundle was signed by the very certificate that its Credential is, for that name, is not expired, is
not older than one already seen, and its keys are sound keys of the one curve that its suites have; those suites sign as
its certificate does; its ML-KEM key, if any, is one; its one-time key, if any, is under the Merkle root that was
signed.
"""

from __future__ import annotations

from dataclasses import InitVar, dataclass
from typing import Final

from sealway.crypto.kem import loaded_public_key
from sealway.crypto.ports import Signer
from sealway.crypto.suites import Suite, known_suites
from sealway.errors import LocalMisuse, Malformed, NotTrusted, Replayed
from sealway.identity.clock import check_period
from sealway.identity.credentials import Credential
from sealway.identity.documents import sign_document, verify_document
from sealway.identity.proof import Proof
from sealway.wire.bundle import BundleClaims, Offer, OneTimeKey, Publication, SignedBundle
from sealway.wire.cose import TYP_BUNDLE, Sign1, X5chain, X5t
from sealway.wire.merkle import merkle_root, verify_path

_PROOF: Final = Proof("verify_bundle, verify_offer or verify_publication")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenBundle:
    """A bundle that is its endpoint's; made by ``verify_bundle``, ``verify_offer`` and ``verify_publication`` only.

    Args:
        credential: whose it is.
        claims: what it says.
        suites: those of its suites that this version has, the preferred first; at least one, all of one curve.
        encoded: the signed bundle as it travels.
        hash: SHA-256 of ``encoded``, 32 bytes: how a start names it.
        one_time: the one-time key that came with it, proven to be the endpoint's, or None.
    """

    credential: Credential
    claims: BundleClaims
    suites: tuple[Suite, ...]
    encoded: bytes
    hash: bytes
    one_time: OneTimeKey | None = None
    proof: InitVar[object]

    def __post_init__(self, proof: object) -> None:
        _PROOF.demand(proof)


def sign_bundle(claims: BundleClaims, credential: Credential, signer: Signer) -> bytes:
    """Return the encoded signed bundle, which names the credential's certificate by x5t.

    Raises:
        LocalMisuse: the key or the name are not the credential's.
    """
    if signer.public != credential.key:
        raise LocalMisuse("a bundle is signed with the key of the endpoint's certificate")
    if claims.name != credential.name:
        raise LocalMisuse(f"a bundle of {credential.name} cannot be in the name of {claims.name}")
    key_ref, payload = X5t(credential.x5t), claims.encode()
    return SignedBundle(sign_document(TYP_BUNDLE, key_ref, payload, signer), claims).encode()


def verify_bundle(
    encoded: bytes, credential: Credential, now: int, *, lowest_sequence: int = 1, now_is_floor: bool = False
) -> ProvenBundle:
    """Prove a bundle that came without a one-time key.

    Args:
        encoded: the signed bundle.
        credential: the endpoint that it must be of.
        now: Unix seconds.
        lowest_sequence: the highest sequence number seen so far of this endpoint (the same is accepted again), or 1.
        now_is_floor: ``now`` is only the latest time known to have passed.

    Raises:
        Malformed, TooLarge: not a signed bundle in its strict form.
        NotAuthentic: the signature does not verify, or a key is not a sound one of its suites' curve.
        NotTrusted: another endpoint's or another certificate's; expired, or from the future; its suites do not fit
            each other or the certificate, or this version has none of them.
        Replayed: older than one already seen.
    """
    return _verified(encoded, credential, now, lowest_sequence, now_is_floor, None)


def verify_offer(
    encoded: bytes, credential: Credential, now: int, *, lowest_sequence: int = 1, now_is_floor: bool = False
) -> ProvenBundle:
    """Prove an encoded Offer: a bundle and, if one was left, a one-time key with its path. As ``verify_bundle``."""
    offer = Offer.decode(encoded)
    return _verified(offer.bundle, credential, now, lowest_sequence, now_is_floor, offer.one_time)


def verify_publication(
    encoded: bytes, credential: Credential, now: int, *, lowest_sequence: int = 1
) -> tuple[ProvenBundle, tuple[bytes, ...]]:
    """Prove an encoded Publication, as a directory does; return the bundle and all its one-time keys in order.

    Raises:
        NotTrusted: also if the one-time keys are not those that the bundle commits to.
        Malformed, TooLarge, NotAuthentic, Replayed: as ``verify_bundle``.
    """
    publication = Publication.decode(encoded)
    proven = _verified(publication.bundle, credential, now, lowest_sequence, False, None)
    keys = publication.one_time
    root = merkle_root(keys) if keys else None
    if (root, len(keys) or None) != (proven.claims.one_time_root, proven.claims.one_time_count):
        raise NotTrusted("the one-time keys are not those that the bundle commits to")
    return proven, keys


def _verified(
    encoded: bytes,
    credential: Credential,
    now: int,
    lowest_sequence: int,
    now_is_floor: bool,
    one_time: OneTimeKey | None,
) -> ProvenBundle:
    bundle = SignedBundle.decode(encoded)
    claims = bundle.claims
    # RFC 9360 §2: x5t or x5chain names the certificate; it must be the one that was proven.
    _check_signer(bundle.sign1, credential)
    verify_document(bundle.sign1, credential.key)
    if claims.name != credential.name:
        raise NotTrusted(f"a bundle in the name of {claims.name} was signed by {credential.name}")
    check_period("a bundle", claims.issued, claims.expires, now, now_is_floor=now_is_floor)
    if claims.sequence < lowest_sequence:
        raise Replayed(f"a bundle of {claims.name} is older than one already seen")
    suites = _fitting_suites(claims, credential)
    # SP 800-56A §5.6.2.3.3: public keys are validated before anything is agreed with them.
    suites[0].curve.validated(claims.agreement_key)
    suites[0].curve.validated(claims.signed_prekey)
    if claims.ml_kem is not None:
        loaded_public_key(claims.ml_kem)  # FIPS 203 §7.2
    return ProvenBundle(
        credential=credential,
        claims=claims,
        suites=suites,
        encoded=encoded,
        hash=bundle.hash,
        one_time=None if one_time is None else _proven_key(claims, one_time, suites[0]),
        proof=_PROOF,
    )


def _check_signer(sign1: Sign1, credential: Credential) -> None:
    key_ref = sign1.key_ref
    if isinstance(key_ref, X5chain):
        named = key_ref.certificates[0] == credential.chain[0]
    else:
        named = key_ref == X5t(credential.x5t)
    if not named:
        raise NotTrusted(f"a bundle was not signed by the certificate of {credential.name}")


def _fitting_suites(claims: BundleClaims, credential: Credential) -> tuple[Suite, ...]:
    suites = known_suites(claims.suites)
    if not suites:
        raise NotTrusted(f"{claims.name} takes part in suites that this version does not have")
    if any(suite.curve is not suites[0].curve for suite in suites):
        raise NotTrusted(f"a bundle of {claims.name} lists suites of different curves, and its keys are of one")
    if suites[0].signature is not credential.key.algorithm:
        raise NotTrusted(f"a bundle of {claims.name} lists a suite that does not sign as its certificate does")
    return suites


def _proven_key(claims: BundleClaims, one_time: OneTimeKey, suite: Suite) -> OneTimeKey:
    # RFC 9162 §2.1.3.2
    if claims.one_time_root is None or claims.one_time_count is None:
        raise Malformed("an offer has a one-time key, and its bundle commits to none")
    verify_path(claims.one_time_root, claims.one_time_count, one_time.index, one_time.key, one_time.path)
    suite.curve.validated(one_time.key)
    return one_time
