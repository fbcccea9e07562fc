"""Where a page of a list ended, as a text that means nothing to the caller.

A cursor holds the place of the last item and nothing else: no state is kept for it, it never
runs out, and one that was changed is refused or is another place of the same caller's list.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

from fastapi import Query

from protocols.errors import UnsupportedParameterError

_MAX_TEXT = 128

Cursor = Annotated[
    str | None,
    Query(
        pattern=r"^[A-Za-z0-9_-]+$",
        max_length=_MAX_TEXT,
        description="`next` of the page before; without it the first page is meant.",
    ),
]


def make_cursor(place: bytes) -> str:
    """Write the place of the last item of a page."""
    return base64.urlsafe_b64encode(place).decode().rstrip("=")


def read_cursor(text: str, size: int) -> bytes:
    """Return the place behind which a page begins.

    Args:
        size: of every place in this list.

    Raises:
        UnsupportedParameterError: no page of this list ended so.
    """
    try:
        place = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise UnsupportedParameterError("cursor: not one of this list; begin anew") from error
    if len(place) != size:
        raise UnsupportedParameterError("cursor: not one of this list; begin anew")
    return place
