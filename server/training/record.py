"""The run record: what was done, by whom, at what privacy cost, how well, in how many bytes."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from protocols.dp.accounting import epsilon
from protocols.dp.events import Composed, event_from_fields
from protocols.dp.neighbours import Neighbours
from protocols.vertical.plan import TrainingPlan

# Exact figures that leave a partner without noise; the record says so in every run.
NOT_NOISED = (
    "padded size of the joint table",
    "sizes of the sets and of their overlaps, to the hub",
    "metrics on held-out people, rounded to three decimals",
    "joint scores, to the label holder alone",
    "times and sizes of messages",
)


def build_record(
    plan: TrainingPlan,
    *,
    outcome: str,
    alignment: Mapping[str, Any],
    sizes: Mapping[str, Mapping[str, int]],
    metrics: Mapping[str, Any],
    parts: Mapping[str, Any],
    traffic: Mapping[str, Any],
) -> dict[str, Any]:
    """Put a run's record together; what was not reached is empty."""
    releases = {name: part.get("releases", []) for name, part in parts.items()}
    return {
        "run": plan.run,
        "outcome": outcome,
        "purpose": plan.purpose,
        "plan": json.loads(plan.encode()),
        "plan_hash": plan.digest.hex(),
        "code": {
            "lianfang": version("lianfang"),
            "flwr": version("flwr"),
            "python": sys.version.split()[0],
        },
        "data": {
            "alignment": dict(alignment),
            "encoded_columns": dict(sizes.get("widths", {})),
            "noised_counts": dict(sizes.get("counts", {})),
        },
        "privacy": {
            "neighbours": Neighbours.ZERO_OUT_ONE_PERSON.value,
            "epsilon_planned": plan.epsilon,
            "delta": plan.delta,
            "epsilon_spent": spent_epsilon(plan, releases) if releases else None,
            "releases": releases,
            "not_noised": list(NOT_NOISED),
        },
        "metrics": dict(metrics),
        "bytes": {
            "by_partner": {name: part.get("sent_bytes", {}) for name, part in parts.items()},
            "relayed": dict(traffic),
        },
    }


def spent_epsilon(plan: TrainingPlan, releases: Mapping[str, Any]) -> float:
    """Recompute epsilon from what the partners say they paid.

    The steps of the head are one release against each of them, charged by every owner;
    what an owner paid for its encoder alone adds up over the owners.
    """
    head: dict[str, Any] = {}
    own: list[Any] = []
    for charges in releases.values():
        for charge in charges:
            event = event_from_fields(charge["event"])
            if charge["label"].startswith("train/"):
                head[charge["label"]] = event
            else:
                own.append(event)
    events = (*own, *head.values())
    if not events:
        return 0.0
    return epsilon(
        Composed(tuple(events)), delta=plan.delta, neighbours=Neighbours.ZERO_OUT_ONE_PERSON
    )
