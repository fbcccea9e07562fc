"""Encoders: from a partner's own columns to bounded vectors, within its share of the budget.

    columns -> coordinates (binning)    a numeric column's knots are fixed or private
            -> joined, centred          by differentially private means
            -> clipped to norm 1        by a bound that follows from those means
            -> joined to an embedding   of a network trained with DP-SGD, if the plan says so
    -> joined to pairs          products of two columns, if the plan says so

Fitting is a program that yields a `Charge` before each release that it uses. What it
returns depends on rows through the noised releases only, and can be stored: the same
encoder serves every later scoring.

Privacy:
    Neighbours: zero out one person. Two releases, each one Gaussian mechanism with the
    mu^2 that the plan gives this partner: all fine histograms together (one person moves
    them by sqrt(columns)), and the sum of all encoded rows (one person moves it by 1).
    A third, the network, is DP-SGD with the noise, rate and steps of the plan.
    Members of one block add theirs up in a `Pool`, whose noise covers a person of several.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.codec import canonical_json, parse_json
from protocols.dp.discrete import sample_discrete_gaussian
from protocols.dp.events import Gaussian
from protocols.errors import MalformedMessageError
from protocols.program import Charge, Program
from protocols.vertical.axis import Reals
from protocols.vertical.binning import ColumnCode
from protocols.vertical.budget import noise_multiplier_of_share
from protocols.vertical.contract import Contract, Numeric
from protocols.vertical.edges import Knots, fixed_knots, histogram, private_knots
from protocols.vertical.neural import Expert, Targets
from protocols.vertical.neural_training import train_expert, untrained_expert
from protocols.vertical.outline import centring_of, outline
from protocols.vertical.pairs import Pairs, check_pairs
from protocols.vertical.plan import TrainingPlan
from protocols.vertical.pool import Pool
from protocols.vertical.settings import EncoderTerms

Columns = Mapping[str, NDArray[np.float64] | NDArray[np.int64]]
Random = Callable[[int], bytes]

_SCALE = 1 << 16
_NUMBERS_AT_ONCE = 1 << 24
# A bound below this share of the largest possible norm would clip too many rows if the
# means were far off.
_LEAST_BOUND = 0.15
_SLACK = 1.15


@dataclass(frozen=True, slots=True)
class Encoder:
    """A fitted encoder.

    Attributes:
        means: what is taken off each coordinate. bound: the norm that rows are cut to.
        spread: each coordinate's variance about its mean, for preconditioning.
        expert: the trained embedding, which comes after the binning coordinates.
        pairs: products of two columns, which come last.
    """

    codes: tuple[ColumnCode, ...]
    means: Reals
    bound: float
    spread: Reals
    expert: Expert | None = None
    pairs: Pairs | None = None

    @property
    def width(self) -> int:
        """Return how many coordinates a row has."""
        return len(self.spread)

    def encode(self, columns: Columns) -> NDArray[np.float32]:
        """Encode rows to vectors of length at most 1.

        Shapes:
            columns: (rows,) each; result: (rows, width), float32.
        """
        rows = len(next(iter(columns.values())))
        result = np.empty((rows, self.width), dtype=np.float32)
        for part in _pieces(self.width, rows):
            joined = _joined(self.codes, columns, part)
            centred = joined - self.means
            norms = np.linalg.norm(centred, axis=1, keepdims=True)
            binned = centred / np.maximum(norms, self.bound)
            if self.expert is not None:
                embedded = self.expert.embed(outline(self.codes, joined))
                binned = _beside(binned, embedded, self.expert.weight)
            if self.pairs is not None:
                multiplied = self.pairs.encode(self.codes, joined)
                binned = _beside(binned, multiplied, self.pairs.weight)
            result[part] = binned
        return result

    def with_expert(self, expert: Expert) -> Encoder:
        """Return this encoder with an embedding beside its coordinates."""
        # No coordinate of an embedding varies by more than its share of the squared norm.
        varies = np.full(expert.width, expert.weight / expert.width)
        spread = np.concatenate([(1 - expert.weight) * self.spread, varies])
        return replace(self, spread=spread, expert=expert)

    def with_learned(self, expert: Expert) -> Encoder:
        """Return this encoder with another embedding in the place of the one that it has."""
        if self.expert is None or self.expert.width != expert.width:
            raise ValueError("expert: of another width than the one that it replaces")
        return replace(self, expert=expert)

    def with_pairs(self, *, weight: float, knots: int) -> Encoder:
        """Return this encoder with products beside its coordinates, if any two can pair."""
        pairs = Pairs.of(self.codes, self.means, weight=weight, knots=knots)
        if pairs is None:
            return self
        spread = np.concatenate([(1 - weight) * self.spread, weight * pairs.spread])
        return replace(self, spread=spread, pairs=pairs)

    @property
    def pair_count(self) -> int:
        """Return how many of the last columns of `positions` are products of two."""
        return 0 if self.pairs is None else len(self.pairs.pairs)

    @property
    def positions(self) -> tuple[tuple[float, ...], ...]:
        """Return each coordinate's place along its column, by column.

        An embedding stands as one more column, and so does every pair, of coordinates
        without neighbours.
        """
        widths: tuple[int, ...] = () if self.expert is None else (self.expert.width,)
        if self.pairs is not None:
            widths += self.pairs.widths
        binned = tuple(code.positions for code in self.codes)
        return binned + tuple((math.nan,) * width for width in widths)

    def store(self) -> bytes:
        """Write what was fitted; the contract's columns are not repeated.

        Pairs follow from the means, so that their weight and fineness are enough.
        """
        knots = [None if code.knots is None else asdict(code.knots) for code in self.codes]
        value = {"knots": knots, "means": self.means.tolist(), "bound": self.bound}
        expert = None if self.expert is None else self.expert.store().hex()
        value |= {"spread": self.spread.tolist(), "expert": expert, "pairs": None}
        if self.pairs is not None:
            value["pairs"] = [self.pairs.weight, self.pairs.knots]
        return canonical_json(value)

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
            expert, width = value["expert"], sum(code.width for code in codes)
            means = np.array(value["means"], dtype=np.float64).reshape(width)
            pairs = None
            if value["pairs"] is not None:
                weight, fineness = value["pairs"]
                pairs = Pairs.of(codes, means, weight=weight, knots=fineness)
            return cls(
                codes,
                means,
                value["bound"],
                np.array(value["spread"]),
                None if expert is None else Expert.load(bytes.fromhex(expert)),
                pairs,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise MalformedMessageError("encoder: written for another contract") from error


def fit_encoder(
    plan: TrainingPlan,
    name: str,
    contract: Contract,
    columns: Columns,
    random: Random,
    *,
    targets: Targets | None = None,
    pool: Pool | None = None,
) -> Program[Encoder]:
    """Fit one partner's encoder on its own rows, or a block's on those of all its members.

    Args:
        contract: the agreed columns that take part, in order.
        columns: checked against the contract.
        targets: the label holder's, for an expert that learns labels.
        pool: of a block with several members, who then all get the same encoder; an expert
            of theirs is trained afterwards, and stands there untrained.
    """
    terms = plan.partner(name).encoder
    if terms.pairs_weight > 0:
        check_pairs(contract.columns, terms.pair_knots)
    codes = yield from _codes(plan, terms, contract, columns, random, pool=pool)
    rows: float = len(next(iter(columns.values())))
    totals, deviation = np.zeros(sum(code.width for code in codes)), 0.0
    if terms.mean_share > 0:
        noise = noise_multiplier_of_share(plan, terms.mean_share)
        yield Charge(_label("means", pool), Gaussian(noise))
        if pool is None:
            totals, deviation = _noised_sum(codes, columns, noise, random)
        else:
            totals, rows, deviation = yield from _pooled_sum(codes, columns, noise, pool)
    means, deviation = np.maximum(totals, 0.0) / rows, deviation / rows
    encoder = _centred(codes, means, deviation, centring=terms.mean_share > 0)
    if terms.neural is not None:
        doubt = deviation if terms.mean_share > 0 else math.inf
        centring = centring_of(codes, means, doubt)
        if pool is not None:
            expert = untrained_expert(terms.neural, centring, seed=plan.digest)
        else:
            # The steps look at rows, so they are paid for before the first of them.
            yield Charge("encoder/neural", terms.neural.event)
            outlines = outlines_of(codes, columns)
            expert = train_expert(terms.neural, outlines, centring, targets, random=random)
        encoder = encoder.with_expert(expert)
    if terms.pairs_weight > 0:
        encoder = encoder.with_pairs(weight=terms.pairs_weight, knots=terms.pair_knots)
    return encoder


def outlines_of(codes: tuple[ColumnCode, ...], columns: Columns) -> Iterator[Reals]:
    """Return the outlines of all rows, in pieces that fit in memory."""
    width, rows = sum(code.width for code in codes), len(next(iter(columns.values())))
    pieces = _pieces(width, rows)
    return (outline(codes, _joined(codes, columns, part)) for part in pieces)


def _label(release: str, pool: Pool | None) -> str:
    return f"encoder/{release}" if pool is None else f"pooled/{pool.name}/{release}"


def _codes(
    plan: TrainingPlan,
    terms: EncoderTerms,
    contract: Contract,
    columns: Columns,
    random: Random,
    *,
    pool: Pool | None,
) -> Program[tuple[ColumnCode, ...]]:
    numeric = [column for column in contract.columns if isinstance(column, Numeric)]
    knots = {column.name: fixed_knots(column, terms.knots) for column in numeric}
    if terms.edge_share > 0 and numeric:
        noise = noise_multiplier_of_share(plan, terms.edge_share)
        yield Charge(_label("edges", pool), Gaussian(noise))
        # One person counts once in the histogram of every numeric column.
        deviation = noise * math.sqrt(len(numeric))
        found = [histogram(column, columns[column.name].astype(np.float64)) for column in numeric]
        if pool is None:
            found = [
                counts
                + sample_discrete_gaussian(math.ceil(deviation**2), len(counts), random=random)
                for counts in found
            ]
        else:
            deviation *= pool.spread
            joined = yield from pool.total(
                np.concatenate(found), squared=len(numeric), noise_multiplier=noise
            )
            found = np.split(joined, np.cumsum([len(counts) for counts in found])[:-1])
        for column, counts in zip(numeric, found, strict=True):
            knots[column.name] = private_knots(
                column, counts.astype(np.float64), deviation=deviation, count=terms.knots
            )
    elif terms.edge_share > 0 and pool is not None:
        # The compute parties do not know that there is nothing to add up.
        yield from pool.total(np.zeros(0, dtype=np.int64), squared=0, noise_multiplier=1.0)
    return tuple(ColumnCode(column, knots.get(column.name)) for column in contract.columns)


def _noised_sum(
    codes: tuple[ColumnCode, ...], columns: Columns, noise: float, random: Random
) -> tuple[Reals, float]:
    """Return the sum of all encoded rows with noise, and the noise's standard deviation."""
    total = _exact_sum(codes, columns)
    variance = math.ceil((noise * _SCALE) ** 2)
    total += sample_discrete_gaussian(variance, len(total), random=random)
    return total / _SCALE, noise


