# SPDX-License-Identifier: Apache-2.0
"""What all sessions of an endpoint store together for messages that were jumped over.

Invariant: never more than ``skipped_in_all`` after ``note``; what is too much is given up by the peer that has most, so
a peer that makes this end store much takes the place of nobody else. spec/session.md, "What is gone".
"""

from __future__ import annotations

from collections.abc import Callable

from sealway.protocol.policy import Policy
from sealway.protocol.session import Session


class Totals:
    """Counts by session and by peer; only sessions that store something are in it.

    Args:
        find: returns the session of this hash; all that are counted here are held.
    """

    def __init__(self, policy: Policy, find: Callable[[bytes], Session]) -> None:
        self._policy = policy
        self._find = find
        self._peers: dict[str, dict[bytes, int]] = {}
        self.stored = 0
        """Secrets and roots, in all sessions."""

    def note(self, session: Session) -> list[Session]:
        """Count what a session stores now; return the sessions, if any, that had to give something up."""
        self._count(session.peer, session.hash, session.receive.stored)
        changed: dict[bytes, Session] = {}
        while self.stored > self._policy.skipped_in_all:
            fullest = self._fullest()
            fullest.receive.keep_at_most(fullest.receive.stored // 4, self._policy)
            self._count(fullest.peer, fullest.hash, fullest.receive.stored)
            changed[fullest.hash] = fullest
        return list(changed.values())

    def forget(self, session: Session) -> None:
        """Note that a session was closed."""
        self._count(session.peer, session.hash, 0)

    def _count(self, peer: str, digest: bytes, stored: int) -> None:
        sessions = self._peers.setdefault(peer, {})
        self.stored += stored - sessions.pop(digest, 0)
        if stored:
            sessions[digest] = stored
        elif not sessions:
            del self._peers[peer]

    def _fullest(self) -> Session:
        peer = max(self._peers, key=lambda name: sum(self._peers[name].values()))
        digest = max(self._peers[peer], key=lambda key: self._peers[peer][key])
        return self._find(digest)
