"""Deciding again what stands in an organisation's own log.

The record of each decision lies in the private part of its entry, to which the entry is bound
by its commitment. The policies and the agreement are those of that time, found by hash, and the
agreement stands as it stood then, by what had been kept here. Where
a private part was erased nothing can be decided again, and that is said.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from compliance.agreement.coverage import Documents
from compliance.errors import LogCorruptError
from compliance.log.errors import EntryPrunedError, PartErasedError, UnknownPartError
from compliance.log.storage import Place
from compliance.office.about import RULES, organisation_of
from compliance.office.office import Office
from compliance.policy.decision import Decision
from compliance.policy.replay import replay
from protocols.errors import MalformedMessageError
from protocols.tlog.entry import Entry, Outcome

_PIECE = 256


@dataclass(frozen=True, slots=True)
class Replayed:
    """One entry, and what came of deciding it again.

    Args:
        differences: none if the same policies and agreement decide the same.
        missing: why it cannot be decided again, such as an erased private part; or empty.
    """

    place: Place
    entry: Entry
    differences: tuple[str, ...] = ()
    missing: str = ""


def replay_log(
    office: Office, documents: Documents, *, origin: str, start: int = 0, end: int | None = None
) -> Iterator[Replayed]:
    """Decide every entry from `start` to before `end` again, in order.

    Args:
        documents: finds run plans and epoch terms by hash.

    Raises:
        LogCorruptError: a private part is not what its entry commits to.
    """
    last = office.storage.edge(origin).size if end is None else end
    used: dict[bytes, int] = {}
    for first in range(start, last, _PIECE):
        try:
            found = office.storage.entries(origin, first, min(first + _PIECE, last))
        except EntryPrunedError:
            continue
        for number, data in enumerate(found, first):
            yield _replayed(office, Place(origin, number), Entry.decode(data), documents, used)


def _replayed(
    office: Office, place: Place, entry: Entry, documents: Documents, used: dict[bytes, int]
) -> Replayed:
    try:
        record = office.parts.read(place, entry.commitment).decision
    except (PartErasedError, UnknownPartError) as error:
        return Replayed(place, entry, missing=str(error))
    if len(entry.policies) == 1 and (rule := RULES.get(entry.policies[0])) is not None:
        return Replayed(place, entry, missing=f"entry {place.index}: {rule}")
    if not record:
        return Replayed(place, entry, missing=f"entry {place.index}: no policies decided it")
    try:
        decision = Decision.decode(record.encode())
    except MalformedMessageError as error:
        raise LogCorruptError(f"entry {place.index}: its record is none: {error}") from error
    if decision.agreement is not None:
        used.setdefault(decision.agreement, decision.at)
    again = replay(decision, office.policies, office.agreements, documents, used=used)
    return Replayed(place, entry, (*_against(entry, decision), *again))


def _against(entry: Entry, decision: Decision) -> Iterator[str]:
    """Yield where an entry says something else than the record of its decision."""
    agreement = None if entry.agreement is None else entry.agreement.digest
    pairs = (
        ("act", entry.act, decision.act),
        ("organisation", entry.organisation, organisation_of(decision)),
        ("policy_set", entry.policy_set, decision.policy_set),
        ("agreement", agreement, decision.agreement),
    )
    for name, shown, decided in pairs:
        if shown != decided:
            yield f"{name}: the entry shows another than the record"
    if not decision.allowed and entry.outcome not in {Outcome.REFUSED, Outcome.FAILED}:
        yield "outcome: it was denied, and the entry says that it was done"
