"""Phase prepare where several partners hold one kind: the sums that they need from each other.

    for every block of several     members compare columns, fit the encoder on pooled sums
    where several hold labels      count the rows and positives that count

Compute parties go through all of it, members through what is theirs, in the plan's order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from protocols.errors import UnsupportedParameterError
from protocols.program import Program
from protocols.vertical.budget import noise_multiplier_of_share
from protocols.vertical.counts import Counts, pool_counts
from protocols.vertical.encoding import Encoder
from protocols.vertical.outsider import Outsider
from protocols.vertical.plan import Kind, TrainingPlan
from protocols.vertical.pool import Outcome, Pool, add_up, compare_columns
from protocols.vertical.response import Sampler
from protocols.vertical.shares import Trio

Fit = Callable[[Pool], Program[Encoder]]


@dataclass(frozen=True, slots=True)
class Bringing:
    """What a partner brings to the sums; a party that only computes brings nothing.

    Attributes:
        columns: the hash of the columns that take part, ranges and levels included.
        fit: fits our encoder over a pool, if our columns are of several.
        outcome: our bits of the joint rows, if we are one of several label holders.
    """

    columns: bytes = b""
    fit: Fit | None = None
    outcome: Outcome | None = None


def station_of(plan: TrainingPlan, ours: str, random: Callable[[int], bytes]) -> Trio | Outsider:
    """Return our side of the computation: one of the three, or outside of them."""
    names = (plan.compute[0], plan.compute[1], plan.compute[2])
    if ours in names:
        return Trio(names=names, ours=ours, random=random, outsiders=plan.outsiders)
    return Outsider(names=names, ours=ours, random=random)


def takes_part(plan: TrainingPlan, ours: str) -> bool:
    """Whether a party has anything to do in the joint computation."""
    return ours in plan.compute or ours in plan.outsiders


def prepare_together(
    *,
    plan: TrainingPlan,
    ours: str,
    rows: int,
    station: Trio | Outsider,
    noise: Sampler,
    bringing: Bringing,
) -> Program[tuple[Encoder | None, Counts | None]]:
    """Fit what is fitted together; returns our block's encoder and the counts, where ours.

    Args:
        rows: of the joint table.
        station: not connected yet.
        noise: draws discrete Gaussian integers; used by compute parties.
    """
    yield from station.connect()
    encoder = counts = None
    for kind in plan.kinds:
        if not kind.is_shared or not kind.first.columns:
            continue
        if ours in kind.names:
            encoder = yield from _fit(kind, ours, station, noise, bringing)
        elif isinstance(station, Trio):
            yield from _add_up_for(plan, kind, station, noise)
    if plan.label_kind.is_shared and (ours in plan.label_holders or isinstance(station, Trio)):
        counts = yield from pool_counts(plan, station, bringing.outcome, rows=rows, noise=noise)
    return encoder, counts


def _fit(
    kind: Kind, ours: str, station: Trio | Outsider, noise: Sampler, bringing: Bringing
) -> Program[Encoder]:
    if bringing.fit is None:
        raise UnsupportedParameterError(f"block {kind.name}: we bring no columns to it")
    yield from compare_columns(ours, kind.names, bringing.columns)
    return (yield from bringing.fit(Pool(kind.name, station, kind.names, noise)))


def _add_up_for(plan: TrainingPlan, kind: Kind, trio: Trio, noise: Sampler) -> Program[None]:
    """Add up what members of another kind release, in the order of their encoder's fitting."""
    terms = kind.first.encoder
    for share in (terms.edge_share, terms.mean_share):
        if share > 0:
            multiplier = noise_multiplier_of_share(plan, share)
            yield from add_up(trio, kind.names, None, noise, multiplier)
