# SPDX-License-Identifier: Apache-2.0
"""Sending requests and waiting for their answers, across restarts of this end.

Invariant: a request is durable before it is sealed away; its answer is durable before anyone is told. After its
deadline the outcome is unknown, not failed, unless the other end said so. spec/session.md, "Commands".
"""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import dataclass, field, replace
from datetime import timedelta

from sealway.crypto.ports import Random
from sealway.errors import LocalMisuse
from sealway.sdk.endpoint import Endpoint
from sealway.sdk.grants import GrantBook
from sealway.sdk.inbox import Received
from sealway.sdk.replies import is_stale, opened_answer
from sealway.sdk.saying import message_of
from sealway.sdk.sessions import Held
from sealway.wire.address import Name
from sealway.wire.message import CODE_FORBIDDEN, Message

REQUEST_ID_LENGTH = 8
MOST_STALE = 16
"""Times that one request is asked again after a stale answer."""
_ASKED = (
    "INSERT INTO asked (request, peer, message, asked, deadline, max_age) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (request) DO UPDATE SET deadline = excluded.deadline, max_age = excluded.max_age"
)
_ANSWERED = "UPDATE asked SET answer = ?, answered = ? WHERE request = ? AND peer = ? AND answer IS NULL"
_UNKNOWN = Message(0xA4, payload=b"TransportFailed: no answer in time; the outcome is unknown")


@dataclass(slots=True)
class Pending:
    """A request without an answer. Times in Unix milliseconds."""

    peer: Name
    message: Message
    deadline_ms: int
    max_age_s: int
    answer: asyncio.Future[Message]
    tried: set[bytes] = field(default_factory=set)
    """Grants that were shown with this very request."""
    stale: int = 0
    """How often it was refused as stale."""


