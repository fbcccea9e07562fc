"""From a plan and a few public sizes to the terms of training, the same at every party."""

from __future__ import annotations

from collections.abc import Mapping

from protocols.errors import UnsupportedParameterError
from protocols.vertical.budget import head_noise_multiplier
from protocols.vertical.counts import Counts
from protocols.vertical.head_terms import Block, Terms
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
    kinds = [kind for kind in plan.kinds if kind.first.columns]
    for kind in kinds:
        if len({widths[name] for name in kind.names}) != 1:
            raise UnsupportedParameterError(
                f"widths: members of {kind.name} encode differently; compare their contracts"
            )
    blocks = tuple(
        Block(
            kind.name if kind.is_shared else kind.first.name,
            widths[kind.first.name],
            kind.first.norm,
            plan.reach / len(kinds),
            kind.names if kind.is_shared else (),
        )
        for kind in kinds
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
        label_members=plan.label_holders if plan.label_kind.is_shared else (),
    )
