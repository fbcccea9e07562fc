"""Routes of agreements: hand one in, sign it, revoke it, list them, fetch one.

Every party acts for itself: the caller's name is that of its certificate, and what it hands
in is believed by its signature alone. An agreement is for its parties; everybody else gets
the answer that an agreement which does not exist gets.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from compliance.agreement.bundle import MAX_SIZE, Bundle
from compliance.agreement.fields import Fields
from compliance.agreement.revocation import Revocation
from compliance.errors import NotPermittedError
from protocols.codec import parse_json
from protocols.lookup.signing import SIGNATURE_SIZE
from server.agreements.service import Standing
from server.api.bodies import read_body
from server.api.cursors import Cursor, make_cursor, read_cursor
from server.api.documents import ETAG, Responses, refusals
from server.api.files import REVALIDATE, bytes_response
from server.api.parts import Caller, Services

JSON_TYPE = "application/json"
MAX_WORD = 8 << 10
# Some hundred years of agreements; what is longer comes in pages.
MAX_PAGE = 1000
_REFUSED = refusals(400, 403, 404, 408, 413, 415, 422, 503)
_ONE = "/{digest}"
_PLACE_SIZE = 8 + 32

router = APIRouter(prefix="/v1/agreements", tags=["agreements"])

Digest = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$", description="Hash of the agreement.")]
Party = Annotated[
    str, Path(pattern=r"^[a-z][a-z0-9-]{0,31}$", description="Name of the party that signs.")
]


class SignatureDocument(BaseModel):
    """One party's signature."""

    signature: str = Field(
        description="Ed25519 over the canonical form.", pattern=r"^[0-9a-f]{128}$"
    )


class RevocationDocument(BaseModel):
    """One party's word that an agreement has ended, as it signed it."""

    format: str
    agreement: str
    party: str
    at: int = Field(description="Unix seconds.")
    reason: str
    signature: str


class BundleDocument(BaseModel):
    """A version with all that the hub has of it."""

    agreement: dict[str, Any]
    signatures: dict[str, str] = Field(description="Hexadecimal, by party.")
    revocations: list[RevocationDocument] = []
    profile: dict[str, Any] | None = Field(
        default=None, description="The rules of the jurisdiction that it names by hash."
    )


class VersionDocument(BaseModel):
    """How a version stands at the hub."""

    digest: str
    name: str = Field(description="The series, which all versions share.")
    version: int
    state: str = Field(description="draft, awaited, in_force, superseded, ended or revoked.")
    not_before: int = Field(description="Unix seconds.")
    not_after: int = Field(description="Unix seconds; it has ended then.")
    parties: list[str]
    signed: list[str] = Field(description="Whose signatures are here.")
    revoked_by: list[str]


class AgreementsDocument(BaseModel):
    """The versions that the caller is a party of, the oldest first."""

    hub: str
    agreements: list[VersionDocument]
    next: str | None = Field(
        default=None, description="`cursor` of the next page; null where there is none."
    )


class TakenDocument(VersionDocument):
    """How a version stands after what was handed in."""

    is_new: bool = Field(description="False if all of it was here already.")


def _described(description: str, model: type[BaseModel]) -> Responses:
    content = {JSON_TYPE: {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}
    return {
        200: {"description": description, "content": content, "headers": ETAG},
        304: {"description": "The caller has it already."},
    }


def _body(model: type[BaseModel], description: str) -> dict[str, Any]:
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    content = {JSON_TYPE: {"schema": schema}}
    return {"requestBody": {"required": True, "description": description, "content": content}}


@router.get(
    "",
    operation_id="agreements",
    response_model=AgreementsDocument,
    responses={
        **_described("The versions of the caller's agreements.", AgreementsDocument),
        **refusals(403, 422, 503),
    },
)
def agreements(
    request: Request,
    parts: Services,
    caller: Caller,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="Versions in a page.")] = MAX_PAGE,
) -> Response:
    """List the versions that the caller is a party of, with their states and signatures."""
    found = parts.agreements.listed(caller)
    if cursor is not None:
        # By its place and not by its number: a version that comes meanwhile moves no page.
        after = read_cursor(cursor, _PLACE_SIZE)
        found = [item for item in found if _place(item) > after]
    page = AgreementsDocument(
        hub=parts.hub,
        agreements=[VersionDocument(**_fields(item)) for item in found[:limit]],
        next=make_cursor(_place(found[limit - 1])) if len(found) > limit else None,
    )
    return _bytes(request, page.model_dump_json().encode())


