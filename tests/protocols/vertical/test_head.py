"""Training on shares equals the same steps in float64, but for fixed point and noise."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import UnsupportedParameterError
from protocols.program import Progress, run_together
from protocols.vertical.descent import Descent
from protocols.vertical.head import (
    Base,
    Block,
    Inputs,
    Terms,
    joint_logits,
    partial_logit,
    quantize,
)
from protocols.vertical.response import LOGIT_BITS, RESIDUAL_BITS
from protocols.vertical.settings import Schedule

NAMES = ("insurer", "telecom", "police")
FLOAT32_ERROR = 1e-5
PLAIN = Schedule(1.0, 0.0, 0.0)
relaxed = settings(deadline=None, max_examples=40)


def in_the_clear(case, *, clipped: bool = True):
    """Take the same steps in float64; return the final weights by owner."""
    terms = case.terms
    outcome = case.inputs[terms.label_holder]
    descents = {b.owner: Descent(terms.schedule, b.width, terms.steps) for b in terms.blocks}
    tables = {b.owner: case.inputs[b.owner].features.to(torch.float64) for b in terms.blocks}
    for _ in range(terms.steps):
        logit = torch.zeros(terms.rows, dtype=torch.float64)
        for block in terms.blocks:
            own = descents[block.owner].weights @ tables[block.owner]
            logit += own.clamp(*terms.clip(block)) if clipped else own
        residual = outcome.mask * (terms.response.real(logit) - outcome.labels)
        for owner, descent in descents.items():
            descent.apply(tables[owner] @ residual / terms.averaged_rows)
    return {owner: descent.result() for owner, descent in descents.items()}


def error_bound(terms) -> float:
    """Bound the Euclidean distance of all weights together from those of float64.

    One step's mean gradient is off by at most the slope of s times what the logits are off
    (the weights' distance, since rows have norm 1; one unit and one float32 rounding for
    each owner), one unit of the residual, and what cutting the features leaves out.
    """
    points = torch.linspace(terms.response.low, terms.response.high, 1001)
    slope = float((terms.response.real(points).diff() / points.diff()).abs().max()) * 1.01
    width = sum(block.width for block in terms.blocks)
    cut = width**0.5 * 2.0**-terms.feature_bits
    largest = 4 * terms.steps * terms.schedule.step_size / (1 - terms.schedule.momentum)
    logit = len(terms.blocks) * (2.0**-LOGIT_BITS + FLOAT32_ERROR) + cut * largest
    fixed = slope * logit + 2.0**-RESIDUAL_BITS + 2 * cut
    distance = velocity = 0.0
    for _ in range(terms.steps):
        velocity = terms.schedule.momentum * velocity + slope * distance + fixed
        distance += terms.schedule.step_size * velocity
    return distance


SHAPES = st.fixed_dictionaries(
    {
        "rows": st.integers(1, 30),
        "widths": st.dictionaries(st.sampled_from(NAMES), st.integers(1, 5), min_size=1),
        "label_holder": st.sampled_from(NAMES),
        "steps": st.integers(1, 5),
        "degree": st.sampled_from([1, 3]),
        "base": st.sampled_from([None, None, Base(40, 0.02, 0.1), Base(31, 0.3, 0.8)]),
        "logit_bound": st.sampled_from([0.05, 0.7, 2.0, 5.0]),
        "schedule": st.sampled_from(
            [Schedule(1.0, 0.0, 0.0), Schedule(3.0, 0.8, 0.5), Schedule(0.2, 0.5, 0.0)]
        ),
    }
)


@relaxed
@given(st.integers(0, 2**32), SHAPES)
def test_joint_training_equals_float64(case, trained, seed, shape):
    made = case(seed, **shape)
    heads = trained(made, seed=seed)
    expected = in_the_clear(made)
    squares = 0.0
    for name in NAMES:
        if name in expected:
            squares += float((heads[name].weights - expected[name]).pow(2).sum())
        else:
            assert heads[name].weights is None
    assert squares**0.5 <= error_bound(made.terms)


def test_error_bound_is_small_enough_to_tell(case):
    # Otherwise the comparison above would accept anything.
    assert error_bound(case(steps=3).terms) < 0.01
    for seed in range(5):
        weights = in_the_clear(case(seed, steps=3)).values()
        assert sum(float(weight.pow(2).sum()) for weight in weights) ** 0.5 > 0.1


def test_clipping_matters_and_happens(case, trained):
    # A first step so long that every logit is far beyond the bound in the second.
    made = case(3, logit_bound=0.3, schedule=Schedule(100.0, 0.0, 0.0), steps=2)
    heads = trained(made)
    expected = in_the_clear(made)
    wide = in_the_clear(made, clipped=False)
    clip_error = max(float((heads[name].weights - expected[name]).abs().max()) for name in NAMES)
    difference = max(float((wide[name] - expected[name]).abs().max()) for name in NAMES)
    assert difference > 0.2
    assert clip_error < difference / 20


def test_partial_logit_keeps_its_bound_in_fixed_point():
    for bound in (0.1, 0.3, 1.7, 4.0):
        features = torch.tensor([[1.0, -1.0, 0.5]])
        weights = torch.tensor([1e4], dtype=torch.float64)
        logit = partial_logit(features, weights, (-bound, bound / 2))
        words = torch.trunc(logit.to(torch.float64) * 2**LOGIT_BITS)
        assert float(words.min()) >= -bound * 2**LOGIT_BITS
        assert float(words.max()) <= bound / 2 * 2**LOGIT_BITS


def test_clipped_parts_stay_inside_the_response():
    # All owners at their ends together, in fixed point, are still within the bound.
    for rate, reach in [(0.001, 1.0), (0.02, 0.1), (0.3, 0.07), (0.5, 0.5), (0.999, 1.0)]:
        for owners in (1, 2, 3):
            blocks = tuple(Block(name, 1, 0.5, 1.0) for name in NAMES[:owners])
            terms = Terms(10, blocks, "insurer", 1, 1.0, 1, PLAIN, Base(10, rate, reach))
            for sign, end in ((-1, terms.response.low), (1, terms.response.high)):
                total = 0
                for block in blocks:
                    weights = torch.tensor([sign * 1e6], dtype=torch.float64)
                    logit = partial_logit(torch.ones(1, 1), weights, terms.clip(block))
                    total += int(torch.trunc(logit.to(torch.float64) * 2**LOGIT_BITS))
                edge = math.ceil(abs(end) * 2**LOGIT_BITS)
                assert edge - owners - 1 <= sign * total <= edge


def test_masked_rows_count_for_nothing(case, trained):
    made = case(1)
    heads = trained(made)
    hidden = made.inputs["insurer"].mask == 0
    made.inputs["insurer"].labels = torch.where(
        hidden, 1 - made.inputs["insurer"].labels, made.inputs["insurer"].labels
    )
    for inputs in made.inputs.values():
        inputs.features = torch.where(hidden, -inputs.features.flip(0), inputs.features)
    again = trained(made)
    for name in NAMES:
        assert torch.equal(heads[name].weights, again[name].weights)


def test_table_is_shared_in_frames(case, trained, monkeypatch):
    whole = trained(case(2))
    monkeypatch.setattr("protocols.vertical.head.SHARE_CHUNK_WORDS", 25)
    told = []

    def watch(party, request):
        if party == "police" and isinstance(request, Progress):
            told.append((request.phase, request.done, request.total))

    parts = trained(case(2), watch=watch)
    assert told[:9] == [
        *(("share insurer", done, 3) for done in (1, 2, 3)),
        *(("share telecom", done, 2) for done in (1, 2)),
        *(("share police", done, 4) for done in (1, 2, 3, 4)),
    ]
    assert told[9:] == [("train", step, 3) for step in (1, 2, 3)]
    for name in NAMES:
        assert torch.allclose(whole[name].weights, parts[name].weights, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blocks": ()}, "blocks"),
        ({"base": Base(10, 0.0, 0.1)}, "base rate"),
        ({"base": Base(10, 0.1, 0.0)}, "reach"),
        ({"base": Base(0, 0.1, 0.1)}, "trained"),
        ({"rows": 0}, "rows"),
        ({"steps": 0}, "steps"),
        ({"noise_multiplier": 0.0}, "noise multiplier"),
        ({"noise_multiplier": float("nan")}, "noise multiplier"),
        ({"noise_multiplier": 1e6}, "no such noise"),
        ({"rows": 2**33}, "rows"),
        ({"degree": 2}, "degree"),
        ({"blocks": (Block("insurer", 1, 0.5, 1.0), Block("insurer", 1, 0.5, 1.0))}, "each owner"),
        ({"blocks": (Block("insurer", 1, 0.8, 1.0), Block("police", 1, 0.8, 1.0))}, "squares"),
        ({"blocks": (Block("insurer", 1, float("nan"), 1.0),)}, "norm"),
        ({"blocks": (Block("insurer", 1, -1.0, 1.0),)}, "norm"),
        ({"blocks": (Block("insurer", 0, 1.0, 1.0),)}, "width"),
        ({"blocks": (Block("insurer", 1, 1.0, 0.0),)}, "logit bound"),
        ({"blocks": (Block("insurer", 1, 1.0, 17.0),)}, "logit bound"),
    ],
)
def test_terms_that_cannot_hold_are_refused(case, change, message):
    with pytest.raises(UnsupportedParameterError, match=message):
        replace(case().terms, **change)


def test_no_gradient_can_overflow(case):
    for rows in (1, 1000, 2**20 - 1, 2**20, 2**28 - 1):
        terms = replace(case().terms, rows=rows)
        assert rows * terms.sensitivity < 2**62


@pytest.mark.parametrize("excess", [1e-4, 1.0, float("nan"), float("inf")])
def test_row_longer_than_its_norm_is_refused(case, excess):
    terms = case(rows=5).terms
    block = terms.blocks[0]
    features = torch.zeros(block.width, 5, dtype=torch.float64)
    features[1, 2] = block.norm
    assert quantize(features, block, terms)[1, 2] == int(block.norm * 2**terms.feature_bits)
    features[2, 2] = block.norm * excess + 0.02
    with pytest.raises(
        UnsupportedParameterError, match=r"features of insurer: (a row|need finite)"
    ):
        quantize(features, block, terms)


@pytest.mark.parametrize("shape", [(3, 19), (2, 20), (20, 3), (60,)])
def test_features_of_other_shape_are_refused(case, shape):
    terms = case().terms
    with pytest.raises(UnsupportedParameterError, match="need 3 x 20"):
        quantize(torch.zeros(shape), terms.blocks[0], terms)
    with pytest.raises(UnsupportedParameterError, match="need 3 x 20"):
        quantize(None, terms.blocks[0], terms)


@pytest.mark.parametrize("field", ["mask", "labels"])
@pytest.mark.parametrize("bad", [2, -1, 0.5, float("nan"), "short", "absent"])
def test_outcome_other_than_0_and_1_is_refused_before_sending(case, trained, field, bad):
    made = case()
    values = getattr(made.inputs["insurer"], field).to(torch.float64)
    if bad == "absent":
        values = None
    elif bad == "short":
        values = values[1:]
    else:
        values[7] = bad
    setattr(made.inputs["insurer"], field, values)
    sent = []
    with pytest.raises(UnsupportedParameterError, match=field):
        trained(
            made, watch=lambda party, request: sent.append(request) if party == "insurer" else None
        )
    assert sent == []


def opened_logits(made, trios, owns, mask, bits):
    programs = {
        name: joint_logits(
            trio=trio,
            terms=made.terms,
            own=owns.get(name),
            mask=mask if name == made.terms.label_holder else None,
            resolution_bits=bits,
        )
        for name, trio in trios(8).items()
    }
    return run_together(programs)


@pytest.mark.parametrize("label_holder", NAMES)
@pytest.mark.parametrize("owners", [("police",), ("insurer", "telecom"), NAMES])
@pytest.mark.parametrize("bits", [0, 4, 20])
def test_joint_logits_open_to_the_label_holder_alone(case, trios, label_holder, owners, bits):
    made = case(label_holder=label_holder, widths=dict.fromkeys(owners, 2))
    source = np.random.default_rng(bits)
    owns = {name: torch.from_numpy(source.uniform(-2, 2, 20)) for name in owners}
    mask = torch.from_numpy(source.integers(0, 2, 20))
    opened = opened_logits(made, trios, owns, mask, bits)
    rounded = sum(torch.round(own * 2**bits) / 2**bits for own in owns.values())
    assert opened.pop(label_holder).tolist() == (rounded * mask).tolist()
    assert set(opened.values()) == {None}


def test_joint_logits_refuse_a_mask_that_is_none(case, trios):
    made = case()
    owns = {name: torch.zeros(20) for name in NAMES}
    for mask in (None, torch.full((20,), 2), torch.ones(19)):
        with pytest.raises(UnsupportedParameterError, match="mask"):
            opened_logits(made, trios, owns, mask, 4)


def test_party_without_columns_learns_nothing_back(case, trained):
    made = case(label_holder="telecom", widths={"insurer": 2})
    made.inputs["police"] = Inputs()
    heads = trained(made)
    assert heads["police"].weights is None
    assert heads["telecom"].weights is None
    assert heads["insurer"].weights is not None
