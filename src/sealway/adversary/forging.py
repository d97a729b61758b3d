# SPDX-License-Identifier: Apache-2.0
"""What an adversary can make with keys of its own: an authority that nobody trusts, certificates in anyone's name,
bundles, one-time keys and root documents under them.

Invariant: every private key here was generated here. Nothing made here verifies under an owner's root.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import replace

from sealway.crypto.keys import SoftSigner, generate_scalar, public_x
from sealway.crypto.ports import Random
from sealway.identity.documents import sign_document
from sealway.identity.issuing import issue_certificate, make_csr, self_signed_ca
from sealway.identity.root import sign_root
from sealway.wire.address import Name
from sealway.wire.bundle import BundleClaims, Offer, OneTimeKey, SignedBundle
from sealway.wire.cose import TYP_BUNDLE, KeyRef, X5chain
from sealway.wire.merkle import merkle_path, merkle_root
from sealway.wire.root_document import RootClaims

_DAYS = 30


class Forger:
    """Keys of the adversary's own, and what can be made with them.

    Args:
        random: where its keys come from.
        now: Unix seconds.
    """

    def __init__(self, random: Random, now: Callable[[], float]) -> None:
        self._random, self._now = random, now
        self._signer: SoftSigner | None = None
        self._authorities: dict[str, bytes] = {}

    @property
    def signer(self) -> SoftSigner:
        """Its one signing key, made when it is first needed."""
        if self._signer is None:
            self._signer = SoftSigner(generate_scalar(self._random))
        return self._signer

    def public_key(self) -> bytes:
        """Return the public half of a new agreement key: a 32-byte x-coordinate."""
        return public_x(generate_scalar(self._random))

    def chain(self, name: Name) -> tuple[bytes, ...]:
        """Return a certificate in this very name, issued by an authority of the adversary's own."""
        return issue_certificate(
            make_csr(self.signer, name),
            expected_name=name,
            ca_chain=[self._authority(name.domain)],
            ca_signer=self.signer,
            now=int(self._now()),
            days=_DAYS,
            random=self._random,
        )

    def bundle(self, genuine: BundleClaims, key_ref: KeyRef | None = None) -> bytes:
        """Return a bundle in the same name and newer, with the adversary's keys, signed by its own.

        Args:
            genuine: what to be like.
            key_ref: the certificate to name; None: one of its own, carried along.
        """
        one_time = [self.public_key()]
        claims = replace(
            genuine,
            sequence=genuine.sequence + 1,
            agreement_key=self.public_key(),
            signed_prekey=self.public_key(),
            one_time_root=merkle_root(one_time),
            one_time_count=1,
        )
        return self.resigned(claims, key_ref if key_ref is not None else X5chain(self.chain(genuine.name)))

    def resigned(self, claims: BundleClaims, key_ref: KeyRef) -> bytes:
        """Return these claims under the adversary's signature."""
        payload = claims.encode()
        return SignedBundle(sign_document(TYP_BUNDLE, key_ref, payload, self.signer), claims).encode()

    def one_time_key(self, genuine: BundleClaims, index: int) -> OneTimeKey:
        """Return a one-time key of the adversary's own under the index of another, with a path of the right length."""
        keys = [self.public_key() for _ in range(genuine.one_time_count or 1)]
        return OneTimeKey(index, keys[index % len(keys)], merkle_path(keys, index % len(keys)))

    def offer(self, bundle: bytes) -> bytes:
        """Return an offer of a bundle without a one-time key."""
        return Offer(bundle).encode()

    def root(self, genuine: RootClaims) -> bytes:
        """Return a root document that claims to succeed this one, with the adversary's key and authority."""
        claims = dataclasses.replace(
            genuine,
            number=genuine.number + 1,
            owner_keys=(self.signer.public.point,),
            threshold=1,
            issuing_cas=(self._authority(genuine.domain),),
        )
        return sign_root(claims, [self.signer])

    def _authority(self, domain: str) -> bytes:
        if domain not in self._authorities:
            self._authorities[domain] = self_signed_ca(
                self.signer, domain, now=int(self._now()), days=2 * _DAYS, random=self._random
            )
        return self._authorities[domain]