@router.get(
    _ONE,
    operation_id="agreement",
    response_model=BundleDocument,
    responses={
        **_described("The document, signatures, revocations and profile.", BundleDocument),
        **refusals(403, 404, 422, 503),
    },
)
def agreement(request: Request, parts: Services, caller: Caller, digest: Digest) -> Response:
    """Return one version with all that the hub has of it."""
    return _bytes(request, parts.agreements.bundle(caller, bytes.fromhex(digest)).encode())


@router.post(
    "",
    operation_id="offerAgreement",
    response_model=TakenDocument,
    responses=_REFUSED,
    openapi_extra=_body(BundleDocument, "The document, with or without signatures."),
)
async def offer(request: Request, parts: Services, caller: Caller) -> TakenDocument:
    """Hand in a version, signed or not, for all its parties to sign; safe to repeat."""
    data = await read_body(request, media_type=JSON_TYPE, limit=MAX_SIZE)
    # A document of this size is read for some tens of milliseconds, and then waits for the disk.
    return await run_in_threadpool(
        lambda: _taken(parts.agreements.take(caller, Bundle.decode(data)))
    )


@router.put(
    _ONE + "/signatures/{party}",
    operation_id="signAgreement",
    response_model=TakenDocument,
    responses=_REFUSED,
    openapi_extra=_body(SignatureDocument, "The caller's own signature."),
)
async def sign(
    request: Request, parts: Services, caller: Caller, digest: Digest, party: Party
) -> TakenDocument:
    """Add the caller's own signature to a version; safe to repeat."""
    if party != caller:
        raise NotPermittedError("signature: of another party than the caller")
    data = await read_body(request, media_type=JSON_TYPE, limit=MAX_WORD)
    fields = Fields.of(parse_json(data, "signature"), {"signature"}, "body")
    word = fields.digest("signature", SIGNATURE_SIZE)
    return await run_in_threadpool(
        lambda: _taken(parts.agreements.sign(caller, bytes.fromhex(digest), word))
    )


@router.post(
    _ONE + "/revocations",
    operation_id="revokeAgreement",
    response_model=TakenDocument,
    responses=_REFUSED,
    openapi_extra=_body(RevocationDocument, "A party's word, in canonical form (RFC 8785)."),
)
async def revoke(
    request: Request, parts: Services, caller: Caller, digest: Digest
) -> TakenDocument:
    """End a version at once, for everybody, by the signed word of one party; safe to repeat."""
    data = await read_body(request, media_type=JSON_TYPE, limit=MAX_WORD)
    word = Revocation.decode(data)
    if word.agreement.hex() != digest:
        raise NotPermittedError("revocation: of another agreement than the path names")
    return await run_in_threadpool(lambda: _taken(parts.agreements.revoke(caller, word)))


def _place(found: Standing) -> bytes:
    """Return what versions are listed by: the number, then the hash."""
    document = found.version.agreement
    return document.version.to_bytes(_PLACE_SIZE - len(document.digest)) + document.digest


def _taken(found: Standing) -> TakenDocument:
    return TakenDocument(**_fields(found), is_new=found.is_new)


def _fields(found: Standing) -> dict[str, Any]:
    version, document = found.version, found.version.agreement
    return {
        "digest": document.digest.hex(),
        "name": document.name,
        "version": document.version,
        "state": found.state.value,
        "not_before": document.not_before,
        "not_after": document.not_after,
        "parties": list(document.names),
        "signed": sorted(version.signers),
        "revoked_by": sorted({item.party for item in version.revocations}),
    }


def _bytes(request: Request, content: bytes) -> Response:
    etag = f'"{sha256(content).hexdigest()}"'
    return bytes_response(request, content, etag=etag, media_type=JSON_TYPE, cache=REVALIDATE)
