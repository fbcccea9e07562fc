"""The published log as partners read it: static files by year, and how publication stands.

    checkpoint   tile/<level>/<index>[.p/<width>]   tile/entries/<index>[.p/<width>]

Only what a published checkpoint covers is given out. A tile or bundle never changes under its
path, so that whoever has it need not ask again; the checkpoint is asked for anew.

Source:
    C2SP tlog-tiles (https://c2sp.org/tlog-tiles), C2SP@0ad71eb.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from compliance.log.errors import EntryPrunedError
from compliance.log.storage import Storage
from compliance.log.tree import StoredTree
from protocols.errors import MalformedMessageError
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.note import Note
from protocols.tlog.tiles import FULL, HEIGHT, Bundle, parse_path
from server.log.opening import HubLog
from server.log.outcomes import WitnessState
from server.log.publication import PublicationState


@dataclass(frozen=True, slots=True)
class Year:
    """The log of one year; `size` is up to where it is published."""

    year: int
    origin: str
    size: int


def read_checkpoint(log: HubLog, year: int) -> bytes | None:
    """Return the published checkpoint of a year with its cosignatures, or None."""
    origin = f"{log.prefix}/{year:04}"
    return log.storage.checkpoint(origin) if origin in log.storage.origins() else None


def read_file(log: HubLog, year: int, path: str) -> bytes | None:
    """Return a tile or bundle of the published log, or None where there is none (any more)."""
    try:
        place = parse_path(path)
    except MalformedMessageError:
        return None
    data = read_checkpoint(log, year)
    if data is None:
        return None
    checkpoint = _checkpoint(data)
    level = 0 if isinstance(place, Bundle) else place.level
    if place.index * FULL + place.width > checkpoint.size >> HEIGHT * level:
        return None
    tree = StoredTree(log.storage, checkpoint.origin, checkpoint.size)
    try:
        return tree.bundle(place) if isinstance(place, Bundle) else tree.tile(place)
    except EntryPrunedError:
        return None


def years_of(storage: Storage, prefix: str) -> list[Year]:
    """Return the years that have a log, in order."""
    start = f"{prefix}/"
    found = []
    for origin in storage.origins():
        year = origin.removeprefix(start)
        if origin.startswith(start) and year.isdecimal():
            data = storage.checkpoint(origin)
            found.append(Year(int(year), origin, _checkpoint(data).size if data else 0))
    return found


def is_witnessed(log: HubLog, state: PublicationState) -> bool:
    """Whether what is published stands under a quorum of witnesses."""
    return log.witnesses is not None and state.is_witnessed


def publication_text(log: HubLog, state: PublicationState) -> str:
    """Say in a few words how publication stands."""
    if state.is_corrupt:
        return "corrupt"
    if state.text:
        return "unpublished"
    if not state.published_at:
        return "starting"
    return "witnessed" if log.witnesses is not None else "unwitnessed"


def witness_fields(state: WitnessState) -> dict[str, Any]:
    """Return how a witness stands, as a JSON object."""
    return {
        "name": state.name,
        "standing": str(state.standing),
        "size": state.size,
        "at": state.at,
        "text": state.text,
    }


def _checkpoint(data: bytes) -> Checkpoint:
    return Checkpoint.parse(Note.decode(data).text)
