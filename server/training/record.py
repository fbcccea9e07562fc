"""The run record: what was done, by whom, at what privacy cost, how well, in how many bytes."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from protocols.dp.neighbours import Neighbours
from protocols.vertical.plan import TrainingPlan
from server.training.releases import doubts, spent_epsilon

# Exact figures that leave a partner without noise; the record says so in every run.
NOT_NOISED = (
    "padded size of the joint table",
    "sizes of the sets and of their overlaps, to the hub",
    "numbers of rows that were dropped as malformed or duplicate, to the hub",
    "metrics on held-out people, rounded to three decimals, and how many they are by label",
    "joint scores, to the label holder of the person alone; a score of exactly 0 tells it that "
    "no other partner holds the person",
    "in an error: a column, the rule that it breaks, how many rows, and the first row numbers",
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
    spending: bool,
) -> dict[str, Any]:
    """Put a run's record together; what was not reached is empty.

    Args:
        spending: whether the partners were ever asked to do what costs budget.
    """
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
            "epsilon_spent": spent_epsilon(plan, releases) if spending else 0.0,
            # Of these nothing was heard: they are counted as if they had spent all.
            "unreported": sorted(set(plan.names) - set(releases)) if spending else [],
            "doubts": doubts(plan, releases, whole=outcome == "done") if spending else [],
            "releases": releases,
            "not_noised": list(NOT_NOISED),
        },
        "metrics": dict(metrics),
        "bytes": {
            "by_partner": {name: part.get("sent_bytes", {}) for name, part in parts.items()},
            "relayed": dict(traffic),
        },
    }
