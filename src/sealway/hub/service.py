# SPDX-License-Identifier: Apache-2.0
"""The parts of one hub, made once and handed to the routes."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from typing import Annotated, Final

from fastapi import Depends, Request
from fastapi.security import OAuth2

from sealway.errors import HopRefused, Malformed, SealwayError
from sealway.hub.admission import Admission, Caller
from sealway.hub.bodies import body_of
from sealway.hub.config import Clock, HubConfig, Limits
from sealway.hub.directory import Directory
from sealway.hub.limits import Rate
from sealway.hub.mailboxes import Mailboxes
from sealway.hub.metrics import Metrics
from sealway.hub.store import Store
from sealway.identity.root import verify_root

HOP_LIMIT: Final = "Sealway-Hop-Limit"
_HOPS: Final = 16
_MOST_HOPS: Final = 255
_SWEEP_SECONDS: Final = 60
_LOG: Final = logging.getLogger("sealway.hub")


class Hub:
    """One hub.

    Args:
        config: what it was started with.
        store: its database, open.
        clock: Unix seconds.

    Raises:
        Malformed, NotAuthentic, NotTrusted: the configured root document is no good.
    """

    def __init__(self, config: HubConfig, store: Store, clock: Clock) -> None:
        limits = config.limits
        # Trusted because the operator configured it: pinned by its own fingerprint.
        fingerprint = hashlib.sha256(config.root_document).digest()
        root = verify_root(config.root_document, now=clock(), fingerprint=fingerprint)
        self.root_document = config.root_document
        self.limits: Limits = limits
        self.audiences = {token_url(url) for url in config.public_urls}
        self.metrics = Metrics()
        self.admission = Admission(store, root, self.audiences, limits, clock)
        self.directory = Directory(store, root, limits, clock, self.metrics)
        self.mailboxes = Mailboxes(store, limits, clock, self.metrics)
        self.requests = Rate(limits.requests_per_minute, "requests by this endpoint")

    async def document(self, request: Request, media_type: str) -> bytes:
        """Return the body of a request that carries one document."""
        return await body_of(request, media_type, most=self.limits.document_bytes, seconds=self.limits.body_seconds)

    async def batch(self, request: Request, media_type: str) -> bytes:
        """Return the body of a request that carries envelopes, or speaks of many."""
        return await body_of(request, media_type, most=self.limits.body_bytes, seconds=self.limits.body_seconds)

    async def sweep_until_cancelled(self) -> None:
        """Forget what has expired, every minute."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            await self.sweep_once_and_log()

    async def sweep_once_and_log(self) -> None:
        """Forget what has expired; a failure goes to the log, and the next minute tries again."""
        try:
            await self.sweep()
        except SealwayError as error:
            _LOG.error("sweeping failed: %s", error.message)

    async def sweep(self) -> None:
        """Forget what has expired."""
        await self.mailboxes.expire()
        await self.directory.expire()
        await self.admission.expire()


def token_url(base_url: str) -> str:
    """Return the token endpoint of a hub at this base URL: the audience of assertions."""
    return f"{base_url.rstrip('/')}/v1/token"


async def hub_of(request: Request) -> Hub:
    """Return the hub that serves this request."""
    hub: Hub = request.app.state.hub
    return hub


_BEARER: Final = OAuth2(
    flows={"clientCredentials": {"tokenUrl": "/v1/token", "scopes": {}}},
    scheme_name="accessToken",
    description="client credentials with a signed assertion (RFC 7523)",
    auto_error=False,
)

HubOf = Annotated[Hub, Depends(hub_of)]


async def caller_of(hub: HubOf, authorization: Annotated[str | None, Depends(_BEARER)]) -> Caller:
    """Return whom the request's access token stands for. Raises NoToken, RateLimited."""
    caller = await hub.admission.caller(authorization)
    hub.requests.spend(caller.name)
    return caller


CallerOf = Annotated[Caller, Depends(caller_of)]


async def check_hops(request: Request) -> None:
    """Refuse what has gone through too many hops: a loop. Raises HopRefused (508), Malformed."""
    text = request.headers.get(HOP_LIMIT, str(_HOPS))
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and int(text) <= _MOST_HOPS):
        raise Malformed(f"{HOP_LIMIT} is a number of 0 to {_MOST_HOPS}")
    if int(text) == 0:
        raise HopRefused("too many hops: the way of this envelope is a loop", status=508)
