"""Reading a form: never more than it may have, never for longer than it may take."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request

from compliance.web.errors import TooLargeError, UnreadableError

FORM = "application/x-www-form-urlencoded"
MAX_BODY = 64 << 10
MAX_FIELDS = 64
PATIENCE_S = 10.0


async def read_form(request: Request) -> Mapping[str, str]:
    """Return the fields of a form, each of which may come once.

    Raises:
        TooLargeError: more bytes than any form has. UnreadableError: it is none.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != FORM:
        raise UnreadableError(f"content-type: expected {FORM}")
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > MAX_BODY:
        raise TooLargeError("body: larger than any form")
    try:
        async with asyncio.timeout(PATIENCE_S):
            body = await _body(request)
    except (TimeoutError, ClientDisconnect) as error:
        raise UnreadableError("body: cut short, or too slow") from error
    return _fields(body)


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise TooLargeError("body: larger than any form")
    return bytes(body)


def _fields(body: bytes) -> dict[str, str]:
    if not body:
        return {}
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=True,
            errors="strict", max_num_fields=MAX_FIELDS,
        )  # fmt: skip
    except ValueError as error:
        raise UnreadableError("body: no form") from error
    found = dict(pairs)
    if len(found) != len(pairs):
        raise UnreadableError("body: a field is there twice")
    return found
