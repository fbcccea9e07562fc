"""What people call organisations, by the agreement that is in force at an office."""

from __future__ import annotations

from collections.abc import Callable

from compliance.agreement.vocabulary import Title
from compliance.errors import ComplianceError
from compliance.office.office import Office


def titles_at(office: Office) -> Callable[[str], Title]:
    """Return what gives an organisation's title; its name, where the agreement has none."""
    try:
        agreement = office.agreement()
    except ComplianceError:
        agreement = None  # told where it matters, at the first act

    def title(name: str) -> Title:
        party = None if agreement is None else agreement.party(name)
        return Title(name, name) if party is None else party.title

    return title
