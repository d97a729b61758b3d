# SPDX-License-Identifier: Apache-2.0
"""A whole domain in memory, for tests: an owner, and members with real certificates, keys, root document and grants."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field

from sealway.crypto.keys import SoftSigner, generate_scalar
from sealway.crypto.suites import SUITE_1, Suite
from sealway.home.home import AGREEMENT_KEY
from sealway.identity.credentials import verify_chain
from sealway.identity.grants import issue_grant
from sealway.identity.issuing import issue_certificate, make_csr, self_signed_ca
from sealway.identity.root import OwnerRoot, sign_root, trust_root_on_first_use
from sealway.keystore.memory import MemoryKeystore
from sealway.sdk import Member
from sealway.sdk.agreements import AgreementKeys
from sealway.wire.address import MailboxAddress, Name
from sealway.wire.root_document import Authority, RootClaims

DAY_S = 86_400
DOMAIN = "building.example"
HUB = "https://hub.example"


def signer() -> SoftSigner:
    return SoftSigner(generate_scalar(os.urandom))


@dataclass
class Domain:
    """An owner with everything in reach."""

    name: str = DOMAIN
    days: int = 30
    now: int = field(default_factory=lambda: int(time.time()))
    owner: SoftSigner = field(default_factory=signer)
    ca: SoftSigner = field(default_factory=signer)
    granter: SoftSigner = field(default_factory=signer)

    def __post_init__(self) -> None:
        self.ca_certificate = self_signed_ca(self.ca, self.name, now=self.now, days=365, random=os.urandom)
        claims = RootClaims(
            domain=self.name,
            domain_id=os.urandom(16),
            number=1,
            issued=self.now,
            expires=self.now + 365 * DAY_S,
            owner_keys=(self.owner.public.point,),
            threshold=1,
            issuing_cas=(self.ca_certificate,),
            grant_keys=(Authority(self.granter.public.point, self.now + 365 * DAY_S),),
        )
        self.root_document = sign_root(claims, [self.owner])
        self.root: OwnerRoot = trust_root_on_first_use(self.root_document, now=self.now)

    def member(self, role: str, label: str, *, hub: str = HUB, suite: Suite = SUITE_1) -> Member:
        name, key = Name(self.name, role, label), SoftSigner(generate_scalar(os.urandom), suite.signature)
        chain = issue_certificate(
            make_csr(key, name),
            expected_name=name,
            ca_chain=[self.ca_certificate],
            ca_signer=self.ca,
            now=self.now,
            days=self.days,
            random=os.urandom,
        )
        credential = verify_chain(chain, self.root, self.now, expected_name=name)
        keystore = MemoryKeystore()
        keystore.generate(AGREEMENT_KEY, "agree", suite)
        return Member(self.root, credential, key, AgreementKeys(keystore), MailboxAddress(hub, name.mailbox), suite)

    def grant(self, holder: Member, *scopes: str, devices: tuple[str, ...] | None = None) -> bytes:
        return issue_grant(
            holder=holder.credential,
            audience=devices or (f"sealway://{self.name}/device/*",),
            scopes=scopes,
            signer=self.granter,
            now=self.now,
            seconds=DAY_S,
            random=os.urandom,
        )
