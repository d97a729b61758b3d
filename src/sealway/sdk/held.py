# SPDX-License-Identifier: Apache-2.0
"""A session as an endpoint holds it, and the same packed into bytes while it is not in use.

Invariant: ``unpacked(packed(h))`` is what ``h`` was when it was last written, and is sealed on without a reseed only if
this very process has written it (spec/session.md, "State").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from itertools import accumulate
from struct import Struct
from typing import Final

from sealway.protocol.life import Machine, Step
from sealway.protocol.policy import Policy
from sealway.protocol.sentlog import SentLog
from sealway.protocol.session import Session
from sealway.protocol.snapshot import Names, restore
from sealway.sdk.schema import SESSION
from sealway.sdk.sessionrows import StoredSession
from sealway.wire.address import Name

_HEAD = Struct(">QQqqB?QQqqBBH")
_DIGEST = 32
_MOST_MAILBOXES = 1_024


class Leaving(IntEnum):
    """Whether a session's unacknowledged messages go on in another one."""

    NO = 0
    WANTED = 1
    DONE = 2
    LOST = 3
    """As WANTED, and the peer may know numbers from ``resumed_at`` on with other contents: those begin a new
    identity."""


LEAVING: Final = Machine(
    "leaving",
    "Whether what a session owes moves to another one",
    Leaving,
    (
        Step(None, "session begun", Leaving.NO),
        Step(Leaving.NO, "not used by the peer, unanswered, half used up, idle or stopped", Leaving.WANTED),
        Step(Leaving.NO, "this end's state was lost, or is a copy", Leaving.LOST),
        Step(Leaving.WANTED, "all that it owes was sealed elsewhere", Leaving.DONE),
        Step(Leaving.LOST, "all that it owes was sealed elsewhere, as new", Leaving.DONE),
    ),
)


@dataclass(slots=True, weakref_slot=True, eq=False)
class Held:
    """A session and what only the endpoint needs to know of it. Times in Unix milliseconds.

    Args:
        mailbox: the peer's, or empty if it is the one that its name gives.
        newest: the newest session that its start named, or empty.
        x5t: SHA-256 of the peer's certificate.
        resumed_at: the lowest number sealed since an opening of the state that no receipt has confirmed yet: if the
            state was a copy, the peer may know these numbers with other contents. None if there is none.
        offered_ms: when a hop first took the start, None before.
        leaving: whether its messages move to another session.
        shown: whether this end has shown a grant in this session.
        sealed_ms: when the newest message was sealed.
        reported: the highest number that was reported as unacknowledged.
        row: its number in the database.
        slot: the vault's, of its snapshot.
        due_ms: when time next has something to do with it, or an earlier time; None if it never has.
        opening: of which opening of the state directory the process was that wrote ``saved``.
        saved: the snapshot that was written last.
        dirty: there is something that is not durable yet.
        sealed_unlooked: something was sealed since time last looked at it.
        unanswered: its row says that nobody has answered its start.
        closed: it is never written again: its slot may be another's.
    """

    session: Session
    mailbox: str
    newest: bytes
    x5t: bytes
    resumed_at: int | None = None
    offered_ms: int | None = None
    leaving: Leaving = Leaving.NO
    shown: bool = False
    sealed_ms: int = 0
    reported: int = -1
    row: int = 0
    slot: int = -1
    due_ms: int | None = None
    opening: int = 0
    saved: bytes = field(default=b"", repr=False)  # keys
    dirty: bool = False
    sealed_unlooked: bool = False
    unanswered: bool = False
    closed: bool = False

    @property
    def address(self) -> str:
        """The peer's mailbox."""
        return self.mailbox or _mailbox_of(self.session.peer)

    @property
    def owed(self) -> int:
        """How many of its messages the peer has neither acknowledged nor been told to forget."""
        send = self.session.send
        return send.next_number - send.acked.count - send.unkept.count


@lru_cache(_MOST_MAILBOXES)
def _mailbox_of(peer: str) -> str:
    return Name.parse(peer).mailbox


def packed(held: Held) -> bytes:
    """Return a session that is not dirty as bytes: a tenth of what it takes up otherwise."""
    mailbox, peer = held.mailbox.encode(), held.session.peer.encode()
    head = _HEAD.pack(
        held.row, held.slot, _or_less(held.resumed_at), _or_less(held.offered_ms), held.leaving, held.shown,
        held.opening, held.sealed_ms, held.reported, _or_less(held.due_ms), len(mailbox), len(held.newest),
        len(peer),
    )  # fmt: skip
    return b"".join((head, mailbox, held.newest, peer, held.session.hash, held.x5t, held.saved))


class Thaw:
    """Makes sessions of stored rows, and of what ``packed`` made of them.

    Args:
        opening: the number of this opening of the state directory.
        unwrap: the vault's.
        log: returns what is stored of the messages sealed in a session; asked when it is first needed.
    """

    def __init__(
        self, policy: Policy, opening: int, unwrap: Callable[[int, bytes, bytes], bytes],
        log: Callable[[bytes], SentLog],
    ) -> None:  # fmt: skip
        self._policy = policy
        self._opening = opening
        self._unwrap = unwrap
        self._log = log
        self.count = 0
        """How many were made."""

    def from_row(self, row: StoredSession) -> Held:
        """Return a session of its row. Raises StateLost if it is damaged."""
        saved = self._unwrap(row.slot, SESSION, row.state)
        held = Held(
            self._session(saved, row.opening, (row.hash, row.peer, row.kid)), row.mailbox, row.newest, row.x5t,
            row.resumed, row.offered, Leaving(row.leaving), row.shown != 0, row.sealed * 1_000, row.reported,
        )  # fmt: skip
        return self._marked(held, row.id, row.slot, row.due, row.opening, saved)

    def from_bytes(self, data: bytes, kid: bytes) -> Held:
        """Return the session that ``packed`` has packed, and that is found by ``kid``."""
        row, slot, resumed, offered, leaving, shown, opening, sealed, reported, due, *lengths = _HEAD.unpack_from(data)
        a, b, c, d, e, f = accumulate((*lengths, _DIGEST, _DIGEST), initial=_HEAD.size)
        saved, names = data[f:], (data[d:e], data[c:d].decode(), kid)
        held = Held(
            self._session(saved, opening, names), data[a:b].decode(), data[b:c], data[e:f], _or_none(resumed),
            _or_none(offered), Leaving(leaving), shown, sealed, reported,
        )  # fmt: skip
        return self._marked(held, row, slot, _or_none(due), opening, saved)

    def _session(self, saved: bytes, opening: int, names: Names) -> Session:
        self.count += 1
        session = restore(saved, _NO_LOG, self._policy, reopened=opening != self._opening, names=names)
        session.log = self._log(session.hash)
        return session

    def _marked(self, held: Held, row: int, slot: int, due: int | None, opening: int, saved: bytes) -> Held:
        held.row, held.slot, held.due_ms, held.opening, held.saved = row, slot, due, opening, saved
        held.unanswered = held.session.start is not None
        if held.resumed_at is None and opening != self._opening:
            held.resumed_at = held.session.send.next_number
        return held


_NO_LOG = SentLog()


def _or_less(value: int | None) -> int:
    return -1 if value is None else value


def _or_none(value: int) -> int | None:
    return None if value < 0 else value
