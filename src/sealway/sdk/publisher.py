# SPDX-License-Identifier: Apache-2.0
"""Keeps this endpoint's certificate, bundle and consents in the directory.

Whoever keeps the directory may lose it: what is absent or older there is published anew, with a new sequence number
and new one-time keys. A bundle of ours with a sequence that this state does not know proves that the state was lost.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Sequence

from sealway.crypto.ports import Random
from sealway.errors import NotFound, Replayed, SealwayError, TransportFailed
from sealway.identity.bundles import verify_bundle
from sealway.identity.credentials import verify_chain
from sealway.protocol.policy import DAY_MS
from sealway.sdk.clock import Clock
from sealway.sdk.evidence import Evidence
from sealway.sdk.journal import Journal
from sealway.sdk.member import Member
from sealway.sdk.prekeystore import OwnBundle, PrekeyStore
from sealway.transports.ports import Carrier
from sealway.wire.bundle import SignedBundle
from sealway.wire.cose import X5t

log = logging.getLogger(__name__)

CHECK_MS = 60_000
SOONEST_CHECK_MS = 2_000
LONGEST_PAUSE_MS = 600_000

_LEAST_LIFE_S = 14 * DAY_MS // 1_000
"""A bundle that is handed over lives at least so long."""

_NOT_PUBLISHED = "bundle not published"


class Publisher:
    """One endpoint's presence in the directory."""

    def __init__(
        self, member: Member, carrier: Carrier, prekeys: PrekeyStore, journal: Journal, clock: Clock, random: Random,
        consents: Sequence[bytes], evidence: Evidence,
    ) -> None:  # fmt: skip
        self._member = member
        self._carrier = carrier
        self._prekeys = prekeys
        self._journal = journal
        self._clock = clock
        self._random = random
        self._consents = tuple(consents)
        self._evidence = evidence
        self._ready = asyncio.Event()
        self._checked_ms: int | None = None
        self._pause_ms = SOONEST_CHECK_MS
        self._wanted = True
        self._unpublished: bytes | None = None
        self._predecessor = 0
        self.lost = 0
        """How often the directory showed a bundle of ours that this state never made."""
        self.on_lost: Callable[[], None] | None = None
        """Called when it does, before anything is published anew."""
        self.on_forgotten: Callable[[], None] | None = None
        """Called when the directory has lost what this endpoint had published, once that is published anew."""

    def load(self, connection: sqlite3.Connection) -> None:
        """Take up a bundle that an earlier process made without a directory in reach."""
        row = connection.execute("SELECT value FROM marks WHERE name = ?", (_NOT_PUBLISHED,)).fetchone()
        if row is not None:
            self._unpublished = self._prekeys.publication(row[0])

    async def bundle_to_hand_over(self) -> OwnBundle:
        """Return a bundle that others can use for days, without a directory: the newest, or one that is made here.

        One that is made here is published when the directory is in reach. Raises StateLost.
        """
        now_s, newest = self._clock.now_ms() // 1_000, self._prekeys.newest
        if newest is not None and newest.proven.claims.expires - now_s > _LEAST_LIFE_S:
            return newest
        self._unpublished = self._prekeys.renew(now_s, self._random)
        self._journal.note("INSERT OR REPLACE INTO marks SELECT ?, max(sequence) FROM prekeys", _NOT_PUBLISHED)
        await self._journal.commit()
        return await self.bundle_to_hand_over()

    def check_soon(self) -> None:
        """Look at the directory at the next occasion: a hop did not know this endpoint."""
        self._wanted = True

    async def published(self) -> None:
        """Wait until this endpoint has been published once."""
        await self._ready.wait()

    async def look(self) -> None:
        """Publish what is missing, if it is time to look. Failures are retried at a later look."""
        now_ms, steady_ms = self._clock.now_ms(), self._clock.uptime().ms
        if self._checked_ms is not None:
            pause_ms = self._pause_ms if self._wanted else max(CHECK_MS, self._pause_ms)
            if steady_ms - self._checked_ms < pause_ms:
                return
        self._checked_ms = steady_ms
        try:
            await self._look(now_ms // 1_000)
        except SealwayError as error:
            self._journal.check()
            log.warning("this endpoint is not published yet: %s", error)
            return
        self._wanted = False
        self._ready.set()

    async def _look(self, now_s: int) -> None:
        theirs = await self._published_sequence(now_s)
        newest = self._prekeys.newest
        mine = newest.proven.claims.sequence if newest is not None else 0
        if theirs > mine:
            self._lost_state(theirs)
        elif theirs == mine and mine:
            self._unpublished = None
            if not self._prekeys.due(now_s):
                self._pause_ms = SOONEST_CHECK_MS
                await self._publish_consents()
                return
        forgotten = theirs < mine and self._unpublished is None
        await self._publish(now_s, theirs)
        if forgotten:
            # A directory that forgets again and again does not make this endpoint renew its keys all the time.
            self._pause_ms = min(self._pause_ms * 2, LONGEST_PAUSE_MS)
            self._journal.count("directory_forgot")
            if self.on_forgotten is not None:
                self.on_forgotten()

    async def _publish(self, now_s: int, theirs: int) -> None:
        await self._carrier.publish_credential(self._member.credential.chain)
        if self._unpublished is None:
            self._unpublished = self._prekeys.renew(now_s, self._random, above=max(theirs, self._predecessor))
        await self._journal.commit()  # the private halves are durable before anyone can use the public ones
        await self._carrier.publish_bundle(self._unpublished)
        self._unpublished = None
        self._journal.note("DELETE FROM marks WHERE name = ?", _NOT_PUBLISHED)
        self._journal.count("bundles_published")
        self._wanted = True
        await self._publish_consents()

    async def _publish_consents(self) -> None:
        """At the first look, after a publication, and after a hop refused something: it may have lost them."""
        if self._wanted:
            for consent in self._consents:
                await self._carrier.publish_consent(consent)

    async def _published_sequence(self, now_s: int) -> int:
        try:
            encoded = await self._carrier.newest_bundle(str(self._member.name))
        except NotFound:
            return 0
        try:
            sequence = verify_bundle(encoded, self._member.credential, now_s).claims.sequence
            self._tell_if_old(encoded, sequence)
            return sequence
        except TransportFailed:
            raise
        except SealwayError as error:
            self._evidence.refused(encoded, error)
            log.warning("the directory shows something that is not a bundle of this endpoint: %s", error)
            self._predecessor = await self._sequence_of_predecessor(encoded)
            return 0

    async def _sequence_of_predecessor(self, encoded: bytes) -> int:
        """Return the sequence of a bundle that was this name's under another certificate, or has expired: the machine
        that had the name before. The directory takes nothing lower. 0 if it is not even that."""
        try:
            bundle = SignedBundle.decode(encoded)
            at_s, key_ref = bundle.claims.issued, bundle.sign1.key_ref
            digest = key_ref.digest if isinstance(key_ref, X5t) else b""
            chain = await self._carrier.credential(digest)
            credential = verify_chain(chain, self._member.root, at_s, expected_name=self._member.name)
            return verify_bundle(encoded, credential, at_s).claims.sequence
        except TransportFailed:
            raise
        except SealwayError:
            return 0

    def _tell_if_old(self, encoded: bytes, theirs: int) -> None:
        """Tell of an old bundle, unless the newest one is still on its way; either way it is published again."""
        newest = self._prekeys.newest
        if newest is not None and theirs < newest.proven.claims.sequence and self._unpublished is None:
            self._evidence.refused(encoded, Replayed("the directory shows an old bundle of this endpoint"))

    def _lost_state(self, theirs: int) -> None:
        log.error(
            "the directory shows bundle %d of this endpoint, which this state never made:"
            " the state is a copy or was restored",
            theirs,
        )
        self.lost += 1
        self._journal.count("state_lost")
        self._prekeys.discard_all()
        self._unpublished = None
        if self.on_lost is not None:
            self.on_lost()
