# SPDX-License-Identifier: Apache-2.0
"""Request bodies, bounded in bytes and seconds while they arrive, and what the OpenAPI document says of binary ones."""

from __future__ import annotations

import asyncio
from typing import Any, Final
from urllib.parse import parse_qsl

from fastapi import Request
from starlette.requests import ClientDisconnect

from sealway.errors import HopRefused, Malformed, TooLarge, TransportFailed

CBOR: Final = "application/cbor"
COSE: Final = "application/cose"
FORM: Final = "application/x-www-form-urlencoded"
_MOST_FIELDS: Final = 16
_MOST_DIGITS: Final = 12


async def body_of(request: Request, media_type: str, *, most: int, seconds: float) -> bytes:
    """Read a request's body.

    Args:
        request: whose.
        media_type: what it has to be; parameters are not looked at.
        most: bytes; no more than that, and one chunk, is ever in memory.
        seconds: how long it may take to arrive.

    Raises:
        HopRefused: 415 for another media type, 408 when it takes too long.
        TooLarge: more than ``most``.
        TransportFailed: the client went away.
    """
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != media_type:
        raise HopRefused(f"the body must be {media_type}", status=415)
    _check_announced(request.headers.get("content-length"), most)
    try:
        async with asyncio.timeout(seconds):
            return await _read(request, most)
    except TimeoutError:
        raise HopRefused("the body took too long to arrive", status=408) from None
    except ClientDisconnect:
        raise TransportFailed("the client went away") from None


def form_of(body: bytes) -> dict[str, str]:
    """Return the fields of a form, each of which occurs once (RFC 6749 §3.2). Raises Malformed."""
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=_MOST_FIELDS,
        )
    except ValueError:
        raise Malformed("the body is not a form") from None
    if len(dict(pairs)) != len(pairs):
        raise Malformed("a form field occurs twice")
    return dict(pairs)


def takes(media_type: str, meaning: str) -> dict[str, Any]:
    """Return the OpenAPI description of a binary request body."""
    return {"requestBody": {"required": True, "description": meaning, "content": {media_type: {"schema": _BINARY}}}}


def gives(media_type: str, meaning: str) -> dict[str, Any]:
    """Return the OpenAPI description of a binary answer."""
    return {"description": meaning, "content": {media_type: {"schema": _BINARY}}}


_BINARY: Final = {"type": "string", "format": "binary"}


async def _read(request: Request, most: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise TooLarge(f"a body has at most {most} bytes here")
    return bytes(body)


def _check_announced(length: str | None, most: int) -> None:
    if length is None:
        return
    if not (length.isascii() and length.isdigit()):
        raise Malformed("Content-Length is no number")
    if len(length) > _MOST_DIGITS or int(length) > most:
        raise TooLarge(f"a body has at most {most} bytes here")
