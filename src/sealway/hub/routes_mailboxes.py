# SPDX-License-Identifier: Apache-2.0
"""The routes of mailboxes."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from fastapi import APIRouter, Depends, Request, Response

from sealway.errors import SealwayError
from sealway.hub.bodies import CBOR, COSE, gives, takes
from sealway.hub.intake import CREATED
from sealway.hub.mailboxes import status_of
from sealway.hub.refusals import ERRORS, count_refusal
from sealway.hub.service import CallerOf, HubOf, check_hops
from sealway.hub.steady import deposits_in
from sealway.wire.carriage import MAX_BATCH, Acknowledgement, Collected, CollectRequest, Verdicts

router: Final = APIRouter(prefix="/v1", tags=["mailboxes"], responses=ERRORS, dependencies=[Depends(check_hops)])

REFUSED: Final = "Sealway-Refused"
"""Names, in an answer of collect, mailboxes among those asked for that the caller may not collect; at most 256."""

_MOST_REFUSED: Final = 256


@router.post(
    "/mailboxes/{mailbox}/envelopes",
    summary="Deposit one envelope",
    description="Anyone certified may. The same bytes are held once: 200 instead of 201.",
    status_code=201,
    response_class=Response,
    openapi_extra=takes(COSE, "one envelope (COSE_Encrypt0)"),
    responses={200: {"description": "held already"}},
)
async def deposit(mailbox: str, request: Request, hub: HubOf, caller: CallerOf) -> Response:
    envelope = await hub.batch(request, COSE)
    (verdict,) = await hub.mailboxes.deposit(caller, [(mailbox, envelope)])
    if isinstance(verdict, SealwayError):
        raise verdict
    return Response(status_code=verdict.status)


@router.post(
    "/deposits",
    summary="Deposit up to 100 envelopes in any mailboxes",
    description="One durable commit; one verdict each, in order.",
    response_class=Response,
    openapi_extra=takes(CBOR, "Deposits"),
    responses={200: gives(CBOR, "Verdicts")},
)
async def deposits(request: Request, hub: HubOf, caller: CallerOf) -> Response:
    verdicts = await hub.mailboxes.deposit(caller, deposits_in(await hub.batch(request, CBOR)))
    if verdicts.count(CREATED) == len(verdicts):
        return Response(_all_created(len(verdicts)), media_type=CBOR)
    for verdict in verdicts:
        if isinstance(verdict, SealwayError):
            count_refusal(hub.metrics, request.scope, verdict)
    return Response(Verdicts(tuple(map(status_of, verdicts))).encode(), media_type=CBOR)


@router.post(
    "/collect",
    summary="Collect what waits",
    description=f"Long poll. Mailboxes that the caller may not collect stand in the header {REFUSED}; 403 if all do.",
    response_class=Response,
    openapi_extra=takes(CBOR, "CollectRequest"),
    responses={200: gives(CBOR, "Collected")},
)
async def collect(request: Request, hub: HubOf, caller: CallerOf) -> Response:
    wanted = CollectRequest.decode(await hub.document(request, CBOR))
    found = await hub.mailboxes.collect(
        caller, wanted.mailboxes, wait=wanted.wait_seconds, most=wanted.most, gone=request.is_disconnected
    )
    headers = {REFUSED: ",".join(found.refused[:_MOST_REFUSED])} if found.refused else {}
    return Response(Collected(tuple(found.held)).encode(), media_type=CBOR, headers=headers)


@router.post(
    "/acknowledge",
    summary="Acknowledge what was collected",
    description="The hub forgets it.",
    status_code=204,
    openapi_extra=takes(CBOR, "Acknowledgement"),
)
async def acknowledge(request: Request, hub: HubOf, caller: CallerOf) -> Response:
    acknowledgement = Acknowledgement.decode(await hub.batch(request, CBOR))
    await hub.mailboxes.acknowledge(caller, acknowledgement.items)
    return Response(status_code=204)


@lru_cache(maxsize=MAX_BATCH)
def _all_created(count: int) -> bytes:
    """The answer to most batches."""
    return Verdicts((status_of(CREATED),) * count).encode()