class Asker:
    """The requests of one endpoint that wait for an answer."""

    def __init__(self, endpoint: Endpoint, grants: GrantBook, random: Random) -> None:
        self._endpoint = endpoint
        self._grants = grants
        self._random = random
        self._pending: dict[bytes, Pending] = {}

    def load(self, connection: sqlite3.Connection, now_ms: int) -> None:
        """Take up the requests that an earlier process left unanswered."""
        rows = connection.execute(
            "SELECT request, peer, message, deadline, max_age FROM asked WHERE answer IS NULL AND deadline > ?",
            (now_ms,),
        )
        for request_id, peer, content, deadline, max_age in rows:
            self._wait(request_id, Name.parse(peer), Message.decode(content), deadline, max_age)

    def fail(self, error: BaseException) -> None:
        """Raise ``error`` to whoever waits for an answer: this endpoint has stopped."""
        for pending in self._pending.values():
            if not pending.answer.done():
                pending.answer.set_exception(error)
                pending.answer.exception()  # seen: perhaps nobody waits

    @property
    def waiting(self) -> dict[bytes, asyncio.Future[Message]]:
        """The requests that wait for an answer, by id."""
        return {request_id: pending.answer for request_id, pending in self._pending.items()}

    async def ask(
        self, to: Name, path: str, payload: bytes, *, timeout: timedelta, max_age: timedelta,
        request_id: bytes | None = None,
    ) -> bytes:  # fmt: skip
        """Seal a request and make it durable; return its id.

        Args:
            timeout: after this the outcome is unknown.
            max_age: how old the device's message may be that the request is fresh against.
            request_id: 8 bytes of the caller's choice; the same id is executed once, however often it is asked.

        Raises:
            LocalMisuse: the id is malformed or was used for another request.
            TransportFailed, NotTrusted: no session can be begun.
        """
        request_id = self._random(REQUEST_ID_LENGTH) if request_id is None else request_id
        if len(request_id) != REQUEST_ID_LENGTH:
            raise LocalMisuse("a request id has 8 bytes")
        message = message_of(path, payload, request_id=request_id)
        await self._endpoint.room()
        if await self._is_settled(request_id, to, message):
            return request_id
        now_ms = self._endpoint.clock.now_ms()
        deadline = now_ms + int(timeout.total_seconds() * 1_000)
        pending = self._wait(request_id, to, message, deadline, int(max_age.total_seconds()))
        try:
            held = await self._endpoint.links.with_peer(to)
            self._endpoint.check_alive()
            self._seal(held, pending)
        except BaseException:  # cancelled as well: nothing was sealed
            del self._pending[request_id]
            raise
        self._endpoint.journal.note(_ASKED, request_id, str(to), message.encode(), now_ms, deadline, pending.max_age_s)
        self._endpoint.journal.count("requests_sent")
        await self._endpoint.journal.commit()
        return request_id

    async def answer(self, request_id: bytes) -> Message:
        """Wait for the answer to a request.

        Raises:
            TransportFailed: none came in time; the outcome is unknown.
            NotAuthorized, Interrupted, Stale, …: what the other end answered, as it named it.
        """
        pending = self._pending.get(request_id)
        if pending is None:
            return opened_answer(await self._stored_answer(request_id))
        return opened_answer(await asyncio.shield(pending.answer))

    def answered(self, received: Received) -> None:
        """Take in a response; note it with the present group. A stale one is asked again while there is time."""
        message, endpoint = received.message, self._endpoint
        endpoint.note_handled(received)
        pending = self._pending.get(message.request_id or b"")
        if pending is not None and str(pending.peer) != received.peer:
            endpoint.journal.count("answers_unasked")
            return
        now_ms = endpoint.clock.now_ms()
        if pending is not None and now_ms < pending.deadline_ms and self._is_asked_again(received, pending):
            return  # under the same request id; a stale answer is itself the new reference
        if pending is not None or not is_stale(message):
            # Without a pending request it is unasked, which changes nothing, or late, which answers whoever asks again.
            endpoint.journal.note(_ANSWERED, message.encode(), now_ms, message.request_id, received.peer)
        endpoint.journal.count("answers_unasked" if pending is None else "requests_answered")
        if pending is not None:
            endpoint.journal.then(lambda: self._resolve(pending, message))

    def expire(self, now_ms: int) -> None:
        """Give up waiting where the time is over."""
        for request_id, pending in list(self._pending.items()):
            if now_ms >= pending.deadline_ms:
                del self._pending[request_id]
                if not pending.answer.done():
                    pending.answer.set_result(_UNKNOWN)

    def _is_asked_again(self, received: Received, pending: Pending) -> bool:
        """Stale: the answer is a new reference. Forbidden: another grant may allow it, or the device forgot this
        one."""
        held = self._endpoint.sessions.by_hash(received.via)
        if held is None or held.session.stopped is not None:
            return False
        if is_stale(received.message) and pending.stale < MOST_STALE:
            pending.stale += 1
        elif received.message.code == CODE_FORBIDDEN and self._grant_for(held, pending, refused=True) is not None:
            held.shown = False
        else:
            return False
        try:
            self._seal(held, pending)
        except LocalMisuse:
            return False
        return True

    def _grant_for(self, held: Held, pending: Pending, *, refused: bool) -> bytes | None:
        """Once in each session, and after a refusal the next that was not shown with this request."""
        if held.shown and not refused:
            return None
        grants = self._grants.for_device(self._endpoint.member.credential, pending.peer)
        return next((grant for grant in grants if grant not in pending.tried), None)

    def _seal(self, held: Held, pending: Pending) -> None:
        grant = self._grant_for(held, pending, refused=False)
        if grant is not None:
            held.shown = True
            self._endpoint.sessions.shown(held)
            pending.tried.add(grant)
        reference = held.session.reference(pending.max_age_s)
        now_ms = self._endpoint.clock.now_ms()
        message = replace(pending.message, freshness=reference, grant=grant, sent_at=now_ms)
        self._endpoint.engine.seal(held, message)

    def _wait(self, request_id: bytes, to: Name, message: Message, deadline: int, max_age_s: int) -> Pending:
        pending = Pending(to, message, deadline, max_age_s, asyncio.get_running_loop().create_future())
        self._pending[request_id] = pending
        return pending

    def _resolve(self, pending: Pending, message: Message) -> None:
        self._pending.pop(message.request_id or b"", None)
        if not pending.answer.done():
            pending.answer.set_result(message)

    async def _is_settled(self, request_id: bytes, to: Name, message: Message) -> bool:
        """Say whether this very request waits for its answer, or has it. Raises LocalMisuse for another under its
        id."""
        pending = self._pending.get(request_id)
        row = await self._row(request_id)
        known = (row[0], row[1]) if row is not None else None
        if pending is not None:
            known = (str(pending.peer), pending.message.encode())
        if known is not None and known != (str(to), message.encode()):
            raise LocalMisuse("this request id was used for another request")
        return pending is not None or (row is not None and row[2] is not None)

    async def _stored_answer(self, request_id: bytes) -> Message:
        row = await self._row(request_id)
        if row is None:
            raise LocalMisuse("no such request was sent from here")
        return Message.decode(row[2]) if row[2] is not None else _UNKNOWN

    async def _row(self, request_id: bytes) -> tuple[str, bytes, bytes | None] | None:
        rows = await self._endpoint.journal.read(
            "SELECT peer, message, answer FROM asked WHERE request = ?", request_id
        )
        return rows[0] if rows else None
