"""Whether an agreement covers an act: the one place where this is asked.

A question names an act; the answer names the first rule that stands against it, or the
purpose and the legal bases on which the act rests, for the log. The questions are values
with a JSON form, so that a decision can be asked again years later. Sums over several acts
are not asked here: the ledger adds up epsilon, the evaluation book adds up quotas.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from compliance.agreement.document import Agreement
from compliance.agreement.vocabulary import Channel, What
from compliance.entries import Scope
from compliance.errors import NotPermittedError
from compliance.ledger import Cap
from protocols.epoch.grants import Grant
from protocols.epoch.setup import KeygenTerms
from protocols.vertical.plan import HUB, TrainingPlan

# In these the asker searches reports; in the others it only has identifiers evaluated.
SEARCHING = frozenset({Channel.COUNTER, Channel.CALL_CENTRE, Channel.ONLINE, Channel.SCREENING})


@dataclass(frozen=True, slots=True)
class Coverage:
    """Whether an act is covered, and on what it rests.

    Args:
        rule, reason: what stands against it; empty if nothing does.
        bases: legal bases of the giving side, then of the receiving side, each once.
        recipients: the parties that learn something from it.
    """

    rule: str = ""
    reason: str = ""
    purpose: str = ""
    bases: tuple[str, ...] = ()
    recipients: tuple[str, ...] = ()

    @property
    def covered(self) -> bool:
        """Whether nothing stands against the act."""
        return not self.rule

    def require(self) -> Coverage:
        """Return itself if the act is covered.

        Raises:
            NotPermittedError: names the rule.
        """
        if self.rule:
            raise NotPermittedError(f"agreement, {self.rule}: {self.reason}")
        return self


@dataclass(frozen=True, slots=True)
class Lookup:
    """May this party have identifiers evaluated in this channel?"""

    asker: str
    channel: Channel

    def fields(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"kind": "lookup", "asker": self.asker, "channel": self.channel.value}

    def ask(self, agreement: Agreement) -> Coverage:
        """Answer by an agreement."""
        granted = agreement.askers.get(self.asker)
        if granted is None:
            return Coverage("askers", f"{self.asker} may not ask at all")
        purpose = granted.channels.get(self.channel)
        if purpose is None:
            return Coverage("channels", f"{self.asker} may not ask in the channel {self.channel}")
        holders = [name for name in agreement.keys.holders if name != self.asker]
        directions = [(What.LOOKUP, self.asker, holder) for holder in holders]
        found = _rest_on(agreement, purpose, directions)
        if not found.covered or self.channel not in SEARCHING:
            return found
        for flow in agreement.flows:
            if (flow.what, flow.recipient) == (
                What.REPORT,
                self.asker,
            ) and purpose in flow.purposes:
                return found
        return Coverage("flows", f"nobody gives reports to {self.asker} for this purpose")


@dataclass(frozen=True, slots=True)
class Publication:
    """May this party publish reports?"""

    contributor: str

    def fields(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"kind": "publication", "contributor": self.contributor}

    def ask(self, agreement: Agreement) -> Coverage:
        """Answer by an agreement."""
        granted = agreement.askers.get(self.contributor)
        if granted is None or Channel.PUBLISH not in granted.channels:
            return Coverage("channels", f"{self.contributor} may not ask in the channel publish")
        purpose = granted.channels[Channel.PUBLISH]
        readers = [
            flow.recipient
            for flow in agreement.flows
            if (flow.what, flow.source) == (What.REPORT, self.contributor) and flow.recipient != HUB
        ]
        if not readers:
            return Coverage("flows", f"{self.contributor} gives reports to nobody")
        bases = _bases(
            flow
            for flow in agreement.flows
            if (flow.what, flow.source) == (What.REPORT, self.contributor)
        )
        return Coverage(purpose=purpose, bases=bases, recipients=tuple(readers))


@dataclass(frozen=True, slots=True)
class Table:
    """May this party have the table of that contributor?"""

    contributor: str
    reader: str

    def fields(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"kind": "table", "contributor": self.contributor, "reader": self.reader}

    def ask(self, agreement: Agreement) -> Coverage:
        """Answer by an agreement."""
        for flow in agreement.flows:
            wanted = (What.REPORT, self.contributor, self.reader)
            if (flow.what, flow.source, flow.recipient) == wanted:
                return Coverage(
                    purpose=flow.purposes[0], bases=_bases([flow]), recipients=(self.reader,)
                )
        return Coverage("flows", f"{self.contributor} gives no reports to {self.reader}")


@dataclass(frozen=True, slots=True)
class Run:
    """May this plan be carried out?"""

    plan: TrainingPlan

    def fields(self) -> dict[str, Any]:
        """Return the JSON form; the plan by its hash."""
        return {"kind": "run", "document": self.plan.digest.hex()}

    def ask(self, agreement: Agreement) -> Coverage:
        """Answer by an agreement."""
        rules: tuple[tuple[str, Callable[[Agreement, TrainingPlan], str]], ...] = (
            ("purposes", _against_purpose),
            ("parties", _against_partners),
            ("contracts", _against_columns),
            ("caps", _against_cost),
            ("training", _against_conduct),
        )
        for rule, objection in rules:
            if reason := objection(agreement, self.plan):
                return Coverage(rule, reason)
        owners = _owners(self.plan)
        taking = [*self.plan.names, *({HUB} & set(self.plan.compute))]
        directions = [
            (What.TRAINING, owner, name) for owner in owners for name in taking if name != owner
        ]
        return _rest_on(agreement, self.plan.purpose, directions)


@dataclass(frozen=True, slots=True)
class Scores:
    """May the joint scores of this plan's model be opened to its label holders?"""

    plan: TrainingPlan

    def fields(self) -> dict[str, Any]:
        """Return the JSON form; the plan by its hash."""
        return {"kind": "scores", "document": self.plan.digest.hex()}

    def ask(self, agreement: Agreement) -> Coverage:
        """Answer by an agreement."""
        run = Run(self.plan).ask(agreement)
        if not run.covered:
            return run
        directions = [
            (What.SCORE, owner, recipient)
            for recipient in self.plan.label_holders
            for owner in _owners(self.plan)
            if owner != recipient
        ]
        return _rest_on(agreement, self.plan.purpose, directions)


