"""What happens at the hub, decided and entered into its log: methods for each kind of act.

    permit_...     asks agreement and policies; a denial is entered and raised, a permission
                   is returned, to be handed back with what came of the act
    others         enter what came of it, and return when the entry is durable

Whoever calls lets nothing out before that. Where the log cannot be written they raise, and
there is no answer, table, key or run.

    evaluation answered    consult     by the asker; entered once the hub's own book has
                                       charged it, before the reply leaves
    evaluation refused     consult     by the caller, with the code of the refusal
    evaluation failed      consult     charged here, and then too few others answered
    table published        disclose    by its contributor, before it is in force
    table fetched          disclose    by its reader, once for each table and reader
    table applied          disclose    by its reader, which has acknowledged it
    epoch begun, refreshed, ended   alter   by a person at the hub, before it is in use or gone
    partner approved       alter       by a person at the hub, before its certificate is issued
    run proposed, started, ended, and what each partner released   combine

The same request again adds no entry. An evaluation that the hub charged and another holder
then refused has two: done here, and refused. What cannot be read as a request touches nothing
and is not entered; nor is a request for which too few holders are connected.

An entry names organisations, epochs, tables and runs. The digest of a request and the
commitment to its case stand in the private part alone, encrypted under the hub's keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

from compliance.agreement.coverage import Epoch, Lookup, Publication, Run, Table
from compliance.charges import Releases, Told, charge_of
from compliance.log.storage import Place
from compliance.office.about import DATABASE, About
from compliance.office.office import HUB, Office
from compliance.policy.actors import Facts, Person, Principal, hour_at
from compliance.policy.decision import Decision
from compliance.staff.acting import Acting
from compliance.staff.consents import MAX_WHAT
from protocols.epoch.manifest import EpochManifest
from protocols.epoch.setup import KeygenTerms
from protocols.errors import MalformedMessageError, UnsupportedParameterError
from protocols.jcs import encode_jcs
from protocols.lookup.header import SignedHeader
from protocols.lookup.request import NO_CASE, SignedRequest
from protocols.tlog.entry import MAX_NAMES, Outcome, Verb
from protocols.vertical.plan import TrainingPlan

UNREPORTED = "run.unreported"
# The agreement ended while the run went on: what was released is entered and counts.
ENDED = "run.agreement_ended"
_LARGEST_NUMBER = 10**8  # what is longer looks like the number of a person


class HubJournal:
    """Decides and enters what happens at the hub; for any number of threads."""

    def __init__(self, office: Office) -> None:
        self.office = office

    # ---- lookups ---------------------------------------------------------------------------

    def permit_evaluation(
        self, caller: str, request: SignedRequest, manifest: EpochManifest
    ) -> Decision:
        """Decide whether the caller may have this request evaluated; enter a denial.

        Raises:
            NotPermittedError: agreement or policies do not permit it.
        """
        return self.office.permit(
            "evaluate", _evaluation(request, manifest), **self._asked(caller, request)
        )

    def evaluation_answered(
        self, decision: Decision, request: SignedRequest, manifest: EpochManifest, *, is_new: bool
    ) -> Place:
        """Enter that the hub has evaluated a request, or find the entry that says so.

        Args:
            is_new: the hub's book has charged it just now, and not before.
        """
        about = _evaluation(request, manifest, recipients=(request.asker,), count=request.count)
        return self.office.enter(decision, about, is_new=is_new)

    def evaluation_failed(
        self, decision: Decision, request: SignedRequest, manifest: EpochManifest, code: str
    ) -> Place:
        """Enter that a request was charged here and could not be answered."""
        return self.office.enter_failure(decision, _evaluation(request, manifest), code)

    def evaluation_refused(
        self,
        caller: str,
        request: SignedRequest,
        manifest: EpochManifest | None,
        code: str,
        decision: Decision | None = None,
    ) -> Place:
        """Enter that a request was refused by something else than the policies.

        Args:
            caller: as its certificate says; the request may name another asker.
            manifest: None if its epoch is not known here.
            code: the stable name of the reason.
            decision: if it was permitted before; it is decided now otherwise.
        """
        if decision is None:
            decision = self.office.decide("evaluate", **self._asked(caller, request))
        return self.office.enter_refusal(decision, _evaluation(request, manifest), code)

    # ---- tables ----------------------------------------------------------------------------

    def permit_publication(self, contributor: str, epoch: int) -> Decision:
        """Decide whether a contributor may put a table in force; enter a denial.

        Raises:
            NotPermittedError: agreement or policies do not permit it.
        """
        about = About(Verb.DISCLOSE, f"{_epoch(epoch)}/table", purpose=DATABASE)
        return self.office.permit(
            "publish",
            about,
            by=self.office.party(contributor),
            to=self.office.party(contributor),
            question=Publication(contributor),
        )

    def table_published(
        self, decision: Decision, manifest: EpochManifest, signed: SignedHeader
    ) -> Place:
        """Enter that a contributor's table is put in force."""
        header = signed.header
        digest = sha256(signed.encode()).digest()
        readers = tuple(sorted(set(manifest.askers) - {header.contributor}))
        about = About(
            Verb.DISCLOSE,
            f"{_epoch(header.epoch)}/table",
            # An entry holds 32 names; to more than these the table goes by way of the hub.
            recipients=readers if len(readers) <= MAX_NAMES else (HUB,),
            count=header.count,
            document=digest,
            purpose=DATABASE,
            subject=f"table {digest.hex()}",
            once=True,
        )
        return self.office.enter(decision, about)

    def may_fetch(self, reader: str, contributor: str) -> bool:
        """Report whether a reader would be given a contributor's table; nothing is entered."""
        asked = self._fetching("fetch_table", reader, contributor)
        return self.office.decide(**asked).allowed

    def permit_table(self, reader: str, signed: SignedHeader) -> Decision:
        """Decide whether a reader may have a contributor's table; enter a denial.

        Raises:
            NotPermittedError: agreement or policies do not permit it.
        """
        asked = self._fetching("fetch_table", reader, signed.header.contributor)
        return self.office.permit(about=_table(signed, (reader,)), **asked)

    def table_fetched(self, decision: Decision, reader: str, signed: SignedHeader) -> Place:
        """Enter that a reader is given a table or a part of it: once, however many it takes."""
        return self.office.enter(decision, _table(signed, (reader,)))

    def table_applied(self, reader: str, signed: SignedHeader) -> Decision:
        """Decide whether a reader may acknowledge a table, and enter once that it did.

        Raises:
            NotPermittedError: agreement or policies do not permit it; that is entered too.
        """
        contributor = signed.header.contributor
        asked = self._fetching("acknowledge", reader, contributor)
        return self.office.perform(about=_table(signed, (contributor,)), **asked)

    # ---- epochs ----------------------------------------------------------------------------

    def permit_epoch(
        self,
        act: str,
        terms: KeygenTerms | None,
        *,
        epoch: int,
        by: Principal,
        second: Person | None,
        reason: str = "",
    ) -> Decision:
        """Decide whether somebody at the hub may begin, refresh or end an epoch.

        Args:
            act: `begin_epoch`, `refresh_epoch` or `end_epoch`.
            terms: of the set-up; None where an epoch ends.

        Raises:
            NotPermittedError: agreement or policies do not permit it; that is entered.
        """
        return self.office.permit(
            act,
            About(Verb.ALTER, f"{_epoch(epoch)}/key", reason=reason),
            by=by,
            facts=self._facts(reason=reason, second=second),
            question=None if terms is None else Epoch(terms),
        )

    def epoch_changed(
        self, decision: Decision, manifest: EpochManifest, *, reason: str = ""
    ) -> Place:
        """Enter that a key, or new shares of it, are put in use, or that its shares go."""
        about = About(
            Verb.ALTER,
            f"{_epoch(manifest.epoch)}/key",
            recipients=tuple(name for name in manifest.record.holders if name != HUB),
            document=manifest.digest,
            subject=f"epoch {manifest.digest.hex()}",
            reason=reason,
            once=True,
        )
        return self.office.enter(decision, about)

    # ---- partners --------------------------------------------------------------------------

    def partner_approved(
        self, request: Mapping[str, Any], who: Acting, *, reason: str = ""
    ) -> Decision:
        """Decide whether a partner is taken in on its join request, and enter that it is.

        Args:
            who: acts at the hub; the consent of a second person counts, and is used up.

        Raises:
            NotPermittedError: the policies do not permit it; that is entered.
            UnsupportedParameterError: no entry can hold its name.
        """
        digest = sha256(encode_jcs(dict(request))).digest()
        name = str(request["name"])
        with _told("name"):
            about = About(
                Verb.ALTER,
                "partners",
                recipients=(name,),
                count=1,
                document=digest,
                subject=f"partner {digest.hex()}",
                reason=reason,
            )
            return who.perform(
                self.office,
                "approve_partner",
                about,
                what=f"take {name} in, identity key {request.get('identity')}"[:MAX_WHAT],
                to=self.office.party(name),
            )

    # ---- runs ------------------------------------------------------------------------------

    def run_proposed(self, plan: TrainingPlan, *, by: Principal) -> Decision:
        """Decide whether somebody at the hub may propose a run, and enter that it is proposed.

        Raises:
            NotPermittedError: agreement or policies do not permit it; that is entered.
            UnsupportedParameterError: no entry can hold its name or its purpose.
        """
        with _told("run, purpose"):
            about = _run(plan, "proposed", recipients=plan.names)
            return self.office.perform("propose_run", about, by=by, question=Run(plan))

    def run_started(self, plan: TrainingPlan) -> Decision:
        """Decide whether the hub may conduct this very plan, and enter that it begins.

        Raises:
            NotPermittedError: the agreement does not cover it; that is entered.
        """
        return self.office.perform("compute", _run(plan, "started"), question=Run(plan))

    def run_ended(
        self,
        plan: TrainingPlan,
        outcome: Outcome,
        *,
        decision: Decision | None,
        releases: Releases,
        spending: bool,
        record: bytes,
        code: str = "",
    ) -> Place:
        """Enter what each partner says it released, and then how the run ended.

        Args:
            decision: by which it was started; None if it never was.
            releases: by partner, as they stand in the run's record; who is missing in it said
                nothing, and is entered so.
            spending: whether the partners were ever asked to do what costs budget.
            record: the bytes of its file, which the last entry puts on record by their digest.
            code: why it was refused or failed.

        Privacy:
            Every charge is that of the partner's own ledger, added up over equal releases;
            who adds up the entries of a partner has what it spent.
        """
        if decision is None:
            decision = self.office.decide("compute", question=Run(plan))
        for name in plan.names if spending else ():
            self._release(plan, name, releases.get(name))
        about = _run(plan, "ended", document=sha256(record).digest())
        if outcome is Outcome.DONE and not decision.allowed:
            return self.office.enter_failure(decision, about, ENDED)
        match outcome:
            case Outcome.REFUSED:
                return self.office.enter_refusal(decision, about, code or "run.refused")
            case Outcome.FAILED:
                return self.office.enter_failure(decision, about, code or "run.failed")
            case _:
                return self.office.enter(decision, about, outcome)

    def _release(self, plan: TrainingPlan, name: str, told: Told | None) -> None:
        """Enter what one partner released; it has happened, whatever policies say by now."""
        decision = self.office.decide("compute", by=self.office.party(name), question=Run(plan))
        about = _run(
            plan,
            f"releases of {name}",
            recipients=tuple(other for other in plan.names if other != name),
            count=len(told or ()),
            charge=None if told is None else charge_of(plan, name, told),
        )
        if told is None or not decision.allowed:
            code = UNREPORTED if told is None else ENDED
            self.office.enter_failure(decision, about, code)
        else:
            self.office.enter(decision, about)

    def _asked(self, caller: str, request: SignedRequest) -> dict[str, Any]:
        facts = Facts(
            hour=hour_at(self.office.clock.now()),
            channel=request.purpose.value,
            case_present=request.case != NO_CASE,
        )
        question = Lookup(caller, request.purpose)
        return {"by": caller, "facts": facts, "question": question}

    def _fetching(self, act: str, reader: str, contributor: str) -> dict[str, Any]:
        # Its own table a contributor may have back by what lets it publish one.
        own = reader == contributor
        question = Publication(reader) if own else Table(contributor, reader)
        return {"act": act, "by": reader, "question": question}

    def _facts(self, *, reason: str, second: Person | None) -> Facts:
        hour = hour_at(self.office.clock.now())
        return Facts(hour=hour, reason_given=bool(reason.strip()), second=second)


