# SPDX-License-Identifier: Apache-2.0
"""The sessions of an endpoint that are in memory: some ready for use, others packed, and all others on the disk only.

Invariants: of a session there is never a second object: while anybody holds one, it is the one that is found. What is
not durable yet stays ready, so that what is read from the database is never older than what was done here.
"""

from __future__ import annotations

from collections import OrderedDict
from weakref import WeakValueDictionary

from sealway.protocol.allowance import SharedAllowance
from sealway.sdk.held import Held, Thaw, packed
from sealway.sdk.sessionrows import SessionRows

IN_MEMORY = 100_000
"""Sessions in memory unless it is said otherwise: packed, less than 1 KiB each."""
_READY = 1_000
"""Of them, those that are ready for use, about 5 KiB each."""


class SessionCache:
    """Finds sessions by their identifiers.

    Args:
        shared: what all sessions together may cost.
        in_memory: how many sessions are kept in memory while nothing is done with them.
    """

    def __init__(self, rows: SessionRows, thaw: Thaw, shared: SharedAllowance, in_memory: int) -> None:
        self._rows = rows
        self._thaw = thaw
        self._shared = shared
        self._most_ready = max(1, min(in_memory, _READY))
        self._most_packed = in_memory - self._most_ready
        self._known: WeakValueDictionary[bytes, Held] = WeakValueDictionary()
        self._ready: OrderedDict[bytes, Held] = OrderedDict()
        self._kid_of: dict[bytes, bytes] = {}
        self._packed: dict[bytes, bytes] = {}
        self._closing: set[bytes] = set()

    @property
    def thawed(self) -> int:
        """How many sessions were made of stored ones so far."""
        return self._thaw.count

    @property
    def ready(self) -> int:
        """How many sessions are ready for use."""
        return len(self._ready)

    def by_kid(self, kid: bytes) -> Held | None:
        """Return the session with this identifier. Raises StateLost if it is damaged."""
        held = self._ready.get(kid)
        if held is not None:
            self._ready.move_to_end(kid)
            return held
        held = self._known.get(kid)
        if held is None and kid not in self._closing:
            held = self._thawed(kid)
        if held is not None:
            self.keep(held)
        return held

    def _thawed(self, kid: bytes) -> Held | None:
        data = self._packed.get(kid)
        if data is not None:
            held = self._thaw.from_bytes(data, kid)
        else:
            row = self._rows.of_kid(kid)
            if row is None:
                return None
            held = self._thaw.from_row(row)
        self.own(held)
        return held

    def own(self, held: Held) -> None:
        """Take in a session that was not known, or not in memory."""
        allowance = held.session.allowance
        allowance.shared, allowance.payer = self._shared, held.session.peer
        self._known[held.session.kid_in] = held

    def by_hash(self, digest: bytes) -> Held | None:
        """Return the session with this hash."""
        kid = self._kid_of.get(digest) or self._rows.kid_of(digest)
        return self.by_kid(kid) if kid is not None else None

    def keep(self, held: Held) -> None:
        """Keep a session ready; of the others the one that was used least recently makes room."""
        kid = held.session.kid_in
        if self._ready.get(kid) is held:
            self._ready.move_to_end(kid)
            return
        if kid in self._closing:
            return
        self._ready[kid] = held
        self._ready.move_to_end(kid)
        self._kid_of[held.session.hash] = kid
        if self._packed:
            self._packed.pop(kid, None)  # it may change from now on
        self.make_room()

    def make_room(self) -> None:
        """Let the sessions rest that are too many to be kept ready, except those that are not durable yet."""
        while len(self._ready) > self._most_ready:
            kid = next((kid for kid, held in self._ready.items() if not held.dirty), None)
            if kid is None:
                return  # all have something that is not durable yet
            held = self._ready.pop(kid)
            del self._kid_of[held.session.hash]
            self._pack(kid, held)

    def _pack(self, kid: bytes, held: Held) -> None:
        if self._most_packed <= 0:
            return
        self._packed[kid] = packed(held)
        if len(self._packed) > self._most_packed:
            del self._packed[next(iter(self._packed))]

    def unsaved(self) -> list[Held]:
        """Return the sessions about which something is not durable yet."""
        return [held for held in self._ready.values() if held.dirty]

    def close(self, held: Held) -> None:
        """Find a session no more; ``closed`` follows when this is durable."""
        kid = held.session.kid_in
        self._closing.add(kid)
        self._ready.pop(kid, None)
        self._known.pop(kid, None)
        self._packed.pop(kid, None)
        self._kid_of.pop(held.session.hash, None)

    def closed(self, kid: bytes) -> None:
        """Note that the database knows it as closed."""
        self._closing.discard(kid)
