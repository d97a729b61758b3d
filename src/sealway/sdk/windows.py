# SPDX-License-Identifier: Apache-2.0
"""Numbers that were opened and whose session is closed or not known yet: what keeps a moved message from being handled
twice.

Invariant: bounded for each peer, whatever it names: the windows that were used least recently go first.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field

from sealway.protocol.ranges import RangeSet
from sealway.protocol.session import Session
from sealway.sdk.journal import Journal
from sealway.wire import cbor
from sealway.wire.message import FirstIdentity

MOST_WINDOWS = 256
"""Of one peer."""
MOST_RANGES = 4_096
"""In one window; the lowest numbers are forgotten first."""
_LIMIT = 1 << 24


@dataclass(slots=True)
class _Window:
    updated_ms: int
    numbers: RangeSet = field(default_factory=RangeSet)


class Windows:
    """Opened numbers by (peer, session hash), in memory and in the database."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._peers: dict[str, dict[bytes, _Window]] = {}

    def load(self, connection: sqlite3.Connection) -> None:
        """Read what an earlier process left."""
        for peer, digest, ranges, updated in connection.execute("SELECT peer, session, ranges, updated FROM windows"):
            edges = cbor.decode(ranges, limit=_LIMIT)
            numbers = RangeSet(zip(edges[::2], edges[1::2], strict=True))
            self._peers.setdefault(peer, {})[digest] = _Window(updated, numbers)

    def holds(self, peer: str, identity: FirstIdentity) -> bool:
        """Say whether this first identity of this peer was opened."""
        windows = self._peers.get(peer)
        if windows is None:
            return False  # the common case: it has moved nothing, and no session with it was closed
        window = windows.get(identity.session)
        return window is not None and identity.number in window.numbers

    def add(self, peer: str, identity: FirstIdentity, now_ms: int) -> None:
        """Remember a first identity."""
        self._window(peer, identity.session, now_ms).numbers.add(identity.number)
        self._save(peer, identity.session)

    def keep(self, session: Session, now_ms: int) -> None:
        """Remember what a session opened that is about to be forgotten."""
        numbers = self._window(session.peer, session.hash, now_ms).numbers
        for first, last in session.receive.closed:
            for opened in session.receive.void.outside(first, last):
                numbers.add(*opened)
        self._save(session.peer, session.hash)

    def forget(self, before_ms: int) -> None:
        """Forget windows that were last changed before a time."""
        self._journal.note("DELETE FROM windows WHERE updated < ?", before_ms)
        for peer, windows in list(self._peers.items()):
            self._peers[peer] = {d: w for d, w in windows.items() if w.updated_ms >= before_ms}
            if not self._peers[peer]:
                del self._peers[peer]

    def _window(self, peer: str, digest: bytes, now_ms: int) -> _Window:
        windows = self._peers.setdefault(peer, {})
        window = windows.pop(digest, None) or _Window(now_ms)
        window.updated_ms = now_ms
        windows[digest] = window  # in the order of use
        for oldest in list(windows)[:-MOST_WINDOWS]:
            del windows[oldest]
            self._journal.note("DELETE FROM windows WHERE peer = ? AND session = ?", peer, oldest)
        return window

    def _save(self, peer: str, digest: bytes) -> None:
        window = self._peers[peer][digest]
        for first, last in list(window.numbers)[:-MOST_RANGES]:
            window.numbers.remove(first, last)
        edges = cbor.encode([edge for part in window.numbers for edge in part])
        self._journal.note("INSERT OR REPLACE INTO windows VALUES (?, ?, ?, ?)", peer, digest, edges, window.updated_ms)
