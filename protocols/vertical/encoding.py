"""Encoders: from a partner's own columns to bounded vectors, within its share of the budget.

    columns -> coordinates (binning)    a numeric column's knots are fixed or private
            -> joined, centred          by differentially private means
            -> clipped to norm 1        by a bound that follows from those means

Fitting is a program that yields a `Charge` before each release that it uses. What it
returns depends on rows through the noised releases only, and can be stored: the same
encoder serves every later scoring.

Privacy:
    Neighbours: zero out one person. Two releases, each one Gaussian mechanism with the
    mu^2 that the plan gives this partner: all fine histograms together (one person moves
    them by sqrt(columns)), and the sum of all encoded rows (one person moves it by 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from protocols.codec import canonical_json, parse_json
from protocols.dp.calibrate import mu_squared_for, noise_multiplier_of
from protocols.dp.discrete import sample_discrete_gaussian
from protocols.dp.events import Composed, DpEvent, Gaussian
from protocols.errors import MalformedMessageError, UnsupportedParameterError
from protocols.program import Charge, Program
from protocols.vertical.axis import Reals
from protocols.vertical.binning import ColumnCode
from protocols.vertical.contract import Contract, Numeric
from protocols.vertical.edges import Knots, fixed_knots, histogram, private_knots

if TYPE_CHECKING:
    from protocols.vertical.plan import TrainingPlan

Columns = Mapping[str, NDArray[np.float64] | NDArray[np.int64]]
Random = Callable[[int], bytes]

_SUM_BITS = 16
_ROWS_AT_ONCE = 1 << 16
# A bound below this share of the largest possible norm would clip too many rows if the
# means were far off.
_LEAST_BOUND = 0.15
_SLACK = 1.15


@dataclass(frozen=True, slots=True)
class EncoderTerms:
    """How a partner encodes, and which shares of the run's mu^2 it may spend on it.

    Attributes:
        knots: coordinates of a numeric column, before spikes and missing values.
        edge_share: for histograms; 0 takes fixed knots, which look at no row.
        mean_share: for the means that rows are centred by.
    """

    knots: int = 32
    edge_share: float = 0.0
    mean_share: float = 0.0

    def __post_init__(self) -> None:
        if not 2 <= self.knots <= 256:
            raise UnsupportedParameterError("encoder.knots: must be 2 to 256; correct the plan")
        if not (0 <= self.edge_share < 1 and 0 <= self.mean_share < 1):
            raise UnsupportedParameterError("encoder shares: must lie in [0, 1); correct the plan")


@dataclass(frozen=True, slots=True)
class Encoder:
    """A fitted encoder.

    Attributes:
        means: what is taken off each coordinate. bound: the norm that rows are cut to.
        spread: each coordinate's variance about its mean, for preconditioning.
    """

    codes: tuple[ColumnCode, ...]
    means: Reals
    bound: float
    spread: Reals

    @property
    def width(self) -> int:
        """Return how many coordinates a row has."""
        return sum(code.width for code in self.codes)

    def encode(self, columns: Columns) -> NDArray[np.float32]:
        """Encode rows to vectors of length at most 1.

        Shapes:
            columns: (rows,) each; result: (rows, width), float32.
        """
        rows = len(next(iter(columns.values())))
        result = np.empty((rows, self.width), dtype=np.float32)
        for start in range(0, rows, _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            centred = _joined(self.codes, columns, part) - self.means
            norms = np.linalg.norm(centred, axis=1, keepdims=True)
            result[part] = centred / np.maximum(norms, self.bound)
        return result

    @property
    def positions(self) -> tuple[tuple[float, ...], ...]:
        """Return each coordinate's place along its column, by column."""
        return tuple(code.positions for code in self.codes)

    def store(self) -> bytes:
        """Write what was fitted; the contract's columns are not repeated."""
        knots = [None if code.knots is None else asdict(code.knots) for code in self.codes]
        value = {"knots": knots, "means": self.means.tolist(), "bound": self.bound}
        return canonical_json(value | {"spread": self.spread.tolist()})

    @classmethod
    def load(cls, data: bytes, contract: Contract) -> Encoder:
        """Read an encoder that `store` wrote, for the same columns.

        Raises:
            MalformedMessageError: it was not written for this contract.
        """
        value = parse_json(data, "encoder")
        try:
            codes = tuple(
                ColumnCode(column, None if knots is None else _knots(knots))
                for column, knots in zip(contract.columns, value["knots"], strict=True)
            )
            return cls(codes, np.array(value["means"]), value["bound"], np.array(value["spread"]))
        except (KeyError, TypeError, ValueError) as error:
            raise MalformedMessageError("encoder: written for another contract") from error


