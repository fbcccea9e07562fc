"""Bringing up the bench's processes: a relay, and one process of its own for each party.

Each party has its own keys, table, policy and ledger. Nothing is shortened but the carrier
of the messages between phases, which is the link instead of Flower (whose start of a
process per message is measured elsewhere).
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clients.bench.dataset import HELD_OUT, Dataset
from clients.demo.agreeing import agree_all, training_terms
from clients.demo.bringing_up import Bringing, Town, join_partners, make_hub, run_command
from clients.node.files import load_json, store_json
from clients.output import CommandError

RUN = "bench"
# Of one run, and of all: a policy and an agreement that let any benchmark run.
MOST_EPSILON, MOST_DELTA = 64.0, 1e-3


def bring_up(root: Path, dataset: Dataset, held_out: NDArray[np.bool_]) -> Town:
    """Make a hub and a node for every party; policy and agreement let any benchmark run."""
    town = make_hub(root)
    bringing = {}
    for party in dataset.parties:
        table, contract = root / f"{party}.parquet", root / f"{party}.json"
        dataset.write_party(party, table, held_out)
        contract.write_text(json.dumps(dataset.contract(party).format()))
        flags = HELD_OUT if party == dataset.label_holder else None
        bringing[party] = Bringing(table, contract, flags)
    join_partners(town, bringing)
    for node in town.nodes.values():
        policy = load_json(node / "policy.json")
        store_json(
            node / "policy.json",
            policy
            | {
                "max_epsilon": MOST_EPSILON,
                "cap_epsilon": MOST_EPSILON,
                "max_steps": 10_000,
                "max_delta": MOST_DELTA,
                "min_rows": 1,
            },
        )
    agree_all(
        town, dataset.label_holder, training_terms(town, epsilon=MOST_EPSILON, delta=MOST_DELTA)
    )
    return town


def propose(
    town: Town, dataset: Dataset, *, epsilon: float, delta: float, steps: int, expected_rows: int
) -> None:
    """Propose the run by the operator's command."""
    run_command(
        "lianfang-hub", "propose", str(town.hub), RUN,
        "--label-holder", dataset.label_holder, "--epsilon", repr(epsilon), "--delta", repr(delta),
        "--steps", str(steps), "--min-rows", "50",
        "--expected-rows", str(expected_rows),
        "--deadline-s", "1800",
    )  # fmt: skip


def run_processes(town: Town, parties: Sequence[str]) -> tuple[dict[str, float], dict[str, float]]:
    """Start the hub and one process a party, wait for all, and read their peaks and times."""
    commands = {
        "hub": [sys.executable, "-m", "server.cli", "serve", str(town.hub), "--direct", RUN]
    }
    for party in parties:
        commands[party] = [sys.executable, "-m", "clients.node.direct", str(town.nodes[party]), RUN]
    started = {
        name: subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603  our own modules
        for name, command in commands.items()
    }
    peaks = {}
    try:
        for name, process in started.items():
            _, status, usage = _wait(process)
            peaks[name] = usage.ru_maxrss / 1024
            if status != 0:
                raise CommandError(f"{name} ended with {process.returncode}; {_trouble(town)}")
    finally:
        for process in started.values():
            process.kill()
            process.wait()
    state = load_json(town.hub / "runs" / RUN / "state.json")
    seconds = {step["phase"]: step["seconds"] for step in state["steps"]}
    return peaks, seconds


def _trouble(town: Town) -> str:
    """Tell what the hub noted: the bench's directory is gone when its operator reads this."""
    path = town.hub / "runs" / RUN / "state.json"
    noted = load_json(path)["trouble"] if path.exists() else []
    told = "; ".join(f"{item['party']}, {item['phase']}: {item['reason']}" for item in noted)
    return told or "the hub noted no reason"


def _wait(process: subprocess.Popen[bytes]) -> tuple[int, int, resource.struct_rusage]:
    pid, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return pid, process.returncode, usage


def sent_by_party(record: dict[str, Any]) -> dict[str, int]:
    """Add up what each party sent, over all phases and recipients."""
    by_partner = record["bytes"]["by_partner"]
    return {
        name: sum(size for phase in phases.values() for size in phase.values())
        for name, phases in by_partner.items()
    }
