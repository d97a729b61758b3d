# SPDX-License-Identifier: Apache-2.0
"""An endpoint with real keys, a certificate and a bundle, that can begin and accept sessions."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from sealway.crypto.kem import Decapsulator, Encapsulator
from sealway.crypto.keys import SoftSigner
from sealway.crypto.secret import Secret
from sealway.crypto.suites import SUITE_1, Suite
from sealway.identity.bundles import ProvenBundle, sign_bundle, verify_bundle, verify_offer
from sealway.protocol.outcome import Opened
from sealway.protocol.policy import DEFAULT_POLICY, Policy
from sealway.protocol.prekeys import PrekeySecrets, bundle_claims, make_prekeys
from sealway.protocol.sentlog import Uptime
from sealway.protocol.session import Session
from sealway.protocol.start import OneTimeSecret, OwnKeys, accept, start
from sealway.sdk.encapsulating import encapsulate
from sealway.wire.address import MailboxAddress
from sealway.wire.bundle import Offer, OneTimeKey
from sealway.wire.envelope import Envelope
from sealway.wire.merkle import merkle_path
from sealway.wire.message import CODE_POST, Message
from tests.identity.small_domain import NOW, SmallDomain, seeded

NOW_MS = NOW * 1_000
DOMAIN_ID = bytes(range(16))
SIGNATURE_PREFIX = b"sealway start signature 1\x00"


@dataclass
class Party:
    """An endpoint with a certificate and a bundle; ``copied`` holds claims of its bundle that are somebody else's."""

    domain: SmallDomain
    label: str
    copied: dict[str, Any] = field(default_factory=dict)
    suite: Suite = SUITE_1
    ml_kem: bool = False

    def __post_init__(self) -> None:
        self.random = seeded(self.label)
        self.credential, self.signer = self.domain.credential(self.label, suite=self.suite)
        self.identity_key: Secret = self.suite.curve.draw(self.random)
        self.secrets: PrekeySecrets = make_prekeys(self.random, self.suite.curve, count=4, ml_kem=self.ml_kem)
        name = self.credential.name
        claims, self.public = bundle_claims(
            self.secrets, bundle_id=b"id-" + self.label[:1].encode(), name=name,
            mailbox=MailboxAddress("https://hub.example", name.mailbox), sequence=1,
            suite=self.suite, agreement_key=self.suite.curve.public(self.identity_key), now_s=NOW,
        )  # fmt: skip
        self.encoded = sign_bundle(replace(claims, **self.copied), self.credential, self.signer)
        self.bundle = verify_bundle(self.encoded, self.credential, NOW)

    @property
    def own(self) -> OwnKeys:
        return OwnKeys(self.bundle, self.suite.curve.agreer(self.identity_key), DOMAIN_ID)

    def offer(self, index: int | None) -> ProvenBundle:
        key = None if index is None else OneTimeKey(index, self.public[index], merkle_path(self.public, index))
        return verify_offer(Offer(self.encoded, key).encode(), self.credential, NOW)

    def one_time(self, index: int | None) -> OneTimeSecret | None:
        return None if index is None else OneTimeSecret(index, self.secrets.one_time[index])

    def start(
        self, peer: ProvenBundle, *, signer: SoftSigner | None = None, own: OwnKeys | None = None,
        policy: Policy = DEFAULT_POLICY, encapsulate: Encapsulator | None = encapsulate,
    ) -> Session:  # fmt: skip
        return start(
            own or self.own, peer, signer or self.signer, receive_kid=b"\x01", newest=b"", now_ms=NOW_MS,
            random=self.random, policy=policy, encapsulate=encapsulate,
        )  # fmt: skip

    def accept(
        self, envelope: Envelope, initiator: ProvenBundle, index: int | None = None, own: OwnKeys | None = None, *,
        policy: Policy = DEFAULT_POLICY,
    ) -> tuple[Session, Opened]:  # fmt: skip
        return accept(
            envelope, own or self.own, initiator, signed_prekey=self.secrets.signed_prekey,
            one_time=self.one_time(index), receive_kid=b"\x02", now_ms=NOW_MS, policy=policy,
            ml_kem=Decapsulator(self.secrets.ml_kem) if self.secrets.ml_kem is not None else None,
        )  # fmt: skip

    def sealed(self, session: Session, payload: bytes = b"hello") -> Envelope:
        uptime = Uptime(bytes(16), 0)
        message = Message(CODE_POST, payload=payload)
        return Envelope.decode(session.seal(message, now_ms=NOW_MS, uptime=uptime, random=self.random).envelope)
