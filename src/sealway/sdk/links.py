# SPDX-License-Identifier: Apache-2.0
"""Getting a session with a peer: begin one, or accept the peer's start.

Invariant: a start is accepted in one transaction: one-time key deleted, session created, start recorded, message in
the inbox.
"""

from __future__ import annotations

import asyncio
import logging

from sealway.crypto.ports import Random
from sealway.errors import PrekeyGone, RateLimited, Replayed, TransportFailed
from sealway.identity.bundles import ProvenBundle
from sealway.protocol.events import WithoutOneTimeKey
from sealway.protocol.kids import choose_kid
from sealway.protocol.policy import Policy
from sealway.protocol.session import Session
from sealway.protocol.start import OwnKeys, accept, start
from sealway.sdk.clock import Clock
from sealway.sdk.directory import Directory
from sealway.sdk.encapsulating import encapsulate
from sealway.sdk.engine import Engine
from sealway.sdk.journal import Journal
from sealway.sdk.kidpool import KidPool
from sealway.sdk.member import Member
from sealway.sdk.prekeystore import OwnBundle, PrekeyStore
from sealway.sdk.sessions import Held, Leaving, Sessions
from sealway.wire.address import Name
from sealway.wire.envelope import Envelope
from sealway.wire.header import StartHeader

log = logging.getLogger(__name__)

SESSIONS_PER_PEER = 16
"""Sessions held with one peer; above that only starts with a one-time key are accepted, up to twice as many."""


