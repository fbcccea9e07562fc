"""What a person at the node sees and decides: the inbox, what left the site, what it cost."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from clients.node.entering import ACCEPT, REFUSE, RunJournal
from clients.node.files import exclusive, store_json
from clients.node.home import Home
from clients.node.spending import open_ledger
from clients.node.standing_state import require_taking_part
from compliance.configuration import ConfigError, read_object
from compliance.entries import Charged
from compliance.office.office import Office
from compliance.policy.actors import Person, Principal
from protocols.codec import canonical_json
from protocols.dp.accounting import epsilon
from protocols.dp.events import Composed, event_fields
from protocols.dp.neighbours import Neighbours
from protocols.vertical.plan import TrainingPlan

MAX_REASON = 500
WAITING = "waiting for you"


def pending(directory: Path) -> list[dict[str, Any]]:
    """List the runs in the inbox, those that wait first.

    Raises:
        ConfigError: a file in the inbox is damaged.
    """
    inbox = Home(directory).inbox
    found = [_summary(read_object(path)) for path in sorted(inbox.glob("*.json"))]
    return sorted(found, key=lambda item: item["state"] != WAITING)


def decide(
    directory: Path, run: str, *, accept: bool, reason: str, by: Principal, office: Office
) -> str:
    """Record a person's decision on a run and return the plan's hash; it is not changed after.

    Args:
        by: who decides; the organisation's own program does by the standing policy alone.
        office: the node's own.

    Raises:
        ConfigError: no such run waits here, it is too late, the reason is empty or too long,
            or nobody is named.
        PausedError, LeftError: this node takes part in nothing new.
        NotPermittedError: this person may not, or the agreement does not cover the run; that
            is entered.
    """
    home = Home(directory)
    home.run(run)  # checks the name, which becomes a path
    path = home.inbox / f"{run}.json"
    if not accept and not 1 <= len(reason.strip()) <= MAX_REASON:
        raise ConfigError(f"reason: needs 1 to {MAX_REASON} characters; say in one sentence why")
    if accept:
        require_taking_part(home)
    with exclusive(home.inbox):
        if not path.exists():
            raise ConfigError(f"run: {run} is not in the inbox; see `lianfang node inbox`")
        item = read_object(path)
        if "decision" in item:
            raise ConfigError(f"run: {run} has been decided already; ask the hub for a new run")
        if time.time() >= item["until"]:
            raise ConfigError(f"run: {run} waited too long and is over; ask the hub for a new run")
        if not isinstance(by, Person):
            raise ConfigError(f"run: {run} waits for a person; name your account with --as")
        plan = TrainingPlan.decode(canonical_json(item["plan"]))
        RunJournal(office, plan).attempt(ACCEPT if accept else REFUSE, by, reason=reason.strip())
        decision = {"accept": accept, "reason": reason.strip(), "by": by.fields()}
        store_json(path, item | {"decision": decision})
    plan_hash: str = item["plan_hash"]
    return plan_hash


def account(directory: Path, run: str) -> dict[str, Any]:
    """Tell what left this site in a run: bytes by phase and recipient, releases, epsilon.

    What was paid is read from the ledger, so that a run which broke off is told in full.

    Raises:
        ConfigError: this node knows no such run.
    """
    home = Home(directory)
    folder = home.run(run)
    if not (folder / "plan.json").exists():
        raise ConfigError(f"run: {run} was never accepted here; see `lianfang node inbox`")
    plan = TrainingPlan.decode((folder / "plan.json").read_bytes())
    charges = _charges(home, run)
    events = tuple(charge.event for charge in charges)
    spent = (
        epsilon(Composed(events), delta=plan.delta, neighbours=Neighbours.ZERO_OUT_ONE_PERSON)
        if events
        else 0.0
    )
    sent = folder / "sent.json"
    return {
        "run": run,
        "state": "ended" if (folder / "record.json").exists() else "not ended here",
        "plan_hash": plan.digest.hex(),
        "sent_bytes": read_object(sent) if sent.exists() else {},
        "releases": [
            {"label": charge.label, "event": event_fields(charge.event)} for charge in charges
        ],
        "epsilon": spent,
        "delta": plan.delta,
    }


def _charges(home: Home, run: str) -> tuple[Charged, ...]:
    if not home.ledger.exists():
        return ()
    with open_ledger(home) as ledger:
        return ledger.charges(run)


def _summary(item: dict[str, Any]) -> dict[str, Any]:
    plan = item["plan"]
    decision = item.get("decision")
    if decision is not None:
        state = "accepted" if decision["accept"] else "refused"
    else:
        state = WAITING if time.time() < item["until"] else "too late"
    summary = (
        f"{_partners(plan)}; epsilon {plan['epsilon']:g}, {plan['steps']} steps, "
        f"purpose {plan['purpose']}; computed by {', '.join(plan['compute'])}"
    )
    return {"run": item["run"], "state": state, "summary": summary, "plan_hash": item["plan_hash"]}


def _partners(plan: dict[str, Any]) -> str:
    """Name the partners of a plan, those that share a block together."""
    kinds: dict[str, list[str]] = {}
    for partner in plan["partners"]:
        kinds.setdefault(partner.get("block") or partner["name"], []).append(partner["name"])
    return ", ".join(
        names[0] if len(names) == 1 else f"{kind} ({' and '.join(names)})"
        for kind, names in kinds.items()
    )
