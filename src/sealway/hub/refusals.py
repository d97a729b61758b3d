# SPDX-License-Identifier: Apache-2.0
"""Every refusal in one shape: a status, JSON {"error", "hint"}, a count. Never a traceback, a payload or a token."""

from __future__ import annotations

import logging
import traceback
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sealway.errors import HopRefused, Malformed, SealwayError, codes_of
from sealway.hub.admission import NoToken, OAuthRefusal
from sealway.hub.metrics import Metrics

_LOG: Final = logging.getLogger("sealway.hub")
NO_STORE: Final = {"Cache-Control": "no-store", "Pragma": "no-cache"}  # RFC 6749 §5.1

ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {
        "description": "refused",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["error"],
                    "properties": {"error": {"type": "string"}, "hint": {"type": "string"}},
                }
            }
        },
    }
}


def install(app: FastAPI, metrics: Metrics) -> None:
    """Make the app answer every error in this module's way, and count."""
    app.add_exception_handler(SealwayError, _refuse)
    app.add_exception_handler(HTTPException, _refuse_request)
    app.add_exception_handler(RequestValidationError, _refuse_parameters)
    app.add_middleware(Counting, metrics=metrics)


def operation_of(scope: Scope) -> str:
    """Return the name of the route that a request met, or "none"."""
    return str(getattr(scope.get("route"), "name", "none"))


def status_of(error: SealwayError) -> int:
    """Return the HTTP status of an error that this hub answers with."""
    return error.status if isinstance(error, HopRefused | OAuthRefusal) else codes_of(error)[1]


def count_refusal(metrics: Metrics, scope: Scope, error: SealwayError) -> None:
    """Count one refusal, by the kind of its error."""
    _count(metrics, scope, type(error).__name__)


def refused(request: Request, error: SealwayError) -> JSONResponse:
    """Count a refusal and return its answer."""
    count_refusal(request.app.state.hub.metrics, request.scope, error)
    if isinstance(error, OAuthRefusal):  # RFC 6749 §5.2
        return JSONResponse({"error": error.code, "error_description": error.message}, error.status, headers=NO_STORE)
    return _answer(status_of(error), error.message, error.hint, _headers(error))


async def _refuse(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, SealwayError):
        raise error
    return refused(request, error)


async def _refuse_request(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    _count(request.app.state.hub.metrics, request.scope, str(error.status_code))
    return _answer(error.status_code, str(error.detail).lower(), None, dict(error.headers or {}))


async def _refuse_parameters(request: Request, _: Exception) -> JSONResponse:
    return refused(request, Malformed("a parameter is missing or not of its type"))


def _headers(error: SealwayError) -> dict[str, str]:
    status = status_of(error)
    if isinstance(error, NoToken):
        return {"WWW-Authenticate": 'Bearer error="invalid_token"'}  # RFC 6750 §3
    if status in (408, 413):
        return {"Connection": "close"}  # the rest of the body is not waited for
    return {"Retry-After": "1"} if status in (429, 503) else {}


def _answer(status: int, error: str, hint: str | None, headers: dict[str, str]) -> JSONResponse:
    return JSONResponse({"error": error} | ({} if hint is None else {"hint": hint}), status, headers=headers)


def _count(metrics: Metrics, scope: Scope, reason: str) -> None:
    metrics.count("sealway_hub_refusals_total", operation=operation_of(scope), reason=reason)


class Counting:
    """Counts answers; turns a fault of ours into a plain 500 and one line in the log, without values."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        statuses: list[int] = []

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
                self._metrics.count(
                    "sealway_hub_requests_total", operation=operation_of(scope), status=str(statuses[0])
                )
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:  # noqa: BLE001 - the last resort: no fault may end as a traceback in anybody's hands
            _LOG.error("fault in %s: %s at %s", operation_of(scope), type(error).__name__, _place(error))
            if not statuses:
                await _answer(500, "the hub made a mistake", None, {})(scope, receive, watched)


def _place(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "unknown"
