"""Routes for whoever runs the hub, and the API's own description."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from compliance.errors import UnknownEpochError
from server.api.documents import refusals
from server.api.errors import NotReadyError
from server.api.parts import Caller, Services
from server.log.publication import PublicationState
from server.log.reading import publication_text

router = APIRouter(tags=["operations"])


class HealthDocument(BaseModel):
    """The process answers."""

    status: str


class ReadyDocument(BaseModel):
    """Lookups can be served."""

    status: str
    epoch: int
    log: str = Field(
        description="Whether the audit log is published: witnessed, unwitnessed, starting or "
        "unpublished."
    )


@router.get(
    "/healthz", operation_id="health", response_model=HealthDocument, responses=refusals(503)
)
async def health() -> HealthDocument:
    """Tell that the hub is alive; needs no certificate."""
    return HealthDocument(status="alive")


@router.get("/readyz", operation_id="ready", response_model=ReadyDocument, responses=refusals(503))
def ready(parts: Services) -> ReadyDocument:
    """Tell whether an epoch is in force and enough holders are connected; no certificate."""
    try:
        manifest = parts.epochs.current(parts.clock.now())
    except UnknownEpochError as error:
        raise NotReadyError("no epoch is in force") from error
    record = manifest.record
    there = (parts.holders.connected() | {parts.evaluations.holder_name}) & set(record.holders)
    if len(there) < record.threshold:
        raise NotReadyError("too few key holders are connected")
    publishing = parts.log.publishing
    state = PublicationState() if publishing is None else publishing.state()
    if state.is_corrupt:
        raise NotReadyError("the audit log is corrupt")
    published = publication_text(parts.log, state)
    return ReadyDocument(status="ready", epoch=manifest.epoch, log=published)


@router.get(
    "/openapi.json",
    operation_id="document",
    responses={
        200: {
            "description": "This document.",
            "content": {"application/json": {"schema": {"type": "object"}}},
        },
        **refusals(403),
    },
)
async def document(request: Request, _: Caller) -> JSONResponse:
    """Return the description of this API (OpenAPI 3.1)."""
    return JSONResponse(request.app.openapi())
