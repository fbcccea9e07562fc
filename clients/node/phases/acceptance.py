"""Phase plan: accept or refuse a run, by the standing policy or by a person."""

from __future__ import annotations

import json
import time
from pathlib import Path

from clients.keys import load_keys
from clients.node.files import exclusive, load_json, store_json
from clients.node.home import Home
from clients.node.session import Session, check_unused
from clients.node.spending import open_ledger, scopes
from protocols.errors import MalformedMessageError, UnsupportedParameterError
from protocols.phase import PhaseReply, PhaseRequest, done, refused
from protocols.seal import announce
from protocols.vertical.budget import run_event
from protocols.vertical.plan import TrainingPlan

_LOOK_EVERY_S = 0.25
_ANSWER_MARGIN_S = 2.0


def run(home: Home, request: PhaseRequest) -> PhaseReply:
    """Compare the plan with the policy and, if it passes, announce a key for this very plan."""
    plan = _plan_of(request)
    check_unused(home, plan)
    config, contract, policy = home.config(), home.contract(), home.policy()
    identity = load_keys(home.keys).identity
    own_key = identity.public_key().public_bytes_raw().hex()
    try:
        objection = policy.objection(
            plan,
            ours=config.name,
            identities={**config.peers, config.name: own_key},
            contract=contract,
        )
        if objection is None:
            objection = _budget_objection(home, plan)
    except UnsupportedParameterError as error:
        objection = (error.code, str(error))
    if objection is None and policy.decide == "hand":
        objection = _ask_person(home, plan, request)
    if objection is not None:
        return refused(*objection)
    session = Session.create(home, plan)
    public = session.ephemeral.public_key().public_bytes_raw()
    announcement = announce(identity, plan.run, plan.digest, config.name, public)
    return done(json.dumps({"announcement": announcement.hex()}))


def _plan_of(request: PhaseRequest) -> TrainingPlan:
    try:
        text = json.loads(request.body)["plan"]
    except (ValueError, KeyError, TypeError) as error:
        raise MalformedMessageError("plan: the request holds none") from error
    if not isinstance(text, str):
        raise MalformedMessageError("plan: must be text")
    plan = TrainingPlan.decode(text.encode())
    if plan.run != request.run:
        raise MalformedMessageError("plan: belongs to another run")
    return plan


def _budget_objection(home: Home, plan: TrainingPlan) -> tuple[str, str] | None:
    """Refuse before anything is reserved if this run would carry a cohort over its cap."""
    event = run_event(plan, home.config().name)
    with open_ledger(home, plan) as ledger:
        over = [
            forecast for forecast in ledger.preview(scopes(home, plan), event) if not forecast.fits
        ]
    if not over:
        return None
    first = over[0]
    reason = f"epsilon would be {first.epsilon:.3f}, this partner's cap is {first.cap.epsilon:g}"
    return "budget_exhausted", reason


def _ask_person(home: Home, plan: TrainingPlan, request: PhaseRequest) -> tuple[str, str] | None:
    """Put the run into the inbox and wait for `lianfang node approve` or `refuse`.

    The item says until when it may be decided, so that nobody approves what has gone by,
    even if this process is killed.
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
        return "no_decision", "nobody at this partner decided before the deadline; ask again"
    return None if decided["accept"] else ("by_hand", str(decided["reason"]))


def _decision(path: Path, digest: str) -> dict[str, object] | None:
    """Return what a person decided about this very plan; another plan's decision is not it."""
    item = load_json(path) if path.exists() else {}
    if item.get("plan_hash") != digest:
        return None
    found: dict[str, object] | None = item.get("decision")
    return found
