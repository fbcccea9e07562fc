"""What a town's parties sign before anything is done: drafted at the hub, signed by all.

The draft is corrected as parties correct theirs, in its file and before anybody signs: what a
run or a benchmark needs beside the cautious terms of a first draft is agreed here, openly.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from clients.demo.bringing_up import Town, at_each, run_command
from compliance.agreement.vocabulary import Role

FILE = "agreement.json"


def agree_all(town: Town, holder: str, terms: Mapping[str, Any] | None = None) -> str:
    """Draft, correct and sign an agreement, and keep it whole at everybody; returns its hash.

    The file goes round twice: once for the signatures, once to keep all of them.

    Args:
        holder: who has the labels: an insurer, whatever it is called.
        terms: by field of the agreement's JSON form, what stands there instead of the draft's;
            of an object, the members that are named. `quota` is that of every asker.
    """
    file = town.hub.parent / FILE
    path, hub = str(file), str(town.hub)
    roles = [f"--role={name}={_role_of(name, holder)}" for name in town.nodes]
    run_command("lianfang-hub", "agreement", "draft", hub, path, *roles)
    if terms:
        drafted = json.loads(file.read_bytes())
        drafted["agreement"] = corrected(drafted["agreement"], terms)
        file.write_text(json.dumps(drafted, ensure_ascii=False, indent=1))
    run_command("lianfang-hub", "agreement", "sign", hub, path, "--yes")
    signing = ("lianfang", "audit", "agreement", "sign")
    for node in town.nodes.values():
        run_command(*signing, str(node), path, "--yes", "--offline")
    # With all signatures in the file nobody writes to it any more.
    at_each(
        town.nodes,
        lambda name: run_command(*signing, str(town.nodes[name]), path, "--yes", "--offline"),
    )
    said = run_command("lianfang-hub", "agreement", "sign", hub, path, "--yes", "--format", "json")
    digest: str = json.loads(said)["digest"]
    return digest


def _role_of(name: str, holder: str) -> Role:
    """Return what a party is: as its name begins, otherwise by its part in a run."""
    named = [role for role in Role if name.startswith(role)]
    return named[0] if named else (Role.INSURER if name == holder else Role.TELECOM)


def corrected(agreement: Mapping[str, Any], terms: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON form of an agreement with other terms."""
    found = dict(agreement)
    for name, value in terms.items():
        if name == "quota":
            found["askers"] = {
                asker: item | {"quota": value} for asker, item in found["askers"].items()
            }
        elif isinstance(value, Mapping) and isinstance(found[name], dict):
            found[name] = found[name] | dict(value)
        else:
            found[name] = value
    return found


def training_terms(town: Town, *, epsilon: float, delta: float) -> dict[str, Any]:
    """Return terms under which any benchmark can be run, at this cost for everybody.

    Pseudonyms by the partners' keyed hash are agreed too: a benchmark has no epoch.
    """
    return {
        "caps": {
            "run_epsilon": epsilon,
            "recipients": dict.fromkeys(town.nodes, epsilon),
            "total_epsilon": epsilon,
            "delta": delta,
        },
        "training": {"pseudonyms": ["oblivious", "keyed"], "min_rows": 1},
    }
