# SPDX-License-Identifier: Apache-2.0
"""Executing requests: granted, fresh, and at most once.

Invariant: a handler that is not idempotent is called only after "begun" is durable, and never again for the same
(peer, request id): after a crash in between the answer is Interrupted. spec/session.md, "Commands".
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from sealway.errors import (
    Interrupted,
    LocalMisuse,
    NotAuthorized,
    RateLimited,
    SealwayError,
    Stale,
    codes_of,
)
from sealway.identity.credentials import Credential
from sealway.protocol.freshness import check_fresh
from sealway.protocol.life import Machine, Step
from sealway.sdk.endpoint import Endpoint
from sealway.sdk.grants import GrantBook
from sealway.sdk.inbox import Received
from sealway.sdk.sessions import Held
from sealway.wire.address import Name
from sealway.wire.message import CODE_CHANGED, CODE_INTERNAL_ERROR, CODE_NOT_FOUND, CODE_POST, Message

log = logging.getLogger(__name__)

Answer = bytes | str | Message | None
Command = Callable[[Message], Awaitable[Answer] | Answer]


class Request(StrEnum):
    """What is stored of a (peer, request id)."""

    NEW = "not known"
    BEGUN = "begun"
    ANSWERED = "answered"


EXECUTION = Machine(
    "request",
    "A request at the device that executes it",
    Request,
    (
        Step(None, "opened", Request.NEW),
        Step(Request.NEW, "refused as denied, stale, or no such path", Request.NEW),
        Step(Request.NEW, "permitted, and durable before the handler is called", Request.BEGUN),
        Step(Request.BEGUN, "refused as stale by the time that is durable", Request.NEW),
        Step(Request.BEGUN, "handler returned or failed", Request.ANSWERED),
        Step(Request.BEGUN, "found after a restart, answered Interrupted", Request.ANSWERED),
        Step(Request.BEGUN, "found after a restart, idempotent, so called again", Request.BEGUN),
        Step(Request.ANSWERED, "asked again, the same answer", Request.ANSWERED),
        Step(Request.ANSWERED, "held-for after it was begun", None),
    ),
)

DEFAULT_MAX_AGE = timedelta(minutes=5)
MOST_ANSWER_BYTES = 60_000
MOST_REMEMBERED = 100_000
"""Requests of one peer that are remembered, for held-for; above it none of its is executed."""
MOST_REMEMBERED_BYTES = 64 << 20
"""The same for their answers."""
LOOKS_EVERY = 256
"""Requests of a peer after which they are counted."""
FULL_FOR_MS = 60_000
"""How long a peer that has reached a bound is refused without counting anew, which reads all that is remembered."""

_TOO_MANY = "too many requests of the one who asks are remembered"
_REMEMBERED = "SELECT count(*), coalesce(sum(length(answer)), 0) FROM executed WHERE peer = ?"


@dataclass(frozen=True, slots=True)
class Handler:
    """What answers requests to one path."""

    call: Command
    scope: str
    idempotent: bool
    max_age: timedelta


class Executor:
    """The requests an endpoint answers."""

    def __init__(self, endpoint: Endpoint, grants: GrantBook) -> None:
        self._endpoint = endpoint
        self._grants = grants
        self._handlers: dict[tuple[str, ...], Handler] = {}
        self._uncounted: dict[str, int] = {}  # requests of each peer that may still come before they are counted
        self._full: dict[str, int] = {}  # until when a peer is refused, by the boot clock

    def add(self, path: str, handler: Handler) -> None:
        """Answer requests to ``path``. Raises LocalMisuse if it is taken."""
        key = tuple(path.strip("/").split("/"))
        if key in self._handlers:
            raise LocalMisuse(f"there is a handler for {path} already")
        self._handlers[key] = handler

    async def execute(self, received: Received) -> None:
        """Answer one request and make the answer durable.

        Raises:
            RateLimited, TransportFailed, NotTrusted: it cannot be answered now; called again later, the answer is the
            same.
        """
        request_id = received.message.request_id
        if request_id is None:
            raise LocalMisuse("not a request")
        state, answer = await self._known(received.peer, request_id)
        handler = self._handlers.get(received.message.path)
        again = handler is not None and handler.idempotent
        if state is Request.BEGUN and not again:
            answer = _refusal(Interrupted("begun before a restart; whether it took effect is unknown"))
            self._note_answer(received, answer)
        elif answer is None:
            answer = await self._run(received, request_id)
        # Sealed in the transaction that notes the request as handled.
        await self._endpoint.reply(received, _with_id(answer, request_id))

    async def _run(self, received: Received, request_id: bytes) -> Message:
        endpoint = self._endpoint
        try:
            handler = await self._permitted(received)
            await self._demand_room(received.peer)
        except SealwayError as refused:
            return self._refused(received, refused)
        endpoint.journal.note(
            "INSERT OR IGNORE INTO executed (peer, request, begun) VALUES (?, ?, ?)",
            received.peer, request_id, endpoint.clock.now_ms(),
        )  # fmt: skip
        await endpoint.journal.commit()
        try:
            await self._permitted(received)  # again: the disk may have taken longer than the command may be old
        except SealwayError as refused:
            endpoint.journal.note("DELETE FROM executed WHERE peer = ? AND request = ?", received.peer, request_id)
            return self._refused(received, refused)
        answer = await _called(handler, received.message)
        endpoint.journal.count("requests_executed")
        self._note_answer(received, answer)
        return answer

    async def _demand_room(self, peer: str) -> None:
        """Return if another request of a peer can be remembered. Raises RateLimited."""
        left = self._uncounted.get(peer, 0)
        if left == 0:
            await self._count(peer)
            left = LOOKS_EVERY
        self._uncounted[peer] = left - 1

    async def _count(self, peer: str) -> None:
        """Return if less of a peer than the bounds is remembered, and warn at four fifths. Raises RateLimited."""
        now_ms = self._endpoint.clock.uptime().ms
        if now_ms < self._full.get(peer, 0):
            raise RateLimited(_TOO_MANY)
        self._full.pop(peer, None)
        count, size = await self._endpoint.store.read(lambda c: c.execute(_REMEMBERED, (peer,)).fetchone())
        if count >= MOST_REMEMBERED or size >= MOST_REMEMBERED_BYTES:
            self._full[peer] = now_ms + FULL_FOR_MS
            raise RateLimited(_TOO_MANY)
        if 5 * count >= 4 * MOST_REMEMBERED or 5 * size >= 4 * MOST_REMEMBERED_BYTES:
            log.warning("%d requests of %s are remembered: soon none of its is executed", count, peer)

    def _refused(self, received: Received, refused: SealwayError) -> Message:
        endpoint = self._endpoint
        endpoint.journal.count(f"requests_refused_{type(refused).__name__}")
        endpoint.evidence.request_refused(received.row, refused)
        # The kind only: the words of the error may quote the command, which is sealed for this device alone.
        log.info("a request of %s was refused: %s", received.peer, type(refused).__name__)
        return _refusal(refused)

    async def _permitted(self, received: Received) -> Handler:
        """Return the handler if the request may be executed now; checked anew at every offer."""
        message = received.message
        handler = self._handlers.get(message.path)
        if handler is None or message.code != CODE_POST:
            raise _NoSuchPath(f"nothing answers {'/'.join(message.path)} here")
        held = self._endpoint.sessions.by_hash(received.via)
        if held is None:
            raise Stale("the session of the command is closed")
        holder = await self._holder(held)
        if message.grant is not None:
            self._grants.learn(message.grant, holder)
        self._grants.permit(holder, self._endpoint.member.name, handler.scope)
        if received.expires is not None and self._endpoint.clock.now_ms() >= received.expires * 1_000:
            raise Stale("the command has expired")
        uptime = self._endpoint.clock.uptime()
        check_fresh(message.freshness, held.session.log, uptime, cap_ms=int(handler.max_age.total_seconds() * 1_000))
        return handler

    async def _holder(self, held: Held) -> Credential:
        name = Name.parse(held.session.peer)
        try:
            holder = await self._endpoint.directory.standing_for(held.x5t, name)
        except SealwayError as error:
            raise NotAuthorized(f"who asks cannot be proven any more: {error}") from error
        self._endpoint.sessions.stands_for(held, holder.x5t)
        return holder

    async def _known(self, peer: str, request_id: bytes) -> tuple[Request, Message | None]:
        query = "SELECT answer FROM executed WHERE peer = ? AND request = ?"
        row = await self._endpoint.store.read(lambda c: c.execute(query, (peer, request_id)).fetchone())
        if row is None:
            return Request.NEW, None
        return (Request.ANSWERED, Message.decode(row[0])) if row[0] is not None else (Request.BEGUN, None)

    def _note_answer(self, received: Received, answer: Message) -> None:
        self._endpoint.journal.note(
            "UPDATE executed SET answer = ? WHERE peer = ? AND request = ?",
            answer.encode(), received.peer, received.message.request_id,
        )  # fmt: skip


class _NoSuchPath(LocalMisuse):
    """The request's path, or its method, is not one that this endpoint answers."""


