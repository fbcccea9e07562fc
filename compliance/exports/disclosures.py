"""Who was given what, for which purpose, on which basis: the sum over all disclosures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from protocols.tlog.entry import Entry, Outcome


@dataclass(slots=True)
class Disclosed:
    """All that one organisation gave one recipient for one purpose.

    Args:
        acts: how many entries; items: the sum of their counts, where these are not secret.
        first, last: Unix seconds; first_entry, last_entry: indices in the log.
    """

    source: str
    recipient: str
    purpose: str
    basis: str
    subject_matter: str
    acts: int = 0
    items: int = 0
    first: int = 0
    last: int = 0
    first_entry: int = 0
    last_entry: int = 0

    def fields(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def disclosures(entries: Iterable[Entry]) -> list[Disclosed]:
    """Sum up every entry in which somebody received something, by purpose and recipient.

    Every verb counts, since a consultation or a combination can give something as well; an
    act that failed counts, because what had left before is not known. What was refused has
    no recipients.
    """
    found: dict[tuple[str, ...], Disclosed] = {}
    for entry in entries:
        if entry.outcome is Outcome.REFUSED:
            continue
        for recipient in entry.recipients:
            key = (
                entry.purpose,
                recipient,
                entry.organisation,
                entry.basis,
                entry.subject_matter,
            )
            row = found.get(key)
            if row is None:
                row = found[key] = Disclosed(
                    source=entry.organisation,
                    recipient=recipient,
                    purpose=entry.purpose,
                    basis=entry.basis,
                    subject_matter=entry.subject_matter,
                    first=entry.time,
                    first_entry=entry.sequence,
                )
            row.acts += 1
            row.items += entry.count
            row.first, row.last = min(row.first, entry.time), max(row.last, entry.time)
            row.last_entry = entry.sequence
    return [found[key] for key in sorted(found)]