@dataclass(frozen=True, slots=True)
class Epoch:
    """May a key be made on these terms?"""

    terms: KeygenTerms

    def fields(self) -> dict[str, Any]:
        """Return the JSON form; the terms by their hash."""
        return {"kind": "epoch", "document": self.terms.digest.hex()}

    def ask(self, agreement: Agreement) -> Coverage:
        """Answer by an agreement."""
        rules = (_against_key, _against_time, _against_givers, _against_askers)
        for objection in rules:
            if found := objection(agreement, self.terms):
                return Coverage(*found)
        return Coverage(purpose=agreement.purposes[0])


Question = Lookup | Publication | Table | Run | Scores | Epoch
Documents = Callable[[bytes], bytes | None]
"""Finds a plan or terms by hash, as they were kept; None if they were not."""


def question_of(fields: Mapping[str, Any], documents: Documents) -> Question:
    """Read a question's JSON form.

    Raises:
        NotPermittedError: no question of ours, or its document is not at hand.
        MalformedMessageError: the document is damaged.
    """
    match dict(fields):
        case {"kind": "lookup", "asker": str(asker), "channel": str(channel), **rest} if not rest:
            if channel in set(Channel):
                return Lookup(asker, Channel(channel))
        case {"kind": "publication", "contributor": str(contributor), **rest} if not rest:
            return Publication(contributor)
        case {"kind": "table", "contributor": str(giver), "reader": str(reader), **rest} if (
            not rest
        ):
            return Table(giver, reader)
        case {"kind": "run" | "scores" | "epoch" as kind, "document": str(digest), **rest} if (
            not rest
        ):
            return _with_document(kind, digest, documents)
    raise NotPermittedError("question: unknown; take a record that this version wrote")


def ledger_caps(agreement: Agreement, *, cohort: str, owner: str) -> dict[Scope, Cap]:
    """Return the caps of one owner's ledger, by recipient and over all of them."""
    caps = agreement.caps
    scopes = {
        Scope(cohort, owner, name): Cap(epsilon, caps.delta)
        for name, epsilon in caps.recipients.items()
        if name != owner
    }
    total = Cap(caps.total_epsilon, caps.delta)
    return scopes | {scope.over_recipients: total for scope in scopes}


def grants(agreement: Agreement) -> dict[str, Grant]:
    """Return what every asker may have in an epoch, for the terms of a key set-up."""
    return {
        name: Grant(asker.quota, frozenset(asker.channels))
        for name, asker in agreement.askers.items()
    }


def _with_document(kind: str, digest: str, documents: Documents) -> Question:
    data = documents(bytes.fromhex(digest))
    if data is None:
        raise NotPermittedError(
            f"question: the {'terms' if kind == 'epoch' else 'plan'} {digest[:12]} is not at hand; "
            "give the file"
        )
    found: Question
    if kind == "epoch":
        found = Epoch(KeygenTerms.decode(data))
    else:
        plan = TrainingPlan.decode(data)
        found = Run(plan) if kind == "run" else Scores(plan)
    if found.fields()["document"] != digest:
        raise NotPermittedError(f"question: the document given is not {digest[:12]}")
    return found