def _with_id(answer: Message, request_id: bytes) -> Message:
    return Message(answer.code, content_format=answer.content_format, payload=answer.payload, request_id=request_id)


def _refusal(error: SealwayError) -> Message:
    """An error answer names the kind of error first, so that the other end can raise the same."""
    code = CODE_NOT_FOUND if isinstance(error, _NoSuchPath) else codes_of(error)[0]
    kind = "NotFound" if isinstance(error, _NoSuchPath) else type(error).__name__
    return Message(code, payload=f"{kind}: {error.message}".encode())


async def _called(handler: Handler, message: Message) -> Message:
    try:
        outcome = handler.call(message)
        return _answer_of(await outcome if inspect.isawaitable(outcome) else outcome)
    except SealwayError as refused:
        return _refusal(refused)
    except Exception:
        log.exception("the handler of %s failed", "/".join(message.path))
        return Message(CODE_INTERNAL_ERROR, payload=b"Failed: the handler failed")


def _answer_of(result: Answer) -> Message:
    """An answer that cannot be one is the handler's failure, and is answered all the same."""
    answer = result if isinstance(result, Message) else None
    if answer is None:
        payload = result.encode() if isinstance(result, str) else result or b""
        if not isinstance(payload, bytes):
            raise TypeError(f"an answer is bytes, text or a Message, not {type(payload).__name__}")
        answer = Message(CODE_CHANGED, payload=payload)
    if answer.code < 0x40 or len(answer.payload) > MOST_ANSWER_BYTES:
        raise ValueError("an answer that is not a response, or too large")
    return answer