def _evaluation(
    request: SignedRequest,
    manifest: EpochManifest | None,
    *,
    recipients: tuple[str, ...] = (),
    count: int = 0,
) -> About:
    key = "epoch" if manifest is None else _epoch(manifest.epoch)
    return About(
        Verb.CONSULT,
        f"{key}/{request.purpose.replace('_', '-')}",
        recipients=recipients,
        count=count,
        subject=f"request {request.digest.hex()}",
        case="" if request.case == NO_CASE else request.case.hex(),
        once=True,
    )


def _table(signed: SignedHeader, recipients: tuple[str, ...]) -> About:
    header = signed.header
    digest = sha256(signed.encode()).digest()
    return About(
        Verb.DISCLOSE,
        f"{_epoch(header.epoch)}/table/{header.contributor}",
        recipients=recipients,
        count=header.count,
        document=digest,
        subject=f"table {digest.hex()}",
        once=True,
    )


def _run(plan: TrainingPlan, stage: str, **details: Any) -> About:
    found = {"document": plan.digest} | details
    return About(
        Verb.COMBINE,
        f"run/{plan.run}",
        purpose=plan.purpose,
        subject=f"run {plan.digest.hex()} {stage}",
        once=True,
        **found,
    )


@contextmanager
def _told(subject: str) -> Iterator[None]:
    """Tell an operator, before anything is begun, that the log could not hold it."""
    try:
        yield
    except MalformedMessageError as error:
        raise UnsupportedParameterError(f"{subject}: {error}; choose another") from error
    except ValueError as error:
        raise UnsupportedParameterError(
            f"{subject}: the audit log cannot hold it: nine digits in a row, two hyphens in a "
            "row or too long; choose another"
        ) from error


def _epoch(number: int) -> str:
    return f"epoch-{number}" if number < _LARGEST_NUMBER else "epoch"
