"""Routes of tables: the signed list, files and parts of them, publishing.

Every request is decided, and a reader's first records of a version are entered before they
leave. What says nothing of a record, and the answer 304, is not entered.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from compliance.errors import NotPermittedError
from protocols.epoch.manifest import EpochManifest
from protocols.lookup.header import MAX_PREFIX_BITS
from server.api.bodies import read_body
from server.api.documents import binary, body, refusals
from server.api.errors import BusyError
from server.api.files import bytes_response, file_response
from server.api.parts import Caller, Contributor, Epoch, Parts, Services
from server.tables.access import Readable, readable
from server.tables.folder import Part
from server.tables.listing import sign_listing

TABLE_TYPE = "application/vnd.lianfang.table"
HEADER_TYPE = "application/vnd.lianfang.table-header"
DIGESTS_TYPE = "application/vnd.lianfang.table-digests"
FILTER_TYPE = "application/vnd.lianfang.table-filter"
BUCKET_TYPE = "application/vnd.lianfang.table-bucket"
DELTA_TYPE = "application/vnd.lianfang.table-delta"
_PLAIN_TYPE = "application/octet-stream"
# About 1.7 million records; a larger table begins with several versions.
MAX_DELTA_SIZE = 128 << 20
_TABLES = "/v1/epochs/{epoch}/tables"
_TABLE = _TABLES + "/{contributor}/{version}"
_MOST = 2**53 - 1

router = APIRouter(tags=["tables"])


class TableDocument(BaseModel):
    """The version in force of one contributor's table."""

    contributor: str
    number: int
    version: int
    count: int
    prefix_bits: int
    root: str
    header: str = Field(description="The header with its contributor's signature.")
    bytes: int


class ListDocument(BaseModel):
    """The caller's tables of an epoch, signed by the hub over the canonical JSON of the rest."""

    hub: str
    epoch: int
    at: int = Field(description="When the hub says so, Unix seconds.")
    tables: list[TableDocument]
    signature: str


class PublishedDocument(BaseModel):
    """The version in force after a publication."""

    contributor: str
    version: int
    count: int
    root: str
    is_new: bool = Field(description="False if this very version was in force already.")


@router.get(
    _TABLES,
    operation_id="tables",
    response_model=ListDocument,
    responses=refusals(403, 404, 422),
)
def tables(parts: Services, caller: Caller, epoch: Epoch) -> Response:
    """List the version in force of every table that the caller may have, signed by the hub."""
    manifest = readable(parts, caller, epoch)
    may_fetch = parts.log.journal.may_fetch
    listed = [name for name in sorted(manifest.contributors) if may_fetch(caller, name)]
    found = [parts.tables.current(epoch, name) for name in listed]
    content = sign_listing(
        parts.identity,
        hub=parts.hub,
        epoch=epoch,
        at=parts.clock.now(),
        snapshots=[snapshot for snapshot in found if snapshot is not None],
    )
    return Response(content, media_type="application/json")


@router.get(
    _TABLE,
    operation_id="table",
    response_class=Response,
    responses={
        **binary(TABLE_TYPE, "The whole table.", is_file=True),
        **refusals(403, 404, 416, 422),
    },
)
def table(
    request: Request,
    given: Readable,
) -> Response:
    """Return a whole table, or a range of it."""
    path, etag = given.snapshot.path(Part.TABLE), given.snapshot.etag
    return file_response(request, path, etag=etag, media_type=TABLE_TYPE, enter=given.enter)


@router.get(
    _TABLE + "/header",
    operation_id="tableHeader",
    response_class=Response,
    responses={
        **binary(HEADER_TYPE, "The header with its signature.", is_file=True),
        **refusals(403, 404, 422),
    },
)
def header(
    request: Request,
    given: Readable,
) -> Response:
    """Return the signed header of a version."""
    content = given.snapshot.signed.encode()
    etag = f'"{sha256(content).hexdigest()}"'
    return bytes_response(request, content, etag=etag, media_type=HEADER_TYPE)


@router.get(
    _TABLE + "/digests",
    operation_id="tableDigests",
    response_class=Response,
    responses={
        **binary(DIGESTS_TYPE, "The digests of all buckets.", is_file=True),
        **refusals(403, 404, 416, 422),
    },
)
def digests(
    request: Request,
    given: Readable,
) -> Response:
    """Return the digests of all buckets, under the root that the header signs."""
    path, etag = given.snapshot.path(Part.DIGESTS), given.snapshot.etag
    return file_response(request, path, etag=etag, media_type=DIGESTS_TYPE)


