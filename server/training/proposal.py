"""From what partners handed in and an operator's few choices to a proposed run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from protocols.dp.calibrate import mu_squared_for
from protocols.errors import UnsupportedParameterError
from protocols.phase import ALL_PHASES, PHASES
from protocols.vertical.contract import Contract
from protocols.vertical.plan import Partner, TrainingPlan
from protocols.vertical.settings import EncoderTerms, Schedule
from server.training.experts import check_experts, expert_fields
from server.training.kinds import check_experts_of, label_holders, shared_kinds
from server.training.plan import RunFolder, RunPlan
from server.training.sharing import (
    PAIR_KNOTS,
    compute_parties,
    knots_of,
    norm_shares,
    pairs_weight,
)

# Measured on the benchmark sets with other seeds than are reported; see docs/benchmarks.md.
MEAN_SHARE = 0.02
COUNT_SHARE = 0.005
REACH = 0.4
# With many rows for few columns, more is heard than the noise hides: a wider reach, private
# knots and pairs of columns pay then, and only then.
STRONG_SIGNAL = 2000.0
STRONG_REACH = 0.7
STRONG_EDGE_SHARE = 0.05
MOMENTUM = 0.8
# Steps times step size: how far the weights may travel, whatever the number of steps.
TOTAL_STEP = 3000.0


@dataclass(frozen=True, slots=True)
class Choices:
    """What the operator chooses; everything else follows from defaults and contracts.

    Attributes:
        epoch: whose oblivious function gives the pseudonyms; 0 for the partners' keyed hash.
        columns: by partner, patterns of the columns that take part; absent means all.
        expected_rows: a public estimate of the labelled rows; 0 where nobody can tell.
        compute: who may compute; anybody if empty.
        neural: by partner, the share of epsilon that its neural expert may cost; absent
            means no expert.
        roles: by partner, what it is: those that are the same may share a block.
    """

    run: str
    purpose: str
    epsilon: float
    delta: float
    label_holder: str
    columns: Mapping[str, Sequence[str]]
    epoch: int = 0
    membership: str = "hidden"
    sample_fraction: float = 1.0
    held_out_fraction: float = 0.2
    min_rows: int = 500
    on_refusal: str = "end"
    deadline_s: int = 600
    steps: int = 60
    expected_rows: int = 0
    compute: tuple[str, ...] = ()
    neural: Mapping[str, float] = field(default_factory=dict)
    roles: Mapping[str, str] = field(default_factory=dict)


def propose(choices: Choices, partners: Mapping[str, Mapping[str, Any]]) -> TrainingPlan:
    """Build a plan over the given partners.

    Args:
        partners: what each handed in to join, by name.

    Raises:
        UnsupportedParameterError: names the field, the rule and the cure.
    """
    if choices.label_holder not in partners:
        raise UnsupportedParameterError("label holder: not among the partners; approve it first")
    if not choices.epsilon > 0:
        raise UnsupportedParameterError("epsilon: must be greater than 0; choose more")
    if choices.steps < 1:
        raise UnsupportedParameterError("steps: must be at least 1; choose more")
    contracts = {name: Contract.parse(partner["contract"]) for name, partner in partners.items()}
    taking = {name: _columns(choices, name, partner) for name, partner in partners.items()}
    kinds = shared_kinds(choices.roles, choices.label_holder, contracts, taking)
    holders = label_holders(kinds, choices.label_holder)
    _check_labels(holders, contracts)
    check_experts(choices.neural, partners)
    check_experts_of(kinds, choices.neural)
    # The label holder refines the joint score with its own columns afterwards, at no cost in
    # privacy to anyone else; within the head they would only take norm from the others.
    for holder in holders:
        if holder not in choices.neural:
            taking[holder] = ()
    # Members of a block have one norm together, under the name of the first.
    first_of = {name: names[0] for names in kinds.values() for name in names}
    blocks = {name: taking[name] for name in partners if first_of.get(name, name) == name}
    shares = norm_shares(blocks, choices.label_holder)
    strong = _is_strong(choices, blocks, shares)
    names_of = {name: kind for kind, names in kinds.items() for name in names}
    built = tuple(
        _partner(
            choices,
            name,
            partners[name],
            columns=taking[name],
            share=shares[first_of.get(name, name)],
            strong=strong,
            block=names_of.get(name, ""),
            holds_labels=name in holders,
        )
        for name in sorted(partners, key=lambda name: (name in holders[1:], name))
    )
    return TrainingPlan(
        run=choices.run,
        purpose=choices.purpose,
        partners=built,
        label_holder=choices.label_holder,
        compute=compute_parties(
            choices.label_holder, taking, choices.compute, tuple(kinds.values())
        ),
        epoch=choices.epoch,
        membership=choices.membership,
        sample_fraction=choices.sample_fraction,
        held_out_fraction=choices.held_out_fraction,
        min_rows=choices.min_rows,
        epsilon=choices.epsilon,
        delta=choices.delta,
        steps=choices.steps,
        degree=1,
        reach=STRONG_REACH if strong else REACH,
        count_share=COUNT_SHARE,
        schedule=Schedule(
            step_size=TOTAL_STEP / choices.steps * (1 - MOMENTUM),
            momentum=MOMENTUM,
            average_from=0.5,
            threshold=1.0,
        ),
        resolution_bits=7,
        on_refusal=choices.on_refusal,
        deadline_s=choices.deadline_s,
    )


def store_proposal(
    home: Path,
    choices: Choices,
    partners: Mapping[str, Mapping[str, Any]],
    *,
    enter: Callable[[TrainingPlan], object] = lambda _: None,
) -> TrainingPlan:
    """Build a plan and lay it into the run's folder; an existing run is never replaced.

    Args:
        enter: decides about the plan and makes a durable note of it before it is laid down;
            if it raises, nothing is.

    Raises:
        UnsupportedParameterError: the run's name is taken, or a choice breaks a rule.
    """
    plan = propose(choices, partners)
    folder = RunFolder(home, plan.run)
    if folder.path.exists():
        raise UnsupportedParameterError(f"run: {plan.run} exists already; choose another name")
    enter(plan)
    schedule = RunPlan(
        run=plan.run,
        kind="training",
        nodes=plan.names,
        phases=ALL_PHASES if plan.learns else PHASES,
        on_refusal=choices.on_refusal,  # type: ignore[arg-type]  # checked by the training plan
        required=(plan.label_holder,),
        deadlines_s=dict.fromkeys(ALL_PHASES, plan.deadline_s),
    )
    folder.store_plan(schedule)
    folder.store_bytes("proposed.json", plan.encode())
    return plan


def _is_strong(
    choices: Choices, taking: Mapping[str, Sequence[str]], shares: Mapping[str, float]
) -> bool:
    """Tell by public sizes whether every owner's columns will be heard well above the noise."""
    mu = math.sqrt(mu_squared_for(epsilon=choices.epsilon, delta=choices.delta))
    signals = [
        choices.expected_rows * mu * math.sqrt(shares[name] / len(columns))
        for name, columns in taking.items()
        if columns
    ]
    return min(signals) > STRONG_SIGNAL


