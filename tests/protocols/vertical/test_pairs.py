"""Products of two columns: bounded for any row, free of charge, and proposed where they pay."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import MalformedMessageError, UnsupportedParameterError
from protocols.program import Charge, drive
from protocols.vertical.binning import ColumnCode
from protocols.vertical.budget import head_noise_multiplier, own_event
from protocols.vertical.conditioning import Conditioner
from protocols.vertical.contract import Category, Contract, Numeric
from protocols.vertical.counts import Counts
from protocols.vertical.edges import Knots, fixed_knots
from protocols.vertical.encoding import Encoder, fit_encoder
from protocols.vertical.head import quantize
from protocols.vertical.pairs import Pairs, coarsening, pairs_of
from protocols.vertical.plan import Partner, TrainingPlan
from protocols.vertical.settings import EncoderTerms, Schedule
from protocols.vertical.terms import terms_of
from server.training.proposal import Choices, propose
from server.training.sharing import pairs_weight

ROWS = 400
CALLS = Numeric("calls", 0.0, 1000.0, missing=True)
TARIFF = Category("tariff", ("basic", "plus", "max"), missing=True)
MONTHS = Numeric("months", 0.0, 60.0)
CONTRACT = Contract((CALLS, TARIFF, MONTHS))
COLUMNS = tuple(column.name for column in CONTRACT.columns)
PAIRED = {"pairs_weight": 0.5}
EXPERT = {
    "neural_width": 4,
    "neural_task": "reconstruction",
    "neural_noise": 8.0,
    "neural_batches": 4,
    "neural_steps": 4,
    "neural_weight": 0.3,
}


def plan(**telecom) -> TrainingPlan:
    terms = EncoderTerms(mean_share=0.01, edge_share=0.02, **telecom)
    return TrainingPlan(
        run="run",
        purpose="purpose",
        partners=(
            Partner("insurer", "0a" * 32, (), 0.0, EncoderTerms()),
            Partner("telecom", "0b" * 32, COLUMNS, 1 - 1e-12, terms),
        ),
        label_holder="insurer",
        compute=("insurer", "telecom", "hub"),
        epoch=0,
        membership="hidden",
        sample_fraction=1.0,
        held_out_fraction=0.3,
        min_rows=100,
        epsilon=4.0,
        delta=1e-5,
        steps=60,
        degree=1,
        reach=0.2,
        count_share=0.01,
        schedule=Schedule(8.0, 0.9, 0.5),
        resolution_bits=10,
        on_refusal="end",
        deadline_s=600,
    )


def table(seed: int = 0) -> dict[str, np.ndarray]:
    source = np.random.default_rng(seed)
    calls = source.integers(0, 1001, ROWS).astype(np.float64)
    calls[source.random(ROWS) < 0.1] = np.nan
    months = source.integers(0, 61, ROWS).astype(np.float64)
    return {"calls": calls, "tariff": source.integers(-1, 3, ROWS), "months": months}


def fit(agreed: TrainingPlan, perform=lambda request: None) -> Encoder:
    source = np.random.default_rng(0)
    return drive(fit_encoder(agreed, "telecom", CONTRACT, table(), source.bytes), perform)


ENCODER = fit(plan(**PAIRED))
WIDTHS = (5 * 4, 5 * 4, 4 * 4)  # calls and tariff with a missing value each

NUMBERS = st.one_of(st.just(math.nan), st.floats(-1e300, 1e300), st.sampled_from([0.0, 1000.0]))
WILD = st.lists(st.tuples(NUMBERS, st.integers(-1, 2), NUMBERS), min_size=1, max_size=20)


@settings(deadline=None, max_examples=60)
@given(rows=WILD, seed=st.integers(0, 99), bound=st.sampled_from([None, 1e-3, 1.0]))
def test_no_row_is_longer_than_one(rows, seed, bound):
    # Means that belong to no table at all, as if the noise had drowned them.
    means = np.random.default_rng(seed).exponential(0.3, len(ENCODER.means))
    pairs = Pairs.of(ENCODER.codes, means, weight=0.5, knots=4)
    pairs = pairs if bound is None else replace(pairs, bound=bound)
    encoder = replace(ENCODER, means=means, pairs=pairs)
    calls, tariff, months = (np.array(values) for values in zip(*rows, strict=True))
    encoded = encoder.encode({"calls": calls * 1.0, "tariff": tariff, "months": months * 1.0})
    squares = encoded.astype(np.float64) ** 2
    assert np.isfinite(squares).all()
    assert squares.sum(axis=1).max() <= 1 + 1e-6
    assert squares[:, -sum(WIDTHS) :].sum(axis=1).max() <= 0.5 + 1e-6


def test_longest_rows_pass_the_head_unchanged():
    tight = replace(ENCODER, bound=1e-3, pairs=replace(ENCODER.pairs, bound=1e-3))
    encoded = tight.encode(table()) * np.float32(plan().partner("telecom").norm)
    assert np.allclose(np.linalg.norm(encoded, axis=1), 1, atol=1e-6)
    features = torch.from_numpy(np.ascontiguousarray(encoded.T))
    with_pairs = terms_of(plan(**PAIRED), ROWS, {"telecom": tight.width}, Counts(200, 60))
    without = terms_of(plan(), ROWS, {"telecom": tight.width - sum(WIDTHS)}, Counts(200, 60))
    assert with_pairs.sensitivity == without.sensitivity
    words = quantize(features, with_pairs.blocks[0], with_pairs)
    assert words.double().norm(dim=0).min() > 0.99 * 2**with_pairs.feature_bits


def test_pairs_are_charged_to_nobody():
    def charges(agreed: TrainingPlan) -> list[Charge]:
        seen: list[Charge] = []
        fit(agreed, seen.append)
        return seen

    assert [charge.label for charge in charges(plan())] == ["encoder/edges", "encoder/means"]
    assert charges(plan(**PAIRED)) == charges(plan())
    assert own_event(plan(**PAIRED), "telecom") == own_event(plan(), "telecom")
    assert head_noise_multiplier(plan(**PAIRED)) == head_noise_multiplier(plan())


def test_pairs_stand_beside_the_same_coordinates():
    plain = fit(plan())
    assert plain.pairs is None
    assert np.array_equal(plain.means, ENCODER.means)
    assert ENCODER.width == plain.width + sum(WIDTHS)
    binned = ENCODER.encode(table())[:, : plain.width]
    assert np.allclose(binned, math.sqrt(0.5) * plain.encode(table()), atol=1e-7)


def test_pair_is_the_product_of_centred_columns():
    encoded = ENCODER.encode(table())[:, -WIDTHS[-1] :].astype(np.float64)
    parts, at = [], 0
    for code, matrix in zip(ENCODER.codes, ENCODER.pairs.maps, strict=True):
        share = ENCODER.means[at : at + code.width] * math.sqrt(3)
        parts.append((code.encode(table()[code.column.name]) - share) @ matrix)
        at += code.width
    wanted = np.einsum("ra,rb->rab", parts[1], parts[2]).reshape(ROWS, -1)
    # Rows are cut as a whole, so that only the direction is the product's.
    along = encoded / np.linalg.norm(encoded, axis=1, keepdims=True)
    assert np.allclose(along, wanted / np.linalg.norm(wanted, axis=1, keepdims=True), atol=1e-5)


@pytest.mark.parametrize("expert", [{}, EXPERT], ids=["plain", "expert"])
def test_stored_pairs_score_identically(expert):
    encoder = fit(plan(**PAIRED, **expert))
    again = Encoder.load(encoder.store(), CONTRACT)
    assert again.pair_count == 3
    assert str(again.positions) == str(encoder.positions)  # some are NaN
    assert np.array_equal(again.encode(table(1)), encoder.encode(table(1)))
    assert again.store() == encoder.store()


def test_encoder_of_other_columns_is_refused():
    value = json.loads(ENCODER.store())
    for wrong in (value["means"][1:], "none"):
        stored = json.dumps(value | {"means": wrong}).encode()
        with pytest.raises(MalformedMessageError, match="encoder: written for another contract"):
            Encoder.load(stored, CONTRACT)


def test_columns_with_many_levels_stand_in_no_pair():
    wide = Category("city", tuple(f"c{number}" for number in range(32)), missing=True)
    edge = Category("town", tuple(f"t{number}" for number in range(32)))
    assert pairs_of(CONTRACT.columns, 4) == ((0, 1), (0, 2), (1, 2))
    assert pairs_of((CALLS, wide, MONTHS, edge), 4) == ((0, 2), (0, 3), (2, 3))
    assert pairs_of((CALLS, wide), 4) == ()
    codes = (ColumnCode(CALLS, fixed_knots(CALLS, 8)), ColumnCode(wide, None))
    assert Pairs.of(codes, np.zeros(9 + 33), weight=0.5, knots=4) is None


def test_coarse_coordinates_follow_the_means():
    knots = Knots((), (0.0, 1.0, 2.0, 3.0, 4.0), (0.0, 0.25, 0.5, 0.75, 1.0), 0.0)
    code = ColumnCode(replace(MONTHS, missing=True), knots)
    # Missing, then five knots, half of the rows at the first. The middles of their rows lie
    # at .25, .6, .75, .85 and .95 of the present ones, hence at .5, 1.2, 1.5, 1.7 and 1.9
    # between three coarse knots.
    shares = np.array([0.2, 0.4, 0.16, 0.08, 0.08, 0.08])
    assert coarsening(code, shares, 3) == pytest.approx(
        np.array([
            [1, 0, 0, 0],
            [0, 0.5, 0.5, 0],
            [0, 0, 0.8, 0.2],
            [0, 0, 0.5, 0.5],
            [0, 0, 0.3, 0.7],
            [0, 0, 0.1, 0.9],
        ])
    )  # fmt: skip
    assert np.array_equal(coarsening(code, shares, 5), np.eye(6))
    assert np.array_equal(coarsening(ColumnCode(TARIFF, None), np.ones(4), 2), np.eye(4))
    # Nothing was heard of the present values: still a coordinate for each.
    assert coarsening(code, np.zeros(6), 3).sum(axis=1) == pytest.approx(1)


def test_each_pair_is_one_group_of_longer_steps():
    assert [len(places) for places in ENCODER.positions[-3:]] == list(WIDTHS)
    assert ENCODER.pair_count == 3
    conditioner = Conditioner.of(ENCODER.positions, ENCODER.spread, pairs=ENCODER.pair_count)
    plain = fit(plan())
    alone = Conditioner.of(plain.positions, plain.spread)
    for ours, theirs in zip(conditioner.matrices, alone.matrices, strict=False):
        assert torch.allclose(ours, theirs)
    spread = ENCODER.spread[-sum(WIDTHS) :]
    typical = spread.sum() / 3
    found = torch.cat([matrix.diagonal() for matrix in conditioner.matrices[-3:]])
    assert np.allclose(found, 1.5**2 / (spread / typical + 0.3))
    for matrix in conditioner.matrices[-3:]:
        assert torch.count_nonzero(matrix) == len(matrix)
    # The weights of a pair fall to zero together.
    part, width = conditioner.columns[-1], WIDTHS[-1]
    assert part == slice(ENCODER.width - width, ENCODER.width)
    weights = torch.zeros(ENCODER.width, dtype=torch.float64)
    weights[part] = 0.5
    assert torch.count_nonzero(conditioner.shrink(weights, 0.4)) == width
    assert torch.count_nonzero(conditioner.shrink(weights, 0.6)) == 0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"pairs_weight": 1.0, "mean_share": 0.1}, "pairs_weight"),
        ({"pairs_weight": -0.1, "mean_share": 0.1}, "pairs_weight"),
        ({"pairs_weight": math.nan, "mean_share": 0.1}, "pairs_weight"),
        ({"pairs_weight": 0.5}, "mean_share must be above"),
        ({"pair_knots": 1}, "pair_knots"),
        ({"pair_knots": 17}, "pair_knots"),
    ],
)
def test_terms_out_of_range_are_refused(changes, says):
    with pytest.raises(UnsupportedParameterError, match=says):
        EncoderTerms(**changes)


def test_more_pairs_than_allowed_are_refused_before_any_charge():
    many = Contract(tuple(replace(MONTHS, name=f"m{number}") for number in range(5)))
    program = fit_encoder(plan(**PAIRED), "telecom", many, {}, np.random.default_rng(0).bytes)
    with pytest.raises(UnsupportedParameterError, match="10 pairs, at most 6"):
        next(program)


def test_plan_with_pairs_survives_the_wire():
    agreed = plan(**PAIRED)
    assert TrainingPlan.decode(agreed.encode()) == agreed
    assert agreed.digest != plan().digest


def handed_in(number: int, columns: int) -> dict:
    kinds = {"kind": "numeric", "low": 0, "high": 9, "missing": False}
    return {
        "identity": f"{number:02x}" * 32,
        "contract": {
            "identifier": {"column": "id", "kind": "opaque"},
            "label": "y" if number == 1 else None,
            "columns": [{"name": f"c{index}", **kinds} for index in range(columns)],
        },
    }


def weights_of(rows: int, neural: dict | None = None) -> dict[str, float]:
    partners = {
        "insurer": handed_in(1, 2), "telecom": handed_in(2, 4), "police": handed_in(3, 5)
    }  # fmt: skip
    choices = Choices(
        run="spring", purpose="p", epsilon=1.0, delta=1e-5, label_holder="insurer",
        columns={}, expected_rows=rows, neural=neural or {},
    )  # fmt: skip
    built = propose(choices, partners).partners
    return {partner.name: partner.encoder.pairs_weight for partner in built}


def test_pairs_are_proposed_for_strong_runs_and_few_pairs():
    assert weights_of(1_000_000) == {"insurer": 0.0, "telecom": 6 / (6 + 4), "police": 0.0}
    assert set(weights_of(1_000).values()) == {0.0}
    assert set(weights_of(0).values()) == {0.0}
    assert set(weights_of(1_000_000, {"telecom": 0.2}).values()) == {0.0}


def test_pairs_share_the_norm_with_all_columns():
    assert pairs_weight(CONTRACT, COLUMNS) == 3 / (3 + 3)
    assert pairs_weight(CONTRACT, COLUMNS[:1]) == 0.0
    assert pairs_weight(CONTRACT, ()) == 0.0
    wide = Category("city", tuple(f"c{number}" for number in range(40)))
    contract = Contract((CALLS, wide, MONTHS))
    assert pairs_weight(contract, ("calls", "city", "months")) == 1 / (1 + 3)
