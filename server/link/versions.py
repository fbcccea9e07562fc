"""Which version of the wire a node speaks that opens a stream, and telling it ours.

A node says it in the metadata of its call, and says nothing if it is of the time before this was
asked. Whoever is too far away is refused before a frame is read, in the words that its own
program would find; what the hub speaks goes back with the refusal as well as with the welcome.
"""

from __future__ import annotations

import logging
from typing import Any

from protocols.errors import MalformedMessageError
from protocols.versions import HEADER, IncompatibleVersionError, require_neighbours

_log = logging.getLogger("lianfang.link")


def require_version(context: Any, name: str, ours: str) -> None:
    """Return only if the node that calls is of a neighbouring version.

    Args:
        name: of the node, for the hub's own log.
        ours: what this hub offers.

    Raises:
        MalformedMessageError: what it says of itself is no offer.
        IncompatibleVersionError: it is too old or too new; says which side to update.
    """
    found = [value for key, value in context.invocation_metadata() if key == HEADER]
    if len(found) > 1 or not all(isinstance(value, str) for value in found):
        raise MalformedMessageError(f"version: {len(found)} in the call, expected one at most")
    try:
        require_neighbours(hub=ours, node=found[0] if found else "")
    except IncompatibleVersionError as error:
        _log.warning("link: %s is refused: %s", name, error)
        context.set_trailing_metadata(((HEADER, ours),))
        raise
