# SPDX-License-Identifier: Apache-2.0
"""The hub as an ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from fastapi import FastAPI

from sealway.hub import refusals, routes_about, routes_admission, routes_directory, routes_mailboxes
from sealway.hub.config import Clock, HubConfig
from sealway.hub.lane import HubApp
from sealway.hub.service import Hub
from sealway.hub.store import Store

_DESCRIPTION: Final = """\
Directory and mailboxes for endpoints that seal their messages end to end. The hub holds no endpoint's key and opens
nothing; whatever it serves is verified again by whoever asked.
"""

_TAGS: Final = [
    {"name": "admission", "description": "who may ask: OAuth 2.0"},
    {"name": "directory", "description": "credentials, bundles, consents, the root document"},
    {"name": "mailboxes", "description": "deposit, collect, acknowledge"},
    {"name": "about", "description": "health, version, metrics"},
]


def create_app(config: HubConfig, store: Store, clock: Clock) -> FastAPI:
    """Return the application of one hub; its parts are at ``app.state.hub``.

    Args:
        config: what it is started with; listening is not its business.
        store: its database, open; the caller closes it.
        clock: Unix seconds.

    Raises:
        Malformed, NotAuthentic, NotTrusted: the configured root document is no good.
    """
    hub = Hub(config, store, clock)
    app = HubApp(
        title="Sealway hub",
        version=routes_about.sealway_version(),
        description=_DESCRIPTION,
        openapi_tags=_TAGS,
        docs_url=None,
        redoc_url=None,
        lifespan=_sweeping,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.hub = hub
    for routes in (routes_admission, routes_directory, routes_mailboxes, routes_about):
        app.include_router(routes.router)
    refusals.install(app, hub.metrics)
    app.open_lane(hub)
    return app


@asynccontextmanager
async def _sweeping(app: FastAPI) -> AsyncIterator[None]:
    hub: Hub = app.state.hub
    sweeping = asyncio.create_task(hub.sweep_until_cancelled())
    try:
        yield
    finally:
        sweeping.cancel()
        with suppress(asyncio.CancelledError):
            await sweeping
