"""Immutable files over HTTP: entity tags, 304, one byte range; never a file in memory.

The file is opened before the answer starts, so that what is removed meanwhile is still
delivered whole, and what is gone already is a plain 404.

Specification: RFC 9110, sections 13.1.2 (If-None-Match), 13.1.5 (If-Range), 14.2 (Range).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from server.api.errors import NotFoundError, RangeError

IMMUTABLE = "private, max-age=31536000, immutable"
REVALIDATE = "private, no-cache"
_CHUNK_SIZE = 256 << 10
# One range; a list of several is answered with the whole file, as section 14.2 allows.
_RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))")


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes `start` to before `end` of a file of `size`."""

    start: int
    end: int
    size: int

    @property
    def is_whole(self) -> bool:
        """Whether nothing of the file is left out."""
        return self.end - self.start == self.size


def is_unchanged(request: Request, etag: str) -> bool:
    """Report whether the caller has this very version."""
    found = [tag.strip() for tag in request.headers.get("if-none-match", "").split(",")]
    return any(tag.removeprefix("W/") in {etag, "*"} for tag in found)


def bytes_response(
    request: Request,
    content: bytes,
    *,
    etag: str,
    media_type: str,
    cache: str = IMMUTABLE,
    enter: Callable[[], object] = lambda: None,
) -> Response:
    """Answer with small content, or with 304.

    Args:
        enter: makes a durable note that the content is given; not called for 304.
    """
    headers = {"ETag": etag, "Cache-Control": cache}
    if is_unchanged(request, etag):
        return Response(status_code=304, headers=headers)
    enter()
    return Response(content, headers=headers, media_type=media_type)


def file_response(
    request: Request,
    path: Path,
    *,
    etag: str,
    media_type: str,
    enter: Callable[[], object] = lambda: None,
) -> Response:
    """Answer with an immutable file or a range of it, or with 304.

    Args:
        enter: as `bytes_response`; not called either where nothing can be given.

    Raises:
        NotFoundError: the file is not there any more.
        RangeError: the range begins behind the file's end.
    """
    headers = {"ETag": etag, "Cache-Control": IMMUTABLE, "Accept-Ranges": "bytes"}
    if is_unchanged(request, etag):
        return Response(status_code=304, headers=headers)
    try:
        file = path.open("rb")
    except FileNotFoundError as error:
        raise NotFoundError("file: not kept") from error
    try:
        span = _wanted(request, os.fstat(file.fileno()).st_size, etag)
        enter()
    except BaseException:
        file.close()
        raise
    headers["Content-Length"] = str(span.end - span.start)
    if not span.is_whole:
        headers["Content-Range"] = f"bytes {span.start}-{span.end - 1}/{span.size}"
    status = 200 if span.is_whole else 206
    return _FileResponse(file, span, status, headers=headers, media_type=media_type)


class _FileResponse(StreamingResponse):
    """Closes the file however the answer ends, also when the caller goes away in its middle."""

    def __init__(
        self, file: BinaryIO, span: Span, status: int, *, headers: dict[str, str], media_type: str
    ) -> None:
        self._file = file
        super().__init__(_read(file, span), status, headers=headers, media_type=media_type)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._file.close()


def _wanted(request: Request, size: int, etag: str) -> Span:
    found = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    condition = request.headers.get("if-range", etag)
    if found is None or condition != etag:
        return Span(0, size, size)
    first, last, suffix = found.groups()
    if suffix is not None:
        start, end = max(size - int(suffix), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return Span(0, size, size)  # not a range at all (section 14.1.1): ignored
    if start >= end:
        raise RangeError(size)
    return Span(start, end, size)


def _read(file: BinaryIO, span: Span) -> Iterator[bytes]:
    file.seek(span.start)
    left = span.end - span.start
    while left and (chunk := file.read(min(_CHUNK_SIZE, left))):
        left -= len(chunk)
        yield chunk
