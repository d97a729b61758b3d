# SPDX-License-Identifier: Apache-2.0
"""The short way to the busiest routes: the same functions, without finding them among all and solving what they need.

Invariant: what comes this way is checked as FastAPI has it checked (hops, then the token and its rate, then the body),
and refused in the same words. The routes stay declared where they are: they are the document, and the way of every
request that is spelled unusually.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from sealway.errors import SealwayError
from sealway.hub import refusals, routes_mailboxes
from sealway.hub.admission import Caller
from sealway.hub.service import Hub, caller_of, check_hops

Endpoint = Callable[[Request, Hub, Caller], Awaitable[Response]]

_ENVELOPES: Final = re.compile(r"/v1/mailboxes/([a-z2-7]{16})/envelopes").fullmatch


@dataclass(frozen=True, slots=True)
class Operation:
    """What a request asks for, named as its route is."""

    name: str
    endpoint: Endpoint


_ROUTES: Final[Mapping[str, Operation]] = {
    "/v1/deposits": Operation("deposits", routes_mailboxes.deposits),
    "/v1/collect": Operation("collect", routes_mailboxes.collect),
    "/v1/acknowledge": Operation("acknowledge", routes_mailboxes.acknowledge),
}


class HubApp(FastAPI):
    """The hub's application: the busiest routes by the short way, all else as FastAPI does it."""

    lane: ASGIApp | None = None

    def open_lane(self, hub: Hub) -> None:
        """Serve the short way, from now on."""
        self.lane = refusals.Counting(_Lane(hub), hub.metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        operation = None if self.lane is None else _operation(scope)
        if operation is None or self.lane is None:
            await super().__call__(scope, receive, send)
            return
        scope["app"], scope["route"] = self, operation
        await self.lane(scope, receive, send)


class _Lane:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        operation: Operation = scope["route"]
        request = Request(scope, receive)
        try:
            await check_hops(request)
            caller = await caller_of(self._hub, request.headers.get("authorization"))
            answer = await operation.endpoint(request, self._hub, caller)
        except SealwayError as error:
            answer = refusals.refused(request, error)
        await answer(scope, receive, send)


def _operation(scope: Scope) -> Operation | None:
    if scope["type"] != "http" or scope["method"] != "POST":
        return None
    path: str = scope["path"]
    known = _ROUTES.get(path)
    if known is None and (mailbox := _ENVELOPES(path)) is not None:
        return Operation("deposit", partial(routes_mailboxes.deposit, mailbox[1]))
    return known