@router.get(
    _TABLE + "/filter",
    operation_id="tableFilter",
    response_class=Response,
    responses={
        **binary(FILTER_TYPE, "The tags, cut and packed.", is_file=True),
        **refusals(403, 404, 416, 422),
    },
)
def tag_filter(
    request: Request,
    given: Readable,
) -> Response:
    """Return the filter of a table's tags; nobody signs it, so it proves nothing."""
    path, etag = given.snapshot.path(Part.FILTER), given.snapshot.etag
    return file_response(request, path, etag=etag, media_type=FILTER_TYPE, enter=given.enter)


@router.get(
    _TABLE + "/buckets/{index}",
    operation_id="tableBucket",
    response_class=Response,
    responses={
        **binary(BUCKET_TYPE, "The records of one bucket, padded."),
        **refusals(403, 404, 422),
    },
)
def bucket(
    parts: Services,
    given: Readable,
    index: Annotated[int, Path(ge=0, lt=1 << MAX_PREFIX_BITS, description="Prefix of the tag.")],
) -> Response:
    """Return one bucket; all buckets of a version have one size."""
    # Stored by nobody: which buckets a caller has had is between it and us.
    content = parts.tables.bucket(given.snapshot, index)
    given.enter()
    return Response(content, media_type=BUCKET_TYPE)


@router.get(
    _TABLE + "/delta",
    operation_id="tableDelta",
    response_class=Response,
    responses={
        **binary(DELTA_TYPE, "What changed since then.", is_file=True),
        **refusals(403, 404, 422),
    },
)
def delta(
    request: Request,
    parts: Services,
    given: Readable,
    since: Annotated[int, Query(ge=0, le=_MOST, description="The version that the caller has.")],
) -> Response:
    """Return the way from an earlier version; 404 where the whole table is to be taken."""
    content = parts.tables.delta(given.snapshot, since)
    etag = f'"{sha256(content).hexdigest()}"'
    return bytes_response(request, content, etag=etag, media_type=DELTA_TYPE, enter=given.enter)


@router.post(
    _TABLES + "/{contributor}",
    operation_id="publish",
    response_model=PublishedDocument,
    responses=refusals(400, 403, 404, 408, 409, 413, 415, 422, 503),
    openapi_extra=body(DELTA_TYPE, _PLAIN_TYPE, description="The delta to the next version."),
)
async def publish(
    request: Request, parts: Services, caller: Caller, epoch: Epoch, contributor: Contributor
) -> PublishedDocument:
    """Put the next version of the caller's own table in force; safe to repeat."""
    if caller != contributor:
        raise NotPermittedError("table: belongs to another partner")
    manifest = _open_to(parts, caller, epoch)
    journal = parts.log.journal
    decision = await run_in_threadpool(journal.permit_publication, caller, epoch)
    with _alone(parts, caller):
        data = await read_body(request, media_type=(DELTA_TYPE, _PLAIN_TYPE), limit=MAX_DELTA_SIZE)
        enter = partial(journal.table_published, decision, manifest)
        done = await parts.workers.publish(
            partial(parts.tables.publish, manifest, caller, data, enter=enter)
        )
    made = done.signed.header
    return PublishedDocument(
        contributor=caller,
        version=made.version,
        count=made.count,
        root=made.root.hex(),
        is_new=done.is_new,
    )


def _open_to(parts: Parts, caller: str, epoch: int) -> EpochManifest:
    """Return the manifest of an epoch in which the caller may publish at this time."""
    manifest = readable(parts, caller, epoch)
    if caller not in manifest.contributors:
        raise NotPermittedError("table: the caller is no contributor")
    if parts.clock.now() >= manifest.not_after + manifest.grace_s:
        raise NotPermittedError("table: the epoch is over")
    return manifest


@contextmanager
def _alone(parts: Parts, contributor: str) -> Iterator[None]:
    """Take one delta of a contributor at a time, which bounds the memory that they take."""
    if contributor in parts.publishing:
        raise BusyError(f"{contributor}: another delta of it is being read or applied")
    parts.publishing.add(contributor)
    try:
        yield
    finally:
        parts.publishing.discard(contributor)
