"""From a plan to the terms of training: noise and shares of the budget, derived by everyone.

    budget      mu^2 of the plan's (epsilon, delta)
    own         every partner's share of it: its encoder, and the label holder's counts
    head        what is left, over all steps

No number here is sent: each party computes it from the plan, so that a party which
was told something else finds out at the first frame.
"""

from __future__ import annotations

from collections.abc import Mapping

from protocols.dp.calibrate import noise_multiplier_for
from protocols.dp.events import Composed, DpEvent, Gaussian
from protocols.errors import UnsupportedParameterError
from protocols.vertical.counts import Counts
from protocols.vertical.encoding import own_event
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


def head_noise_multiplier(plan: TrainingPlan) -> float:
    """Return the noise of one step that leaves the whole run within (epsilon, delta).

    Privacy:
        Neighbours: zero out one person, at all partners at once; hence the releases of
        all partners count against the head.
    """
    spent = [own_event(plan, partner.name) for partner in plan.partners]
    events = tuple(event for event in spent if event is not None)
    return noise_multiplier_for(
        epsilon=plan.epsilon,
        delta=plan.delta,
        count=plan.steps,
        already=Composed(events) if events else None,
    )


def run_event(plan: TrainingPlan, ours: str) -> DpEvent:
    """Return everything that a run releases about the people in one partner's table."""
    own = own_event(plan, ours)
    head = Gaussian(head_noise_multiplier(plan), plan.steps)
    return head if own is None else Composed((own, head))
