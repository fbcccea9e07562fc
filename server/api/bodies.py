"""Reading a request's body: never more than the route takes, never for longer than it may.

A body is counted while it arrives, so a wrong or missing Content-Length gains nothing, and
the whole of it must have arrived by a time that grows with what is allowed: a client that
sends a byte now and then cannot hold a place.
"""

from __future__ import annotations

import asyncio

from fastapi import Request
from starlette.requests import ClientDisconnect

from server.api.errors import (
    BodyIncompleteError,
    BodyTooLargeError,
    BodyTooSlowError,
    MediaTypeError,
)

# A body may take this long, and one second more for every so many bytes that came.
PATIENCE_S = 10.0
SLOWEST_BYTES_PER_S = 64 << 10


async def read_body(
    request: Request,
    *,
    media_type: str | tuple[str, ...],
    limit: int,
    patience_s: float = PATIENCE_S,
) -> bytes:
    """Return the whole body.

    Args:
        media_type: the one that the route takes, or several.
        limit: the most bytes that are read.

    Raises:
        MediaTypeError: Content-Type is another one.
        BodyTooLargeError: more than `limit` bytes were announced or came.
        BodyTooSlowError: it came slower than a modem.
        BodyIncompleteError: the client went away.
    """
    found = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    allowed = (media_type,) if isinstance(media_type, str) else media_type
    if found not in allowed:
        raise MediaTypeError(f"content-type: expected {' or '.join(allowed)}")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise BodyTooLargeError(f"body: more than {limit} bytes")
    return await _whole(request, limit, patience_s)


async def _whole(request: Request, limit: int, patience_s: float) -> bytes:
    loop = asyncio.get_running_loop()
    body = bytearray()
    try:
        async with asyncio.timeout_at(loop.time() + patience_s) as patience:
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise BodyTooLargeError(f"body: more than {limit} bytes")
                if chunk:
                    more_s = len(chunk) / SLOWEST_BYTES_PER_S
                    patience.reschedule((patience.when() or 0.0) + more_s)
    except TimeoutError as error:
        raise BodyTooSlowError("body: did not arrive in time") from error
    except ClientDisconnect as error:
        raise BodyIncompleteError("body: the connection ended before it") from error
    return bytes(body)