def own_event(plan: TrainingPlan, name: str) -> DpEvent | None:
    """Return what a partner releases by itself, before the head; None if nothing."""
    terms = plan.partner(name).encoder
    shares = [share for share in (terms.edge_share, terms.mean_share) if share > 0]
    if name == plan.label_holder:
        shares.append(plan.count_share)
    events = tuple(Gaussian(noise_multiplier_of_share(plan, share)) for share in shares)
    return Composed(events) if events else None


def fit_encoder(
    plan: TrainingPlan, name: str, contract: Contract, columns: Columns, random: Random
) -> Program[Encoder]:
    """Fit one partner's encoder on its own rows.

    Args:
        contract: the agreed columns that take part, in order.
        columns: checked against the contract.
    """
    terms = plan.partner(name).encoder
    codes = yield from _codes(plan, terms, contract, columns, random)
    rows = len(next(iter(columns.values())))
    totals, deviation = np.zeros(sum(code.width for code in codes)), 0.0
    if terms.mean_share > 0:
        noise = noise_multiplier_of_share(plan, terms.mean_share)
        yield Charge("encoder/means", Gaussian(noise))
        totals, deviation = _noised_sum(codes, columns, rows, noise, random)
    means = np.maximum(totals, 0.0) / rows
    return _centred(codes, means, deviation / rows, centring=terms.mean_share > 0)


def _codes(
    plan: TrainingPlan, terms: EncoderTerms, contract: Contract, columns: Columns, random: Random
) -> Program[tuple[ColumnCode, ...]]:
    numeric = [column for column in contract.columns if isinstance(column, Numeric)]
    knots = {column.name: fixed_knots(column, terms.knots) for column in numeric}
    if terms.edge_share > 0 and numeric:
        noise = noise_multiplier_of_share(plan, terms.edge_share)
        yield Charge("encoder/edges", Gaussian(noise))
        # One person counts once in the histogram of every numeric column.
        deviation = noise * math.sqrt(len(numeric))
        for column in numeric:
            counts = histogram(column, columns[column.name].astype(np.float64))
            drawn = sample_discrete_gaussian(math.ceil(deviation**2), len(counts), random)
            knots[column.name] = private_knots(
                column, (counts + drawn).astype(np.float64), deviation=deviation, count=terms.knots
            )
    return tuple(ColumnCode(column, knots.get(column.name)) for column in contract.columns)


def _noised_sum(
    codes: tuple[ColumnCode, ...], columns: Columns, rows: int, noise: float, random: Random
) -> tuple[Reals, float]:
    """Return the sum of all encoded rows with noise, and the noise's standard deviation."""
    scale = 1 << _SUM_BITS
    total = np.zeros(sum(code.width for code in codes), dtype=np.int64)
    for start in range(0, rows, _ROWS_AT_ONCE):
        joined = _joined(codes, columns, slice(start, start + _ROWS_AT_ONCE))
        # Cut toward zero, so that no row grows longer than 1 in fixed point.
        total += np.trunc(joined * scale).astype(np.int64).sum(axis=0)
    variance = math.ceil((noise * scale) ** 2)
    total += sample_discrete_gaussian(variance, len(total), random)
    return total / scale, noise


def _centred(
    codes: tuple[ColumnCode, ...], means: Reals, deviation: float, *, centring: bool
) -> Encoder:
    """Derive bound and spread from the means alone: post-processing of a noised release.

    Coordinates are joined with weight 1/sqrt(columns) and sum to that weight per column,
    so the mean square of a coordinate is at most its mean times that weight.
    """
    weight = 1 / math.sqrt(len(codes))
    if not centring:
        return Encoder(codes, means, 1.0, np.full_like(means, weight / max(len(means), 1)))
    spread = np.maximum(means, 3 * deviation) * weight
    mean_square = float(means.sum() * weight - (means**2).sum())
    bound = min(1.0, _SLACK * math.sqrt(max(_LEAST_BOUND, mean_square)))
    return Encoder(codes, means, bound, spread / bound**2)


def _joined(codes: tuple[ColumnCode, ...], columns: Columns, part: slice) -> Reals:
    weight = 1 / math.sqrt(len(codes))
    return (
        np.concatenate([code.encode(columns[code.column.name][part]) for code in codes], axis=1)
        * weight
    )


def noise_multiplier_of_share(plan: TrainingPlan, share: float) -> float:
    """Return the noise of one release that costs this share of the run's mu^2."""
    budget = mu_squared_for(epsilon=plan.epsilon, delta=plan.delta)
    return noise_multiplier_of(mu_squared=budget * share, count=1)


def _knots(value: dict[str, Any]) -> Knots:
    lists = {name: tuple(value[name]) for name in ("spikes", "knots", "positions")}
    return Knots(reach=value["reach"], **lists)