def _rest_on(
    agreement: Agreement, purpose: str, directions: Iterable[tuple[What, str, str]]
) -> Coverage:
    """Cover an act by the flows in all its directions, or name the one that is missing."""
    flows = []
    for what, source, recipient in directions:
        flow = agreement.flow(what, source, recipient, purpose)
        if flow is None:
            reason = f"no legal basis for {what} from {source} to {recipient} for this purpose"
            return Coverage("flows", reason)
        flows.append(flow)
    recipients = tuple(dict.fromkeys(flow.recipient for flow in flows))
    return Coverage(purpose=purpose, bases=_bases(flows), recipients=recipients)


def _bases(flows: Iterable[Any]) -> tuple[str, ...]:
    found = list(flows)
    names = [flow.basis for flow in found] + [flow.recipient_basis for flow in found]
    return tuple(dict.fromkeys(names))


def _owners(plan: TrainingPlan) -> list[str]:
    holders = plan.label_holders
    return [name for name in plan.names if plan.partner(name).columns or name in holders]


def _against_purpose(agreement: Agreement, plan: TrainingPlan) -> str:
    return "" if plan.purpose in agreement.purposes else "the plan's purpose is not agreed"


def _against_partners(agreement: Agreement, plan: TrainingPlan) -> str:
    for partner in plan.partners:
        party = agreement.party(partner.name)
        if party is None:
            return f"{partner.name} is not a party"
        if party.identity.hex() != partner.identity:
            return f"the plan names another identity key for {partner.name}"
    return ""


def _against_columns(agreement: Agreement, plan: TrainingPlan) -> str:
    for partner in plan.partners:
        contract = agreement.contracts.get(partner.name)
        allowed = set() if contract is None else set(contract.columns)
        if foreign := sorted(set(partner.columns) - allowed):
            return (
                f"{len(foreign)} columns of {partner.name} are not in its contract "
                f"({foreign[0][:64]})"
            )
    for name in plan.label_holders:
        contract = agreement.contracts.get(name)
        if contract is None or not contract.label:
            return f"the contract of {name} has no label"
    return ""


def _against_cost(agreement: Agreement, plan: TrainingPlan) -> str:
    caps = agreement.caps
    # Asked this way round, a number that is none is refused.
    if not plan.epsilon <= caps.run_epsilon:
        return f"epsilon {plan.epsilon:g} is over {caps.run_epsilon:g} a run"
    if not plan.delta <= caps.delta:
        return f"delta {plan.delta:g} is over {caps.delta:g}"
    for name in plan.names:
        cap = caps.recipients.get(name)
        if cap is None:
            return f"no cap is agreed for what {name} learns"
        if not plan.epsilon <= cap:
            return f"epsilon {plan.epsilon:g} is over {cap:g} for {name}"
    return ""


def _against_conduct(agreement: Agreement, plan: TrainingPlan) -> str:
    terms = agreement.training
    if foreign := sorted(set(plan.compute) - set(terms.compute)):
        return f"{foreign[0]} may not compute"
    if plan.membership not in terms.membership:
        return f"membership {plan.membership} is not agreed"
    pseudonyms = "oblivious" if plan.epoch else "keyed"
    if pseudonyms not in terms.pseudonyms:
        return f"{pseudonyms} pseudonyms are not agreed"
    if plan.min_rows < terms.min_rows:
        return f"at least {terms.min_rows} rows must be asked for"
    return ""


def _against_key(agreement: Agreement, terms: KeygenTerms) -> tuple[str, str] | None:
    keys = agreement.keys
    if terms.hub != agreement.hub:
        return "hub", "the terms are for another hub"
    if foreign := sorted(set(terms.holders) - set(keys.holders)):
        return "keys", f"{foreign[0]} may hold no share"
    if terms.threshold < keys.threshold:
        return "keys", f"the threshold must be at least {keys.threshold}"
    return None


def _against_time(agreement: Agreement, terms: KeygenTerms) -> tuple[str, str] | None:
    if agreement.not_before <= terms.not_before < terms.not_after <= agreement.not_after:
        return None
    return "validity", "the epoch does not lie within the agreement's time"


def _against_givers(agreement: Agreement, terms: KeygenTerms) -> tuple[str, str] | None:
    if foreign := sorted(set(terms.contributors) - set(agreement.contributors)):
        return "flows", f"{foreign[0]} gives reports to nobody"
    return None


def _against_askers(agreement: Agreement, terms: KeygenTerms) -> tuple[str, str] | None:
    for name, grant in sorted(terms.askers.items()):
        granted = agreement.askers.get(name)
        if granted is None:
            return "askers", f"{name} may not ask at all"
        if grant.quota > granted.quota:
            return "askers", f"{name} may have {granted.quota} elements in an epoch"
        if wrong := sorted(grant.purposes - set(granted.channels)):
            return "channels", f"{name} may not ask in the channel {wrong[0]}"
    return None
