# SPDX-License-Identifier: Apache-2.0
"""What others publish, fetched through a hop that nobody trusts, and proven before anything uses it.

Invariant: nothing leaves this module that was not verified under the owner's root for the very name or hash that was
asked for.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sealway.errors import Malformed, NotAuthentic, NotFound, NotTrusted, SealwayError, TransportFailed
from sealway.identity.bundles import ProvenBundle, verify_bundle, verify_offer
from sealway.identity.certificates import read_certificate
from sealway.identity.credentials import Credential, verify_chain
from sealway.identity.root import OwnerRoot
from sealway.sdk.clock import Clock
from sealway.sdk.evidence import Evidence
from sealway.sdk.journal import Journal
from sealway.sdk.sessionrows import Ask
from sealway.transports.ports import Carrier
from sealway.wire.address import Name
from sealway.wire.bundle import Offer, SignedBundle
from sealway.wire.carriage import CertChain
from sealway.wire.cose import X5chain, X5t
from sealway.wire.sealed_file import Introduction

_MOST_CACHED = 1_024


class Directory:
    """Fetches and proves credentials and bundles; remembers certificates and the newest sequence of each peer's
    bundle."""

    def __init__(
        self, carrier: Carrier, root: OwnerRoot, journal: Journal, clock: Clock, evidence: Evidence,
        ask: Ask,
    ) -> None:  # fmt: skip
        self._carrier = carrier
        self._evidence = evidence
        self._root = root
        self._journal = journal
        self._clock = clock
        self._chains: dict[bytes, tuple[bytes, ...]] = {}
        self._ask = ask
        self._unsaved: dict[str, int] = {}

    def load(self, connection: sqlite3.Connection) -> None:
        """Read what was seen before."""
        for x5t, chain in connection.execute("SELECT x5t, chain FROM certificates"):
            self._chains[x5t] = CertChain.decode(chain).certificates

    async def offer(self, name: Name) -> ProvenBundle:
        """Claim a bundle of ``name``, with a one-time key if any is left, to begin a session.

        Raises:
            TransportFailed: no answer, or nothing is published under this name.
            NotTrusted, NotAuthentic, Malformed, Replayed: what was served is not that endpoint's newest bundle.
        """
        encoded = await self._carrier.claim_bundle(str(name))
        with self._told_if_refused(encoded):
            credential = await self._signer_of(Offer.decode(encoded).bundle, name)
            lowest = max(1, self._sequence(str(name)))
            proven = verify_offer(encoded, credential, self._now_s(), lowest_sequence=max(1, lowest))
        self._remember(proven)
        return proven

    def introduced(self, introduction: Introduction, name: Name | None = None) -> ProvenBundle:
        """Prove what came without a directory, in a sealed file or a file of its own, as if one had served it.

        Args:
            name: to begin a session with, so that an older bundle than the newest seen is refused; None: of any
            endpoint, for a start that names this very bundle.

        Raises:
            NotTrusted, NotAuthentic, Malformed, Replayed: as ``offer``.
        """
        credential = self._proven(introduction.chain, hashlib.sha256(introduction.chain[0]).digest(), name)
        if credential.role not in ("device", "application"):
            raise NotTrusted(f"{credential.name} is not an endpoint")
        lowest = 1 if name is None else max(1, self._sequence(str(name)))
        proven = verify_bundle(introduction.bundle, credential, self._now_s(), lowest_sequence=lowest)
        if name is not None:
            self._remember(proven)
        return proven

    async def by_hash(self, digest: bytes, x5t: bytes) -> ProvenBundle:
        """Return the bundle and the certificate that a start names by their hashes. Raises as ``offer``."""
        encoded = await self._carrier.bundle_by_hash(digest)
        with self._told_if_refused(encoded):
            if hashlib.sha256(encoded).digest() != digest:
                raise NotAuthentic("the directory served another bundle than the one that was named")
            return verify_bundle(encoded, await self.credential(x5t), self._now_s())

    async def credential(self, x5t: bytes, name: Name | None = None) -> Credential:
        """Return the credential whose certificate has this SHA-256, and ``name`` if one is given. Raises as
        ``offer``."""
        chain = self._chains.get(x5t)
        if chain is None:
            chain = tuple(await self._carrier.credential(x5t))
            with self._told_if_refused(CertChain(chain).encode()):
                return self._proven(chain, x5t, name)
        return self._proven(chain, x5t, name)

    async def standing_for(self, x5t: bytes, name: Name) -> Credential:
        """Return the credential that stands for a session with ``name`` that began under the certificate ``x5t``.

        That one; or, once it has expired, the one under which ``name`` publishes now, if it is for the same key. One
        for another key says nothing of who holds the session: that may be the machine that was replaced.

        Raises:
            NotTrusted: the certificate has expired, and was not renewed for its key.
            TransportFailed, NotAuthentic, Malformed: as ``offer``.
        """
        try:
            return await self.credential(x5t, name)
        except NotTrusted:
            chain = self._chains.get(x5t)
            if chain is None:
                raise
            newer = await self._signer_of(await self._carrier.newest_bundle(str(name)), name)
            if newer.key != read_certificate(chain[0]).key:
                raise
            return newer

    def known(self, x5t: bytes, name: Name) -> Credential | None:
        """Return a credential that was seen before, proven again as of now; None if it was not. Raises NotTrusted."""
        chain = self._chains.get(x5t)
        return self._proven(chain, x5t, name) if chain is not None else None

    def _proven(self, chain: tuple[bytes, ...], x5t: bytes, name: Name | None) -> Credential:
        if not chain or hashlib.sha256(chain[0]).digest() != x5t:
            raise NotAuthentic("the directory served another certificate than the one that was named")
        credential = verify_chain(chain, self._root, self._now_s(), expected_name=name)
        if x5t not in self._chains:
            self._chains[x5t] = chain
            for oldest in list(self._chains)[:-_MOST_CACHED]:
                del self._chains[oldest]
                self._journal.note("DELETE FROM certificates WHERE x5t = ?", oldest)
            self._journal.note("INSERT OR REPLACE INTO certificates VALUES (?, ?)", x5t, CertChain(chain).encode())
        return credential

    @contextmanager
    def _told_if_refused(self, answer: bytes) -> Iterator[None]:
        """Tell of an answer that is refused, or that names what nobody has; not of one that could not be judged yet."""
        try:
            yield
        except SealwayError as error:
            if isinstance(error, NotFound) or not isinstance(error, TransportFailed):
                self._evidence.refused(answer, error)
            raise

    async def _signer_of(self, bundle: bytes, name: Name) -> Credential:
        key_ref = SignedBundle.decode(bundle).sign1.key_ref
        if isinstance(key_ref, X5t):
            credential = await self.credential(key_ref.digest, name)
        elif isinstance(key_ref, X5chain):
            chain = key_ref.certificates
            credential = self._proven(chain, hashlib.sha256(chain[0]).digest(), name)
        else:
            raise Malformed("a bundle names its certificate by x5t or x5chain")
        if credential.role not in ("device", "application"):
            raise NotTrusted(f"{name} is not an endpoint")
        return credential

    def _remember(self, proven: ProvenBundle) -> None:
        name, sequence = str(proven.credential.name), proven.claims.sequence
        if sequence > self._sequence(name):
            self._unsaved[name] = sequence
            self._journal.then(lambda: self._is_saved(name, sequence))
            self._journal.note(
                "INSERT INTO peers (name, sequence) VALUES (?, ?)"
                " ON CONFLICT (name) DO UPDATE SET sequence = max(sequence, excluded.sequence)",
                name, sequence,
            )  # fmt: skip

    def _sequence(self, name: str) -> int:
        """The highest that was seen in a bundle of this endpoint, 0 if none was."""
        if name in self._unsaved:
            return self._unsaved[name]
        rows = self._ask("SELECT sequence FROM peers WHERE name = ?", name)
        return int(rows[0][0]) if rows else 0

    def _is_saved(self, name: str, sequence: int) -> None:
        if self._unsaved.get(name) == sequence:
            del self._unsaved[name]

    def _now_s(self) -> int:
        return self._clock.now_ms() // 1_000
