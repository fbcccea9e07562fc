"""Routes of enrolment: what a hub's authority is, asking to join, the welcome, renewal.

The first three are, beside health checks, all that answers without a client certificate. They
are counted, bounded in size, and tell nobody without a code that counts who takes part here.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from compliance.errors import NotPermittedError
from server.api.bodies import read_body
from server.api.documents import refusals
from server.api.errors import NotFoundError, NotReadyError
from server.api.parts import Caller, Services
from server.api.problems import Problem, problem_response
from server.api.tls import EXTENSION
from server.enrolment.invitations import NUMBER
from server.enrolment.service import (
    MAX_REQUEST,
    Enrolment,
    EnrolmentRefusedError,
    TooManyRequestsError,
)

JSON_TYPE = "application/json"
MAX_RENEWAL = 16 << 10
# One answer for every code that does not count.
_REFUSED = Problem(403, "The invitation is not accepted.", tells=False)
_TOO_MANY = Problem(429, "Asked too often.", tells=False, retry=True)

router = APIRouter(tags=["enrolment"])

Number = Annotated[str, Path(pattern=f"^{NUMBER}$", description="Number of the join request.")]
Proof = Annotated[
    str,
    Header(
        alias="Lianfang-Proof",
        description="Time, a dot, and the identity key's signature.",
        pattern=r"^[0-9]{1,12}\.[0-9a-f]{128}$",
    ),
]


class AuthorityDocument(BaseModel):
    """What certificates here are signed by; believed by the fingerprint in a code alone."""

    hub: str
    authority: str = Field(description="The authority's certificate (PEM).")


class PartnerDocument(BaseModel):
    """What a node hands in to join, as `lianfang node init` writes it."""

    name: str
    tls_request: str = Field(description="PKCS #10 in PEM form.")
    identity: str = Field(description="Ed25519 key, hexadecimal.", pattern="^[0-9a-f]{64}$")
    flower_public: str = Field(description="Public key of the SuperNode (PEM).")
    contract: dict[str, Any] = Field(description="The feature contract.")
    certificate: str | None = Field(
        default=None, description="Of an authority of the partner's own (PEM), if it brings one."
    )


class JoinDocument(BaseModel):
    """A join request with the secret of its invitation."""

    secret: str = Field(description="Of the code, hexadecimal.", pattern="^[0-9a-f]{32}$")
    request: PartnerDocument
    signature: str = Field(description="By the identity key.", pattern="^[0-9a-f]{128}$")


class TakenDocument(BaseModel):
    """The request waits for two people at the hub."""

    number: str


class WelcomeDocument(BaseModel):
    """What a node needs in order to take part; nothing in it is secret."""

    hub: str
    link: str
    flower: str
    api: str
    identity: str
    certificate: str
    authority: str


class StandingDocument(BaseModel):
    """How a join request stands."""

    state: str = Field(description="waiting, rejected or approved.")
    welcome: WelcomeDocument | None = None
    reason: str | None = Field(default=None, description="Why it was rejected; for people.")


class RenewalDocument(BaseModel):
    """A request for a further certificate."""

    tls_request: str = Field(description="PKCS #10 in PEM form, for a new key.")
    signature: str = Field(description="By the identity key.", pattern="^[0-9a-f]{128}$")


def _body(model: type[BaseModel], description: str) -> dict[str, Any]:
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    # In place: nothing else of the document refers to it.
    for name, definition in schema.pop("$defs", {}).items():
        for field in schema["properties"].values():
            if field.get("$ref") == f"#/components/schemas/{name}":
                field.clear()
                field.update(definition)
    content = {JSON_TYPE: {"schema": schema}}
    return {"requestBody": {"required": True, "description": description, "content": content}}


@router.get(
    "/v1/enrolment",
    operation_id="authority",
    response_model=AuthorityDocument,
    responses=refusals(429, 503),
)
def authority(request: Request, parts: Services) -> Any:
    """Tell by whom certificates are signed here; needs no certificate."""
    enrolment = _of(parts.enrolment)
    try:
        enrolment.admit_stranger(_address(request))
    except TooManyRequestsError as error:
        return problem_response(_TOO_MANY, error.code)
    return AuthorityDocument(hub=enrolment.hub, authority=enrolment.authority())


@router.post(
    "/v1/enrolment",
    operation_id="join",
    status_code=202,
    response_model=TakenDocument,
    responses=refusals(400, 403, 408, 413, 415, 422, 429, 503),
    openapi_extra=_body(JoinDocument, "The join request; its code counts once."),
)
async def join(request: Request, parts: Services) -> Any:
    """Ask to be taken in, by a code; safe to repeat; needs no certificate."""
    enrolment = _of(parts.enrolment)
    try:
        enrolment.admit_stranger(_address(request))
        data = await read_body(request, media_type=JSON_TYPE, limit=MAX_REQUEST)
        # Signatures and the disk keep a thread for some milliseconds.
        number = await run_in_threadpool(enrolment.join, data)
    except TooManyRequestsError as error:
        return problem_response(_TOO_MANY, error.code)
    except (EnrolmentRefusedError, NotPermittedError):
        return problem_response(_REFUSED, EnrolmentRefusedError.code)
    return TakenDocument(number=number)


@router.get(
    "/v1/enrolment/{number}",
    operation_id="welcome",
    response_model=StandingDocument,
    responses=refusals(404, 422, 429, 503),
)
def welcome(request: Request, parts: Services, number: Number, proof: Proof) -> Any:
    """Tell how a join request stands, to the key that made it; needs no certificate."""
    try:
        found = _of(parts.enrolment).standing(number, proof, _address(request))
    except TooManyRequestsError as error:
        return problem_response(_TOO_MANY, error.code)
    if found is None:
        # A number that does not exist and a proof that does not hold look alike.
        raise NotFoundError("no such request")
    return StandingDocument(
        state=found.state,
        welcome=None if found.welcome is None else WelcomeDocument(**found.welcome),
        reason=found.reason,
    )


@router.post(
    "/v1/certificate",
    operation_id="renew",
    response_model=WelcomeDocument,
    responses=refusals(400, 403, 408, 413, 415, 422, 429, 503),
    openapi_extra=_body(RenewalDocument, "A request for a new key, signed by the identity key."),
)
async def renew(request: Request, parts: Services, caller: Caller) -> Any:
    """Issue a further certificate to the caller, for a new key of its own."""
    serial = request.scope["extensions"][EXTENSION]["serial"]
    data = await read_body(request, media_type=JSON_TYPE, limit=MAX_RENEWAL)
    enrolment = _of(parts.enrolment)
    try:
        issued = await run_in_threadpool(enrolment.renew, caller, serial, data)
    except TooManyRequestsError as error:
        return problem_response(_TOO_MANY, error.code)
    return WelcomeDocument(**issued)


def _of(enrolment: Enrolment | None) -> Enrolment:
    if enrolment is None:
        raise NotReadyError("nobody is taken in here")
    return enrolment


def _address(request: Request) -> str:
    """Return where a request comes from; what has no address shares one bucket."""
    return "" if request.client is None else request.client.host
