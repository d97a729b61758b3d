# SPDX-License-Identifier: Apache-2.0
"""Authorized HTTP exchanges with a hub: access tokens, typed errors, bounded answers. The payload is opaque here."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import httpx

from sealway.errors import HopRefused, LocalMisuse, NotFound, RateLimited, TooLarge, TransportFailed
from sealway.transports.http_stack import http_transport
from sealway.transports.ports import HOPS

HOP_LIMIT: Final = "Sealway-Hop-Limit"
MOST_ANSWER_BYTES: Final = 8_388_608
_MOST_ERROR_BYTES: Final = 8_192
_MOST_WORDS: Final = 200
_ADMISSION: Final = "/v1/token"
_ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_LONGEST_SECONDS: Final = 86_400  # a token is used; a hub that says more means this
_RENEW_SECONDS: Final = 60
_AWAY: Final = frozenset({500, 502, 503, 504})

Assert = Callable[[str], str]
"""Makes a fresh signed assertion (RFC 7523) for an audience."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer: its body and its headers."""

    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    renew_at: float  # time.monotonic()


class HttpExchange:
    """Requests to one hub as one endpoint.

    Args:
        base_url: the hub, ``https://host[:port]``.
        ssl_context: trusts the hub's authority.
        name: the endpoint's name.
        make_assertion: signs the assertion for the audience that it is given.
        timeout: seconds for connecting, and between bytes.

    Raises:
        LocalMisuse: not such a URL.
    """

    def __init__(
        self, base_url: str, *, ssl_context: ssl.SSLContext, name: str, make_assertion: Assert, timeout: float
    ) -> None:
        self._base = _checked(base_url)
        self._name = name
        self._make_assertion = make_assertion
        self._timeout = timeout
        self._token: _Token | None = None
        self._renewing = asyncio.Lock()
        # Proxies and .netrc of the environment are none of a hop's business.
        self._client = httpx.AsyncClient(
            transport=http_transport(ssl_context), trust_env=False, timeout=timeout,
            headers={"Accept-Encoding": "identity"},
        )  # fmt: skip

    async def ask(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        media_type: str | None = None,
        query: Mapping[str, str] | None = None,
        hops: int | None = None,
        wait: float = 0.0,
    ) -> Answer:
        """Send one request with an access token, a second time with a fresh one if the hub wants that.

        Args:
            method: HTTP method.
            path: from the base URL on.
            body: what to send, or None.
            media_type: of the body.
            query: parameters.
            hops: the hop limit to write, or None for the context's (``ports.HOPS``).
            wait: seconds for which the hub may hold the answer back.

        Raises:
            NotFound, RateLimited, TooLarge: 404, 429, 413.
            HopRefused: any other refusal.
            TransportFailed: the hub cannot be reached, broke off, is out of order, or answers too much.
        """
        headers = {HOP_LIMIT: str(HOPS.get() if hops is None else hops)}
        if media_type is not None:
            headers["Content-Type"] = media_type
        timeout = httpx.Timeout(self._timeout, read=self._timeout + wait)
        token = await self._valid_token()
        for last in (False, True):
            request = self._client.build_request(
                method,
                self._base + path,
                content=body,
                params=query,
                headers={**headers, "Authorization": f"Bearer {token.text}"},
                timeout=timeout,
            )
            status, answer = await self._exchange(request)
            if status == 401 and not last and "www-authenticate" in answer.headers:  # RFC 6750 §3.1
                token = await self._valid_token(instead_of=token)
                continue
            break
        return answer if 200 <= status < 300 else _refused(status, answer.body)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _valid_token(self, *, instead_of: _Token | None = None) -> _Token:
        async with self._renewing:
            token = self._token
            if token is None or token is instead_of or time.monotonic() >= token.renew_at:
                token = self._token = await self._fresh_token()
            return token

    async def _fresh_token(self) -> _Token:
        url = self._base + _ADMISSION
        form = {
            "grant_type": "client_credentials",
            "client_id": self._name,
            "client_assertion_type": _ASSERTION_TYPE,
            "client_assertion": self._make_assertion(url),
        }
        status, answer = await self._exchange(self._client.build_request("POST", url, data=form))
        if status != 200:
            _refused(status, answer.body)
        return _token_in(answer.body)

    async def _exchange(self, request: httpx.Request) -> tuple[int, Answer]:
        try:
            response = await self._client.send(request, stream=True)
            try:
                most = MOST_ANSWER_BYTES if response.is_success else _MOST_ERROR_BYTES
                return response.status_code, Answer(await _bounded(response, most), response.headers)
            finally:
                await response.aclose()
        except httpx.TimeoutException:
            raise TransportFailed(f"{self._base} does not answer in time") from None
        except (httpx.HTTPError, httpx.StreamError, ssl.SSLError, OSError) as error:
            raise TransportFailed(f"{self._base} cannot be reached: {_words(str(error))}") from None


def _checked(base_url: str) -> str:
    try:
        url = httpx.URL(base_url)
    except (httpx.InvalidURL, TypeError):
        raise LocalMisuse("a hub's address is https://host[:port]") from None
    if url.scheme != "https" or not url.host or url.path not in ("", "/") or url.query or url.fragment or url.userinfo:
        raise LocalMisuse("a hub's address is https://host[:port]")
    return base_url.rstrip("/")


async def _bounded(response: httpx.Response, most: int) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > most:
            raise TransportFailed("the hub's answer is too large")
    return bytes(body)


def _token_in(body: bytes) -> _Token:
    # RFC 6749 §5.1
    answer = _json(body)
    text, kind, seconds = (answer.get("access_token"), answer.get("token_type"), answer.get("expires_in"))
    good_text = (
        isinstance(text, str) and text.isascii() and text.isprintable() and 1 <= len(text) <= 1024 and " " not in text
    )
    if (
        not good_text
        or not isinstance(kind, str)
        or kind.lower() != "bearer"
        or type(seconds) is not int
        or seconds < 1
    ):
        raise TransportFailed("the hub's token answer is malformed")
    return _Token(str(text), time.monotonic() + max(1, min(seconds, _LONGEST_SECONDS) - _RENEW_SECONDS))


def _refused(status: int, body: bytes) -> NoReturn:
    answer = _json(body)
    parts = [str(answer[part]) for part in ("error", "error_description") if part in answer]
    words = _words(": ".join(parts)) or f"the hub answers {status}"
    hint = _words(str(answer["hint"])) if "hint" in answer else None
    if status in _AWAY:
        raise TransportFailed(words, hint=hint)
    for code, kind in ((404, NotFound), (413, TooLarge), (429, RateLimited)):
        if status == code:
            raise kind(words, hint=hint)
    raise HopRefused(words, status=status, hint=hint)


def _json(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _words(text: str) -> str:
    """Return a stranger's words, shortened and on one line."""
    return "".join(character if character.isprintable() else " " for character in text[:_MOST_WORDS]).strip()
