# SPDX-License-Identifier: Apache-2.0
"""Keeps this endpoint's certificate, bundle and consents in the directory.

Whoever keeps the directory may lose it: what is absent or older there is published anew, with a new sequence number and new
one-time keys. A bundle of ours with a sequence that this state does not know proves that the state was lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from sealway.crypto.ports import Random
from sealway.errors import NotFound, SealwayError, TransportFailed
from sealway.identity.bundles import verify_bundle
from sealway.sdk.clock import Clock
from sealway.sdk.journal import Journal
from sealway.sdk.member import Member
from sealway.sdk.prekeystore import PrekeyStore
from sealway.transports.ports import Carrier

log = logging.getLogger(__name__)

CHECK_MS = 60_000
SOONEST_CHECK_MS = 2_000


class Publisher:
    """One endpoint's presence in the directory."""

    def __init__(
        self, member: Member, carrier: Carrier, prekeys: PrekeyStore, journal: Journal, clock: Clock, random: Random,
        consents: Sequence[bytes],
    ) -> None:  # fmt: skip
        self._member = member
        self._carrier = carrier
        self._prekeys = prekeys
        self._journal = journal
        self._clock = clock
        self._random = random
        self._consents = tuple(consents)
        self._ready = asyncio.Event()
        self._checked_ms = 0
        self._wanted = True
        self.lost = 0
        """How often the directory showed a bundle of ours that this state never made."""

    def check_soon(self) -> None:
        """Look at the directory at the next occasion: a hop did not know this endpoint."""
        self._wanted = True

    async def published(self) -> None:
        """Wait until this endpoint has been published once."""
        await self._ready.wait()

    async def look(self) -> None:
        """Publish what is missing, if it is time to look. Failures are retried at the next look."""
        now_ms = self._clock.now_ms()
        since = now_ms - self._checked_ms
        if since < SOONEST_CHECK_MS or (not self._wanted and since < CHECK_MS):
            return
        self._checked_ms = now_ms
        try:
            await self._look(now_ms // 1_000)
        except SealwayError as error:
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
        elif theirs == mine and mine and not self._prekeys.due(now_s):
            return
        await self._carrier.publish_credential(self._member.credential.chain)
        publication = self._prekeys.renew(now_s, self._random, above=theirs)
        await self._journal.commit()  # the private halves are durable before anyone can use the public ones
        await self._carrier.publish_bundle(publication)
        for consent in self._consents:
            await self._carrier.publish_consent(consent)
        self._journal.count("bundles_published")

    async def _published_sequence(self, now_s: int) -> int:
        try:
            encoded = await self._carrier.newest_bundle(str(self._member.name))
        except NotFound:
            return 0
        try:
            return verify_bundle(encoded, self._member.credential, now_s).claims.sequence
        except TransportFailed:
            raise
        except SealwayError as error:
            log.warning("the directory shows something that is not a bundle of this endpoint: %s", error)
            return 0

    def _lost_state(self, theirs: int) -> None:
        log.error(
            "the directory shows bundle %d of this endpoint, which this state never made: the state is a copy or was restored",
            theirs,
        )
        self.lost += 1
        self._journal.count("state_lost")
        self._prekeys.discard_all()
