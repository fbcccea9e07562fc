"""How a run's budget is shared out: derived from the plan by everyone, sent by nobody.

    budget      mu^2 of the plan's (epsilon, delta)
    own         every partner's share of it: its encoder, and the label holder's counts
    pooled      the same for partners of one kind: released once, and paid by each of them
    head        what is left, over all steps

A party that was told something else finds out at the first frame. Importable without
torch: accepting or refusing a plan must not wait for it.
"""

from __future__ import annotations

from protocols.dp.calibrate import mu_squared_for, noise_multiplier_for, noise_multiplier_of
from protocols.dp.events import Composed, DpEvent, Gaussian
from protocols.vertical.plan import Kind, TrainingPlan


def noise_multiplier_of_share(plan: TrainingPlan, share: float) -> float:
    """Return the noise of one release that costs this share of the run's mu^2."""
    budget = mu_squared_for(epsilon=plan.epsilon, delta=plan.delta)
    return noise_multiplier_of(mu_squared=budget * share, count=1)


def own_event(plan: TrainingPlan, name: str) -> DpEvent | None:
    """Return what a partner pays before the head, by itself or with others; None if nothing."""
    partner = plan.partner(name)
    kind = next(kind for kind in plan.kinds if partner in kind.members)
    events: list[DpEvent] = _shared_once(plan, kind)
    neural = kind.first.encoder.neural
    if neural is not None:
        events.append(neural.event)
    return Composed(tuple(events)) if events else None


def events_before_head(plan: TrainingPlan) -> tuple[DpEvent, ...]:
    """Return all that is released before the head, by whomever.

    Privacy:
        A person may be in the tables of all members of a kind. What they add up is one
        release, whose noise covers that; the networks that each trains on its own rows are
        one release each.
    """
    events: list[DpEvent] = []
    for kind in plan.kinds:
        events += _shared_once(plan, kind)
        neural = kind.first.encoder.neural
        if neural is not None:
            events += [neural.event] * len(kind.members)
    return tuple(events)


def _shared_once(plan: TrainingPlan, kind: Kind) -> list[DpEvent]:
    terms = kind.first.encoder
    shares = [share for share in (terms.edge_share, terms.mean_share) if share > 0]
    if plan.label_holder in kind.names:
        shares.append(plan.count_share)
    return [Gaussian(noise_multiplier_of_share(plan, share)) for share in shares]


def head_noise_multiplier(plan: TrainingPlan) -> float:
    """Return the noise of one step that leaves the whole run within (epsilon, delta).

    Privacy:
        Neighbours: zero out one person, at all partners at once; hence the releases of
        all partners count against the head.
    """
    events = events_before_head(plan)
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
