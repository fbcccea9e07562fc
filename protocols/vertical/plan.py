"""The run plan: everything the parties must agree on before a run, and nothing else.

A plan is a value with one canonical form. Its hash is what each partner accepts, what
every key of the run is bound to, and what the run record names. Each party derives the
noise, the widths and the order of steps from the plan by itself; a hub that sent
different plans to different partners would find that no frame opens.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from typing import Any

from protocols.codec import canonical_json, parse_json
from protocols.errors import MalformedMessageError, UnsupportedParameterError
from protocols.vertical.neural_terms import LABELS
from protocols.vertical.settings import MAX_BOUND, MAX_DEGREE, EncoderTerms, Schedule

HUB = "hub"
COMPUTE_PARTIES = 3
MAX_PARTNERS = 16
MAX_EPSILON = 64
MAX_DELTA = 1e-3
MAX_STEPS = 10_000
MAX_RESOLUTION_BITS = 20
MAX_DEADLINE_S = 86_400
MAX_EPOCH = 2**53 - 1  # what every JSON reader holds exactly
_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
_RUN = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_KEY = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Partner:
    """One partner's place in a run.

    Attributes:
        identity: the partner's Ed25519 public key in hexadecimal.
        columns: the agreed columns that take part; empty for a partner with labels alone.
        norm: C_k, the public bound on the length of its encoded rows; 0 without columns.
        block: the kind of columns that it holds together with other partners, who have other
            rows of it; empty for a partner that stands alone.
    """

    name: str
    identity: str
    columns: tuple[str, ...]
    norm: float
    encoder: EncoderTerms
    block: str = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """Partners that hold rows of the same columns, or labels of the same kind, in order.

    Of a person whom several of them know, the first one's row counts.
    """

    name: str
    members: tuple[Partner, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Return the members' names, in order."""
        return tuple(partner.name for partner in self.members)

    @property
    def first(self) -> Partner:
        """Return the member whose rows prevail; what is said of its columns holds for all."""
        return self.members[0]

    @property
    def is_shared(self) -> bool:
        """Whether several partners hold it."""
        return len(self.members) > 1


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """What is to be computed, by whom, at what privacy cost.

    Attributes:
        purpose: IRI of the purpose in the agreement.
        label_holder: who has the labels; with others of its block, all of them have some.
        epsilon, delta: the whole run, under zero-out-one-person neighbours.
        epoch: whose oblivious function gives the pseudonyms; 0 where a hash under a key
            of the partners does, which a partner and the hub together could test.
        membership: `hidden` (nobody learns who is shared) or `shared`.
        sample_fraction, held_out_fraction: of people, by pseudonym hash.
        on_refusal: `end` the run or `continue` without that partner's columns.
        degree, reach: of the response; with degree 1 it stays within `reach` of the base
            rate, with degree 3 the logit stays within `reach` of 0.
        count_share: of the run's mu^2, for the counts of rows and positives.
        deadline_s: after this long without word a phase has failed.
    """

    run: str
    purpose: str
    partners: tuple[Partner, ...]
    label_holder: str
    compute: tuple[str, ...]
    epoch: int
    membership: str
    sample_fraction: float
    held_out_fraction: float
    min_rows: int
    epsilon: float
    delta: float
    steps: int
    degree: int
    reach: float
    count_share: float
    schedule: Schedule
    resolution_bits: int
    on_refusal: str
    deadline_s: int

    def __post_init__(self) -> None:
        _check_types(self, "plan")
        _check_names(self)
        _check_numbers(self)
        _check_shares(self)
        _check_experts(self)

    def partner(self, name: str) -> Partner:
        """Return a partner by name.

        Raises:
            UnsupportedParameterError: the plan has no such partner.
        """
        for partner in self.partners:
            if partner.name == name:
                return partner
        raise UnsupportedParameterError(
            f"plan: no partner named {name[:32]}; invite it or correct the name"
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Return all partners' names in the plan's order."""
        return tuple(partner.name for partner in self.partners)

    @property
    def owners(self) -> tuple[Partner, ...]:
        """Return the partners whose columns take part."""
        return tuple(partner for partner in self.partners if partner.columns)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Return the partners by kind, each kind where its first member stands."""
        found: dict[str, list[Partner]] = {}
        for partner in self.partners:
            found.setdefault(partner.block or partner.name, []).append(partner)
        return tuple(Kind(name, tuple(members)) for name, members in found.items())

    @property
    def label_kind(self) -> Kind:
        """Return the label holder and the others of its kind, who hold labels too."""
        return next(kind for kind in self.kinds if self.label_holder in kind.names)

    @property
    def label_holders(self) -> tuple[str, ...]:
        """Return everyone who holds labels, in order."""
        return self.label_kind.names

    @property
    def outsiders(self) -> tuple[str, ...]:
        """Return who brings columns or labels and does not compute."""
        bringing = {partner.name for partner in self.owners} | set(self.label_holders)
        return tuple(name for name in self.names if name in bringing - set(self.compute))

    @property
    def pools(self) -> bool:
        """Whether anything is added up among partners before the steps."""
        return self.label_kind.is_shared or any(
            kind.is_shared and kind.first.columns for kind in self.kinds
        )

    @property
    def learners(self) -> tuple[Kind, ...]:
        """Return the kinds whose members train an expert together."""
        return tuple(
            kind
            for kind in self.kinds
            if kind.first.encoder.neural is not None and kind.first.encoder.neural.rounds > 0
        )

    @property
    def learns(self) -> bool:
        """Whether members of any kind train an expert together."""
        return bool(self.learners)

    def encode(self) -> bytes:
        """Write the canonical form; what is at rest in most plans is left out of it."""
        value = asdict(self)
        for partner in value["partners"]:
            _leave_out(partner, "block", "")
            _leave_out(partner["encoder"], "neural_rounds", 0)
        return canonical_json(value)

    @property
    def digest(self) -> bytes:
        """Return the SHA-256 of the canonical form."""
        return hashlib.sha256(b"lianfang run plan v1\x00" + self.encode()).digest()

    @classmethod
    def decode(cls, data: bytes) -> TrainingPlan:
        """Read a plan strictly; anything but a canonical plan is refused.

        Raises:
            MalformedMessageError: on any other byte string.
        """
        value = parse_json(data, "plan")
        try:
            plan = _build(value)
        except (KeyError, TypeError, ValueError, OverflowError, UnsupportedParameterError) as error:
            raise MalformedMessageError(f"plan: {_reason(error)}") from error
        if plan.encode() != data:
            raise MalformedMessageError("plan: not in canonical form")
        return plan

    def without(self, name: str) -> TrainingPlan:
        """Return the plan that goes on without a partner; the hub computes in its stead.

        Raises:
            UnsupportedParameterError: nobody is left to train, or the label holder is gone.
        """
        leaving = self.partner(name)
        kept = tuple(partner for partner in self.partners if partner != leaving)
        norms = {partner.block or partner.name: partner.norm for partner in kept}
        scale = math.sqrt(sum(norm**2 for norm in norms.values()))
        hub_is_taken = name in self.compute and HUB in self.compute
        if name == self.label_holder or scale == 0 or hub_is_taken:
            raise UnsupportedParameterError(f"plan: cannot go on without {name}; end the run")
        counts = Counter(partner.block for partner in kept)
        return replace(
            self,
            partners=tuple(
                replace(
                    partner,
                    norm=partner.norm / scale,
                    # Who is left alone of its block trains alone.
                    encoder=partner.encoder
                    if counts[partner.block] > 1
                    else replace(partner.encoder, neural_rounds=0),
                )
                for partner in kept
            ),
            compute=tuple(HUB if party == name else party for party in self.compute),
        )


_TYPES = {"str": str, "int": int, "float": float}


def _leave_out(value: dict[str, Any], name: str, resting: object) -> None:
    if value[name] == resting:
        del value[name]


def _check_types(value: Any, where: str) -> None:
    """Refuse a field whose type is not exactly the declared one.

    1, 1.0 and true are equal here but not in the canonical form, which the hash is of.
    """
    for field in fields(value):
        item, path = getattr(value, field.name), f"{where}.{field.name}"
        if is_dataclass(item):
            _check_types(item, path)
        elif isinstance(item, tuple) and str(field.type).startswith("tuple"):
            for index, part in enumerate(item):
                if is_dataclass(part):
                    _check_types(part, f"{path}[{index}]")
                elif type(part) is not str or not part:
                    raise UnsupportedParameterError(f"{path}: must be texts; correct the plan")
        elif type(item) is not _TYPES.get(str(field.type)):
            raise UnsupportedParameterError(f"{path}: must be {field.type}; correct the plan")


def _check_names(plan: TrainingPlan) -> None:
    if not _RUN.fullmatch(plan.run):
        raise UnsupportedParameterError("run: needs 1 to 64 of a-z, 0-9 and -; choose another name")
    names = plan.names
    if len(set(names)) != len(names) or not 1 < len(names) <= MAX_PARTNERS:
        raise UnsupportedParameterError("partners: 2 to 16 with different names; correct the plan")
    if not plan.purpose:
        raise UnsupportedParameterError("purpose: must be named; take one of the agreement")
    for partner in plan.partners:
        if not _NAME.fullmatch(partner.name) or partner.name == HUB:
            raise UnsupportedParameterError("partner name: needs a-z, 0-9 and -, and is not hub")
        if not _KEY.fullmatch(partner.identity):
            raise UnsupportedParameterError(
                f"identity of {partner.name}: needs 64 hexadecimal digits"
            )
        if len(set(partner.columns)) != len(partner.columns):
            raise UnsupportedParameterError(
                f"columns of {partner.name}: one is named twice; name each once"
            )
    if plan.label_holder not in names:
        raise UnsupportedParameterError("label_holder: must be a partner; correct the plan")
    compute = plan.compute
    if len(compute) != COMPUTE_PARTIES or len(set(compute)) != COMPUTE_PARTIES:
        raise UnsupportedParameterError("compute: three different parties; correct the plan")
    if not set(compute) <= {*names, HUB}:
        raise UnsupportedParameterError("compute: partners of the plan or hub; correct the plan")
    _check_kinds(plan)


def _check_kinds(plan: TrainingPlan) -> None:
    """Refuse kinds whose members do not fit together.

    Two compute parties together can rebuild every input. Those that hold the same kind of
    rows see the same gradients and are the first to talk, so that only one of them computes.
    """
    for kind in plan.kinds:
        where = f"block {kind.name[:32]}"
        if not _NAME.fullmatch(kind.name) or kind.name == HUB:
            raise UnsupportedParameterError(f"{where}: needs a-z, 0-9 and -, and is not hub")
        if kind.name in set(plan.names) - set(kind.names):
            raise UnsupportedParameterError(f"{where}: is the name of a partner outside of it")
        first = kind.first
        for member in kind.members:
            same = (member.columns, member.norm, member.encoder)
            if same != (first.columns, first.norm, first.encoder):
                raise UnsupportedParameterError(
                    f"{where}: columns, norm and encoder must be the same at all members; "
                    "correct the plan"
                )
        if len(set(kind.names) & set(plan.compute)) > 1:
            raise UnsupportedParameterError(
                f"{where}: only one of its members may compute; name the hub or another partner"
            )
    if plan.label_kind.first.name != plan.label_holder:
        raise UnsupportedParameterError(
            "label_holder: must be the first of its block; correct the plan"
        )


def _check_numbers(plan: TrainingPlan) -> None:
    if not 0 < plan.epsilon <= MAX_EPSILON:
        raise UnsupportedParameterError(
            "epsilon: must be greater than 0 and at most 64; correct the plan"
        )
    if not 0 < plan.delta <= MAX_DELTA:
        raise UnsupportedParameterError(
            "delta: must be greater than 0 and at most 0.001; correct the plan"
        )
    if not 1 <= plan.steps <= MAX_STEPS:
        raise UnsupportedParameterError("steps: must be 1 to 10000; correct the plan")
    if not (0 < plan.sample_fraction <= 1 and 0 <= plan.held_out_fraction < 1):
        raise UnsupportedParameterError(
            "sample_fraction, held_out_fraction: must lie in (0, 1] and [0, 1); correct the plan"
        )
    if plan.membership not in ("hidden", "shared") or plan.on_refusal not in ("end", "continue"):
        raise UnsupportedParameterError("membership: hidden or shared; on_refusal: end or continue")
    if not (plan.min_rows > 0 and 0 < plan.deadline_s <= MAX_DEADLINE_S):
        raise UnsupportedParameterError(
            "min_rows, deadline_s: must be at least 1, and at most a day; correct the plan"
        )
    if not 0 <= plan.epoch <= MAX_EPOCH:
        raise UnsupportedParameterError(
            "epoch: must be 0 or the number of an epoch; correct the plan"
        )
    if not 0 <= plan.resolution_bits <= MAX_RESOLUTION_BITS:
        raise UnsupportedParameterError("resolution_bits: must be 0 to 20; correct the plan")
    if plan.degree not in (1, MAX_DEGREE):
        raise UnsupportedParameterError("degree: must be 1 or 3; correct the plan")
    if not 0 < plan.reach <= (1 if plan.degree == 1 else MAX_BOUND):
        raise UnsupportedParameterError(
            f"reach: must be in (0, 1] with degree 1, in (0, {MAX_BOUND}] with 3; correct the plan"
        )


def _check_shares(plan: TrainingPlan) -> None:
    """Refuse what the partners bring if it does not add up to one run."""
    for partner in plan.partners:
        fits = 0 < partner.norm <= 1 if partner.columns else partner.norm == 0
        if not fits:
            raise UnsupportedParameterError(
                f"norm of {partner.name}: must be 0 without columns and in (0, 1] with; "
                "correct the plan"
            )
    firsts = [kind.first for kind in plan.kinds]
    if not plan.owners or not sum(partner.norm**2 for partner in firsts) <= 1 + 1e-9:
        raise UnsupportedParameterError(
            "norm: somebody has columns, and the squares sum to at most 1; correct the plan"
        )
    # What the members of a block add up among them is one release.
    encoders = [partner.encoder for partner in firsts]
    taken = sum(encoder.edge_share + encoder.mean_share for encoder in encoders)
    if not plan.count_share > 0 or not taken + plan.count_share < 1:
        raise UnsupportedParameterError(
            "count_share, encoder shares: together they must leave budget for the steps; "
            "correct the plan"
        )


def _check_experts(plan: TrainingPlan) -> None:
    for partner in plan.partners:
        expert = partner.encoder.neural
        if expert is not None and not partner.columns:
            raise UnsupportedParameterError(
                f"encoder.neural_width of {partner.name}: must be 0 without columns; "
                "correct the plan"
            )
        if expert is not None and expert.task == LABELS and partner.name not in plan.label_holders:
            raise UnsupportedParameterError(
                f"encoder.neural_task of {partner.name}: only the label holder has labels; "
                "take reconstruction"
            )
        is_shared = any(kind.is_shared and partner in kind.members for kind in plan.kinds)
        if expert is not None and (expert.rounds > 0) is not is_shared:
            raise UnsupportedParameterError(
                f"encoder.neural_rounds of {partner.name}: must be 0 where it trains alone, and "
                "more with others of its block; correct the plan"
            )


def _build(value: Mapping[str, Any]) -> TrainingPlan:
    items = dict(value)
    partners = tuple(
        Partner(
            **{
                **item,
                "columns": tuple(item["columns"]),
                "encoder": EncoderTerms(**item["encoder"]),
            }
        )
        for item in items.pop("partners")
    )
    schedule = Schedule(**items.pop("schedule"))
    compute = tuple(items.pop("compute"))
    return TrainingPlan(partners=partners, schedule=schedule, compute=compute, **items)


def _reason(error: Exception) -> str:
    if isinstance(error, UnsupportedParameterError):
        return str(error)
    return "a field is missing, unknown or of the wrong type"
