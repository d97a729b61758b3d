# SPDX-License-Identifier: Apache-2.0
"""The owner-signed grants an endpoint has been shown. Deny by default: without one that fits, nothing is executed."""

from __future__ import annotations

import hashlib
import sqlite3

from sealway.errors import NotAuthorized, SealwayError
from sealway.identity.credentials import Credential
from sealway.identity.grants import Grant, verify_grant
from sealway.identity.root import OwnerRoot
from sealway.sdk.clock import Clock
from sealway.sdk.journal import Journal
from sealway.wire.address import Name
from sealway.wire.grant import every_device

MOST_PER_HOLDER = 16


class GrantBook:
    """Verified grants by holder; the newest 16 of each."""

    def __init__(self, root: OwnerRoot, journal: Journal, clock: Clock) -> None:
        self._root = root
        self._journal = journal
        self._clock = clock
        self._encoded: dict[str, dict[bytes, bytes]] = {}

    def load(self, connection: sqlite3.Connection) -> None:
        """Read what was shown to an earlier process; what has expired since is forgotten."""
        found: list[tuple[int, str, bytes, bytes]] = []
        for digest, holder, encoded in connection.execute("SELECT digest, holder, encoded FROM grants").fetchall():
            try:
                found.append((verify_grant(encoded, self._root, self._now_s()).claims.issued, holder, digest, encoded))
            except SealwayError:
                self._journal.note("DELETE FROM grants WHERE digest = ?", digest)
        for _, holder, digest, encoded in sorted(found):
            self._encoded.setdefault(holder, {})[digest] = encoded

    def learn(self, encoded: bytes, shown_by: Credential | None = None) -> Grant:
        """Verify a grant and remember it; one that is shown by a peer has to be its own, and so what it can make this
        end remember is bounded. Raises NotAuthentic, NotTrusted, NotAuthorized, Malformed."""
        grant = verify_grant(encoded, self._root, self._now_s())
        if shown_by is not None and grant.claims.holder != shown_by.name:
            raise NotAuthorized(f"{shown_by.name} shows a grant of somebody else")
        holder, digest = str(grant.claims.holder), hashlib.sha256(encoded).digest()
        known = self._encoded.setdefault(holder, {})
        if digest not in known:
            known[digest] = encoded
            self._journal.note("INSERT OR REPLACE INTO grants VALUES (?, ?, ?)", digest, holder, encoded)
            for oldest in list(known)[:-MOST_PER_HOLDER]:
                del known[oldest]
                self._journal.note("DELETE FROM grants WHERE digest = ?", oldest)
        return grant

    def permit(self, holder: Credential, device: Name, scope: str) -> Grant:
        """Return a grant that allows ``holder`` this ``scope`` at ``device`` now. Raises NotAuthorized."""
        refusal = NotAuthorized(
            f"{holder.name} holds no grant for {scope}", hint="ask the owner for one: sealway owner grant"
        )
        for encoded in self._encoded.get(str(holder.name), {}).values():
            try:
                return verify_grant(encoded, self._root, self._now_s()).permits(holder, device, scope, self._now_s())
            except SealwayError as reason:
                refusal = NotAuthorized(reason.message, hint=reason.hint)
        raise refusal

    def for_device(self, holder: Credential, device: Name) -> list[bytes]:
        """Return the grants that ``holder`` has for this device, to be shown with commands; the newest first."""
        return [
            g for g in reversed(list(self._encoded.get(str(holder.name), {}).values())) if self._fits(g, holder, device)
        ]

    def _fits(self, encoded: bytes, holder: Credential, device: Name) -> bool:
        try:
            audience = verify_grant(encoded, self._root, self._now_s()).held_by(holder).claims.audience
        except SealwayError:
            return False
        return str(device) in audience or every_device(device.domain) in audience

    def _now_s(self) -> int:
        return self._clock.now_ms() // 1_000
