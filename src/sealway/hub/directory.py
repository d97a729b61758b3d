# SPDX-License-Identifier: Apache-2.0
"""The directory: credentials, bundles, one-time keys, consents, the root document.

Invariant: everything is verified under the owner's root before it is kept, so that a certified stranger cannot fill or
spoil it; but nobody has to rely on that, since whoever is served verifies again. A one-time key is deleted durably
before it is handed out: no caller, crash or restart gets it a second time.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from sealway.errors import NotFound, NotTrusted, Replayed
from sealway.hub import directory_rows, mailbox_rows
from sealway.hub.admission import Caller
from sealway.hub.config import Clock, Limits
from sealway.hub.directory_rows import StoredBundle
from sealway.hub.limits import Rate
from sealway.hub.metrics import Metrics
from sealway.hub.store import Store
from sealway.identity.bundles import verify_publication
from sealway.identity.consents import verify_consent
from sealway.identity.credentials import Credential, verify_chain
from sealway.identity.root import OwnerRoot
from sealway.wire.address import Name
from sealway.wire.bundle import Offer, OneTimeKey, Publication, SignedBundle
from sealway.wire.carriage import CertChain
from sealway.wire.consent import SignedConsent
from sealway.wire.cose import KeyRef, X5chain, X5t
from sealway.wire.merkle import merkle_path

_WITH_MAILBOX: Final = frozenset({"device", "application"})


class Directory:
    """The directory of a hub.

    Args:
        store: the hub's database.
        root: the owner's verified root document.
        limits: rates and how many bundles are kept.
        clock: Unix seconds.
        metrics: where to count.
    """

    def __init__(self, store: Store, root: OwnerRoot, limits: Limits, clock: Clock, metrics: Metrics) -> None:
        self._store = store
        self._root = root
        self._clock = clock
        self._metrics = metrics
        self._kept = limits.bundles_per_name
        self._publications = Rate(limits.publications_per_minute, "publications")
        self._claims = Rate(limits.claims_per_minute, "claims of this endpoint's one-time keys")

    async def publish_credential(self, caller: Caller, body: bytes) -> None:
        """Keep a CertChain, and make the mailbox of a device or application.

        Raises:
            Malformed, TooLarge, NotAuthentic, NotTrusted: it does not prove an endpoint under the root.
            RateLimited: too many publications by this caller.
        """
        self._publications.spend(caller.name)
        credential = verify_chain(CertChain.decode(body).certificates, self._root, self._clock())

        def keep(db: sqlite3.Connection) -> None:
            directory_rows.keep_credential(db, credential.x5t, str(credential.name), body, credential.not_after)
            _make_mailbox(db, credential.name)

        await self._store.write(keep)

    async def credential(self, x5t: bytes) -> bytes:
        """Return the encoded CertChain whose leaf has this SHA-256. Raises NotFound."""
        chain = await self._store.read(lambda db: directory_rows.chain_of(db, x5t))
        if chain is None:
            raise NotFound("there is no such credential", hint="its endpoint has to publish it first")
        return chain

    async def publish_bundle(self, caller: Caller, body: bytes) -> None:
        """Keep a Publication as the newest of its endpoint; the newest one published again changes nothing.

        Raises:
            Malformed, TooLarge, NotAuthentic, NotTrusted: it is not the endpoint's, or has expired.
            NotFound: the credential that signed it has not been published.
            Replayed: a bundle with this or a higher sequence is there.
            RateLimited: too many publications by this caller.
        """
        self._publications.spend(caller.name)
        signed = SignedBundle.decode(Publication.decode(body).bundle)
        now = self._clock()
        credential = await self._signer(signed.sign1.key_ref, now)
        proven, keys = verify_publication(body, credential, now)
        stored = StoredBundle(
            hash=proven.hash,
            name=str(credential.name),
            sequence=proven.claims.sequence,
            encoded=proven.encoded,
            one_time=b"".join(keys),
            expires=proven.claims.expires,
        )
        await self._store.write(lambda db: self._keep_bundle(db, credential.name, stored))

    async def claim(self, caller: Caller, name: Name) -> bytes:
        """Return an encoded Offer: the newest bundle, and one one-time key that nobody else gets, while there are any.

        Raises:
            NotFound: no unexpired bundle of this name.
            RateLimited: too many claims by this caller for this name.
        """
        self._claims.spend((caller.name, str(name)))

        def take(db: sqlite3.Connection) -> tuple[StoredBundle, int | None]:
            bundle = _current(db, name, self._clock())
            return bundle, directory_rows.take_one_time(db, bundle)

        bundle, index = await self._store.write(take)
        if index is None:
            return Offer(bundle.encoded).encode()
        self._metrics.count("sealway_hub_one_time_keys_total")
        path = tuple(merkle_path(bundle.keys, index))
        return Offer(bundle.encoded, OneTimeKey(index, bundle.keys[index], path)).encode()

    async def newest(self, name: Name) -> bytes:
        """Return the newest signed bundle of this name. Raises NotFound."""
        return (await self._store.read(lambda db: _current(db, name, self._clock()))).encoded

    async def by_hash(self, digest: bytes) -> bytes:
        """Return the unexpired signed bundle with this SHA-256. Raises NotFound."""
        bundle = await self._store.read(lambda db: directory_rows.bundle_by_hash(db, digest, self._clock()))
        if bundle is None:
            raise NotFound("there is no such bundle", hint="its endpoint has to publish it first")
        return bundle.encoded

    async def publish_consent(self, caller: Caller, body: bytes) -> None:
        """Keep a device's CarryConsent, in the place of an older one for the same gateway.

        Raises:
            Malformed, TooLarge, NotAuthentic, NotTrusted: it is not the device's, or has expired.
            NotFound: the device's credential has not been published.
            Replayed: a consent issued later is there.
            RateLimited: too many publications by this caller.
        """
        self._publications.spend(caller.name)
        now = self._clock()
        credential = await self._signer(SignedConsent.decode(body).sign1.key_ref, now)
        claims = verify_consent(body, credential, now).claims

        def keep(db: sqlite3.Connection) -> None:
            gateway = str(claims.gateway)
            before = directory_rows.consent_issued(db, claims.mailbox, gateway)
            if before is not None and before > claims.issued:
                raise Replayed("a consent issued later is there")
            directory_rows.keep_consent(db, claims.mailbox, gateway, body, claims.issued, claims.expires)

        await self._store.write(keep)

    async def expire(self) -> None:
        """Forget what is no longer valid."""
        now = self._clock()
        await self._store.write(lambda db: directory_rows.forget_expired(db, now))

    async def _signer(self, key_ref: KeyRef, now: int) -> Credential:
        """Return the credential that a document names, proven again: it may have expired since it was published."""
        if isinstance(key_ref, X5chain):
            return verify_chain(key_ref.certificates, self._root, now)
        if not isinstance(key_ref, X5t):
            raise NotTrusted("the document names no certificate")
        chain = CertChain.decode(await self.credential(key_ref.digest))
        return verify_chain(chain.certificates, self._root, now)

    def _keep_bundle(self, db: sqlite3.Connection, name: Name, bundle: StoredBundle) -> None:
        newest = directory_rows.newest_bundle(db, bundle.name)
        if newest is not None and newest.hash == bundle.hash:
            return  # published again: one-time keys that were handed out stay handed out
        if newest is not None and newest.sequence >= bundle.sequence:
            raise Replayed(
                f"bundle {newest.sequence} of this endpoint is there", hint="publish one with a higher sequence"
            )
        directory_rows.keep_bundle(db, bundle, self._kept)
        _make_mailbox(db, name)


def _current(db: sqlite3.Connection, name: Name, now: int) -> StoredBundle:
    bundle = directory_rows.newest_bundle(db, str(name))
    if bundle is None or bundle.expires <= now:
        raise NotFound(f"there is no bundle of {name}", hint="its endpoint has to publish one first")
    return bundle


def _make_mailbox(db: sqlite3.Connection, name: Name) -> None:
    if name.role in _WITH_MAILBOX:
        mailbox_rows.make_mailbox(db, name.mailbox, str(name))
