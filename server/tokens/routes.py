"""Routes of access tokens: asking for one, the keys that sign them, the description of both.

Specification: RFC 6749, sections 4.4.2, 5.1 and 5.2; RFC 8705, section 2; RFC 8414, section 3;
RFC 7517, section 5. Refusals are problem documents as everywhere, with `error` of RFC 6749 in them.
"""

from __future__ import annotations

import json
import logging
from typing import Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from server.api.bodies import read_body
from server.api.documents import refusals
from server.api.errors import NotReadyError
from server.api.parts import Caller, Parts, Services
from server.api.tls import EXTENSION
from server.tokens.errors import ClientError, GrantTypeError, TokenRequestError
from server.tokens.tokens import KEYS_PATH, LIFETIME_S, TOKEN_PATH, Tokens

FORM = "application/x-www-form-urlencoded"
GRANT = "client_credentials"
MAX_FORM = 4096
_TYPE = "Bearer"
_FIELDS = 16
_log = logging.getLogger("lianfang.api")

router = APIRouter(tags=["tokens"])


class TokenDocument(BaseModel):
    """A token (RFC 6749, section 5.1)."""

    access_token: str = Field(description="A JWT by RFC 9068, bound to the certificate shown.")
    token_type: str = Field(description="Bearer.")
    expires_in: int = Field(description="Seconds.")
    scope: str


class TokenForm(BaseModel):
    """What is asked for (RFC 6749, section 4.4.2)."""

    grant_type: str = Field(description="client_credentials.")
    scope: str = Field(description="One or more scopes, with single spaces between them.")
    client_id: str | None = Field(
        default=None, description="The partner's name, where the client sends one."
    )


class KeysDocument(BaseModel):
    """Public keys (RFC 7517, section 5)."""

    keys: list[dict[str, Any]]


class MetadataDocument(BaseModel):
    """This authorization server (RFC 8414, section 2)."""

    issuer: str
    token_endpoint: str
    jwks_uri: str
    scopes_supported: list[str]
    response_types_supported: list[str]
    grant_types_supported: list[str]
    token_endpoint_auth_methods_supported: list[str]
    tls_client_certificate_bound_access_tokens: bool


@router.post(
    TOKEN_PATH,
    operation_id="token",
    response_model=TokenDocument,
    responses=refusals(400, 401, 403, 408, 413, 415, 429, 503),
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "Which grant, and which scopes.",
            "content": {FORM: {"schema": TokenForm.model_json_schema()}},
        }
    },
)
async def token(request: Request, parts: Services, caller: Caller) -> Response:
    """Give the caller a token for some scopes, bound to the certificate that it shows."""
    tokens = _of(parts)
    form = _parse(await read_body(request, media_type=FORM, limit=MAX_FORM))
    if form.get("grant_type") != GRANT:
        raise GrantTypeError(f"grant_type: must be {GRANT}")
    if form.get("client_id", caller) != caller:
        raise ClientError("client_id: is not the partner whose certificate was shown")
    peer = request.scope["extensions"][EXTENSION]
    if tokens.is_superseded(caller, peer["serial"]):
        raise ClientError("certificate: was renewed; ask with the new one")
    given = tokens.give(caller, peer["thumbprint"], form.get("scope", ""))
    _log.info(
        json.dumps(
            {"event": "token", "partner": caller, "scope": given.scope, "number": given.number}
        )
    )
    made = TokenDocument(
        access_token=given.token, token_type=_TYPE, expires_in=LIFETIME_S, scope=given.scope
    )
    # Section 5.1: "MUST include ... no-store".
    return JSONResponse(made.model_dump(), headers={"Cache-Control": "no-store"})


@router.get(
    KEYS_PATH, operation_id="tokenKeys", response_model=KeysDocument, responses=refusals(503)
)
def keys(parts: Services) -> Any:
    """Return the public keys by which tokens are verified; needs no certificate."""
    return _of(parts).keys()


@router.get(
    "/.well-known/oauth-authorization-server",
    operation_id="tokenMetadata",
    response_model=MetadataDocument,
    responses=refusals(503),
)
def metadata(parts: Services) -> Any:
    """Describe how tokens are asked for here; needs no certificate."""
    return _of(parts).metadata()


def _of(parts: Parts) -> Tokens:
    if parts.tokens is None:
        raise NotReadyError("no tokens are given here")
    return parts.tokens


def _parse(data: bytes) -> dict[str, str]:
    """Read the form; a field that is there twice is refused (RFC 6749, section 3.2)."""
    try:
        pairs = parse_qsl(
            data.decode(), keep_blank_values=True, strict_parsing=True, max_num_fields=_FIELDS
        )
    except ValueError as error:
        raise TokenRequestError("body: not a form of at most 16 fields") from error
    form = dict(pairs)
    if len(form) != len(pairs):
        raise TokenRequestError("body: a field is there twice")
    return form
