# SPDX-License-Identifier: Apache-2.0
"""What an endpoint, or a gateway, needs of its next hop: carry opaque bytes, keep a directory.

Nothing here is trusted. Whatever a carrier returns is verified by the caller under the owner's root; whatever it
accepts may still be lost, which the ends find out by themselves (sealed receipts).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, Protocol

DEFAULT_HOPS: Final = 16
"""Hop limit of a request that names none (RFC 8768 §3)."""

HOPS: ContextVar[int] = ContextVar("sealway_hops", default=DEFAULT_HOPS)
"""The hop limit a carrier writes on what it sends now; a middlebox that passes a request on sets it, lowered."""


@dataclass(frozen=True, slots=True)
class Deposit:
    """An envelope on its way to a mailbox; ``hops`` is how many more middleboxes may carry it (1..255)."""

    mailbox: str
    envelope: bytes
    hops: int = DEFAULT_HOPS


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the hop says of one deposit; ``status`` is an HTTP status, or a CoAP code as class*100+detail."""

    status: int
    text: str = ""

    @property
    def accepted(self) -> bool:
        """True if the hop holds the envelope durably."""
        return 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class Collected:
    """An envelope that waited in a mailbox; ``sequence`` names it to the hop when it is acknowledged."""

    mailbox: str
    sequence: int
    envelope: bytes


class Carrier(Protocol):
    """One hop. Every method raises TransportFailed when it cannot be reached (or NotFound, HopRefused, RateLimited)."""

    async def deposit(self, deposits: Sequence[Deposit]) -> list[Verdict]:
        """Hand over up to 100 envelopes; one verdict each, in order."""

    async def collect(self, mailboxes: Sequence[str], *, wait: float, most: int = 100) -> list[Collected]:
        """Return what waits in these mailboxes; while there is nothing, hold the call for up to ``wait`` seconds."""

    async def acknowledge(self, collected: Sequence[Collected]) -> None:
        """Tell the hop that these are held durably here and may be forgotten there."""

    async def publish_credential(self, chain: Sequence[bytes]) -> None:
        """Publish a certificate chain (DER, leaf first)."""

    async def publish_bundle(self, publication: bytes) -> None:
        """Publish an encoded wire Publication: a signed bundle and its one-time public keys."""

    async def publish_consent(self, consent: bytes) -> None:
        """Publish a device's signed CarryConsent."""

    async def claim_bundle(self, name: str) -> bytes:
        """Return an encoded wire Offer: the newest bundle of ``name`` and one one-time key, if any is left."""

    async def newest_bundle(self, name: str) -> bytes:
        """Return the newest signed bundle of ``name`` (no one-time key is spent). Raises NotFound."""

    async def bundle_by_hash(self, digest: bytes) -> bytes:
        """Return the signed bundle whose SHA-256 is ``digest``. Raises NotFound."""

    async def credential(self, x5t: bytes) -> tuple[bytes, ...]:
        """Return the certificate chain whose leaf has this SHA-256. Raises NotFound."""

    async def root_document(self) -> bytes:
        """Return the newest owner root document that the hop has."""

    async def close(self) -> None:
        """Release connections."""
