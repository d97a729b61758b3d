# SPDX-License-Identifier: Apache-2.0
"""Takes unacknowledged messages along when a session has to be left, and begins the session that they go on in.

Invariant: a message keeps its first identity through all moves, so that nothing is handled twice; it is offered in
its old session until it is durable in the new one.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from sealway.errors import LocalMisuse, SealwayError
from sealway.protocol.policy import HOUR_MS, Policy
from sealway.sdk.clock import Clock
from sealway.sdk.engine import Engine
from sealway.sdk.links import Links
from sealway.sdk.sessions import Held, Leaving, Sessions
from sealway.wire.message import CODE_EMPTY, Message

log = logging.getLogger(__name__)

FIRST_PAUSE_MS = 2_000
LONGEST_PAUSE_MS = HOUR_MS
CONTACTS = 3

_ROWS = (
    "SELECT number, message, slot, first_session, first_number FROM sent"
    " WHERE session = ? AND number BETWEEN ? AND ? AND message IS NOT NULL ORDER BY number"
)


class Mover:
    """Decides which sessions are left, and moves what they owe."""

    def __init__(self, sessions: Sessions, links: Links, engine: Engine, clock: Clock, policy: Policy) -> None:
        self._sessions = sessions
        self._links = links
        self._engine = engine
        self._clock = clock
        self._policy = policy
        self._pauses: dict[str, tuple[int, int]] = {}

    async def look(self) -> None:
        """Leave every session that has to be left, of those that were due. What fails is tried again later."""
        now_ms = self._clock.now_ms()
        for kid in list(self._sessions.to_leave):
            held = self._sessions.by_kid(kid)
            if held is not None and self._has_to_be_left(held, now_ms):
                self._sessions.leave(held)
            if held is None or held.leaving not in (Leaving.WANTED, Leaving.LOST):
                self._sessions.to_leave.discard(kid)
            elif self._may_try(held.session.peer):
                await self._try(held, self._leave)
        await self._renew_old()

    async def _renew_old(self) -> None:
        for kid in list(self._sessions.to_renew):
            held = self._sessions.by_kid(kid)
            if held is None or not self._has_to_be_renewed(held):
                self._sessions.to_renew.discard(kid)
            elif self._may_try(held.session.peer):
                await self._try(held, self._renew)

    def _has_to_be_left(self, held: Held, now_ms: int) -> bool:
        session, sending = held.session, self._sessions.sending_to(held.session.peer) is held
        if held.leaving is not Leaving.NO or not (held.owed or sending):
            return False
        if session.start is not None:
            return held.offered_ms is not None and now_ms - held.offered_ms >= self._patience_ms(held)
        if session.send.unacknowledged > self._policy.walk // 2 and sending:
            return True
        return self._is_unheard(held, now_ms)

    def _patience_ms(self, held: Held) -> int:
        """How long a start may stay unanswered: doubled for each that was given up before."""
        peer = held.session.peer
        tried = sum(h.session.start is not None and h.leaving is Leaving.DONE for h in self._sessions.with_peer(peer))
        return min(self._policy.anew_after_ms << tried, self._policy.longest_anew_ms)

    def _is_unheard(self, held: Held, now_ms: int) -> bool:
        """Something has been offered for ``held_for`` and three contacts, and no receipt covers it."""
        session = held.session
        if not held.owed or self._engine.outbox.contacts(session.hash) < CONTACTS:
            return False
        late = session.log.older_than(now_ms - self._policy.held_for_ms, session.send.acked)
        return any(session.send.unkept.outside(*part) for part in late)

    def _has_to_be_renewed(self, held: Held) -> bool:
        """It was so old, or so much used, when something was sent in it, and nothing else has ended it since."""
        session = held.session
        is_well = session.start is None and session.stopped is None and held.leaving is Leaving.NO
        return is_well and self._sessions.sending_to(session.peer) is held

    # moving ----------------------------------------------------------------------------------------------------
    async def _try(self, held: Held, begin_another: Callable[[Held], Awaitable[None]]) -> None:
        peer = held.session.peer
        try:
            await begin_another(held)
        except LocalMisuse as full:  # the rest follows when the new session has room
            log.info("not all messages to %s have moved yet: %s", peer, full)
            self._pause(peer)
        except SealwayError as error:
            self._engine.journal.check()
            log.warning("no new session with %s yet: %s", peer, error)
            self._pause(peer)
        else:
            self._pauses.pop(peer, None)

    async def _leave(self, held: Held) -> None:
        target = await self._links.instead_of(held)
        await self._engine.journal.commit()  # so that the rows below are all there are
        rows = await self._rows(held, 0, held.session.send.next_number)
        if held.session.stopped is not None:
            self._engine.outbox.drop_session(held.session.hash)
        self._engine.move(held, target, rows)
        if target.session.start is not None and target.session.send.next_number == 0:
            self._engine.seal(target, Message(CODE_EMPTY))  # the peer has to learn of it all the same
        self._engine.outbox.drop_session(held.session.hash)
        self._sessions.left(held)
        self._engine.journal.count("sessions_left")
        await self._engine.journal.commit()

    async def _renew(self, held: Held) -> None:
        """Begin another session to send on. What the old one owes stays there: it goes on receiving and being offered,
        and is closed once it has been idle; only then the rest moves."""
        target = await self._links.instead_of(held)
        if target.session.start is not None and target.session.send.next_number == 0:
            self._engine.seal(target, Message(CODE_EMPTY))  # now, since the bundle that it names does not live long
        self._engine.journal.count("sessions_renewed")
        await self._engine.journal.commit()

    async def move_gone(self) -> None:
        """Seal anew what peers have told that they cannot open any more."""
        while self._engine.gone:
            held, ranges = self._engine.gone.pop()
            await self._engine.journal.commit()
            for first, last in ranges:
                rows = await self._rows(held, first, last)
                with contextlib.suppress(LocalMisuse):  # stopped or full; a later receipt tells of them again
                    self._engine.move(held, held, rows)

    async def _rows(
        self, held: Held, first: int, last: int
    ) -> list[tuple[int, bytes, int | None, bytes | None, int | None]]:
        limits = (held.session.hash, first, last)
        rows: list[Any] = await self._engine.journal.read(_ROWS, *limits)
        return rows

    # pauses ----------------------------------------------------------------------------------------------------
    def _may_try(self, peer: str) -> bool:
        return self._clock.uptime().ms >= self._pauses.get(peer, (0, 0))[0]

    def _pause(self, peer: str) -> None:
        _, before = self._pauses.get(peer, (0, FIRST_PAUSE_MS // 2))
        pause = min(before * 2, LONGEST_PAUSE_MS)
        self._pauses[peer] = self._clock.uptime().ms + pause, pause
