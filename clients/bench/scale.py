"""`lianfang bench scale`: time, bytes and memory of a run by its size, on made-up columns.

What is measured is the protocol, so the columns carry no meaning: two owners hold numeric
columns of 32 knots each and one category, and a third party holds the labels alone.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from clients.bench.dataset import Dataset, split_rows
from clients.bench.running import RUN, bring_up, propose, run_processes, sent_by_party
from clients.demo.bringing_up import Town
from clients.node.files import load_json

KNOTS = 32
_OWNERS = ("police", "telecom")
_HOLDER = "insurer"
_RATE = 0.1
_SEED = 7


def measure_scale(
    *, rows: int, width: int, steps: int, epsilon: float, delta: float
) -> dict[str, Any]:
    """Run once with about `width` encoded columns and return seconds, bytes and peaks.

    The head is padded to the alignment's public step, so that bytes grow by steps too.
    """
    dataset = made_up(rows, width)
    with tempfile.TemporaryDirectory(prefix="lianfang-bench-") as place:
        town = bring_up(Path(place), dataset, split_rows(dataset.labels, _SEED))
        # Nothing is said of the rows, so that every size is encoded alike.
        propose(town, dataset, epsilon=epsilon, delta=delta, steps=steps, expected_rows=0)
        peaks, seconds = run_processes(town, list(dataset.parties))
        return _figures(town, rows=rows, steps=steps, peaks=peaks, seconds=seconds)


def made_up(rows: int, width: int) -> Dataset:
    """Make a data set whose encoders give about `width` coordinates, divided between two owners."""
    generator = np.random.default_rng(_SEED)
    columns: dict[str, Any] = {"id": [f"{row:08d}" for row in range(rows)]}
    labels = (generator.random(rows) < _RATE).astype(np.float64)
    columns["y"] = labels.astype(np.int64)
    parties: dict[str, tuple[str, ...]] = {_HOLDER: ("own",)}
    columns["own"] = generator.random(rows)
    numeric, left = divmod(width, KNOTS)
    for place, owner in enumerate(_OWNERS):
        names = [f"{owner}_{k}" for k in range(numeric // 2 + (place if numeric % 2 else 0))]
        for name in names:
            columns[name] = generator.gamma(1.0, 100.0, rows) + labels * generator.random()
        if left > 1 and place == 0:
            names.append("level")
            columns["level"] = generator.integers(0, left, rows).astype(str)
        parties[owner] = tuple(names)
    return Dataset(f"made up {rows} x {width}", pl.DataFrame(columns), labels, _HOLDER, parties)


def _figures(
    town: Town, *, rows: int, steps: int, peaks: dict[str, float], seconds: dict[str, float]
) -> dict[str, Any]:
    record = load_json(town.hub / "runs" / RUN / "record.json")
    sent = sent_by_party(record)
    return {
        "rows": rows,
        "width": sum(record["data"]["encoded_columns"].values()),
        "joint_rows": max(part["total"] for part in record["data"]["alignment"].values()),
        "steps": steps,
        "seconds": seconds,
        "bytes_sent": sent,
        "bytes_total": sum(sent.values()),
        "peak_rss_mb": {name: round(peak, 1) for name, peak in peaks.items()},
    }


def load_points(paths: list[Path]) -> list[dict[str, Any]]:
    """Read figures that `bench scale --json` wrote, by rising rows."""
    points = [json.loads(path.read_text()) for path in paths]
    return sorted(points, key=lambda point: point["rows"])
