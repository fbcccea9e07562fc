"""`lianfang bench train`: the real protocol between processes, against its two references.

See `running` for what is real about it, and `references` for what it is compared with.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clients.bench.dataset import TEST_FRACTION, Dataset, load_dataset, split_rows
from clients.bench.references import reference_auc
from clients.bench.running import RUN, bring_up, propose, run_processes, sent_by_party
from clients.demo.bringing_up import Town
from clients.node.files import load_array, load_json


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
        town = bring_up(root, dataset, held_out)
        expected = round(len(dataset.labels) * (1 - TEST_FRACTION))
        propose(town, dataset, epsilon=epsilon, delta=delta, steps=steps, expected_rows=expected)
        tell("training")
        peaks, seconds = run_processes(town, list(dataset.parties))
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
            seed=seed,
        )


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
    seed: int,
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
        "seed": seed,
        "auc": joint,
        "ap": _ap(labels[held_out], scores["refined"][held_out]),
        "auc_head": _auc(labels[held_out], scores["logit"][held_out]),
        "auc_label_holder": alone,
        "auc_pooled": pooled,
        # Where pooling gains nothing there is nothing to recover.
        "uplift_recovered": None if pooled == alone else (joint - alone) / (pooled - alone),
        "epsilon": record["privacy"]["epsilon_spent"],
        "delta": delta,
        "seconds": seconds,
        "bytes_sent": sent_by_party(record),
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
