"""Routes of lookups: evaluate a batch, fetch a manifest, ask for the quota."""

from __future__ import annotations

from functools import partial
from hashlib import sha256
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from pydantic import BaseModel, Field

from compliance.errors import QuotaExhaustedError
from protocols.epoch.manifest import SignedManifest
from protocols.lookup.request import SignedRequest
from protocols.oprf.suite import MAX_BATCH
from server.api.bodies import read_body
from server.api.direct import DirectRoute
from server.api.documents import ETAG, Responses, binary, body, refusals
from server.api.errors import IdempotencyKeyError
from server.api.files import REVALIDATE, bytes_response
from server.api.parts import Caller, Epoch, Parts, Services
from server.api.problems import answer_error
from server.lookup.rates import rate_headers, retry_header
from server.standing.registry import HolderRefusedError

REQUEST_TYPE = "application/vnd.lianfang.evaluation-request"
REPLY_TYPE = "application/vnd.lianfang.evaluation-reply"
# The elements, and what stands around them.
MAX_REQUEST_SIZE = 32 * MAX_BATCH + 4096
_SPENT = 429

router = APIRouter(tags=["lookup"])
evaluating = APIRouter(tags=["lookup"], route_class=DirectRoute)


class QuotaDocument(BaseModel):
    """The caller's quota in the epoch in force, by the hub's own book."""

    epoch: int
    quota: int = Field(description="Elements in the whole epoch.")
    used: int
    resets_at: int = Field(description="When the epoch ends, Unix seconds.")


_HEADERS = {
    "RateLimit-Policy": {
        "description": "The quota and the length of the epoch.",
        "schema": {"type": "string"},
    },
    "RateLimit": {
        "description": "What is left of it, and seconds until it is renewed.",
        "schema": {"type": "string"},
    },
}
_EVALUATED = binary(REPLY_TYPE, "Answers of the threshold of holders, and the hub's receipt.")
_EVALUATED[200]["headers"] = _HEADERS
_MANIFEST: Responses = {
    200: {
        "description": "The manifest with the signatures of all its holders.",
        "content": {"application/json": {"schema": {"type": "object"}}},
        "headers": ETAG,
    },
    304: {"description": "The caller has it already."},
}


@evaluating.post(
    "/v1/evaluations",
    operation_id="evaluate",
    response_class=Response,
    responses={**_EVALUATED, **refusals(400, 403, 408, 409, 413, 415, 422, 429, 502, 503)},
    openapi_extra=body(REQUEST_TYPE, description="A signed, blinded batch."),
)
async def evaluate(
    request: Request,
    parts: Services,
    caller: Caller,
    idempotency_key: Annotated[
        str | None, Header(description="The request id in hexadecimal; required.")
    ] = None,
) -> Response:
    """Evaluate a blinded batch; the same request again is answered and not charged again."""
    data = await read_body(request, media_type=REQUEST_TYPE, limit=MAX_REQUEST_SIZE)
    asked = SignedRequest.decode(data)
    # The draft of the header field has it in quotes; plain is what most clients send.
    if (idempotency_key or "").strip('"') != asked.request_id.hex():
        raise IdempotencyKeyError("idempotency-key: must be the request id, in hexadecimal")
    try:
        answered = await parts.workers.evaluate(
            asked.count, partial(parts.evaluations.answer, caller, asked)
        )
    except (QuotaExhaustedError, HolderRefusedError) as error:
        return _refuse(parts, asked, error)
    headers = rate_headers(answered.usage, parts.clock.now())
    return Response(answered.reply.encode(), headers=headers, media_type=REPLY_TYPE)


@router.get(
    "/v1/epochs/current",
    operation_id="currentManifest",
    response_class=Response,
    responses={**_MANIFEST, **refusals(403, 404)},
)
def current_manifest(request: Request, parts: Services, _: Caller) -> Response:
    """Return the manifest of the epoch in force."""
    epoch = parts.epochs.current(parts.clock.now()).epoch
    return _manifest(request, parts.epochs.signed(epoch))


@router.get(
    "/v1/epochs/{epoch}",
    operation_id="manifest",
    response_class=Response,
    responses={**_MANIFEST, **refusals(403, 404, 422)},
)
def manifest(request: Request, parts: Services, _: Caller, epoch: Epoch) -> Response:
    """Return the manifest of an epoch, whether it is in force or not."""
    return _manifest(request, parts.epochs.signed(epoch))


@router.get(
    "/v1/quota",
    operation_id="quota",
    response_model=QuotaDocument,
    responses=refusals(403, 404),
)
def quota(response: Response, parts: Services, caller: Caller) -> QuotaDocument:
    """Return what the caller has used of its quota."""
    usage = parts.evaluations.usage(caller)
    response.headers.update(rate_headers(usage, parts.clock.now()))
    return QuotaDocument(
        epoch=usage.epoch, quota=usage.quota, used=usage.used, resets_at=usage.resets_at
    )


def _manifest(request: Request, signed: SignedManifest) -> Response:
    content = signed.format()
    etag = f'"{sha256(content).hexdigest()}"'
    return bytes_response(
        request, content, etag=etag, media_type="application/json", cache=REVALIDATE
    )


def _refuse(
    parts: Parts, asked: SignedRequest, error: QuotaExhaustedError | HolderRefusedError
) -> Response:
    """Answer a refusal; one that the quota is spent tells when there will be a new one."""
    response = answer_error(error)
    if response.status_code == _SPENT:
        usage = parts.evaluations.usage_of(asked)
        now = parts.clock.now()
        response.headers.update(rate_headers(usage, now) | retry_header(usage, now))
    return response
