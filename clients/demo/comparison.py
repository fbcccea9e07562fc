"""What the joint run was worth: the label holder alone, jointly, and pooled without privacy.

Pooling is what the law forbids; here it is possible because one machine plays all parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.metrics import roc_auc_score

from clients.bench.references import reference_auc
from clients.demo.bringing_up import Town
from clients.node.files import load_array
from clients.node.home import Home
from protocols.vertical.plan import TrainingPlan


@dataclass(frozen=True, slots=True)
class Comparison:
    """Held-out AUC of the three ways, over the same people."""

    alone: float
    joint: float
    pooled: float
    people: int
    positives: int


def compare(town: Town, holder: str, run: str) -> Comparison:
    """Measure the finished run against both references: its held-out people, its columns."""
    folder = town.nodes[holder] / "runs" / run
    plan = TrainingPlan.decode((folder / "plan.json").read_bytes())
    contract = Home(town.nodes[holder]).contract()
    own = pl.read_parquet(town.tables[holder])[load_array(folder / "taken.npy").tolist()]
    held_out: NDArray[np.bool_] = load_array(folder / "held_out.npy")
    labels = own[contract.label or "y"].cast(pl.Float64).to_numpy()
    pooled, features = own, [column.name for column in contract.columns]
    own_features = list(features)
    for name, table in town.tables.items():
        if name == holder:
            continue
        other = Home(town.nodes[name]).contract()
        columns = {column: f"{name}.{column}" for column in plan.partner(name).columns}
        theirs = pl.read_parquet(table).select(
            pl.col(other.identifier).alias(contract.identifier),
            *(pl.col(old).alias(new) for old, new in columns.items()),
        )
        pooled = pooled.join(theirs, on=contract.identifier, how="left", maintain_order="left")
        features += columns.values()
    joint = load_array(folder / "refined.npy")
    return Comparison(
        alone=reference_auc(own, own_features, labels, held_out),
        joint=float(roc_auc_score(labels[held_out], joint[held_out])),
        pooled=reference_auc(pooled, features, labels, held_out),
        people=int(held_out.sum()),
        positives=int(labels[held_out].sum()),
    )


def draw_table(
    figures: Comparison, *, spent: float, delta: float, seconds: float, sent: Mapping[str, int]
) -> str:
    """Draw the table that the demonstration ends with."""
    table = Table(
        title=f"{figures.people} held-out customers, {figures.positives} of them defrauded"
    )
    for heading in ("model", "AUC", "what it needs"):
        table.add_column(heading)
    table.add_row("insurer alone", f"{figures.alone:.3f}", "its own columns")
    table.add_row(
        "joint", f"{figures.joint:.3f}", f"nobody's rows; epsilon {spent:.3f} at delta {delta:g}"
    )
    table.add_row("pooled, no privacy", f"{figures.pooled:.3f}", "everybody's rows in one place")
    target = StringIO()
    console = Console(file=target, width=88)
    console.print(table)
    volumes = ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in sorted(sent.items()))
    console.print(f"{seconds:.0f} s in all; sent: {volumes}")
    return target.getvalue().rstrip()
