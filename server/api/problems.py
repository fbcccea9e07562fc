"""Every refusal as `application/problem+json`, from one table of exception types.

The body says what the caller can mend and nothing else: a refusal of the rules
(`not_permitted`) is the same bytes whoever asked and whoever was asked about.

Specification: RFC 9457, sections 3 and 4.1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from compliance.errors import (
    ComplianceError,
    LogCorruptError,
    NotPermittedError,
    QuotaExhaustedError,
    UnknownEpochError,
    UnknownPartnerError,
)
from compliance.log.errors import StorageError
from protocols.errors import (
    InvalidProofError,
    MalformedMessageError,
    ProtocolError,
    UnsupportedParameterError,
)
from protocols.link import TransportError
from protocols.oprf.errors import ReplayedMessageError, TooFewHoldersError, WrongEpochError
from protocols.versions import IncompatibleVersionError
from server.api import errors
from server.standing.registry import HolderRefusedError
from server.tables.errors import NotKeptError, VersionConflictError
from server.tokens.errors import (
    ClientError,
    InsufficientScopeError,
    InvalidTokenError,
    TokenRequestError,
)

MEDIA_TYPE = "application/problem+json"
_URN = "urn:lianfang:problem:"
_RETRY_AFTER_S = 5


@dataclass(frozen=True, slots=True)
class Problem:
    """The public side of a refusal.

    Args:
        code: in place of the exception's own.
        tells: whether the exception's text goes out as the detail.
        retry: whether the same request may succeed a little later.
    """

    status: int
    title: str
    code: str | None = None
    tells: bool = True
    retry: bool = False


_NOT_PERMITTED = Problem(403, "Not permitted.", code="not_permitted", tells=False)
_NOT_FOUND = Problem(404, "There is nothing here.", code="not_found", tells=False)
_UNAVAILABLE = "Too few key holders can be reached."

PROBLEMS: dict[type[Exception], Problem] = {
    errors.CertificateRequiredError: Problem(403, "A partner's certificate is needed."),
    # One answer for both, so that the API is no oracle for who takes part.
    NotPermittedError: _NOT_PERMITTED,
    UnknownPartnerError: _NOT_PERMITTED,
    errors.NotFoundError: _NOT_FOUND,
    NotKeptError: _NOT_FOUND,
    UnknownEpochError: Problem(404, "No such epoch is in force here.", tells=False),
    MalformedMessageError: Problem(400, "The message could not be read."),
    errors.IdempotencyKeyError: Problem(400, "The Idempotency-Key does not fit the request."),
    TokenRequestError: Problem(400, "No token is given for this."),
    ClientError: Problem(401, "No token is given to this client."),
    InvalidTokenError: Problem(401, "The token does not hold."),
    InsufficientScopeError: Problem(403, "The token does not serve for this."),
    errors.BodyIncompleteError: Problem(400, "The body was cut short."),
    errors.BodyTooSlowError: Problem(408, "The body did not arrive in time."),
    errors.BodyTooLargeError: Problem(413, "The body is too large."),
    errors.MediaTypeError: Problem(415, "The body is of another media type."),
    errors.RangeError: Problem(416, "The range lies outside of the file."),
    # Both versions, and which of the two to update: the caller's own words for it, too.
    IncompatibleVersionError: Problem(409, "Hub and node are too many versions apart."),
    UnsupportedParameterError: Problem(422, "A parameter cannot be honoured."),
    InvalidProofError: Problem(422, "A signature or proof does not hold."),
    ReplayedMessageError: Problem(422, "The request id was used for another request."),
    WrongEpochError: Problem(409, "Another epoch is in force."),
    VersionConflictError: Problem(409, "Another version is in force."),
    ProtocolError: Problem(400, "The request breaks the protocol."),
    QuotaExhaustedError: Problem(429, "The quota of this epoch is spent.", tells=False),
    ComplianceError: Problem(403, "The rules do not allow it.", tells=False),
    StorageError: Problem(503, "The hub cannot keep its record.", tells=False, retry=True),
    LogCorruptError: Problem(503, "The hub cannot keep its record.", tells=False),
    errors.BusyError: Problem(503, "The hub is busy.", retry=True),
    errors.NotReadyError: Problem(503, "The hub is not ready.", retry=True),
    TooFewHoldersError: Problem(503, _UNAVAILABLE, retry=True),
    TransportError: Problem(503, _UNAVAILABLE, code="too_few_holders", tells=False, retry=True),
    HolderRefusedError: Problem(502, "A key holder refused.", code="holder_refused", tells=False),
}
INTERNAL = Problem(500, "Internal error.", code="internal_error", tells=False)
OF_FRAMEWORK = {
    404: _NOT_FOUND,
    405: Problem(405, "The method is not allowed here.", code="method_not_allowed", tells=False),
}
PARAMETERS = Problem(422, "A parameter is missing or out of range.", code="invalid_parameter")
# What is refused before any route: see `tls`, `guard`, `manners` and `bursts` in this folder.
UNREADABLE = Problem(400, "The request could not be read.", code="bad_request")
TWO_LENGTHS = Problem(400, "The body has two lengths.", code="two_lengths", tells=False)
FORWARDED = Problem(
    400, "The certificate is not the caller's own.", code="forwarded_certificate", tells=False
)
SUPERSEDED = Problem(
    403, "This certificate was renewed.", code="certificate_superseded", tells=False
)
TARGET_TOO_LONG = Problem(414, "The address is too long.", code="target_too_long", tells=False)
CONTENT_ENCODING = Problem(
    415, "A compressed body is not taken.", code="content_encoding", tells=False
)
TOO_MANY = Problem(429, "Asked too often.", code="too_many_requests", tells=False)
HEAD_TOO_LARGE = Problem(431, "The head is too large.", code="head_too_large", tells=False)
TRANSFER_CODING = Problem(
    501, "The transfer coding is not known.", code="transfer_coding", tells=False
)
VERSION = Problem(505, "HTTP/1.1 alone is spoken here.", code="http_version", tells=False)
BEFORE_ROUTES = (
    UNREADABLE,
    TWO_LENGTHS,
    FORWARDED,
    SUPERSEDED,
    TARGET_TOO_LONG,
    CONTENT_ENCODING,
    TOO_MANY,
    HEAD_TOO_LARGE,
    TRANSFER_CODING,
    VERSION,
)
# What a holder elsewhere may refuse with the same meaning as the hub itself.
_OF_HOLDERS = {
    kind.code: kind
    for kind in (
        MalformedMessageError,
        InvalidProofError,
        ReplayedMessageError,
        WrongEpochError,
        NotPermittedError,
        UnknownPartnerError,
        QuotaExhaustedError,
    )
}


class ProblemDocument(BaseModel):
    """A refusal (RFC 9457); members beyond these may come."""

    type: str = Field(description="`urn:lianfang:problem:` and the code.", examples=[f"{_URN}busy"])
    title: str
    status: int
    code: str = Field(description="Stable and made for programs; the end of `type`.")
    detail: str | None = Field(default=None, description="What to mend; for people.")
    current_version: int | None = Field(default=None, description="With `version_conflict`.")
    holder: str | None = Field(default=None, description="The key holder that refused.")
    error: str | None = Field(default=None, description="Of a token request: as RFC 6749 says it.")


def problem_response(
    problem: Problem,
    code: str,
    *,
    detail: str | None = None,
    members: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Write one problem; the order of members is fixed, so equal problems are equal bytes."""
    content = problem_document(problem, code, detail=detail, members=members)
    retry = {"Retry-After": str(_RETRY_AFTER_S)} if problem.retry else {}
    return Response(
        content,
        problem.status,
        headers={"Cache-Control": "no-store", **retry, **(headers or {})},
        media_type=MEDIA_TYPE,
    )


