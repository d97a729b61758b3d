# SPDX-License-Identifier: Apache-2.0
"""Forgets what need not be remembered, so that an endpoint that runs for years stays small; reports what waits for too
long."""

from __future__ import annotations

from sealway.protocol.events import Unacknowledged
from sealway.protocol.policy import MINUTE_MS, Policy
from sealway.sdk.clock import Clock
from sealway.sdk.engine import Engine
from sealway.sdk.prekeystore import PrekeyStore
from sealway.sdk.sessions import Held, Leaving, Sessions
from sealway.sdk.waitingkeys import FILE_KEYS_KEPT_MS

EVERY_MS = MINUTE_MS
HANDLED_KEPT = 100_000
"""Rows of handled messages that are kept for who looks into the state."""


class Upkeep:
    """What is done once a minute, and what is done with a session that is due."""

    def __init__(
        self, sessions: Sessions, prekeys: PrekeyStore, engine: Engine, clock: Clock, policy: Policy
    ) -> None:  # fmt: skip
        self._sessions = sessions
        self._prekeys = prekeys
        self._engine = engine
        self._clock = clock
        self._policy = policy
        self._last_ms: int | None = None

    def look(self, now_ms: int) -> None:
        """Do what is due; noted with the present group."""
        for held in self._sessions.due(now_ms):
            self._look_after(held, now_ms)
        steady_ms = self._clock.uptime().ms
        if self._last_ms is not None and steady_ms - self._last_ms < EVERY_MS:
            return
        self._last_ms = steady_ms
        self._forget(now_ms)

    def _look_after(self, held: Held, now_ms: int) -> None:
        self._engine.seal_if_due(held, now_ms)
        self._engine.look(held, now_ms)
        self._report_unacknowledged(held, now_ms)
        self._sessions.to_leave.add(held.session.kid_in)  # perhaps: the mover decides
        if not self._close_if_idle(held, now_ms):
            self._sessions.settle(held, now_ms, self._engine.max_silence_s)

    def _report_unacknowledged(self, held: Held, now_ms: int) -> None:
        """Each number once; later ones only after them, since they are sealed in order."""
        late = held.session.unacknowledged(now_ms) if held.leaving is not Leaving.DONE else ()
        fresh = tuple((max(first, held.reported + 1), last) for first, last in late if last > held.reported)
        if fresh:
            self._sessions.reported(held, fresh[-1][1])
            self._engine.tell(Unacknowledged(held.session.peer, held.session.hash, fresh))

    def _close_if_idle(self, held: Held, now_ms: int) -> bool:
        """Close a session that is not in use any more, and say whether it was."""
        if not self._is_idle(held, now_ms):
            return False
        if held.owed and held.leaving is not Leaving.DONE:
            self._sessions.leave(held)  # closed once what it owes has moved
            return False
        self._sessions.close(held, now_ms)
        return True

    def _is_idle(self, held: Held, now_ms: int) -> bool:
        session = held.session
        last = max(session.heard_ms, session.created_ms, session.stepped_ms)
        in_use = self._sessions.sending_to(session.peer) is held
        return not in_use and now_ms - last > self._policy.held_for_ms

    def _forget(self, now_ms: int) -> None:
        before_ms, note = now_ms - self._policy.held_for_ms, self._engine.journal.note
        self._sessions.forget(before_ms)
        self._sessions.forget_allowances(now_ms)
        self._sessions.forget_starts(self._prekeys.forget_old(now_ms // 1_000))
        note("DELETE FROM executed WHERE begun < ?", before_ms)
        note("DELETE FROM files WHERE received < ?", now_ms - FILE_KEYS_KEPT_MS)
        note("DELETE FROM asked WHERE deadline < ?", before_ms)
        newest = "(SELECT max(id) FROM inbox)"
        note(f"DELETE FROM inbox WHERE message IS NULL AND id <= {newest} - ?", HANDLED_KEPT)  # noqa: S608
