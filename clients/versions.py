"""What this node says of its version to a hub, and what it makes of the hub's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from protocols.errors import MalformedMessageError
from protocols.versions import HEADER, offer, require_neighbours

METADATA = ((HEADER, offer()),)
HEADERS: Mapping[str, str] = {HEADER: offer()}


def check_call(call: Any) -> None:
    """Check the hub at the other end of a gRPC call, once it has answered.

    Raises:
        MalformedMessageError, IncompatibleVersionError: see `check_hub`.
    """
    found = dict(call.initial_metadata() or ()).get(HEADER, "")
    if not isinstance(found, str):
        raise MalformedMessageError("version: of the hub is no text")
    check_hub(found)


def check_hub(theirs: str | None) -> None:
    """Return only if a hub that offers this is of a neighbouring version.

    Args:
        theirs: None or empty if it says nothing.

    Raises:
        MalformedMessageError: it is no offer.
        IncompatibleVersionError: it is too old or too new; says which side to update.
    """
    require_neighbours(hub=theirs or "", node=offer())
