"""How bodies, headers and refusals are told in the OpenAPI document; shared by all routes."""

from __future__ import annotations

from typing import Any

from server.api.problems import MEDIA_TYPE

Responses = dict[int | str, dict[str, Any]]
PROBLEM_SCHEMA = "Problem"
_REFUSALS = {
    400: "The message cannot be read.",
    401: "The client, or the token that was shown, does not hold.",
    403: "No certificate, or not permitted.",
    404: "Nothing here, or nothing for this caller.",
    408: "The body came too slowly.",
    409: "Another epoch or version is in force.",
    413: "The body is too large.",
    415: "The body is of another media type.",
    416: "The range lies outside of the file.",
    422: "A parameter, signature or request id is refused.",
    429: "The quota of the epoch is spent, or the caller asks too often.",
    502: "A key holder refused.",
    503: "Busy, not ready, or too few key holders; try again.",
}
_BINARY = {"type": "string", "format": "binary"}
ETAG = {"ETag": {"description": "Names this content.", "schema": {"type": "string"}}}


def refusals(*statuses: int) -> Responses:
    """Describe refusals, each a problem document; any other status is one too."""
    listed: Responses = {status: _problem(_REFUSALS[status]) for status in sorted(statuses)}
    return {**listed, "default": _problem("Any other refusal.")}


def binary(media_type: str, description: str, *, is_file: bool = False) -> Responses:
    """Describe an answer of bytes; a file can be asked for in part and conditionally."""
    content = {media_type: {"schema": _BINARY}}
    answers: Responses = {
        200: {"description": description, "content": content, "headers": ETAG if is_file else {}}
    }
    if is_file:
        answers[206] = {"description": "The range that was asked for.", "content": content}
        answers[304] = {"description": "The caller has it already."}
    return answers


def body(*media_types: str, description: str) -> dict[str, Any]:
    """Describe a request's body of bytes, for `openapi_extra`."""
    content = {media_type: {"schema": _BINARY} for media_type in media_types}
    return {
        "requestBody": {"required": True, "description": description, "content": content},
    }


def _problem(description: str) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{PROBLEM_SCHEMA}"}
    return {"description": description, "content": {MEDIA_TYPE: {"schema": schema}}}
