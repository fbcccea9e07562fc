"""What a person at the node sees and decides: the inbox, and what left the site."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clients.node.files import load_json, store_json
from clients.node.home import ConfigError, Home
from protocols.dp.accounting import epsilon
from protocols.dp.events import Composed, event_from_fields
from protocols.dp.neighbours import Neighbours
from protocols.phase import verify_run_name
from protocols.vertical.plan import TrainingPlan

MAX_REASON = 500


def pending(directory: Path) -> list[dict[str, Any]]:
    """List the runs in the inbox, those that wait first."""
    found = [_summary(load_json(path)) for path in sorted(Home(directory).inbox.glob("*.json"))]
    return sorted(found, key=lambda item: item["state"] != "waiting for you")


def decide(directory: Path, run: str, *, accept: bool, reason: str) -> None:
    """Record a person's decision on a run; a decision is not changed afterwards.

    Raises:
        ConfigError: no such run waits here, or the reason is empty or too long.
    """
    verify_run_name(run)
    path = Home(directory).inbox / f"{run}.json"
    if not path.exists():
        raise ConfigError(f"run: {run} is not in the inbox; see `lianfang node inbox`")
    item = load_json(path)
    if "decision" in item:
        raise ConfigError(f"run: {run} has been decided already")
    if not accept and not 1 <= len(reason.strip()) <= MAX_REASON:
        raise ConfigError(f"reason: needs 1 to {MAX_REASON} characters; say in one sentence why")
    store_json(path, item | {"decision": {"accept": accept, "reason": reason.strip()}})


def account(directory: Path, run: str) -> dict[str, Any]:
    """Tell what left this site in a run: bytes by phase and recipient, releases, epsilon.

    Raises:
        ConfigError: this node knows no such run.
    """
    verify_run_name(run)
    folder = directory / "runs" / run
    if not (folder / "plan.json").exists():
        raise ConfigError(f"run: {run} was never accepted here")
    plan = TrainingPlan.decode((folder / "plan.json").read_bytes())
    ended = (folder / "record.json").exists()
    record = load_json(folder / "record.json") if ended else {}
    releases = record.get("releases", [])
    events = tuple(event_from_fields(release["event"]) for release in releases)
    spent = (
        epsilon(Composed(events), delta=plan.delta, neighbours=Neighbours.ZERO_OUT_ONE_PERSON)
        if events
        else 0.0
    )
    sent = folder / "sent.json"
    return {
        "run": run,
        "state": "ended" if ended else "not ended here",
        "plan_hash": plan.digest.hex(),
        "sent_bytes": load_json(sent) if sent.exists() else {},
        "releases": releases,
        "epsilon": spent,
        "delta": plan.delta,
    }


def _summary(item: dict[str, Any]) -> dict[str, Any]:
    plan = item["plan"]
    decision = item.get("decision")
    state = "waiting for you"
    if decision is not None:
        state = "accepted" if decision["accept"] else "refused"
    partners = ", ".join(partner["name"] for partner in plan["partners"])
    summary = (
        f"{partners}; epsilon {plan['epsilon']:g}, {plan['steps']} steps, purpose {plan['purpose']}"
    )
    return {"run": item["run"], "state": state, "summary": summary, "plan_hash": item["plan_hash"]}