def _check_labels(holders: Sequence[str], contracts: Mapping[str, Contract]) -> None:
    """Refuse what a partner would refuse anyway: exactly the label holders name a label."""
    if contracts[holders[0]].label is None:
        raise UnsupportedParameterError(
            f"label holder: the contract of {holders[0]} names no label; name another partner"
        )
    others = [name for name, found in contracts.items() if found.label and name not in holders]
    if others:
        raise UnsupportedParameterError(
            f"partners: the contract of {min(others)} names a label too; leave that partner out"
        )


def _columns(choices: Choices, name: str, partner: Mapping[str, Any]) -> tuple[str, ...]:
    contract = Contract.parse(partner["contract"])
    if name not in choices.columns:
        return tuple(column.name for column in contract.columns)
    wanted = []
    for pattern in choices.columns[name]:
        found = [c.name for c in contract.columns if fnmatchcase(c.name, pattern)]
        if not found:
            raise UnsupportedParameterError(
                f"columns of {name}: {pattern} names none in its contract; correct the pattern"
            )
        wanted += found
    return tuple(column.name for column in contract.narrowed(frozenset(wanted)).columns)


def parse_columns(values: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Read `PARTNER=PATTERN[,PATTERN]`, once for each partner.

    Raises:
        UnsupportedParameterError: not of this form.
    """
    found: dict[str, tuple[str, ...]] = {}
    for value in values:
        name, equals, patterns = value.partition("=")
        chosen = tuple(pattern for pattern in patterns.split(",") if pattern)
        if not equals or not chosen or name in found:
            raise UnsupportedParameterError(
                "columns: need PARTNER=PATTERN[,PATTERN], once for each partner"
            )
        found[name] = chosen
    return found


def _partner(
    choices: Choices,
    name: str,
    partner: Mapping[str, Any],
    *,
    columns: tuple[str, ...],
    share: float,
    strong: bool,
    block: str,
    holds_labels: bool,
) -> Partner:
    contract = Contract.parse(partner["contract"])
    # Pairs beside an expert were never measured.
    paired = strong and name not in choices.neural
    expert: dict[str, Any] = {}
    if name in choices.neural:
        expert = expert_fields(
            name,
            is_label_holder=holds_labels,
            shared=block != "",
            epsilon=choices.epsilon * choices.neural[name],
            delta=choices.delta,
        )
    return Partner(
        name=name,
        identity=partner["identity"],
        columns=columns,
        norm=math.sqrt(share) * (1 - 1e-12),
        encoder=EncoderTerms(
            knots=knots_of(contract, columns),
            edge_share=STRONG_EDGE_SHARE * share if strong else 0.0,
            mean_share=MEAN_SHARE * share,
            pairs_weight=pairs_weight(contract, columns) if paired else 0.0,
            pair_knots=PAIR_KNOTS,
            **expert,
        ),
        block=block,
    )