def problem_document(
    problem: Problem,
    code: str,
    *,
    detail: str | None = None,
    members: Mapping[str, Any] | None = None,
) -> bytes:
    """Return the bytes of a problem."""
    value: dict[str, Any] = {
        "type": _URN + code,
        "title": problem.title,
        "status": problem.status,
        "code": code,
    }
    if detail:
        value["detail"] = detail
    return json.dumps({**value, **(members or {})}, separators=(",", ":")).encode()


def answer_error(error: Exception) -> Response:
    """Turn an exception of the table into its problem; any other into "internal error"."""
    problem = problem_of(type(error))
    code = problem.code or str(getattr(error, "code", "bad_request"))
    members: dict[str, Any] = {}
    headers: dict[str, str] = {}
    match error:
        case VersionConflictError():
            members["current_version"] = error.current
        case HolderRefusedError():
            # The holder's own text stays here: it is another organisation's words.
            members["holder"] = error.holder
            if (kind := _OF_HOLDERS.get(error.code)) is not None:
                problem = PROBLEMS[kind]
                code = problem.code or kind.code
            return problem_response(problem, code, members=members)
        case TokenRequestError():
            # What programs for OAuth read (RFC 6749, section 5.2), beside our own code.
            members["error"] = error.error
        case InvalidTokenError() | InsufficientScopeError():
            headers["WWW-Authenticate"] = _challenge(error)
        case errors.RangeError():
            headers["Content-Range"] = f"bytes */{error.size}"
        case errors.BodyTooLargeError() | errors.BodyTooSlowError() | errors.BodyIncompleteError():
            # What is left of the body must not be read as the next request.
            headers["Connection"] = "close"
        case _:
            pass
    detail = str(error) if problem.tells else None
    return problem_response(problem, code, detail=detail, members=members, headers=headers)


def _challenge(error: InvalidTokenError | InsufficientScopeError) -> str:
    """Say what a request lacks (RFC 6750, section 3)."""
    scope = error.scope if isinstance(error, InsufficientScopeError) else ""
    named = f', scope="{scope}"' if scope else ""
    return f'Bearer realm="lianfang", error="{error.code}"{named}'


def install_problems(app: FastAPI) -> None:
    """Answer every known exception of an app with its problem, 404, 405 and 422 included."""

    async def known(_: Request, error: Exception) -> Response:
        return answer_error(error)

    async def by_framework(_: Request, error: Exception) -> Response:
        return _answer_framework(error)

    for kind in PROBLEMS:
        app.add_exception_handler(kind, known)
    app.add_exception_handler(HTTPException, by_framework)
    app.add_exception_handler(RequestValidationError, by_framework)


def _answer_framework(error: Exception) -> Response:
    if isinstance(error, RequestValidationError):
        # Where and which rule, never what was sent.
        found = [f"{'.'.join(map(str, e['loc']))}: {e['type']}" for e in error.errors()]
        return problem_response(PARAMETERS, "invalid_parameter", detail="; ".join(found))
    status = error.status_code if isinstance(error, HTTPException) else 500
    problem = OF_FRAMEWORK.get(status) or Problem(
        status, "The request cannot be served.", "bad_request"
    )
    headers = error.headers if isinstance(error, HTTPException) else None
    return problem_response(problem, problem.code or "bad_request", headers=headers)


def problem_of(kind: type[BaseException]) -> Problem:
    """Return how exceptions of a class are answered: by the nearest class in the table."""
    for ancestor in kind.__mro__:
        if (found := PROBLEMS.get(ancestor)) is not None:
            return found
    return INTERNAL
