# SPDX-License-Identifier: Apache-2.0
"""The gateway's CoAP face: checks each request in a fixed order, then hands it to the handler of its path and method.

Order: critical options, path, method, rate, hop limit, content format, size and blocks; only then the payload is looked
at. What is refused costs a counter and one datagram.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from aiocoap.message import Message
from aiocoap.numbers.codes import Code
from aiocoap.numbers.optionnumbers import OptionNumber
from aiocoap.pipe import Pipe

from sealway.errors import SealwayError
from sealway.gateway.blocks import Downloads, Uploads, asks_for_later_block
from sealway.gateway.limits import Limits, RateLimiter
from sealway.gateway.metrics import Metrics
from sealway.gateway.refusal import (
    BAD_OPTION,
    BAD_REQUEST,
    HOP_LIMIT_REACHED,
    INTERNAL,
    METHOD_NOT_ALLOWED,
    NO_PROXY,
    NOT_FOUND,
    UNSUPPORTED_FORMAT,
    Refusal,
    refusal_of,
)
from sealway.gateway.watchers import Watchers
from sealway.transports.coap_stack import Tuning
from sealway.transports.ports import DEFAULT_HOPS, HOPS

_log = logging.getLogger("sealway.gateway.server")

_KNOWN_CRITICAL: Final = frozenset(  # RFC 7252 §5.4.1: any other critical option is 4.02
    {
        OptionNumber.URI_HOST,
        OptionNumber.URI_PORT,
        OptionNumber.URI_PATH,
        OptionNumber.URI_QUERY,
        OptionNumber.ACCEPT,
        OptionNumber.BLOCK1,
        OptionNumber.BLOCK2,
    }
)
EMPTY_COLLECTED: Final = b"\x80"
"""The encoding of an empty Collected: nothing to notify anyone of."""

_PROXY: Final = frozenset({OptionNumber.PROXY_URI, OptionNumber.PROXY_SCHEME})


@dataclass(frozen=True, slots=True)
class Ask:
    """A request that passed the checks."""

    path: tuple[str, ...]  # after the first segment
    query: tuple[str, ...]
    payload: bytes
    hops: int  # already lowered
    content_format: int | None = None  # of the payload, where there is one
    accept: int | None = None  # the format in which the answer is wanted


@dataclass(frozen=True, slots=True)
class Answer:
    """What a handler answers: CoAP code byte, payload and its content format."""

    code: int
    payload: bytes = b""
    content_format: int = 0


@dataclass(frozen=True, slots=True)
class Route:
    """How one method of one path is served; ``formats`` empty means that a payload is not looked at."""

    handler: Callable[[Ask], Awaitable[Answer]]
    formats: frozenset[int] = frozenset()
    limit: int = 0  # bytes of payload
    observed: Callable[[Ask], str] | None = None  # the mailbox that Observe refers to


Routes = Mapping[str, Mapping[int, Route]]


class CoapFace:
    """The site of the CoAP server."""

    def __init__(self, routes: Routes, limits: Limits, metrics: Metrics, watchers: Watchers) -> None:
        self._routes = routes
        self._metrics = metrics
        self._watchers = watchers
        self._uploads = Uploads(limits)
        self._downloads = Downloads(limits.bearer_bytes)
        self._rates = RateLimiter(limits.per_minute)

    async def render_to_pipe(self, pipe: Pipe) -> None:
        """Answer the request of a pipe: once, or again and again for an observation."""
        try:
            await self._serve(pipe)
        except Refusal as refusal:
            self._refuse(pipe, refusal)
        except SealwayError as error:
            self._refuse(pipe, refusal_of(error))
        except Exception:  # noqa: BLE001 - a fault here is answered with 5.00 and leaves the others alone
            _log.exception("a request failed in the gateway")
            self._refuse(pipe, Refusal(INTERNAL, "failed inside"))

    def _refuse(self, pipe: Pipe, refusal: Refusal) -> None:
        self._metrics.add(refusal.counter)
        _send(pipe, refusal.to_message(), last=True)

    async def _serve(self, pipe: Pipe) -> None:
        request = pipe.request
        route = self._route(request)
        self._rates.spend(request.remote.sockaddr[0], time.monotonic())
        hops = _lowered_hops(request)
        if asks_for_later_block(request):
            _send(pipe, self._downloads.following(request, _success(request)), last=True)
            return
        payload = self._payload(request, route)
        if payload is None:
            _send(pipe, self._downloads.more(request), last=True)
            return
        HOPS.set(hops)  # each request is served in a task, and a context, of its own
        await self._answer(pipe, route, _ask(request, payload, hops))

    async def _answer(self, pipe: Pipe, route: Route, ask: Ask) -> None:
        if route.observed is not None and pipe.request.opt.observe == 0:
            await self._observe(pipe, route, ask, route.observed(ask))
        else:
            _send(pipe, self._message(pipe.request, await route.handler(ask)), last=True)

    async def _observe(self, pipe: Pipe, route: Route, ask: Ask, mailbox: str) -> None:
        """Answer now and whenever there is something in the mailbox (RFC 7641)."""
        with self._watchers.watch(mailbox, pipe.request.remote.sockaddr[:2]) as watch:
            answer = await route.handler(ask)
            if watch is None:  # too many: an answer without Observe says that there will be no notifications (§4.1)
                _send(pipe, self._message(pipe.request, answer), last=True)
                return
            self._notify(pipe, answer)
            if answer.payload != EMPTY_COLLECTED:
                watch.notified()
            while await watch.next():
                answer = await route.handler(ask)
                if answer.payload != EMPTY_COLLECTED:
                    self._notify(pipe, answer)
                    watch.notified()
            _send(pipe, self._message(pipe.request, await route.handler(ask)), last=True)

    def _notify(self, pipe: Pipe, answer: Answer) -> None:
        message = self._message(pipe.request, answer)
        message.opt.observe = self._watchers.next_sequence()
        self._metrics.add("notifications")
        _send(pipe, message, last=False)

    def _route(self, request: Message) -> Route:
        _check_options(request)
        path = request.opt.uri_path
        methods = self._routes.get(path[0]) if path else None
        if methods is None:
            raise Refusal(NOT_FOUND, "no such path")
        route = methods.get(int(request.code))
        if route is None:
            raise Refusal(METHOD_NOT_ALLOWED, "this path does not have this method")
        return route

    def _payload(self, request: Message, route: Route) -> bytes | None:
        if not route.formats:
            return b""
        if request.opt.content_format not in route.formats:  # RFC 7252 §5.9.2.9
            formats = " or ".join(str(number) for number in sorted(route.formats))
            raise Refusal(UNSUPPORTED_FORMAT, f"content format {formats} expected")
        return self._uploads.feed(request, route.limit)

    def _message(self, request: Message, answer: Answer) -> Message:
        message = self._downloads.first(request, answer.code, answer.payload, answer.content_format)
        if request.opt.block1 is not None:
            message.opt.block1 = request.opt.block1
        return message


def _ask(request: Message, payload: bytes, hops: int) -> Ask:
    options = request.opt
    formats = (None if number is None else int(number) for number in (options.content_format, options.accept))
    return Ask(options.uri_path[1:], options.uri_query, payload, hops, *formats)


def _send(pipe: Pipe, message: Message, *, last: bool) -> None:
    message.transport_tuning = Tuning()
    pipe.add_response(message, is_last=last)


def _check_options(request: Message) -> None:
    for option in request.opt.option_list():
        if option.number in _PROXY:
            raise Refusal(NO_PROXY, "this gateway is no forward proxy")
        if option.number.is_critical() and option.number not in _KNOWN_CRITICAL:
            raise Refusal(BAD_OPTION, f"critical option {int(option.number)} is not known here")


def _lowered_hops(request: Message) -> int:
    """The hop limit to pass on (RFC 8768 §3). Raises Refusal 5.08 when it is used up, 4.00 for one outside 1..255."""
    hops = request.opt.hop_limit
    if hops is None:
        return DEFAULT_HOPS - 1
    if not 1 <= hops <= 255:
        raise Refusal(BAD_REQUEST, "hop limit outside 1..255")
    if hops == 1:
        raise Refusal(HOP_LIMIT_REACHED, "hop limit reached at a sealway gateway")
    return int(hops) - 1


def _success(request: Message) -> int:
    """The code of a later block: that of the answer's first, which for these methods is one (2.05 or 2.04)."""
    return int(Code.CONTENT if request.code is Code.GET else Code.CHANGED)
