"""What partners say they released, read strictly, priced, and held against the plan.

The hub believes no partner's sum: it recomputes epsilon from the single releases, and tells
where they are not those of the plan. A partner that says nothing counts as if it had spent
all that the plan allows, since its own ledger allows it no more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from compliance.spending import Tally, tally
from protocols.dp.accounting import epsilon
from protocols.dp.events import Composed, DpEvent, Gaussian, event_from_fields
from protocols.dp.neighbours import Neighbours
from protocols.errors import MalformedMessageError
from protocols.vertical.budget import head_noise_multiplier, own_event
from protocols.vertical.plan import TrainingPlan

MAX_RELEASES = 100_000
# Released once by several, and charged by each of them: steps, and sums over a kind.
_JOINT = ("train/", "pooled/")
_MAX_LABEL = 200

Releases = Mapping[str, Sequence[Mapping[str, Any]]]


def check_releases(name: str, part: Mapping[str, Any]) -> None:
    """Check what a partner tells at the end of a run, so that a record can be made of it.

    Raises:
        MalformedMessageError: it is not a list of labelled events and the bytes by phase.
    """
    releases, sent = part.get("releases"), part.get("sent_bytes")
    if not isinstance(releases, list) or len(releases) > MAX_RELEASES:
        raise MalformedMessageError(f"reply of {name}: releases must be a list")
    for release in releases:
        if not isinstance(release, dict) or set(release) != {"label", "event"}:
            raise MalformedMessageError(f"reply of {name}: a release needs a label and an event")
        label = release["label"]
        if not isinstance(label, str) or len(label) > _MAX_LABEL:
            raise MalformedMessageError(f"reply of {name}: a release's label must be a short text")
        event_from_fields(release["event"])
    if not isinstance(sent, dict) or not all(_are_sizes(sizes) for sizes in sent.values()):
        raise MalformedMessageError(f"reply of {name}: sent_bytes must be sizes by phase")


def spent_epsilon(plan: TrainingPlan, releases: Releases) -> float:
    """Recompute epsilon of the whole run from what the partners say they paid.

    The steps of the head are one release against each of them, charged by every owner, and
    so are sums over partners of one kind; what an owner paid alone adds up over the owners.

    Privacy:
        Neighbours: zero out one person, at all partners at once. Of two partners that
        disagree about a step, the one that names less noise is believed.
    """
    joint: dict[str, DpEvent] = {}
    own: list[DpEvent] = []
    for charges in releases.values():
        for label, event in _events(charges):
            if not label.startswith(_JOINT):
                own.append(event)
            elif label not in joint or _price(plan, [joint[label]]) < _price(plan, [event]):
                joint[label] = event
    unreported = [name for name in plan.names if name not in releases]
    silent = [found for name in unreported if (found := own_event(plan, name)) is not None]
    told = _price(plan, [*own, *silent, *joint.values()])
    if not unreported:
        return told
    return max(told, _price(plan, [*own, *silent, _head(plan)]))


def doubts(plan: TrainingPlan, releases: Releases, *, whole: bool) -> list[str]:
    """Tell where the partners' releases are not those of the plan; empty if all is well.

    Args:
        whole: the run was done, so that nothing may be missing either.
    """
    found: list[str] = []
    for name, charges in sorted(releases.items()):
        labels = Counter(label for label, _ in _events(charges))
        twice = [label for label, count in labels.items() if count > 1]
        if twice:
            found.append(f"{name}: charged twice: {min(twice)}")
        told: Tally = Counter()
        for _, event in _events(charges):
            told += _rounded(tally(event))
        expected = _rounded(_expected(plan, name))
        if told - expected:
            found.append(f"{name}: {(told - expected).total()} releases more than the plan has")
        if whole and expected - told:
            found.append(f"{name}: {(expected - told).total()} releases of the plan not charged")
    return found


def _expected(plan: TrainingPlan, name: str) -> Tally:
    own = own_event(plan, name) if name in plan.names else None
    expected: Tally = Counter() if own is None else tally(own)
    if name in plan.compute or name in plan.outsiders:
        expected += tally(_head(plan))
    return expected


def _head(plan: TrainingPlan) -> DpEvent:
    return Gaussian(head_noise_multiplier(plan), plan.steps)


def _rounded(spent: Tally) -> Tally:
    """Round the noise to twelve digits: machines may differ in the last."""
    rounded: Tally = Counter()
    for leaf, count in spent.items():
        noise = float(f"{leaf.noise_multiplier:.12g}")
        rounded[replace(leaf, noise_multiplier=noise)] += count
    return rounded


def _events(charges: Sequence[Mapping[str, Any]]) -> list[tuple[str, DpEvent]]:
    return [(charge["label"], event_from_fields(charge["event"])) for charge in charges]


def _price(plan: TrainingPlan, events: Sequence[DpEvent]) -> float:
    if not events:
        return 0.0
    return epsilon(
        Composed(tuple(leaf for event in events for leaf in _parts(event))),
        delta=plan.delta,
        neighbours=Neighbours.ZERO_OUT_ONE_PERSON,
    )


def _parts(event: DpEvent) -> tuple[Any, ...]:
    return event.events if isinstance(event, Composed) else (event,)


def _are_sizes(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(size, int) and not isinstance(size, bool) and size >= 0
        for size in value.values()
    )
