"""How publication stands, for workers that do not publish: told by the one that does.

It is written when it has changed and every `TELL_EVERY_S` besides. A worker that dies stops
telling, and another one publishes and tells within some seconds.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from protocols.codec import canonical_json, parse_json
from protocols.errors import MalformedMessageError
from server.keeping.shelves import Documents
from server.log.outcomes import Standing, WitnessState
from server.log.publication import PublicationState

FOLDER = "publication"
TELL_EVERY_S = 10
_STATE = "state.json"


class Board:
    """Where the publishing worker tells the others; for any number of processes."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._told: PublicationState | None = None

    def tell(self, state: PublicationState) -> None:
        """Write how publication stands, unless that has just been written."""
        told = self._told
        if told is not None:
            age_s = state.published_at - told.published_at
            if age_s < TELL_EVERY_S and replace(state, published_at=told.published_at) == told:
                return
        self._documents.put(_STATE, _encode(state))
        self._told = state

    def read(self) -> PublicationState:
        """Return what was told last; as at the start, if nothing was."""
        self._told = None  # whoever reads does not tell, and begins anew if it ever does
        data = self._documents.get(_STATE)
        try:
            return PublicationState() if data is None else _decode(data)
        except (MalformedMessageError, KeyError, TypeError, ValueError):
            return PublicationState()  # of a neighbouring version: told anew in a moment


def _encode(state: PublicationState) -> bytes:
    return canonical_json(
        {
            "sizes": dict(state.sizes),
            "published_at": state.published_at,
            "unwitnessed_since": state.unwitnessed_since,
            "text": state.text,
            "is_corrupt": state.is_corrupt,
            "alarms": state.alarms,
            "witnesses": [
                {
                    "name": item.name,
                    "standing": str(item.standing),
                    "size": item.size,
                    "at": item.at,
                    "text": item.text,
                }
                for item in state.witnesses
            ],
        }
    )


def _decode(data: bytes) -> PublicationState:
    fields: dict[str, Any] = parse_json(data, "publication")
    witnesses = tuple(
        WitnessState(**(item | {"standing": Standing(item["standing"])}))
        for item in fields.pop("witnesses")
    )
    return PublicationState(**fields, witnesses=witnesses)
