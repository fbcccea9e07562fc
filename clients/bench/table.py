"""The table of docs/benchmarks.md, from the JSON files that the bench wrote."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

_COLUMNS = (
    ("label holder alone", "auc_label_holder"),
    ("joint", "auc"),
    ("head alone", "auc_head"),
    ("pooled, no privacy", "auc_pooled"),
    ("pooled Opacus", "auc_opacus"),
    ("noisy split", "auc_split"),
)
# The sets over which the project states its mean uplift.
COUNTED = (
    "adult",
    "bank_marketing",
    "sichuan_telecom_fraud",
    "taiwan_default",
    "vehicle_claim_fraud",
)
Figures = dict[str, dict[int, dict[str, Any]]]


def load_figures(paths: Iterable[Path]) -> Figures:
    """Read figures by data set and seed; a run and its baselines are laid together."""
    found: Figures = defaultdict(lambda: defaultdict(dict))
    for path in paths:
        value = json.loads(path.read_text())
        for figures in value if isinstance(value, list) else [value]:
            found[figures["dataset"]][int(figures["seed"])] |= figures
    return {name: dict(seeds) for name, seeds in found.items()}


def draw_table(figures: Figures, counted: Sequence[str]) -> str:
    """Draw the table in Markdown: means over seeds, the spread of the joint score, uplift.

    Args:
        counted: the data sets over which the mean uplift is taken.
    """
    heads = ["data set", *(head for head, _ in _COLUMNS), "uplift recovered", "by seed"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for name in sorted(figures):
        seeds = {seed: found for seed, found in figures[name].items() if "auc" in found}
        if not seeds:
            continue
        cells = [_mean(seeds, key) for _, key in _COLUMNS]
        uplifts = _uplifts(seeds)
        by_seed = " ".join(f"{uplift:.2f}" for uplift in uplifts)
        lines.append("| " + " | ".join([name, *cells, f"{fmean(uplifts):.3f}", by_seed]) + " |")
    means = [fmean(uplifts) for name in counted if (uplifts := _uplifts(figures.get(name, {})))]
    if means:
        lines.append(f"\nMean uplift recovered over {len(means)} sets: **{fmean(means):.3f}**.")
    return "\n".join(lines) + "\n"


def _uplifts(seeds: Mapping[int, Mapping[str, Any]]) -> list[float]:
    """Return the uplift recovered by rising seed, of the seeds that have one."""
    values = (seeds[seed].get("uplift_recovered") for seed in sorted(seeds))
    return [value for value in values if value is not None]


def _mean(seeds: Mapping[int, Mapping[str, Any]], key: str) -> str:
    values = [figures[key] for figures in seeds.values() if key in figures]
    if not values:
        return "not run"
    text = f"{fmean(values):.4f}"
    if key in ("auc", "auc_opacus") and len(values) > 1:
        text += f" ({min(values):.3f} to {max(values):.3f})"
    return text
