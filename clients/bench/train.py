"""`lianfang bench train`: the real protocol between processes, against its two references.

A hub process relays; each party is a process of its own with its own keys, table, policy
and ledger. Nothing is shortened but the carrier of the messages between phases, which is
the link instead of Flower (whose start of a process per message is measured elsewhere).
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clients.bench.dataset import HELD_OUT, Dataset, load_dataset, split_rows
from clients.bench.references import reference_auc
from clients.demo.bringing_up import Town, join_partner, make_hub, run_command
from clients.node.files import load_array, load_json, store_json

RUN = "bench"
_END_S = 3600.0


def measure_training(
    directory: Path, *, epsilon: float, delta: float, seed: int, steps: int, quiet: bool
) -> dict[str, Any]:
    """Run once and return every figure that `bench train` promises."""
    dataset = load_dataset(directory)
    held_out = split_rows(dataset.labels, seed)
    tell = _teller(quiet=quiet)
    with tempfile.TemporaryDirectory(prefix="lianfang-bench-") as place:
        root = Path(place)
        tell("preparing keys, certificates and tables")
        town = _bring_up(root, dataset, held_out)
        _propose(town, dataset, epsilon=epsilon, delta=delta, steps=steps)
        tell("training")
        peaks, seconds = _run(town, dataset)
        tell("computing the references")
        return _figures(
            town,
            dataset,
            held_out,
            peaks=peaks,
            seconds=seconds,
            epsilon=epsilon,
            delta=delta,
            steps=steps,
        )


def _bring_up(root: Path, dataset: Dataset, held_out: NDArray[np.bool_]) -> Town:
    town = make_hub(root)
    for party in dataset.parties:
        table, contract = root / f"{party}.parquet", root / f"{party}.json"
        dataset.write_party(party, table, held_out)
        contract.write_text(json.dumps(dataset.contract(party).format()))
        flags = HELD_OUT if party == dataset.label_holder else None
        join_partner(town, party, table=table, contract=contract, held_out_column=flags)
    town.introduce()
    for node in town.nodes.values():
        policy = load_json(node / "policy.json")
        store_json(
            node / "policy.json",
            policy
            | {
                "max_epsilon": 64.0,
                "cap_epsilon": 64.0,
                "max_steps": 10_000,
                "max_delta": 1e-3,
                "min_rows": 1,
            },
        )
    return town


def _propose(town: Town, dataset: Dataset, *, epsilon: float, delta: float, steps: int) -> None:
    run_command(
        "lianfang-hub", "propose", str(town.hub), RUN,
        "--label-holder", dataset.label_holder, "--epsilon", repr(epsilon), "--delta", repr(delta),
        "--steps", str(steps), "--min-rows", "50", "--deadline-s", "1800",
    )  # fmt: skip


def _run(town: Town, dataset: Dataset) -> tuple[dict[str, float], dict[str, float]]:
    """Start the hub and one process a party, wait for all, and read their peaks and times."""
    commands = {
        "hub": [sys.executable, "-m", "server.cli", "serve", str(town.hub), "--direct", RUN]
    }
    for party in dataset.parties:
        commands[party] = [sys.executable, "-m", "clients.node.direct", str(town.nodes[party]), RUN]
    started = {
        name: subprocess.Popen(command, stdout=subprocess.DEVNULL)
        for name, command in commands.items()
    }
    peaks = {}
    try:
        for name, process in started.items():
            _, status, usage = _wait(process)
            peaks[name] = usage.ru_maxrss / 1024
            if status != 0:
                raise RuntimeError(
                    f"{name} ended with {status}; see {town.hub / 'runs' / RUN / 'state.json'}"
                )
    finally:
        for process in started.values():
            process.kill()
    state = load_json(town.hub / "runs" / RUN / "state.json")
    seconds = {step["phase"]: step["seconds"] for step in state["steps"]}
    return peaks, seconds


def _wait(process: subprocess.Popen[bytes]) -> tuple[int, int, resource.struct_rusage]:
    import os  # noqa: PLC0415  wait4 alone tells the peak of one child

    pid, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return pid, process.returncode, usage


def _figures(
    town: Town,
    dataset: Dataset,
    held_out: NDArray[np.bool_],
    *,
    peaks: dict[str, float],
    seconds: dict[str, float],
    epsilon: float,
    delta: float,
    steps: int,
) -> dict[str, Any]:
    record = load_json(town.hub / "runs" / RUN / "record.json")
    scores = _scores(town, dataset)
    labels = dataset.labels
    holder = dataset.parties[dataset.label_holder]
    alone = reference_auc(dataset.frame, holder, labels, held_out)
    pooled = reference_auc(dataset.frame, dataset.features, labels, held_out)
    joint = _auc(labels[held_out], scores["refined"][held_out])
    return {
        "dataset": dataset.name,
        "auc": joint,
        "ap": _ap(labels[held_out], scores["refined"][held_out]),
        "auc_head": _auc(labels[held_out], scores["logit"][held_out]),
        "auc_label_holder": alone,
        "auc_pooled": pooled,
        "uplift_recovered": (joint - alone) / (pooled - alone),
        "epsilon": record["privacy"]["epsilon_spent"],
        "delta": delta,
        "seconds": seconds,
        "bytes_sent": _bytes_sent(record),
        "peak_rss_mb": {name: round(peak, 1) for name, peak in peaks.items()},
        "steps": steps,
        "rows": len(labels),
        "width": sum(record["data"]["encoded_columns"].values()),
        "epsilon_planned": epsilon,
        "assumption": "public ranges and levels are taken from the data, rounded outward",
        "measured_at": int(time.time()),
    }


def _scores(town: Town, dataset: Dataset) -> dict[str, NDArray[np.float64]]:
    """Read the label holder's scores and put them back into the order of the data."""
    folder = town.nodes[dataset.label_holder] / "runs" / RUN
    taken = load_array(folder / "taken.npy")
    table = pl.read_parquet(town.tables[dataset.label_holder])
    if table["id"].to_list() != dataset.frame["id"].to_list():
        raise RuntimeError("bench: the label holder's table is in another order")
    ordered = {}
    for name in ("refined", "logit"):
        values = np.full(len(dataset.labels), np.nan)
        values[taken] = load_array(folder / f"{name}.npy")
        ordered[name] = values
    return ordered


def _bytes_sent(record: dict[str, Any]) -> dict[str, int]:
    by_partner = record["bytes"]["by_partner"]
    return {
        name: sum(size for phase in phases.values() for size in phase.values())
        for name, phases in by_partner.items()
    }


def _auc(labels: NDArray[np.float64], scores: NDArray[np.float64]) -> float:
    from sklearn.metrics import roc_auc_score  # noqa: PLC0415  slow to import

    return float(roc_auc_score(labels, scores))


def _ap(labels: NDArray[np.float64], scores: NDArray[np.float64]) -> float:
    from sklearn.metrics import average_precision_score  # noqa: PLC0415  slow to import

    return float(average_precision_score(labels, scores))


def _teller(*, quiet: bool) -> Callable[[str], None]:
    started = time.monotonic()

    def tell(what: str) -> None:
        if not quiet:
            print(f"[{time.monotonic() - started:6.1f} s] {what}", file=sys.stderr)  # noqa: T201  progress

    return tell
