"""A contributor's reports of a person: told, ruled upon in a dispute, and erased.

    erase   1 withdraw what stands; wait until that is published, so that desks learn of it
            2 end the withdrawn reports; wait until their records have left the table
            3 put random tokens in place of all that could find the person

Each call does the step that is due; `lianfang feed publish` comes between. What was never
published goes at once. The feed no longer knows that the person was ever reported: a row of
the same report that is given again later is a new one, so take it out at its source as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from clients.feed.defects import Refusal
from clients.feed.entries import Details, last_month
from clients.feed.home import FeedHome
from clients.feed.intake import open_input
from clients.feed.register import Actor, Effect, Register
from clients.feed.states import state_name
from clients.lookup.secrets import Random
from compliance.agreement.vocabulary import Title
from compliance.clock import Clock
from compliance.rights.case import Texts
from compliance.rights.disputes import Ruling
from compliance.rights.errors import StoreWaitsError
from compliance.rights.stores import Finding, Subject
from protocols.errors import OutOfTurnError, UnsupportedParameterError
from protocols.lookup.payload import Slot, Status

_STATE, _CATEGORY = Title("state", "狀態"), Title("category", "類別")
_SOURCE, _SLOT = Title("source", "來源"), Title("as", "身分")
_MONTHS = Title("events", "事件期間")
_YEAR, _MONTH = 2000, 12


@dataclass(frozen=True, slots=True)
class ReportRecords:
    """The register of one feed."""

    home: FeedHome
    random: Random
    clock: Clock
    who: str = "rights"
    name: ClassVar[str] = "feed/register"
    what: ClassVar[Title] = Title("reports that name you", "提及您之通報")
    method: ClassVar[Title] = Title(
        "withdrawn and published, then taken out of the table, then overwritten",
        "先撤回並發布，再自通報表移除，最後覆寫",
    )

    def find(self, subject: Subject) -> list[Finding]:
        """Return the reports of the person; canaries are nobody's."""
        with self._register() as register:
            return [
                _finding(slot, state, details)
                for canonical in subject.canonical
                for slot, state, details in register.reports_about(canonical)
                if details is None or not details.canary
            ]

    def erase(self, subject: Subject) -> int:
        """Take the step that is due.

        Raises:
            StoreWaitsError: a publication must come first.
        """
        erased = 0
        actor, waits = Actor(self.who, self.clock.now(), "erasure"), False
        with self._register() as register:
            for canonical in subject.canonical:
                with register.transaction():
                    if _leave_table(register, canonical, actor):
                        waits = True
                    else:
                        erased += register.forget_about(canonical, self.random)
            if waits:
                raise StoreWaitsError(
                    f"{self.name}: the change must be published first; run `lianfang feed publish`,"
                    " then this again"
                )
            if not register.scrub():
                raise StoreWaitsError(f"{self.name}: another process reads it; run it again")
        return erased

    def rule(self, ruling: Ruling, texts: Texts, *, corrections: Path | None = None) -> int:
        """Carry out a ruling on a dispute; returns how many reports changed.

        Args:
            corrections: a file of reports as for `feed publish`, where the ruling corrects.

        Raises:
            UnsupportedParameterError: a file without a correction, or the other way round, or
                it speaks of somebody else.
            OutOfTurnError: a report in the file is not known here: it would be a new one.
        """
        if (corrections is not None) is not (ruling is Ruling.CORRECTED):
            raise UnsupportedParameterError(
                "corrections: a file stands with `corrected`, and with nothing else"
            )
        persons = {item.canonical for item in texts.identifiers}
        actor = Actor(self.who, self.clock.now(), f"dispute: {ruling}")
        with self._register() as register, register.transaction():
            if corrections is not None:
                return self._correct(register, corrections, persons, actor)
            if ruling is Ruling.WITHDRAWN:
                return sum(register.withdraw_about(item, actor) for item in persons)
        return 0

    def _correct(self, register: Register, file: Path, persons: set[bytes], actor: Actor) -> int:
        settings, changed = self.home.settings(), 0
        for row, found in open_input(file, settings.defaults(actor.now)).rows:
            for one in found:
                if isinstance(one, Refusal):
                    raise UnsupportedParameterError(
                        f"row {row}: {one.field} {one.rule}; {one.cure}"
                    )
                if one.canonical not in persons:
                    raise UnsupportedParameterError(f"row {row}: is not about this person")
                months = settings.retention[one.category]
                effect = register.enter(one, last_month(one.last, months, one.until), actor)
                if effect is Effect.NEW:
                    raise OutOfTurnError(f"row {row}: no report of this number is known here")
                changed += effect is Effect.CHANGED
        return changed

    @contextmanager
    def _register(self) -> Iterator[Register]:
        register = self.home.register(random=self.random)
        try:
            yield register
        finally:
            register.close()


def _leave_table(register: Register, canonical: bytes, actor: Actor) -> bool:
    """Bring an identifier nearer to leaving the table; False if it is in none."""
    if not register.is_public(canonical):
        return False
    if register.withdraw_about(canonical, actor) or register.is_waiting(canonical):
        return True
    # Published as withdrawn: desks that had a hit have been told. Ending it takes it out.
    register.end_about(canonical, actor)
    return True


def _finding(slot: Slot, state: Status, details: Details | None) -> Finding:
    facts = {_STATE: state_name(state), _SLOT: slot.name.lower()}
    if details is not None:
        facts |= {
            _CATEGORY: details.category.name.lower(),
            _SOURCE: details.source.name.lower(),
            _MONTHS: f"{_month(details.first)} - {_month(details.last)}",
        }
    return Finding(None, facts)


def _month(count: int) -> str:
    return f"{_YEAR + count // _MONTH}-{count % _MONTH + 1:02}"
