# SPDX-License-Identifier: Apache-2.0
"""Health, version, metrics."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Final

from fastapi import APIRouter, Response

from sealway.hub.metrics import CONTENT_TYPE
from sealway.hub.service import HubOf

router: Final = APIRouter(tags=["about"])


@router.get("/health", summary="Say that the hub serves and its database can be read")
async def health(hub: HubOf) -> dict[str, str]:
    await hub.mailboxes.gauges()
    return {"status": "ok"}


@router.get("/version", summary="Say which version this is")
async def about_version() -> dict[str, str]:
    return {"name": "sealway", "version": sealway_version()}


@router.get("/metrics", summary="Give counters and gauges in Prometheus text format", response_class=Response)
async def metrics(hub: HubOf) -> Response:
    return Response(hub.metrics.text(await hub.mailboxes.gauges()), headers={"Content-Type": CONTENT_TYPE})


def sealway_version() -> str:
    """Return the installed version, or "unknown" in a bare source tree."""
    try:
        return version("sealway")
    except PackageNotFoundError:
        return "unknown"
