"""What happens at the hub, entered into its log: one method for each kind of act.

Every method returns when the entry is durable, and whoever calls it lets nothing out before
that. Where the log cannot be written it raises, and there is no answer, table, key or run.

    evaluation answered    consult     by the asker; entered once the hub's own book has
                                       charged it, before the reply leaves
    evaluation refused     consult     by the caller, with the code of the refusal
    evaluation failed      consult     charged here, and then too few others answered
    table published        disclose    by its contributor, before it is in force
    epoch begun, refreshed, ended   alter   by the hub, before it is in use or gone
    partner approved       alter       by the hub, before its certificate is issued
    run proposed, started, ended, and what each partner released   combine

The same request again adds no entry (`once`). An evaluation that the hub charged and another
holder then refused has two: done here, and refused. What cannot be read as a request touches
nothing and is not entered; nor is a request for which too few holders are connected.

An entry names organisations, epochs, tables and runs. The digest of a request and the
commitment to its case stand in the private part alone, encrypted under the hub's keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from typing import Any

from compliance.clock import Clock
from compliance.log.private import PrivateParts
from compliance.log.storage import Place, Storage
from compliance.log.yearly import YearlyLog
from protocols.epoch.manifest import EpochManifest
from protocols.errors import UnsupportedParameterError
from protocols.jcs import encode_jcs
from protocols.lookup.header import SignedHeader
from protocols.lookup.request import NO_CASE, SignedRequest
from protocols.tlog.entry import (
    MAX_NAMES,
    Agreement,
    Charge,
    Decision,
    Entry,
    Outcome,
    Verb,
)
from protocols.tlog.private import PrivatePart, pseudonym
from protocols.vertical.plan import TrainingPlan
from server.log.once import Once
from server.log.rules import (
    DATABASE,
    DETECTION,
    JOIN_REQUEST,
    MANIFEST,
    RULES_DIGEST,
    Rule,
    manifest_basis,
    plan_basis,
    purpose_of,
)
from server.log.spent import Releases, Told, charge_of

HUB = "hub"
_LARGEST_NUMBER = 10**8  # what is longer looks like the number of a person


class HubJournal:
    """Enters what happens at the hub; for any number of threads.

    Args:
        storage: that of `log`, to find entries again.
        pseudonyms: 32 bytes that the hub alone has: actors are told apart by them.
    """

    def __init__(
        self,
        log: YearlyLog,
        storage: Storage,
        parts: PrivateParts,
        *,
        pseudonyms: bytes,
        clock: Clock,
    ) -> None:
        self._log = log
        self._parts = parts
        self._once = Once(storage, parts)
        self._pseudonyms = pseudonyms
        self._clock = clock

    def evaluation_answered(
        self, request: SignedRequest, manifest: EpochManifest, *, is_new: bool
    ) -> Place:
        """Enter that the hub has evaluated a request, or find the entry that says so.

        Args:
            is_new: the hub's book has charged it just now, and not before.
        """
        entry = self._evaluation(
            request,
            request.asker,
            manifest,
            policy=Rule.LOOKUP_GRANT,
            outcome=Outcome.DONE,
            recipients=(request.asker,),
            count=request.count,
        )
        return self._enter_request(entry, request, is_new=is_new)

    def evaluation_failed(
        self, request: SignedRequest, manifest: EpochManifest, code: str
    ) -> Place:
        """Enter that a request was charged here and could not be answered."""
        entry = self._evaluation(
            request, request.asker, manifest, policy=code, outcome=Outcome.FAILED
        )
        return self._enter_request(entry, request)

    def evaluation_refused(
        self, caller: str, request: SignedRequest, manifest: EpochManifest | None, code: str
    ) -> Place:
        """Enter that a request was refused.

        Args:
            caller: as its certificate says; the request may name another asker.
            manifest: None if its epoch is not known here.
            code: the stable name of the reason.
        """
        entry = self._evaluation(request, caller, manifest, policy=code, outcome=Outcome.REFUSED)
        return self._enter_request(entry, request)

    def table_published(self, manifest: EpochManifest, signed: SignedHeader) -> Place:
        """Enter that a contributor's table is put in force."""
        header = signed.header
        digest = sha256(signed.encode()).digest()
        readers = tuple(sorted(set(manifest.askers) - {header.contributor}))
        entry = self._entry(
            Rule.TABLE_PUBLISH,
            Verb.DISCLOSE,
            organisation=header.contributor,
            purpose=DATABASE,
            agreement=manifest_basis(manifest.digest),
            matter=f"{_epoch(header.epoch)}/table",
            # An entry holds 32 names; to more than these the table goes by way of the hub.
            recipients=readers if len(readers) <= MAX_NAMES else (HUB,),
            count=header.count,
            document=digest,
        )
        return self._enter_once(entry, f"table {digest.hex()}")

    def epoch_begun(self, manifest: EpochManifest) -> Place:
        """Enter that a new key is put in use."""
        return self._epoch(Rule.EPOCH_BEGIN, manifest)

    def epoch_refreshed(self, manifest: EpochManifest) -> Place:
        """Enter that new shares of a key are put in use."""
        return self._epoch(Rule.EPOCH_REFRESH, manifest)

    def epoch_ended(self, manifest: EpochManifest) -> Place:
        """Enter that the shares of a key are destroyed before their time."""
        return self._epoch(Rule.EPOCH_END, manifest)

    def partner_approved(self, request: Mapping[str, Any]) -> Place:
        """Enter that a partner is taken in on its join request; every time that it is.

        Raises:
            UnsupportedParameterError: no entry can hold its name.
        """
        digest = sha256(encode_jcs(dict(request))).digest()
        with _told("name"):
            entry = self._entry(
                Rule.PARTNER_APPROVE,
                Verb.ALTER,
                purpose=DETECTION,
                agreement=Agreement(JOIN_REQUEST, digest),
                matter="partners",
                recipients=(str(request["name"]),),
                count=1,
                document=digest,
            )
        return self._enter(entry, f"partner {digest.hex()}")

    def run_proposed(self, plan: TrainingPlan) -> Place:
        """Enter a proposed run.

        Raises:
            UnsupportedParameterError: no entry can hold its name or its purpose.
        """
        with _told("run, purpose"):
            return self._run(Rule.RUN_PROPOSE, plan, recipients=plan.names)

    def run_started(self, plan: TrainingPlan) -> Place:
        """Enter that a run begins under this very plan."""
        return self._run(Rule.RUN_START, plan)

    def run_ended(
        self,
        plan: TrainingPlan,
        outcome: Outcome,
        *,
        releases: Releases,
        spending: bool,
        record: bytes,
    ) -> Place:
        """Enter what each partner says it released, and then how the run ended.

        Args:
            releases: by partner, as they stand in the run's record; who is missing in it said
                nothing, and is entered so.
            spending: whether the partners were ever asked to do what costs budget.
            record: the bytes of its file, which the last entry puts on record by their digest.

        Privacy:
            Every charge is that of the partner's own ledger, added up over equal releases;
            who adds up the entries of a partner has what it spent.
        """
        for name in plan.names if spending else ():
            self._release(plan, name, releases.get(name))
        return self._run(Rule.RUN_END, plan, outcome=outcome, document=sha256(record).digest())

    def _evaluation(
        self,
        request: SignedRequest,
        organisation: str,
        manifest: EpochManifest | None,
        *,
        policy: str,
        outcome: Outcome,
        recipients: tuple[str, ...] = (),
        count: int = 0,
    ) -> Entry:
        key = "epoch" if manifest is None else _epoch(manifest.epoch)
        return self._entry(
            policy,
            Verb.CONSULT,
            organisation=organisation,
            purpose=purpose_of(request.purpose),
            agreement=None if manifest is None else manifest_basis(manifest.digest),
            matter=f"{key}/{request.purpose.replace('_', '-')}",
            outcome=outcome,
            recipients=recipients,
            count=count,
        )

    def _epoch(self, rule: Rule, manifest: EpochManifest) -> Place:
        entry = self._entry(
            rule,
            Verb.ALTER,
            purpose=DETECTION,
            agreement=manifest_basis(manifest.digest),
            matter=f"{_epoch(manifest.epoch)}/key",
            recipients=tuple(name for name in manifest.record.holders if name != HUB),
            document=manifest.digest,
        )
        return self._enter_once(entry, f"{rule} {manifest.digest.hex()}")

    def _run(
        self,
        rule: Rule,
        plan: TrainingPlan,
        *,
        outcome: Outcome = Outcome.DONE,
        recipients: tuple[str, ...] = (),
        document: bytes | None = None,
    ) -> Place:
        entry = self._entry(
            rule,
            Verb.COMBINE,
            purpose=plan.purpose,
            agreement=plan_basis(plan.digest),
            matter=f"run/{plan.run}",
            outcome=outcome,
            recipients=recipients,
            document=document or plan.digest,
        )
        return self._enter_once(entry, f"{rule} {plan.digest.hex()}")

    def _release(self, plan: TrainingPlan, name: str, told: Told | None) -> None:
        charge = None if told is None else charge_of(plan, name, told)
        entry = self._entry(
            Rule.RUN_UNREPORTED if told is None else Rule.RUN_RELEASE,
            Verb.COMBINE,
            organisation=name,
            purpose=plan.purpose,
            agreement=plan_basis(plan.digest),
            matter=f"run/{plan.run}",
            outcome=Outcome.FAILED if told is None else Outcome.DONE,
            recipients=tuple(other for other in plan.names if other != name),
            count=len(told or ()),
            document=plan.digest,
            charge=charge,
        )
        self._enter_once(entry, f"{Rule.RUN_RELEASE} {name} {plan.digest.hex()}")

    def _entry(
        self,
        policy: str,
        verb: Verb,
        *,
        purpose: str,
        agreement: Agreement | None,
        matter: str,
        organisation: str = HUB,
        outcome: Outcome = Outcome.DONE,
        recipients: tuple[str, ...] = (),
        count: int = 0,
        document: bytes | None = None,
        charge: Charge | None = None,
    ) -> Entry:
        """Return an entry without its place and its commitment, which come last."""
        refused = outcome is Outcome.REFUSED
        return Entry(
            sequence=0,
            time=self._clock.now(),
            organisation=organisation,
            actor=pseudonym(self._pseudonyms, organisation),
            verb=verb,
            purpose=purpose,
            basis=MANIFEST if agreement is None else agreement.name,
            agreement=agreement,
            policy_set=RULES_DIGEST,
            policies=(str(policy),),
            decision=Decision.DENY if refused else Decision.PERMIT,
            outcome=outcome,
            subject_matter=matter,
            recipients=recipients,
            count=count,
            document=document,
            charge=charge,
            commitment=bytes(32),
        )

    def _enter_request(
        self, entry: Entry, request: SignedRequest, *, is_new: bool = False
    ) -> Place:
        case = "" if request.case == NO_CASE else request.case.hex()
        subject = f"request {request.digest.hex()}"
        return self._enter_once(entry, subject, case=case, is_new=is_new)

    def _enter_once(
        self, entry: Entry, subject: str, *, case: str = "", is_new: bool = False
    ) -> Place:
        key = (subject, entry.organisation, entry.outcome)
        return self._once.place(key, lambda: self._enter(entry, subject, case), is_new=is_new)

    def _enter(self, entry: Entry, subject: str, case: str = "") -> Place:
        part = self._parts.seal(PrivatePart(subject, case, reason=""))
        return self._log.append(replace(entry, commitment=part.commitment), part)


@contextmanager
def _told(subject: str) -> Iterator[None]:
    """Tell an operator, before anything is begun, that the log could not hold it."""
    try:
        yield
    except ValueError as error:
        raise UnsupportedParameterError(
            f"{subject}: the audit log cannot hold it: nine digits in a row, two hyphens in a "
            "row or too long; choose another"
        ) from error


def _epoch(number: int) -> str:
    return f"epoch-{number}" if number < _LARGEST_NUMBER else "epoch"
