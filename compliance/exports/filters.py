"""Which entries of a log are asked for: every field that is given must fit.

An entry names no person, and so does no filter: who is concerned is found by the owner
alone, over its private parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any

from protocols.errors import MalformedMessageError
from protocols.tlog.entry import Entry, Outcome, Verb


@dataclass(frozen=True, slots=True)
class Filter:
    """What an entry must be like; a field that is empty asks for nothing.

    Args:
        since, until: Unix seconds, from the first up to the second.
        actor: the beginning of a pseudonym in hexadecimal.
        purpose: an IRI, or what stands behind its `#`.
        agreement: a name, or the beginning of a hash in hexadecimal.
        run: of the charge that the entry carries.
        text: stands somewhere in subject matter, basis, policies, run or label.
    """

    since: int | None = None
    until: int | None = None
    verb: Verb | None = None
    outcome: Outcome | None = None
    organisation: str = ""
    actor: str = ""
    recipient: str = ""
    purpose: str = ""
    agreement: str = ""
    run: str = ""
    text: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether every entry fits."""
        return self == Filter()

    def fields(self) -> dict[str, Any]:
        """Return the fields that ask for something, as JSON."""
        values = ((item.name, getattr(self, item.name)) for item in fields(self))
        return {
            name: value.value if isinstance(value, (Verb, Outcome)) else value
            for name, value in values
            if value not in (None, "")
        }

    def fits(self, entry: Entry) -> bool:
        """Whether an entry is asked for."""
        return (
            (self.since is None or self.since <= entry.time)
            and (self.until is None or entry.time < self.until)
            and self.verb in (None, entry.verb)
            and self.outcome in (None, entry.outcome)
            and self.organisation in ("", entry.organisation)
            and entry.actor.hex().startswith(self.actor)
            and (not self.recipient or self.recipient in entry.recipients)
            and self.purpose in ("", entry.purpose, entry.purpose.rpartition("#")[2])
            and self._fits_agreement(entry)
            and (not self.run or (entry.charge is not None and entry.charge.run == self.run))
            and (not self.text or any(self.text in part for part in _texts(entry)))
        )

    def _fits_agreement(self, entry: Entry) -> bool:
        if not self.agreement:
            return True
        found = entry.agreement
        return found is not None and (
            found.name == self.agreement or found.digest.hex().startswith(self.agreement)
        )

    def select(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Yield the entries that are asked for, in their order."""
        return (entry for entry in entries if self.fits(entry))


def _texts(entry: Entry) -> Iterator[str]:
    yield entry.subject_matter
    yield entry.basis
    yield from entry.policies
    if entry.charge is not None:
        yield entry.charge.run
        yield entry.charge.label


def parse_filter(value: object) -> Filter:
    """Read what `Filter.fields` wrote.

    Raises:
        MalformedMessageError: on anything else.
    """
    names = {item.name for item in fields(Filter)}
    if not isinstance(value, dict) or not names >= value.keys():
        raise MalformedMessageError("filter: not an object of its own fields")
    found: dict[str, Any] = dict(value)
    for name, item in found.items():
        kind = int if name in {"since", "until"} else str
        if type(item) is not kind:
            raise MalformedMessageError(f"filter: {name} is of the wrong type")
    try:
        if "verb" in found:
            found["verb"] = Verb(found["verb"])
        if "outcome" in found:
            found["outcome"] = Outcome(found["outcome"])
    except ValueError as error:
        raise MalformedMessageError("filter: an unknown verb or outcome") from error
    return Filter(**found)
