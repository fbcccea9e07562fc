"""Routes of the log: how it stands, its key, evidence of documents, its files by year.

Every partner may read all of it: an entry has nothing about a person, and what one partner
alone could read nobody could check.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, Field

from protocols.tlog.witness import TEXT_TYPE
from server.api.documents import ETAG, Responses, refusals
from server.api.errors import NotFoundError
from server.api.files import IMMUTABLE, REVALIDATE, bytes_response
from server.api.parts import Caller, Services
from server.log.evidence import read_evidence, signed_key
from server.log.publication import PublicationState
from server.log.reading import (
    is_witnessed,
    publication_text,
    read_checkpoint,
    read_file,
    witness_fields,
    years_of,
)

TILE_TYPE = "application/octet-stream"
JSON_TYPE = "application/json"
_UNCHANGED: Responses = {304: {"description": "The caller has it already."}}

router = APIRouter(prefix="/v1/log", tags=["log"])

Year = Annotated[int, Path(ge=1000, le=9999, description="The year of the log, in UTC.")]

Document = Annotated[
    str, Path(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of a public document.")
]

# Judged by `protocols.tlog.tiles.parse_path`: levels and indices, in one spelling. Several
# segments in one parameter are more than a pattern of OpenAPI could describe.
TilePath = Annotated[
    str,
    Path(
        max_length=48,
        description="`<level>/<index>[.p/<width>]` or `entries/<index>[.p/<width>]`.",
    ),
]


class WitnessDocument(BaseModel):
    """How the hub stands with one witness."""

    name: str
    standing: str
    size: int = Field(description="Of the checkpoint that it last cosigned; 0 if none yet.")
    at: int = Field(description="When it did, Unix seconds.")
    text: str = Field(description="Why it did not cosign the last one, if so.")


class YearDocument(BaseModel):
    """The log of one year."""

    year: int
    origin: str
    size: int = Field(description="Up to where it is published.")


class LogDocument(BaseModel):
    """The hub's log, and whether it is published as it grows."""

    key: str = Field(description="Verifier key of the present year's log.")
    publication: str = Field(
        description="witnessed, unwitnessed, starting, unpublished or corrupt."
    )
    witnessed: bool
    quorum: int = Field(description="Witnesses that a checkpoint needs; 0 if none is listed.")
    published_at: int = Field(description="Unix seconds; 0 if it never was.")
    witnesses: list[WitnessDocument]
    years: list[YearDocument]


class KeyDocument(BaseModel):
    """Which key signs the log of every year, signed by the hub over the rest."""

    format: str
    hub: str
    key: str = Field(description="Ed25519 public key, hexadecimal.")
    log: str = Field(description="The origins of the logs without their year.")
    signature: str


def _file(description: str, media_type: str, schema: str | None) -> Responses:
    content: dict[str, object] = {"type": "string"}
    if schema is not None:
        content["format"] = schema
    answer = {"description": description, "content": {media_type: {"schema": content}}}
    return {200: {**answer, "headers": ETAG}, **_UNCHANGED}


@router.get("", operation_id="log", response_model=LogDocument, responses=refusals(403, 503))
def log(parts: Services, _: Caller) -> LogDocument:
    """Tell how the log stands."""
    found = parts.log
    state = PublicationState() if found.publishing is None else found.publishing.state()
    years = years_of(found.storage, found.prefix)
    return LogDocument(
        key=found.key.format(),
        publication=publication_text(found, state),
        witnessed=is_witnessed(found, state),
        quorum=0 if found.witnesses is None else found.witnesses.quorum,
        published_at=state.published_at,
        witnesses=[WitnessDocument(**witness_fields(item)) for item in state.witnesses],
        years=[YearDocument(year=y.year, origin=y.origin, size=y.size) for y in years],
    )


@router.get("/key", operation_id="logKey", response_model=KeyDocument, responses=refusals(403, 503))
def key(request: Request, parts: Services, _: Caller) -> Response:
    """Tell under which key the log stands, signed by the hub's identity key."""
    content = signed_key(parts.log, parts.identity, parts.hub)
    return _bytes(request, content, media_type=JSON_TYPE, cache=REVALIDATE)


@router.get(
    "/evidence/{document}",
    operation_id="logEvidence",
    response_class=Response,
    responses={
        **_file("A C2SP tlog-proof with the entry as extra data.", "text/plain", None),
        **refusals(403, 404, 422, 503),
    },
)
def evidence(request: Request, parts: Services, _: Caller, document: Document) -> Response:
    """Prove that a public document, such as an epoch's manifest, is on record."""
    content = read_evidence(parts.log, bytes.fromhex(document))
    if content is None:
        raise NotFoundError("log: no published entry names this document (yet)")
    return _bytes(request, content, media_type=TEXT_TYPE, cache=REVALIDATE)


@router.get(
    "/{year}/checkpoint",
    operation_id="logCheckpoint",
    response_class=Response,
    responses={
        **_file("The signed checkpoint with its cosignatures.", "text/plain", None),
        **refusals(403, 404, 422, 503),
    },
)
def checkpoint(request: Request, parts: Services, _: Caller, year: Year) -> Response:
    """Return the checkpoint that was published last."""
    content = read_checkpoint(parts.log, year)
    if content is None:
        raise NotFoundError("log: no checkpoint of this year is published")
    return _bytes(request, content, media_type=TEXT_TYPE, cache=REVALIDATE)


@router.get(
    "/{year}/tile/{path:path}",
    operation_id="logTile",
    response_class=Response,
    responses={
        **_file("A tile of hashes, or a bundle of entries.", TILE_TYPE, "binary"),
        **refusals(403, 404, 422, 503),
    },
)
def tile(
    request: Request,
    parts: Services,
    _: Caller,
    year: Year,
    path: TilePath,
) -> Response:
    """Return a file of the published log, by its path of C2SP tlog-tiles."""
    content = read_file(parts.log, year, f"tile/{path}")
    if content is None:
        raise NotFoundError("log: no such file is published")
    return _bytes(request, content, media_type=TILE_TYPE, cache=IMMUTABLE)


def _bytes(request: Request, content: bytes, *, media_type: str, cache: str) -> Response:
    etag = f'"{sha256(content).hexdigest()}"'
    return bytes_response(request, content, etag=etag, media_type=media_type, cache=cache)
