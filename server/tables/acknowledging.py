"""Routes of acknowledgements: a reader says what it applies, a contributor sees who does.

A correction has arrived when every reader has acknowledged a version that holds it. The hub
passes on what readers signed; a contributor verifies it under their pinned keys.
"""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from compliance.errors import NotPermittedError
from protocols.lookup.acknowledgement import SignedAcknowledgement
from server.api.bodies import read_body
from server.api.documents import body, refusals
from server.api.errors import NotFoundError
from server.api.parts import Caller, Contributor, Epoch, Parts, Services
from server.tables.access import partakers, readable

ACKNOWLEDGEMENT_TYPE = "application/vnd.lianfang.table-acknowledgement"
_PATH = "/v1/epochs/{epoch}/tables/{contributor}/acknowledgements"
_MAX_SIZE = 4096
# A reader's clock may be that much ahead of the hub's.
_MAX_CLOCK_SKEW_S = 300

router = APIRouter(tags=["tables"])


class AcknowledgedDocument(BaseModel):
    """What the hub has from the caller."""

    contributor: str
    reader: str
    version: int
    is_new: bool = Field(description="False if this version or a later one was acknowledged.")


class AcknowledgementDocument(BaseModel):
    """One reader's newest acknowledgement."""

    reader: str
    version: int
    applied_at: int = Field(description="By the reader's clock, Unix seconds.")
    header: str = Field(description="Digest of the header of the version that is applied.")
    signed: str = Field(description="The statement with its reader's signature.")


class AcknowledgementsDocument(BaseModel):
    """Who applies which version of the caller's table."""

    epoch: int
    contributor: str
    version: int = Field(description="The version in force, 0 before the first.")
    readers: list[str] = Field(description="Who may have the table at this time.")
    acknowledgements: list[AcknowledgementDocument]


@router.post(
    _PATH,
    operation_id="acknowledge",
    response_model=AcknowledgedDocument,
    responses=refusals(400, 403, 404, 408, 413, 415, 422, 503),
    openapi_extra=body(ACKNOWLEDGEMENT_TYPE, description="The signed acknowledgement."),
)
async def acknowledge(
    request: Request, parts: Services, caller: Caller, epoch: Epoch, contributor: Contributor
) -> AcknowledgedDocument:
    """Take a reader's word that it applies a version of a table; safe to repeat."""
    data = await read_body(request, media_type=ACKNOWLEDGEMENT_TYPE, limit=_MAX_SIZE)
    signed = SignedAcknowledgement.decode(data)
    is_new = await run_in_threadpool(_keep, parts, caller, epoch, contributor, signed)
    return AcknowledgedDocument(
        contributor=contributor,
        reader=caller,
        version=signed.statement.version,
        is_new=is_new,
    )


@router.get(
    _PATH,
    operation_id="acknowledgements",
    response_model=AcknowledgementsDocument,
    responses=refusals(403, 404, 422),
)
def acknowledgements(
    parts: Services, caller: Caller, epoch: Epoch, contributor: Contributor
) -> AcknowledgementsDocument:
    """Tell a contributor who applies which version of its table."""
    if caller != contributor:
        raise NotPermittedError("acknowledgements: belong to another partner")
    manifest = readable(parts, caller, epoch)
    current = parts.tables.current(epoch, contributor)
    may_fetch = parts.log.journal.may_fetch
    return AcknowledgementsDocument(
        epoch=epoch,
        contributor=contributor,
        version=0 if current is None else current.version,
        readers=[
            name
            for name in sorted(partakers(manifest) - {parts.evaluations.holder_name, contributor})
            if may_fetch(name, contributor)
        ],
        acknowledgements=[
            AcknowledgementDocument(
                reader=signed.statement.reader,
                version=signed.statement.version,
                applied_at=signed.statement.applied_at,
                header=signed.statement.header.hex(),
                signed=signed.encode().hex(),
            )
            for signed in parts.tables.acknowledgements(epoch, contributor)
        ],
    )


def _keep(
    parts: Parts, caller: str, epoch: int, contributor: str, signed: SignedAcknowledgement
) -> bool:
    said = signed.statement
    if contributor not in readable(parts, caller, epoch).contributors:
        raise NotFoundError("table: no such contributor")
    if (said.reader, said.epoch, said.contributor) != (caller, epoch, contributor):
        raise NotPermittedError("acknowledgement: of another reader or table")
    if said.applied_at > parts.clock.now() + _MAX_CLOCK_SKEW_S:
        raise NotPermittedError("acknowledgement: dated in the future; correct the clock")
    return parts.tables.acknowledge(signed, enter=partial(parts.log.journal.table_applied, caller))
