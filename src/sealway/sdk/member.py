# SPDX-License-Identifier: Apache-2.0
"""What makes a process an endpoint of a domain: its name, its proven credential, its keys, the root that it trusts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from sealway.crypto.ports import Agreer, Signer
from sealway.crypto.suites import Suite
from sealway.home.home import Enrolled
from sealway.identity.credentials import Credential
from sealway.identity.root import OwnerRoot
from sealway.sdk.agreements import AgreementKeys
from sealway.wire.address import MailboxAddress, Name


@dataclass(frozen=True, slots=True)
class Member:
    """An endpoint's place in its domain.

    Args:
        root: the owner's root document, proven.
        credential: this endpoint's own, proven under ``root``.
        signer: the key of its certificate.
        agreements: its agreement keys: the one that its bundles publish, and those of earlier ones.
        mailbox: where its envelopes wait.
        suite: what its keys were made for.
        demand_still: returns if it may still work, asked once the state directory is locked.
    """

    root: OwnerRoot
    credential: Credential
    signer: Signer
    agreements: AgreementKeys
    mailbox: MailboxAddress
    suite: Suite
    demand_still: Callable[[], None] = field(default=lambda: None, repr=False)

    @classmethod
    def of(cls, enrolled: Enrolled) -> Self:
        """Return the endpoint that was enrolled. Raises LocalMisuse if it has no agreement key."""
        agreements = AgreementKeys(enrolled.keystore)
        mailbox = MailboxAddress(enrolled.claims.hub, enrolled.credential.name.mailbox)
        root, credential, signer = enrolled.root, enrolled.credential, enrolled.signer
        return cls(root, credential, signer, agreements, mailbox, agreements.suite, enrolled.demand_still)

    @property
    def agreer(self) -> Agreer:
        """The agreement key that the next bundle publishes."""
        return self.agreements.current

    @property
    def name(self) -> Name:
        """The certified name."""
        return self.credential.name
