# SPDX-License-Identifier: Apache-2.0
"""What passes a hop, one thing at a time: the language between a position, which speaks a hop's protocol, and the
middlebox, which decides.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum


class Leg(StrEnum):
    """Which way something goes."""

    UP = "up"
    """Towards the hub."""
    DOWN = "down"
    """Towards an endpoint."""


class Kind(StrEnum):
    """What it is; in parentheses what ``subject`` and ``content`` are."""

    ENVELOPE = "envelope"
    """Either way (mailbox; the envelope)."""
    ACKNOWLEDGEMENT = "acknowledgement"
    """Up: what the collector lets the hop forget (mailbox; a wire Acknowledgement of that mailbox)."""
    VERDICT = "verdict"
    """Down: what the hop says of one deposit (mailbox; wire Verdicts of one)."""
    OFFER = "offer"
    """Down: the answer to a claim (name; a wire Offer)."""
    BUNDLE = "bundle"
    """Down: a signed bundle (the name, or the hexadecimal hash, that was asked for; a wire SignedBundle)."""
    CREDENTIAL = "credential"
    """Down: a certificate chain (hexadecimal SHA-256 of the leaf that was asked for; a wire CertChain)."""
    ROOT = "root"
    """Down: the owner's root document (empty; a wire SignedRoot)."""
    PUBLICATION = "publication"
    """Up: an endpoint publishes its bundle (name; a wire Publication)."""
    CHAIN = "chain"
    """Up: an endpoint publishes its certificate (hexadecimal SHA-256 of the leaf; a wire CertChain)."""
    CONSENT = "consent"
    """Up: a device says which gateway may collect for it (mailbox; a wire SignedConsent)."""


DOCUMENTS = frozenset({Kind.OFFER, Kind.BUNDLE, Kind.CREDENTIAL, Kind.ROOT})
"""Answers of the directory: exactly one goes back to who asked, or "not found"."""


@dataclass(frozen=True, slots=True)
class Passing:
    """One thing that passes.

    Args:
        kind, leg: what, and which way.
        subject: whose it is; see ``Kind``.
        content: the bytes.
        sequence: the hop's own number of a collected envelope; None for everything else.
        item: the adversary's own number of what it made or sends in its own way; None for an original.
    """

    kind: Kind
    leg: Leg
    subject: str
    content: bytes = field(repr=False)
    sequence: int | None = None
    item: int | None = None

    @property
    def digest(self) -> str:
        """The first 16 hexadecimal digits of the content's SHA-256: how ends name what they refused."""
        return hashlib.sha256(self.content).hexdigest()[:16]
