# SPDX-License-Identifier: Apache-2.0
"""A domain with documents and private keys that are the same in every run: what starts are made over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scripts.vectors.script import BEGIN_MS, value
from sealway.crypto import kem
from sealway.crypto.keys import SoftSigner
from sealway.crypto.secret import Secret
from sealway.crypto.suites import Suite, suite
from sealway.identity.bundles import ProvenBundle, sign_bundle, verify_offer
from sealway.identity.credentials import Credential, verify_chain
from sealway.identity.issuing import issue_certificate, make_csr, self_signed_ca
from sealway.identity.root import sign_root, trust_root_on_first_use
from sealway.protocol.start import OwnKeys
from sealway.wire.address import MailboxAddress, Name
from sealway.wire.bundle import BundleClaims, Offer, OneTimeKey
from sealway.wire.merkle import merkle_path, merkle_root
from sealway.wire.root_document import RootClaims

NOW = BEGIN_MS // 1_000
DOMAIN, DOMAIN_ID = "building.example", bytes(range(16))
DAY = 86_400


@dataclass(frozen=True, slots=True)
class Party:
    """One end with everything that it has, public and private."""

    label: str
    credential: Credential
    bundle: bytes
    one_time: tuple[bytes, ...]
    suite: Suite
    ml_kem: Secret | None = None
    """The seed of its ML-KEM key, if it publishes one."""

    def scalar(self, what: str) -> Secret:
        """Return one of its private keys."""
        return Secret(value(f"start {self.label} {what}"))

    @property
    def decapsulator(self) -> kem.Decapsulator | None:
        """Its ML-KEM key at work."""
        return kem.Decapsulator(self.ml_kem) if self.ml_kem is not None else None

    @property
    def signer(self) -> SoftSigner:
        """The key of its certificate."""
        return SoftSigner(self.scalar("signature"), self.suite.signature)

    def offer(self, index: int | None) -> bytes:
        """Return what a directory hands out."""
        if index is None:
            return Offer(self.bundle).encode()
        return Offer(self.bundle, OneTimeKey(index, self.one_time[index], merkle_path(self.one_time, index))).encode()

    def proven(self, index: int | None = None) -> ProvenBundle:
        """Return its bundle, verified."""
        return verify_offer(self.offer(index), self.credential, NOW)

    def own(self) -> OwnKeys:
        """Return what it brings to a start."""
        return OwnKeys(self.proven(), self.suite.curve.agreer(self.scalar("agreement")), DOMAIN_ID)

    def told(self) -> dict[str, Any]:
        """Return everything about it, for the file."""
        privates = ("signature", "agreement", "prekey", *(f"one-time {k}" for k in range(len(self.one_time))))
        return {
            "name": str(self.credential.name),
            "certificate": self.credential.chain[0].hex(),
            "bundle": self.bundle.hex(),
            "private": {what: self.scalar(what).reveal().hex() for what in privates}
            | ({"ml_kem": self.ml_kem.reveal().hex()} if self.ml_kem is not None else {}),
        }


class Town:
    """A domain with an application, a meter, and a third end that was certified like them.

    Args:
        ml_kem: the application publishes an ML-KEM key.
        suites: what the bundles list; the keys are of the first.
    """

    def __init__(self, *, ml_kem: bool = False, suites: tuple[int, ...] = (1,)) -> None:
        self._suites, self.suite = suites, suite(suites[0])
        owner, ca = (SoftSigner(Secret(value(f"start {who}"))) for who in ("owner", "ca"))
        self._ca, self._ca_der = ca, self_signed_ca(ca, DOMAIN, now=NOW, days=365, random=seeded("ca"))
        claims = RootClaims(
            domain=DOMAIN, domain_id=DOMAIN_ID, number=1, issued=NOW, expires=NOW + 365 * DAY,
            owner_keys=(owner.public.point,), threshold=1, issuing_cas=(self._ca_der,),
        )  # fmt: skip
        self.root_document = sign_root(claims, [owner])
        self._root = trust_root_on_first_use(self.root_document, now=NOW)
        self.app = self._party("app", "application", ml_kem=ml_kem)
        self.meter = self._party("meter-1", "device")
        self.other = self._party("meter-2", "device")

    def _party(self, label: str, role: str, *, ml_kem: bool = False) -> Party:
        name, of = Name(DOMAIN, role, label), self.suite
        signer = SoftSigner(Secret(value(f"start {label} signature")), of.signature)
        chain = issue_certificate(
            make_csr(signer, name), expected_name=name, ca_chain=[self._ca_der], ca_signer=self._ca, now=NOW, days=30,
            random=seeded(label),
        )  # fmt: skip
        credential = verify_chain(chain, self._root, NOW, expected_name=name)
        keys = {what: of.curve.public(Secret(value(f"start {label} {what}"))) for what in ("agreement", "prekey")}
        one_time = tuple(of.curve.public(Secret(value(f"start {label} one-time {k}"))) for k in range(3))
        seed = Secret(value(f"start {label} ml-kem", kem.SEED_BYTES)) if ml_kem else None
        claims = BundleClaims(
            bundle_id=value(f"start {label} bundle id", 4), name=name,
            mailbox=MailboxAddress("https://hub.example", name.mailbox), sequence=7, suites=self._suites,
            agreement_key=keys["agreement"], signed_prekey=keys["prekey"], one_time_root=merkle_root(one_time),
            one_time_count=len(one_time), issued=NOW, expires=NOW + 30 * DAY,
            ml_kem=kem.public_key(seed) if seed is not None else None,
        )  # fmt: skip
        return Party(label, credential, sign_bundle(claims, credential, signer), one_time, of, seed)


def seeded(seed: str) -> Callable[[int], bytes]:
    """Return a source of randomness that is the same in every run."""
    drawn = 0

    def random(length: int) -> bytes:
        nonlocal drawn
        drawn += 1
        return value(f"start {seed} {drawn}", length)

    return random
