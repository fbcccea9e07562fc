"""What a node's office decides of a run, and what stands of it in the node's own log.

    plan offered        accept_run or refuse_run, once for each plan, before the reply leaves
    training begins     compute, once for each plan
    scores are opened   release_score, once for each phase that opens some
    run ended here      compute, with the exact charge of all that left the site

Who adds up the last kind over all runs has what the node's ledger has; the hub's log says
the same. An entry names the run and the partners. What was written against a run stands in
the private part alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from compliance.agreement.coverage import Run, Scores
from compliance.charges import Told, charge_of
from compliance.errors import ComplianceError
from compliance.office.about import About
from compliance.office.office import Office
from compliance.policy.actors import Person
from compliance.policy.decision import Decision
from protocols.errors import UnsupportedParameterError
from protocols.tlog.entry import Outcome, Verb
from protocols.vertical.plan import TrainingPlan

# The agreement ended while the run went on: what was released is entered and counts.
ENDED = "run.agreement_ended"
ACCEPT, REFUSE = "accept_run", "refuse_run"


@dataclass(frozen=True, slots=True)
class RunJournal:
    """Decides and enters what this node does in one run."""

    office: Office = field(repr=False)
    plan: TrainingPlan

    @property
    def is_covered(self) -> bool:
        """Whether the agreement in force, if one can be read, covers this very plan."""
        try:
            agreement = self.office.agreement()
        except ComplianceError:
            return False  # the decision says so, and is entered
        return agreement is not None and Run(self.plan).ask(agreement).covered

    def attempt(self, act: str, by: Person, *, reason: str = "") -> Decision:
        """Decide whether a person may accept or refuse the run; enter a denial.

        What it came to is entered by `accepted` or `refused`, when the hub is answered.

        Raises:
            NotPermittedError: agreement or policies do not permit it to this person.
        """
        with _told():
            # Another person's denial is another entry, and so is the same one's second.
            about = self._about("offered", once=False, reason=reason)
            return self.office.permit(act, about, by=by, question=Run(self.plan))

    def accepted(self, by: Person | None) -> None:
        """Decide that the run is accepted, and enter that it is.

        Args:
            by: who decided by hand; None where the organisation's program does.

        Raises:
            NotPermittedError: agreement or policies do not permit it; that is entered.
            UnsupportedParameterError: no entry can hold the plan's names.
        """
        with _told():
            about = self._about("offered")
            self.office.perform(ACCEPT, about, by=by, question=Run(self.plan))

    def refused(self, by: Person | None, reason: str) -> None:
        """Enter that the run is refused; nobody can be kept from refusing."""
        with _told():
            about = self._about("offered", reason=reason)
            decision = self.office.decide(REFUSE, by=by, question=Run(self.plan))
            outcome = Outcome.DONE if decision.allowed else Outcome.REFUSED
            self.office.enter(decision, about, outcome)

    def begin_computing(self) -> None:
        """Decide whether this node may hold shares of the run, and enter that it begins.

        Raises:
            NotPermittedError: the agreement has ended, or never let it; that is entered.
        """
        self.office.perform("compute", self._about("started"), question=Run(self.plan))

    def open_scores(self, phase: str, count: int) -> None:
        """Decide whether the joint scores may be opened to the label holders, and enter it.

        Args:
            count: of scores, where that is known here; 0 otherwise.

        Raises:
            NotPermittedError: agreement or policies do not permit it; that is entered.
        """
        about = self._about(
            phase, verb=Verb.DISCLOSE, recipients=self.plan.label_holders, count=count
        )
        self.office.perform("release_score", about, question=Scores(self.plan))

    def ended(self, releases: Told) -> None:
        """Enter what was released; it has happened, whatever agreement and policies say by now."""
        decision = self.office.decide("compute", question=Run(self.plan))
        about = self._about(
            "releases",
            count=len(releases),
            charge=charge_of(self.plan, self.office.name, releases),
        )
        if decision.allowed:
            self.office.enter(decision, about)
        else:
            self.office.enter_failure(decision, about, ENDED)

    def _about(self, stage: str, **details: Any) -> About:
        plan, ours = self.plan, self.office.name
        found: dict[str, Any] = {
            "verb": Verb.COMBINE,
            "recipients": tuple(name for name in plan.names if name != ours),
            "once": True,
        }
        return About(
            matter=f"run/{plan.run}",
            document=plan.digest,
            purpose=plan.purpose,
            subject=f"run {plan.digest.hex()} {stage}",
            **(found | details),
        )


@contextmanager
def _told() -> Iterator[None]:
    """Tell, before anything is begun, that the log could not hold what a hub proposes."""
    try:
        yield
    except ValueError as error:
        raise UnsupportedParameterError(
            "plan: this partner's log cannot hold its run, purpose or partners: nine digits in "
            "a row, two hyphens in a row or too long; propose it under other names"
        ) from error
