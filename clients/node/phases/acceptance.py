"""Phase plan: accept or refuse a run, by the standing policy, the agreement and a person.

The first rule of the standing policy that a plan breaks refuses it; then the agreement in
force and the policies are asked, once for this very plan; then, with `decide: hand`, a person.
Acceptance or refusal stands in the node's own log before the hub hears of it.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from clients.audit.syncing import sync_agreements
from clients.keys import load_keys
from clients.node.entering import RunJournal
from clients.node.files import exclusive, load_json, store_json
from clients.node.home import Home
from clients.node.session import Session, check_unused
from clients.node.spending import open_ledger, scopes
from clients.node.standing_state import standing_objection
from clients.office import node_office
from clients.versions import check_hub
from compliance.errors import NotPermittedError
from compliance.policy.actors import Person
from protocols.errors import MalformedMessageError, UnsupportedParameterError
from protocols.phase import PhaseReply, PhaseRequest, done, refused
from protocols.seal import announce
from protocols.versions import offer
from protocols.vertical.budget import run_event
from protocols.vertical.plan import TrainingPlan

_LOOK_EVERY_S = 0.25
_ANSWER_MARGIN_S = 2.0


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a run is refused; `by` is the person who decided it, if one did."""

    code: str
    reason: str
    by: Person | None = None


def run(home: Home, request: PhaseRequest) -> PhaseReply:
    """Decide about the plan and, if it passes, announce a key for this very plan."""
    plan = _plan_of(request)
    check_unused(home, plan)
    # What was signed or revoked since; a hub that does not answer changes nothing here.
    sync_agreements(home)
    with node_office(home) as office:
        journal = RunJournal(office, plan)
        objection, by = _by_standing(home) or _by_policy(home, plan), None
        # What is not agreed is denied below: it has no cap, and nobody is asked about it.
        if objection is None and journal.is_covered:
            objection = _budget_objection(home, journal)
            if objection is None and home.policy().decide == "hand":
                objection, by = _ask_person(home, plan, request)
        # Somebody may have paused the node while a person was being asked.
        objection = objection or _by_standing(home)
        if objection is None:
            try:
                journal.accepted(by)
            except NotPermittedError as error:
                # The denial is entered; it is the refusal.
                return refused(error.code, str(error))
        else:
            journal.refused(objection.by, f"{objection.code}: {objection.reason}")
            return refused(objection.code, objection.reason)
    return _announced(home, plan)


def _announced(home: Home, plan: TrainingPlan) -> PhaseReply:
    session = Session.create(home, plan)
    identity = load_keys(home.keys).identity
    public = session.ephemeral.public_key().public_bytes_raw()
    announcement = announce(identity, plan.run, plan.digest, session.ours, public)
    return done(json.dumps({"announcement": announcement.hex(), "wire": offer()}))


def _by_standing(home: Home) -> Objection | None:
    """Return why this node takes part in nothing, if it is paused or has left."""
    found = standing_objection(home)
    return None if found is None else Objection(*found)


def _by_policy(home: Home, plan: TrainingPlan) -> Objection | None:
    """Return the first rule of the standing policy that the plan breaks."""
    config = home.config()
    own_key = load_keys(home.keys).identity.public_key().public_bytes_raw().hex()
    try:
        found = home.policy().objection(
            plan,
            ours=config.name,
            identities={**config.peers, config.name: own_key},
            contract=home.contract(),
        )
    except UnsupportedParameterError as error:
        return Objection(error.code, str(error))
    return None if found is None else Objection(*found)


def _plan_of(request: PhaseRequest) -> TrainingPlan:
    try:
        body = json.loads(request.body)
        text, wire = body["plan"], body.get("wire", "")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MalformedMessageError("plan: the request holds none") from error
    if not isinstance(text, str) or not isinstance(wire, str):
        raise MalformedMessageError("plan: plan and wire must be text")
    # Before the plan is read: of another version it may mean something else.
    check_hub(wire)
    plan = TrainingPlan.decode(text.encode())
    if plan.run != request.run:
        raise MalformedMessageError("plan: belongs to another run")
    return plan


def _budget_objection(home: Home, journal: RunJournal) -> Objection | None:
    """Refuse before anything is reserved if this run would carry a cohort over its cap."""
    plan = journal.plan
    event = run_event(plan, home.config().name)
    with open_ledger(home, journal.office.agreement()) as ledger:
        over = [
            forecast for forecast in ledger.preview(scopes(home, plan), event) if not forecast.fits
        ]
    if not over:
        return None
    first = over[0]
    reason = f"epsilon would be {first.epsilon:.3f}, this partner's cap is {first.cap.epsilon:g}"
    return Objection("budget_exhausted", reason)


def _ask_person(
    home: Home, plan: TrainingPlan, request: PhaseRequest
) -> tuple[Objection | None, Person | None]:
    """Put the run into the inbox and wait for `lianfang node approve` or `refuse`.

    The item says until when it may be decided, so that nobody approves what has gone by,
    even if this process is killed.

    Returns what stands against the run, or else who accepted it.
    """
    path = home.inbox / f"{plan.run}.json"
    until = time.time() + request.deadline_s - _ANSWER_MARGIN_S
    digest = plan.digest.hex()
    waiting = {
        "run": plan.run,
        "plan_hash": digest,
        "until": int(until),
        "plan": json.loads(plan.encode()),
    }
    with exclusive(home.inbox):
        decided = _decision(path, digest)
        if decided is None:
            store_json(path, waiting)
    while decided is None and time.time() < until:
        time.sleep(_LOOK_EVERY_S)
        decided = _decision(path, digest)
    with exclusive(home.inbox):
        # Whoever decides holds the inbox as well: a decision in the last moment is seen.
        decided = _decision(path, digest)
    if decided is None:
        reason = "nobody at this partner decided before the deadline; ask again"
        return Objection("no_decision", reason), None
    by = Person.parse(decided["by"], "inbox: by")
    return (
        (None, by)
        if decided["accept"]
        else (
            Objection("by_hand", str(decided["reason"]), by),
            None,
        )
    )


def _decision(path: Path, digest: str) -> dict[str, object] | None:
    """Return what a person decided about this very plan; another plan's decision is not it."""
    item = load_json(path) if path.exists() else {}
    if item.get("plan_hash") != digest:
        return None
    found: dict[str, object] | None = item.get("decision")
    return found
