# SPDX-License-Identifier: Apache-2.0
"""What a hub is started with. The root document lives here and not in the database: a wiped disk keeps its trust."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from sealway.crypto.keys import Secret

Clock: TypeAlias = Callable[[], int]
"""Whole seconds since the Unix epoch."""

DAY: Final = 86_400
MEBIBYTE: Final = 1_048_576


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one hub carries for one party. Rates are per minute, sizes in bytes, times in seconds."""

    envelope_bytes: int = 262_144
    envelopes_per_mailbox: int = 100_000
    bytes_per_mailbox: int = 256 * MEBIBYTE
    held_for: int = 7 * DAY
    body_bytes: int = 4 * MEBIBYTE
    """Request bodies of the batch routes, and about as much in an answer of collect."""
    document_bytes: int = 65_536
    """Request bodies that carry one certificate chain, publication, consent or token request."""
    body_seconds: float = 30.0
    mailboxes_per_collect: int = 1000
    collect_seconds: float = 60.0
    collects_per_caller: int = 64
    bundles_per_name: int = 256
    deposits_per_minute: int = 120_000
    claims_per_minute: int = 120
    """Per caller and target: each may cost the target a one-time key."""
    publications_per_minute: int = 600
    requests_per_minute: int = 60_000
    tokens_per_minute: int = 120
    """Per endpoint, after its assertion has verified."""
    assertions_per_minute: int = 6_000
    """Per network address, before anything has been verified."""


@dataclass(frozen=True, slots=True)
class HubConfig:
    """What the cli hands to a hub.

    Args:
        state_dir: the hub's own directory; holds the database and nothing else that matters.
        root_document: the owner's encoded root document, trusted because the operator configured it.
        certificate_chain: the hub's TLS certificate chain, DER, leaf first.
        key_pem: the TLS private key, PEM (PKCS #8); a hop key, which opens no envelope.
        host: address to listen on.
        port: port to listen on; 0 lets the system choose.
        public_urls: further base URLs under which clients reach this hub; an assertion's audience is one of them
            and /v1/token.
        limits: how much it carries.
        address_file: where the URL is written once the hub is ready, or None.
    """

    state_dir: Path
    root_document: bytes
    certificate_chain: tuple[bytes, ...] = ()
    key_pem: Secret | None = None
    host: str = "127.0.0.1"
    port: int = 0
    public_urls: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    address_file: Path | None = None
