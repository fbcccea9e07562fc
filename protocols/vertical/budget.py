"""How a run's budget is shared out: derived from the plan by everyone, sent by nobody.

    budget      mu^2 of the plan's (epsilon, delta)
    own         every partner's share of it: its encoder, and the label holder's counts
    head        what is left, over all steps

A party that was told something else finds out at the first frame. Importable without
torch: accepting or refusing a plan must not wait for it.
"""

from __future__ import annotations

from protocols.dp.calibrate import mu_squared_for, noise_multiplier_for, noise_multiplier_of
from protocols.dp.events import Composed, DpEvent, Gaussian
from protocols.vertical.plan import TrainingPlan


def noise_multiplier_of_share(plan: TrainingPlan, share: float) -> float:
    """Return the noise of one release that costs this share of the run's mu^2."""
    budget = mu_squared_for(epsilon=plan.epsilon, delta=plan.delta)
    return noise_multiplier_of(mu_squared=budget * share, count=1)


def own_event(plan: TrainingPlan, name: str) -> DpEvent | None:
    """Return what a partner releases by itself, before the head; None if nothing."""
    terms = plan.partner(name).encoder
    shares = [share for share in (terms.edge_share, terms.mean_share) if share > 0]
    if name == plan.label_holder:
        shares.append(plan.count_share)
    events: list[DpEvent] = [Gaussian(noise_multiplier_of_share(plan, share)) for share in shares]
    if terms.neural is not None:
        events.append(terms.neural.event)
    return Composed(tuple(events)) if events else None


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
