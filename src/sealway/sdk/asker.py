# SPDX-License-Identifier: Apache-2.0
"""Sending requests and waiting for their answers, across restarts of this end.

Invariant: a request is durable before it is sealed away; its answer is durable before anyone is told. After its deadline the
outcome is unknown, not failed, unless the other end said so. spec/session.md, "Commands".
"""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import dataclass, replace
from datetime import timedelta

from sealway.crypto.ports import Random
from sealway.errors import LocalMisuse, SealwayError
from sealway.sdk.endpoint import Endpoint
from sealway.sdk.engine import Received
from sealway.sdk.grants import GrantBook
from sealway.sdk.replies import is_stale, opened_answer
from sealway.sdk.sessions import Held
from sealway.wire.address import Name
from sealway.wire.message import CODE_FORBIDDEN, CODE_POST, Message

REQUEST_ID_LENGTH = 8


@dataclass(slots=True)
class Pending:
    """A request without an answer. Times in Unix milliseconds."""

    peer: Name
    message: Message
    deadline_ms: int
    max_age_s: int
    answer: asyncio.Future[Message]


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
            "SELECT request, peer, message, deadline FROM asked WHERE answer IS NULL AND deadline > ?", (now_ms,)
        )
        for request_id, peer, content, deadline in rows:
            self._wait(request_id, Name.parse(peer), Message.decode(content), deadline)

    @property
    def waiting(self) -> dict[bytes, asyncio.Future[Message]]:
        """The requests that wait for an answer, by id."""
        return {request_id: pending.answer for request_id, pending in self._pending.items()}

    async def ask(
        self, to: Name, path: str, payload: bytes, *, timeout: timedelta, max_age: timedelta, request_id: bytes | None = None
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
        segments = tuple(path.strip("/").split("/"))
        message = Message(CODE_POST, segments, payload=payload, request_id=request_id)
        if await self._asked_before(request_id, to, message):
            return request_id
        now_ms = self._endpoint.clock.now_ms()
        deadline = now_ms + int(timeout.total_seconds() * 1_000)
        pending = self._wait(request_id, to, message, deadline, int(max_age.total_seconds()))
        try:
            held = await self._endpoint.links.with_peer(to)
        except SealwayError:
            del self._pending[request_id]
            raise
        self._endpoint.journal.note(
            "INSERT INTO asked (request, peer, message, asked, deadline) VALUES (?, ?, ?, ?, ?)",
            request_id, str(to), message.encode(), now_ms, deadline,
        )  # fmt: skip
        self._endpoint.journal.count("requests_sent")
        self._seal(held, pending)
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
        if pending is None or str(pending.peer) != received.peer:
            endpoint.journal.count("answers_unasked")
            return
        now_ms = endpoint.clock.now_ms()
        held = endpoint.sessions.by_hash(received.via)
        if held is not None and now_ms < pending.deadline_ms and self._worth_asking_again(held, message):
            self._seal(held, pending)  # under the same request id; a stale answer is itself the new reference
            return
        endpoint.journal.note(
            "UPDATE asked SET answer = ?, answered = ? WHERE request = ?", message.encode(), now_ms, message.request_id
        )
        endpoint.journal.count("requests_answered")
        endpoint.journal.then(lambda: self._resolve(pending, message))

    def expire(self, now_ms: int) -> None:
        """Give up waiting where the time is over."""
        for request_id, pending in list(self._pending.items()):
            if now_ms >= pending.deadline_ms:
                del self._pending[request_id]
                if not pending.answer.done():
                    pending.answer.set_result(
                        Message(0xA4, payload=b"TransportFailed: no answer in time; the outcome is unknown")
                    )

    @staticmethod
    def _worth_asking_again(held: Held, message: Message) -> bool:
        """Stale: the answer is a new reference. Forbidden without a grant shown: the device may have forgotten it."""
        forgotten = message.code == CODE_FORBIDDEN and held.grant_shown
        held.grant_shown = message.code != CODE_FORBIDDEN
        return held.session.stopped is None and (is_stale(message) or forgotten)

    def _seal(self, held: Held, pending: Pending) -> None:
        grant = None
        if not held.grant_shown:
            grant = self._grants.for_device(self._endpoint.member.credential, pending.peer)
        reference = held.session.reference(pending.max_age_s)
        self._endpoint.engine.seal(
            held, replace(pending.message, freshness=reference, grant=grant, sent_at=self._endpoint.clock.now_ms())
        )

    def _wait(self, request_id: bytes, to: Name, message: Message, deadline: int, max_age_s: int = 300) -> Pending:
        pending = Pending(to, message, deadline, max_age_s, asyncio.get_running_loop().create_future())
        self._pending[request_id] = pending
        return pending

    def _resolve(self, pending: Pending, message: Message) -> None:
        self._pending.pop(message.request_id or b"", None)
        if not pending.answer.done():
            pending.answer.set_result(message)

    async def _asked_before(self, request_id: bytes, to: Name, message: Message) -> bool:
        query = "SELECT peer, message FROM asked WHERE request = ?"
        row = await self._endpoint.store.read(lambda c: c.execute(query, (request_id,)).fetchone())
        if row is None and request_id not in self._pending:
            return False
        if row is not None and (row[0], row[1]) != (str(to), message.encode()):
            raise LocalMisuse("this request id was used for another request")
        return True

    async def _stored_answer(self, request_id: bytes) -> Message:
        query = "SELECT answer FROM asked WHERE request = ?"
        row = await self._endpoint.store.read(lambda c: c.execute(query, (request_id,)).fetchone())
        if row is None:
            raise LocalMisuse("no such request was sent from here")
        if row[0] is None:
            return Message(0xA4, payload=b"TransportFailed: no answer in time; the outcome is unknown")
        return Message.decode(row[0])
