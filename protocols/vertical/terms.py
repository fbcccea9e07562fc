"""From a plan and a few public sizes to the terms of training, the same at every party."""

from __future__ import annotations

from collections.abc import Mapping

from protocols.errors import UnsupportedParameterError
from protocols.vertical.budget import head_noise_multiplier
from protocols.vertical.counts import Counts
from protocols.vertical.head import Block, Terms
from protocols.vertical.plan import TrainingPlan


def terms_of(plan: TrainingPlan, rows: int, widths: Mapping[str, int], counts: Counts) -> Terms:
    """Return the terms of the head.

    Args:
        rows: of the joint table.
        widths: encoded columns of each owner, as the owners told.
        counts: as the label holder released them.
    """
    if set(widths) != {partner.name for partner in plan.owners}:
        raise UnsupportedParameterError("widths: need one for each partner with columns")
    blocks = tuple(
        Block(partner.name, widths[partner.name], partner.norm, plan.reach / len(plan.owners))
        for partner in plan.owners
    )
    return Terms(
        rows=rows,
        blocks=blocks,
        label_holder=plan.label_holder,
        steps=plan.steps,
        noise_multiplier=head_noise_multiplier(plan),
        degree=plan.degree,
        schedule=plan.schedule,
        base=counts.base(plan.reach) if plan.degree == 1 else None,
    )
