"""Phase plan: accept or refuse a run, by the standing policy or by a person."""

from __future__ import annotations

import json
import time
from pathlib import Path

from clients.keys import load_keys
from clients.node.files import load_json, store_json
from clients.node.home import Home
from clients.node.session import Session
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
    config, contract, policy = home.config(), home.contract(), home.policy()
    try:
        objection = policy.objection(plan, ours=config.name, peers=config.peers, contract=contract)
        if objection is None:
            objection = _budget_objection(home, plan)
    except UnsupportedParameterError as error:
        objection = (error.code, str(error))
    if objection is None and policy.decide == "hand":
        objection = _ask_person(home, plan, request)
    if objection is not None:
        return refused(*objection)
    session = Session.create(home, plan)
    identity = load_keys(home.keys).identity
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
    """Put the run into the inbox and wait for `lianfang node approve` or `refuse`."""
    path = home.inbox / f"{plan.run}.json"
    waiting = {"run": plan.run, "plan_hash": plan.digest.hex(), "plan": json.loads(plan.encode())}
    if not (path.exists() and load_json(path).get("plan_hash") == waiting["plan_hash"]):
        store_json(path, waiting)
    ends_at = time.monotonic() + request.deadline_s - _ANSWER_MARGIN_S
    while time.monotonic() < ends_at:
        decision = _decision(path)
        if decision is not None:
            return None if decision["accept"] else ("by_hand", str(decision["reason"]))
        time.sleep(_LOOK_EVERY_S)
    return "no_decision", "nobody at this partner decided before the deadline; ask again"


def _decision(path: Path) -> dict[str, object] | None:
    found: dict[str, object] | None = load_json(path).get("decision")
    return found