def _pooled_sum(
    codes: tuple[ColumnCode, ...], columns: Columns, noise: float, pool: Pool
) -> Program[tuple[Reals, float, float]]:
    """Return the noised sum over all members, how many rows they have, and the deviation.

    Nobody is told how many rows another member has: half of each row's weight is counted in
    one more number, under the same noise, so that a person moves the sums by sqrt(5/4).
    """
    rows = len(next(iter(columns.values())))
    part = np.append(_exact_sum(codes, columns), rows * _SCALE // 2)
    squared = 5 * _SCALE**2 // 4
    opened = yield from pool.total(part, squared=squared, noise_multiplier=noise)
    counted = max(1.0, float(opened[-1]) * 2 / _SCALE)
    return opened[:-1] / _SCALE, counted, noise * pool.spread * math.sqrt(5 / 4)


def _exact_sum(codes: tuple[ColumnCode, ...], columns: Columns) -> NDArray[np.int64]:
    """Add up encoded rows, cut toward zero so that none grows longer than 1 in fixed point."""
    total = np.zeros(sum(code.width for code in codes), dtype=np.int64)
    for part in _pieces(len(total), len(next(iter(columns.values())))):
        joined = _joined(codes, columns, part)
        total += np.trunc(joined * _SCALE).astype(np.int64).sum(axis=0)
    return total


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


def _pieces(width: int, rows: int) -> Iterator[slice]:
    """Cut rows so that a piece of `width` coordinates fits in memory, however wide."""
    step = max(1, _NUMBERS_AT_ONCE // width)
    return (slice(start, start + step) for start in range(0, rows, step))


def _beside(coordinates: Reals, others: Reals, weight: float) -> Reals:
    """Join two blocks of rows of length at most 1 so that their squares share out to 1."""
    root, rest = math.sqrt(weight), math.sqrt(1 - weight)
    return np.concatenate([rest * coordinates, root * others], axis=1)


def _joined(codes: tuple[ColumnCode, ...], columns: Columns, part: slice) -> Reals:
    weight = 1 / math.sqrt(len(codes))
    return (
        np.concatenate([code.encode(columns[code.column.name][part]) for code in codes], axis=1)
        * weight
    )


def _knots(value: dict[str, Any]) -> Knots:
    lists = {name: tuple(value[name]) for name in ("spikes", "knots", "positions")}
    return Knots(reach=value["reach"], **lists)