class Links:
    """Begins and accepts sessions of one endpoint."""

    def __init__(
        self, member: Member, directory: Directory, prekeys: PrekeyStore, sessions: Sessions, engine: Engine,
        journal: Journal, kids: KidPool, clock: Clock, random: Random, policy: Policy,
    ) -> None:  # fmt: skip
        self._member = member
        self._directory = directory
        self._prekeys = prekeys
        self._sessions = sessions
        self._engine = engine
        self._journal = journal
        self._kids = kids
        self._clock = clock
        self._random = random
        self._policy = policy
        self._beginning: dict[str, asyncio.Lock] = {}
        self._told_of: set[bytes] = set()

    async def with_peer(self, name: Name) -> Held:
        """Return the session to send on; begin one if there is none. Raises TransportFailed, NotTrusted,
        PeerMisbehaved."""
        peer = str(name)
        held = self._sessions.sending_to(peer)
        if held is not None:
            return held
        async with self._beginning.setdefault(peer, asyncio.Lock()):
            held = self._sessions.sending_to(peer)
            return held if held is not None else await self._begin(name)

    async def instead_of(self, held: Held) -> Held:
        """Return another session with the same peer, to send on from now on; begin one if there is none. As
        ``with_peer``."""
        peer = held.session.peer
        async with self._beginning.setdefault(peer, asyncio.Lock()):
            current = self._sessions.sending_to(peer)
            if current is not None and current is not held and current.leaving is Leaving.NO:
                return current
            return await self._begin(Name.parse(peer))

    async def begin_over(self, offer: ProvenBundle) -> Held:
        """Begin a session over a bundle that came without a directory, and send on it from now on. Raises RateLimited,
        LocalMisuse."""
        name = offer.credential.name
        async with self._beginning.setdefault(str(name), asyncio.Lock()):
            return await self._begin(name, offer)

    async def _begin(self, name: Name, offer: ProvenBundle | None = None) -> Held:
        self._refuse_too_many(str(name), 2 * SESSIONS_PER_PEER)
        own, before = self._own(), self._sessions.sending_to(str(name))
        if offer is None:
            self._demand_token(own)
            offer = await self._directory.offer(name)
        held = self._sessions.sending_to(str(name))
        if held is not None and held is not before:  # the peer's start came in the meantime
            return held
        newest, forked = self._newest_with(str(name)), self._forked_with(str(name))
        kid = choose_kid(self._kids, self._random)
        if offer.one_time is None:
            self._journal.count("begun_without_one_time")
        if offer.claims.ml_kem is None:
            self._journal.count("begun_without_ml_kem")
        session = start(
            self._own_keys(own), offer, self._member.signer, receive_kid=kid, newest=newest,
            now_ms=self._clock.now_ms(), random=self._random, policy=self._policy, forked=forked,
            encapsulate=encapsulate,
        )  # fmt: skip
        held = Held(session, offer.claims.mailbox.mailbox, newest, offer.credential.x5t)
        self._sessions.add(held)
        self._sessions.send_on(held)
        self._journal.count("sessions_begun")
        return held

    def _demand_token(self, own: OwnBundle) -> None:
        """Return if the agreement key can be used. While a token is away each try would use up a one-time key of the
        peer. Raises TokenFailed."""
        self._own_keys(own).agreer.agree(own.proven.claims.signed_prekey)

    async def open_start(
        self, envelope: Envelope, header: StartHeader, initiator: ProvenBundle | None = None
    ) -> None:  # fmt: skip
        """Open an envelope with a start header: of a session that exists, or of a new one.

        Args:
            initiator: whom the header names, if that came with it; None: asked of the directory.

        Raises:
            Replayed: the start was accepted before and its session is closed.
            PrekeyGone: it names a bundle or one-time key whose private half no longer exists.
            NotPostQuantum: it has no ML-KEM part, which the policy requires.
            RateLimited: too many sessions with this peer.
            TransportFailed: what it names could not be fetched; it may be offered again.
            NotTrusted, NotAuthentic, Malformed: it is not a start of whom it claims to be from.
        """
        if self._opened_again(envelope, header):
            return
        self._prekeys.find(envelope.kid).secret_for(header.one_time)  # before anything is fetched for a stranger
        came_with_it = initiator is not None
        if initiator is None:
            initiator = await self._directory.by_hash(header.bundle_hash, header.x5t)
            if self._opened_again(envelope, header):  # it came by another way in the meantime
                return
        own = self._prekeys.find(envelope.kid)
        one_time = own.secret_for(header.one_time)
        most = SESSIONS_PER_PEER * (1 if header.one_time is None else 2)
        self._refuse_too_many(str(initiator.credential.name), most)
        session, opened = accept(
            envelope, self._own_keys(own), initiator, signed_prekey=own.signed_prekey, one_time=one_time,
            receive_kid=choose_kid(self._kids, self._random), now_ms=self._clock.now_ms(), policy=self._policy,
            allowance=self._sessions.for_strangers(), ml_kem=own.decapsulator,
        )  # fmt: skip
        said = opened.message
        newest, forked = (said.newest_session, said.forked_session) if said is not None else (None, None)
        held = Held(session, initiator.claims.mailbox.mailbox, newest or b"", header.x5t)
        self._sessions.add(held)
        self._sessions.record_start(header, held, envelope.kid)
        self._prekeys.spend(envelope.kid, header.one_time)
        self._sessions.choose(held, forked)
        self._journal.count("sessions_accepted")
        if header.one_time is None and not came_with_it:
            self._tell_of_start_without(session, envelope.kid, own)
        self._engine.take(held, opened, envelope)

    def _tell_of_start_without(self, session: Session, bundle_id: bytes, own: OwnBundle) -> None:
        """X3DH goes on without a one-time key, and so does this; but not silently."""
        self._journal.count("starts_without_one_time")
        if bundle_id not in self._told_of:
            self._told_of.add(bundle_id)
            log.warning("a start without a one-time key came from %s; %d are unused", session.peer, len(own.one_time))
            self._engine.tell(WithoutOneTimeKey(session.peer, session.hash, len(own.one_time)))

    def _opened_again(self, envelope: Envelope, header: StartHeader) -> bool:
        """Open an envelope of a start that was accepted before; say whether it is one."""
        seen, held = self._sessions.started_by(header)
        if held is not None:
            self._engine.open(held, envelope)
        elif seen:
            raise Replayed("this start was accepted before, and its session is closed")
        return held is not None

    def _refuse_too_many(self, peer: str, most: int) -> None:
        if len(self._sessions.with_peer(peer)) >= most:
            raise RateLimited(f"too many sessions with {peer}")

    def _newest_with(self, peer: str) -> bytes:
        """A stopped session is not named: so the peer learns that this end does not use it any more."""
        known = [h.session for h in self._sessions.with_peer(peer) if h.session.stopped is None]
        return max(known, key=lambda s: s.created_ms).hash if known else b""

    def _forked_with(self, peer: str) -> bytes | None:
        """So a peer that goes on with a copy of its state learns where nothing it seals is opened any more."""
        known = [h.session for h in self._sessions.with_peer(peer) if h.session.peer_forked]
        return max(known, key=lambda s: s.created_ms).hash if known else None

    def _own(self) -> OwnBundle:
        own = self._prekeys.newest
        if own is None:
            raise TransportFailed(
                "this endpoint has not published a bundle yet", hint="wait until it has reached its hub"
            )
        return own

    def _own_keys(self, own: OwnBundle) -> OwnKeys:
        agreer = self._member.agreements.find(own.proven.claims.agreement_key)
        if agreer is None:
            raise PrekeyGone("the agreement key of this bundle is not, or no longer, in the keystore")
        return OwnKeys(own.proven, agreer, self._member.root.domain_id)
