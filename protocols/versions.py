"""Which versions of the messages a program speaks, and whether two programs can talk.

    ours  -> theirs   "1-2": from the oldest version that we still speak to the newest
    both              the newest that both speak; or a clear no, before anything is sent

Each message has its own version byte besides, which says how it is written. This is about the
whole: which messages there are and what they mean. A program speaks its own version and the
one before it, so that hub and nodes can be updated one after the other. A side that says
nothing is of the time before this was asked, and speaks version 1.
"""

from __future__ import annotations

import re
from typing import ClassVar

from protocols.errors import MalformedMessageError, UnsupportedParameterError

# Raised when a message is added or its meaning changes. What of the version before it is
# no longer understood raises OLDEST as well, at the earliest one version later.
# Version 1: nobody says what it speaks. Version 2: this talk; a join request may be rejected.
WIRE = 2
OLDEST = 1
# The key under which it travels: call metadata of the link, and a header of the API.
HEADER = "lianfang-wire"
_SPAN = re.compile(r"([1-9][0-9]{0,3})-([1-9][0-9]{0,3})", re.ASCII)
_SILENT = (1, 1)


class IncompatibleVersionError(UnsupportedParameterError):
    """Two programs are too far apart; the text says which versions both speak, and the cure."""

    code: ClassVar[str] = "wire_version"


def offer() -> str:
    """Return what this program says about itself."""
    return f"{OLDEST}-{WIRE}"


def compatible(theirs: str) -> str:
    """Say why two programs cannot talk, and what to do; empty if they can.

    Args:
        theirs: what the other side offers; empty if it says nothing.

    Raises:
        MalformedMessageError: that is no offer.
    """
    return _against(theirs, (OLDEST, WIRE))


def spoken(theirs: str) -> int:
    """Return the newest version that both sides speak.

    Raises:
        MalformedMessageError: `theirs` is no offer.
        IncompatibleVersionError: there is none; says what to do.
    """
    if reason := compatible(theirs):
        raise IncompatibleVersionError(reason)
    return min(_span(theirs)[1], WIRE)


def require_neighbours(*, hub: str, node: str) -> None:
    """Return only if a hub and a node can talk; alike at both ends, and in the same words.

    Args:
        hub, node: what each offers; empty if it says nothing.

    Raises:
        MalformedMessageError: one is no offer.
        IncompatibleVersionError: names both versions, and which of the two to update.
    """
    of_hub, of_node = _span(hub), _span(node)
    if of_node[1] < of_hub[0]:
        behind = "node"
    elif of_hub[1] < of_node[0]:
        behind = "hub"
    else:
        return
    raise IncompatibleVersionError(
        f"version: the hub speaks {_told(*of_hub)} of the wire, the node speaks "
        f"{_told(*of_node)}; update the {behind}"
    )


def _against(theirs: str, ours: tuple[int, int]) -> str:
    oldest, newest = _span(theirs)
    if oldest > ours[1]:
        whose = "update this program"
    elif newest < ours[0]:
        whose = "let the other side update its program"
    else:
        return ""
    return (
        f"version: the other side speaks {_told(oldest, newest)} of the wire, "
        f"this program speaks {_told(*ours)}; {whose}"
    )


def _span(offered: str) -> tuple[int, int]:
    if not offered:
        return _SILENT
    found = _SPAN.fullmatch(offered)
    if found is None or int(found[1]) > int(found[2]):
        raise MalformedMessageError("version: must be OLDEST-NEWEST, two rising whole numbers")
    return int(found[1]), int(found[2])


def _told(oldest: int, newest: int) -> str:
    return f"version {newest}" if oldest == newest else f"versions {oldest} to {newest}"
