# SPDX-License-Identifier: Apache-2.0
"""The token endpoint."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from sealway.errors import HopRefused, Malformed
from sealway.hub.admission import ASSERTION_TYPE, GRANT_TYPE, OAuthRefusal
from sealway.hub.bodies import FORM, form_of
from sealway.hub.refusals import ERRORS, NO_STORE
from sealway.hub.service import HubOf

router: Final = APIRouter(prefix="/v1", tags=["admission"], responses=ERRORS)

_TEXT: Final = {"type": "string"}
_FORM_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["grant_type", "client_assertion_type", "client_assertion"],
    "properties": {
        "grant_type": {"type": "string", "enum": [GRANT_TYPE]},
        "client_assertion_type": {"type": "string", "enum": [ASSERTION_TYPE]},
        "client_assertion": {"type": "string", "description": "JWT, ES256 or EdDSA, the certificate chain in x5c"},
        "client_id": _TEXT,
    },
}
_TOKEN_SCHEMA: Final = {
    "type": "object",
    "required": ["access_token", "token_type", "expires_in"],
    "properties": {"access_token": _TEXT, "token_type": _TEXT, "expires_in": {"type": "integer"}},
}


@router.post(
    "/token",
    summary="Get an access token",
    description="OAuth 2.0 client credentials with a signed assertion (RFC 6749 §4.4, RFC 7523).",
    openapi_extra={"requestBody": {"required": True, "content": {FORM: {"schema": _FORM_SCHEMA}}}},
    responses={200: {"description": "a bearer token", "content": {"application/json": {"schema": _TOKEN_SCHEMA}}}},
)
async def token(request: Request, hub: HubOf) -> JSONResponse:
    try:
        form = form_of(await hub.document(request, FORM))
    except (Malformed, HopRefused) as error:
        raise OAuthRefusal("invalid_request", error.message) from None
    issued = await hub.admission.admit(form, request.client.host if request.client else "unknown")
    answer = {"access_token": issued.token, "token_type": "Bearer", "expires_in": issued.seconds}
    return JSONResponse(answer, headers=NO_STORE)
