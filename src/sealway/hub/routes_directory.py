# SPDX-License-Identifier: Apache-2.0
"""The routes of the directory."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Depends, Query, Request, Response

from sealway.errors import Malformed
from sealway.hub.bodies import CBOR, COSE, gives, takes
from sealway.hub.refusals import ERRORS
from sealway.hub.service import CallerOf, HubOf, check_hops
from sealway.wire.address import Name

router: Final = APIRouter(prefix="/v1", tags=["directory"], responses=ERRORS, dependencies=[Depends(check_hops)])

_NAME: Final = Query(description="an endpoint's name, sealway://domain/role/label")
_HASH_HEX: Final = 64


@router.put(
    "/credentials",
    summary="Publish a certificate chain",
    status_code=204,
    openapi_extra=takes(CBOR, "CertChain: certificates in DER, leaf first; self-authenticated"),
)
async def publish_credential(request: Request, hub: HubOf, caller: CallerOf) -> Response:
    await hub.directory.publish_credential(caller, await hub.document(request, CBOR))
    return Response(status_code=204)


@router.get(
    "/credentials/{x5t}",
    summary="Fetch a certificate chain by the SHA-256 of its leaf, in hex",
    response_class=Response,
    responses={200: gives(CBOR, "CertChain")},
)
async def credential(x5t: str, hub: HubOf, caller: CallerOf) -> Response:
    return Response(await hub.directory.credential(_digest(x5t)), media_type=CBOR)


@router.put(
    "/bundles",
    summary="Publish a signed bundle and its one-time keys",
    status_code=204,
    openapi_extra=takes(CBOR, "Publication; signed by a credential that is published"),
)
async def publish_bundle(request: Request, hub: HubOf, caller: CallerOf) -> Response:
    await hub.directory.publish_bundle(caller, await hub.document(request, CBOR))
    return Response(status_code=204)


@router.post(
    "/bundles/claim",
    summary="Claim the newest bundle with one one-time key, which nobody else gets",
    response_class=Response,
    responses={200: gives(CBOR, "Offer; without a one-time key when none is left")},
)
async def claim_bundle(hub: HubOf, caller: CallerOf, name: str = _NAME) -> Response:
    return Response(await hub.directory.claim(caller, Name.parse(name)), media_type=CBOR)


@router.get(
    "/bundles",
    summary="Fetch the newest bundle of a name",
    response_class=Response,
    responses={200: gives(COSE, "signed bundle")},
)
async def newest_bundle(hub: HubOf, caller: CallerOf, name: str = _NAME) -> Response:
    return Response(await hub.directory.newest(Name.parse(name)), media_type=COSE)


@router.get(
    "/bundles/{digest}",
    summary="Fetch an unexpired bundle by its SHA-256, in hex",
    response_class=Response,
    responses={200: gives(COSE, "signed bundle")},
)
async def bundle_by_hash(digest: str, hub: HubOf, caller: CallerOf) -> Response:
    return Response(await hub.directory.by_hash(_digest(digest)), media_type=COSE)


@router.put(
    "/consents",
    summary="Publish a device's consent to be carried by a gateway",
    status_code=204,
    openapi_extra=takes(COSE, "CarryConsent; signed by the device"),
)
async def publish_consent(request: Request, hub: HubOf, caller: CallerOf) -> Response:
    await hub.directory.publish_consent(caller, await hub.document(request, COSE))
    return Response(status_code=204)


@router.get(
    "/root",
    summary="Fetch the owner's root document",
    response_class=Response,
    responses={200: gives(COSE, "root document")},
)
async def root_document(hub: HubOf) -> Response:
    return Response(hub.root_document, media_type=COSE)


def _digest(text: str) -> bytes:
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        digest = b""
    if len(text) != _HASH_HEX or digest.hex() != text:
        raise Malformed("a SHA-256 is 64 lower-case hexadecimal digits")
    return digest
