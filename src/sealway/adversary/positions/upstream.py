# SPDX-License-Identifier: Apache-2.0
"""One HTTP request passed on to the next hop as it came, and the answer: opaque, bounded, no redirects followed."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import httpx

from sealway.errors import TransportFailed

MOST_BODY_BYTES: Final = 8_388_608
_SLOWEST_S: Final = 75.0
"""A long poll is held for a minute at most."""

_PASSED_ON: Final = frozenset({"authorization", "content-type", "accept", "sealway-hop-limit"})
_PASSED_BACK: Final = frozenset({"content-type", "www-authenticate", "cache-control", "retry-after", "sealway-refused"})


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: method, path with its query, headers that matter, body."""

    method: str
    target: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer: status, headers that matter, body."""

    status: int
    body: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """True for class 2."""
        return 200 <= self.status < 300


def passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    """Return those headers of a request (in lower case) that the next hop needs."""
    return {name: value for name, value in headers.items() if name in _PASSED_ON}


class Upstream:
    """The next hop.

    Args:
        base: its address, ``https://HOST:PORT``.
        context: trusts its authority.
        transport: carries requests in place of TLS, for tests.
    """

    def __init__(
        self, base: str, context: ssl.SSLContext, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:  # fmt: skip
        self._base = base.rstrip("/")
        self._client = httpx.AsyncClient(
            verify=context, transport=transport, trust_env=False, timeout=httpx.Timeout(10.0, read=_SLOWEST_S),
            headers={"Accept-Encoding": "identity"},
        )  # fmt: skip

    async def ask(self, asked: Asked) -> Answered:
        """Pass a request on. Raises TransportFailed if there is no answer, or one that is too large."""
        url = self._base + asked.target
        try:
            request = self._client.build_request(
                asked.method, url, content=asked.body, headers=passed_on(asked.headers)
            )
            response = await self._client.send(request, stream=True)
            try:
                body = await _bounded(response)
            finally:
                await response.aclose()
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, ssl.SSLError, OSError) as error:
            raise TransportFailed(f"{self._base} does not answer: {type(error).__name__}") from None
        kept = {name: value for name, value in response.headers.items() if name in _PASSED_BACK}
        return Answered(response.status_code, body, kept)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


async def _bounded(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > MOST_BODY_BYTES:
            raise TransportFailed("an answer is too large")
    return bytes(body)
