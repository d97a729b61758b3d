# SPDX-License-Identifier: Apache-2.0
"""What all sessions of an endpoint store together for messages that were jumped over.

Invariant: never more than ``skipped_in_all`` after ``note``; what is too much is given up by the peer that has most, so
a peer that makes this end store much takes the place of nobody else. spec/session.md, "What is gone".
"""

from __future__ import annotations

from collections.abc import Callable

from sealway.protocol.policy import Policy
from sealway.sdk.held import Held


class Totals:
    """Counts by session and by peer; only sessions that store something are in it.

    Args:
        find: returns the session of this hash; all that are counted here are held.
    """

    def __init__(self, policy: Policy, find: Callable[[bytes], Held]) -> None:
        self._policy = policy
        self._find = find
        self._peers: dict[str, dict[bytes, int]] = {}
        self.stored = 0
        """Secrets and roots, in all sessions."""

    def note(self, held: Held) -> bool:
        """Count what a session stores now, and say whether that is another number than before."""
        return self.count(held.session.peer, held.session.hash, held.session.receive.stored)

    def give_up(self) -> list[Held]:
        """Return the sessions, if any, that had to give something up for there not to be too much in all."""
        changed: dict[bytes, Held] = {}
        while self.stored > self._policy.skipped_in_all:
            fullest = self._fullest()
            receive = fullest.session.receive
            receive.keep_at_most(receive.stored // 4, self._policy)
            self.note(fullest)
            changed[fullest.session.hash] = fullest
        return list(changed.values())

    def of(self, held: Held) -> int:
        """Return what was counted of a session."""
        return self._peers.get(held.session.peer, {}).get(held.session.hash, 0)

    def forget(self, held: Held) -> None:
        """Note that a session was closed."""
        self.count(held.session.peer, held.session.hash, 0)

    def count(self, peer: str, digest: bytes, stored: int) -> bool:
        """Count so many for a session, and say whether that is another number than before."""
        sessions = self._peers.setdefault(peer, {})
        before = sessions.pop(digest, 0)
        self.stored += stored - before
        if stored:
            sessions[digest] = stored
        elif not sessions:
            del self._peers[peer]
        return stored != before

    def _fullest(self) -> Held:
        peer = max(self._peers, key=lambda name: sum(self._peers[name].values()))
        digest = max(self._peers[peer], key=lambda key: self._peers[peer][key])
        return self._find(digest)
