import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.optimizer import register_optimizer_step_pre_hook

from protocols.dp.accounting import epsilon
from protocols.dp.events import Composed, Gaussian, SampledGaussian, leaves
from protocols.dp.neighbours import Neighbours
from protocols.errors import MalformedMessageError, UnsupportedParameterError
from protocols.program import Charge, drive
from protocols.vertical import neural_training
from protocols.vertical.budget import head_noise_multiplier, own_event
from protocols.vertical.conditioning import Conditioner
from protocols.vertical.contract import Category, Contract, Numeric
from protocols.vertical.encoding import Encoder, fit_encoder
from protocols.vertical.neural import Expert, Targets
from protocols.vertical.neural_terms import NeuralTerms
from protocols.vertical.outline import centring_of, outline
from protocols.vertical.plan import Partner, TrainingPlan
from protocols.vertical.settings import EncoderTerms, Schedule

ROWS = 300
CONTRACT = Contract(
    (
        Numeric("calls", 0.0, 1000.0, missing=True),
        Category("tariff", ("basic", "plus", "max"), missing=True),
        Numeric("months", 0.0, 60.0),
    )
)
EXPERT = {
    "neural_width": 4,
    "neural_task": "reconstruction",
    "neural_noise": 8.0,
    "neural_batches": 4,
    "neural_steps": 12,
    "neural_weight": 0.3,
}
LEARNS_LABELS = EXPERT | {"neural_task": "labels"}
TERMS = NeuralTerms(width=4, task="labels", noise=2.0, batches=4, steps=12, weight=0.3)
COLUMNS = tuple(column.name for column in CONTRACT.columns)


def partner(name: str, key: str, **expert) -> Partner:
    return Partner(name, key * 32, COLUMNS, 0.6, EncoderTerms(mean_share=0.01, **expert))


def plan(*, insurer: dict | None = None, telecom: dict | None = None) -> TrainingPlan:
    return TrainingPlan(
        run="run",
        purpose="purpose",
        partners=(
            partner("insurer", "0a", **(insurer or {})),
            partner("telecom", "0b", **(telecom or {})),
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


def targets(seed: int = 0) -> Targets:
    source = np.random.default_rng(seed)
    return Targets(source.integers(0, 2, ROWS).astype(np.float64), source.random(ROWS) < 0.7)


def fit(
    agreed: TrainingPlan, name: str = "telecom", *, seed: int = 0, perform: Callable | None = None
) -> Encoder:
    source = np.random.default_rng(seed)
    program = fit_encoder(agreed, name, CONTRACT, table(), source.bytes, targets=targets())
    return drive(program, perform or (lambda request: None))


def inputs(seed: int = 0, rows: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(seed)
    values = torch.randn(rows, 6, generator=source)
    return values, (values[:, 0] > 0).float()


def train(terms: NeuralTerms, random: Callable[[int], bytes], rows: int = 200) -> Expert:
    values, labels = inputs(rows=rows)
    known = None
    if terms.task == "labels":
        known = Targets(labels.double().numpy(), np.ones(rows, dtype=np.bool_))
    centring = (np.zeros(6), np.ones(6))
    return neural_training.train_expert(
        terms, [values.double().numpy()], centring, known, random=random
    )


@contextmanager
def watched_gradients() -> Iterator[list[torch.Tensor]]:
    """Keep every gradient as it reaches the inner optimizer, hence after clipping and noise."""
    seen: list[torch.Tensor] = []

    def keep(optimizer, *_) -> None:
        parameters = optimizer.param_groups[0]["params"]
        seen.append(torch.cat([values.grad.detach().flatten() for values in parameters]))

    handle = register_optimizer_step_pre_hook(keep)
    try:
        yield seen
    finally:
        handle.remove()


def gradients(terms: NeuralTerms, seed: int, *, rows: int = 200) -> list[torch.Tensor]:
    """Train from the same first weights whatever the seed; only noise and batches differ."""
    source = np.random.default_rng(seed)
    first = [bytes(8)]

    def random(size: int) -> bytes:
        return first.pop() if first else source.bytes(size)

    with watched_gradients() as seen:
        train(terms, random, rows)
    return seen


@pytest.mark.parametrize("task", ["labels", "reconstruction"])
@pytest.mark.parametrize("batches", [1, 4, 64])
def test_opacus_counts_what_is_charged(task, batches):
    terms = replace(TERMS, task=task, batches=batches)
    values, labels = inputs()
    model = neural_training.network(6, 4, 6 if task == "reconstruction" else 1, torch.Generator())
    rows = neural_training._Rows(values, labels if task == "labels" else None)
    history = neural_training._descend(terms, model, rows, np.random.default_rng(0).bytes)
    assert history == [(terms.noise, 1 / batches, terms.steps)]
    assert terms.event == SampledGaussian(*history[0])


def test_charge_of_the_expert_is_its_event():
    agreed = plan(telecom=EXPERT)
    charges: list[Charge] = []
    fit(agreed, perform=charges.append)
    assert [charge.label for charge in charges] == ["encoder/means", "encoder/neural"]
    assert charges[1].event == SampledGaussian(8.0, 1 / 4, 12)
    assert Composed(tuple(charge.event for charge in charges)) == own_event(agreed, "telecom")


def test_refused_charge_trains_nothing():
    drawn: list[int] = []
    source = np.random.default_rng(0)

    def random(size: int) -> bytes:
        drawn.append(size)
        return source.bytes(size)

    program = fit_encoder(plan(telecom=EXPERT), "telecom", CONTRACT, table(), random)
    request = next(program)
    while not (isinstance(request, Charge) and request.label == "encoder/neural"):
        request = next(program)
    drawn.clear()
    with watched_gradients() as seen, pytest.raises(PermissionError):
        program.throw(PermissionError("budget is spent"))
    assert drawn == []
    assert seen == []


def test_head_pays_for_the_expert():
    alone, with_expert = plan(), plan(telecom=EXPERT)
    noise = head_noise_multiplier(with_expert)
    assert noise > head_noise_multiplier(alone)
    own = [own_event(with_expert, name) for name in with_expert.names]
    whole = Composed((*own, Gaussian(noise, with_expert.steps)))
    assert SampledGaussian(8.0, 1 / 4, 12) in leaves(whole)
    price = epsilon(whole, delta=1e-5, neighbours=Neighbours.ZERO_OUT_ONE_PERSON)
    assert 0.999 * with_expert.epsilon < price <= with_expert.epsilon


def test_expert_that_spends_the_budget_is_refused():
    greedy = plan(telecom=EXPERT | {"neural_noise": 0.5, "neural_steps": 1000})
    with pytest.raises(UnsupportedParameterError, match="release less"):
        head_noise_multiplier(greedy)


@pytest.mark.parametrize(
    ("name", "agreed"),
    [("telecom", plan(telecom=EXPERT)), ("insurer", plan(insurer=LEARNS_LABELS))],
)
def test_same_randomness_gives_the_same_expert(name, agreed):
    before = torch.random.get_rng_state()
    first, second, other = (fit(agreed, name, seed=seed).store() for seed in (0, 0, 1))
    assert first == second
    assert first != other
    assert torch.equal(torch.random.get_rng_state(), before)


def test_stored_encoder_scores_identically():
    encoder = fit(plan(telecom=EXPERT))
    again = Encoder.load(encoder.store(), CONTRACT)
    assert np.array_equal(encoder.encode(table(1)), again.encode(table(1)))
    assert again.store() == encoder.store()
    assert again.expert is not None


@pytest.mark.parametrize("size", [1.0, 1e4, 1e30])
def test_no_row_is_longer_than_one(size):
    source = np.random.default_rng(0)
    encoder = fit(plan(telecom=EXPERT))
    wild = source.standard_normal(encoder.expert.layer.shape).astype(np.float32) * np.float32(size)
    encoder = replace(encoder, expert=replace(encoder.expert, layer=wild))
    extreme = np.array([0.0, 1000.0, -1e300, 1e300, math.nan])
    grid = np.array(np.meshgrid(extreme, [-1, 0, 1, 2], extreme[:4])).reshape(3, -1)
    columns = {"calls": grid[0], "tariff": grid[1].astype(np.int64), "months": grid[2]}
    encoded = encoder.encode(columns).astype(np.float64)
    assert encoded.shape == (grid.shape[1], encoder.width)
    assert np.linalg.norm(encoded, axis=1).max() <= 1 + 1e-6
    assert (encoded[:, -4:] ** 2).sum(axis=1).max() <= 0.3 + 1e-6


def test_embedding_is_one_more_column_for_the_conditioner():
    encoder = fit(plan(telecom=EXPERT))
    plain = fit(plan())
    assert encoder.width == plain.width + 4 == len(encoder.spread)
    assert len(encoder.positions) == len(CONTRACT.columns) + 1
    conditioner = Conditioner.of(encoder.positions, encoder.spread)
    gradient = torch.zeros(encoder.width, dtype=torch.float64)
    gradient[-1] = 1.0
    conditioned = conditioner.condition(gradient)
    assert torch.count_nonzero(conditioned) == 1
    assert conditioned[-1] > 0


def test_without_an_expert_nothing_changes():
    encoder = fit(plan())
    assert encoder.expert is None
    assert encoder.encode(table()).shape == (ROWS, encoder.width)


def test_centring_follows_from_the_means():
    encoder = fit(plan())
    shares = [code.encode(table()[code.column.name]).mean(axis=0) for code in encoder.codes]
    means = np.concatenate(shares) / math.sqrt(3)
    centre, scale = centring_of(encoder.codes, means, 0.0)
    # Inputs: calls missing, calls, tariff missing, three levels, months.
    months = table()["months"] / 60
    assert centre[0] == pytest.approx(np.isnan(table()["calls"]).mean())
    assert centre[6] == pytest.approx(months.mean(), abs=1e-3)
    assert scale[6] == pytest.approx(months.std(), abs=0.01)
    unknown, _ = centring_of(encoder.codes, means * 0, math.inf)
    assert unknown[6] == 0.5


def test_ramp_is_its_own_place():
    agreed = plan(telecom=EXPERT | {"knots": 1})
    encoder = fit(agreed)
    joined = np.concatenate(
        [code.encode(table()[code.column.name]) for code in encoder.codes], axis=1
    )
    outlines = outline(encoder.codes, joined / math.sqrt(3))
    assert np.allclose(outlines[:, 6], table()["months"] / 60)
    assert np.array_equal(outlines[:, 0], np.isnan(table()["calls"]))
    centre, scale = centring_of(encoder.codes, joined.mean(axis=0) / math.sqrt(3), 0.0)
    assert centre[6] == pytest.approx((table()["months"] / 60).mean())
    assert scale[6] == pytest.approx((table()["months"] / 60).std(), abs=0.03)
    assert encoder.encode(table()).shape == (ROWS, 7 + 4)


@pytest.mark.slow
def test_expert_learns_the_label_when_noise_is_small():
    terms = replace(TERMS, noise=0.3, steps=200)
    values, labels = inputs(rows=2000)
    expert = train(terms, np.random.default_rng(0).bytes, rows=2000)
    embedded = expert.embed(values.double().numpy())
    direction = np.linalg.lstsq(embedded, labels.numpy() - 0.5, rcond=None)[0]
    assert ((embedded @ direction > 0) == (labels.numpy() > 0)).mean() > 0.9


def noise_of(terms: NeuralTerms) -> float:
    """Measure the noise of one full-batch step: two runs differ by nothing else."""
    one = replace(terms, batches=1, steps=1)
    differences = [
        gradients(one, seed)[0] - gradients(one, seed + 1)[0] for seed in range(0, 20, 2)
    ]
    return float(torch.cat(differences).std()) / math.sqrt(2)


def test_noise_is_as_large_as_charged():
    # 33 weights and 10 pairs: the standard deviation is known to 4 per cent.
    assert noise_of(TERMS) == pytest.approx(2.0, rel=0.2)


def test_noise_that_is_off_is_noticed():
    assert noise_of(replace(TERMS, noise=1e-6)) < 1e-3


@pytest.mark.parametrize("task", ["labels", "reconstruction"])
def test_one_person_moves_a_step_by_one_at_most(task):
    silent = replace(TERMS, task=task, noise=1e-6, batches=1, steps=5)
    for gradient in gradients(silent, 0, rows=1):
        assert 0 < gradient.norm() <= 1 + 1e-4


def test_large_batches_are_cut_up_without_a_trace(monkeypatch):
    silent = replace(TERMS, noise=1e-6, batches=1, steps=3)
    whole = gradients(silent, 0)
    monkeypatch.setattr(neural_training, "_GRADIENTS_AT_ONCE", 33 * 7)
    for one, other in zip(whole, gradients(silent, 0), strict=True):
        assert torch.allclose(one, other, atol=1e-3)


def test_empty_batches_still_take_noised_steps():
    rare = replace(TERMS, batches=1 << 14, steps=40)
    seen = torch.cat(gradients(rare, 0, rows=3))
    assert float(seen.std()) == pytest.approx(2.0, rel=0.1)


def test_each_person_is_in_a_batch_with_the_agreed_chance():
    silent = replace(TERMS, noise=1e-6, batches=4, steps=400)
    taken = [float(gradient.norm() > 0.01) for gradient in gradients(silent, 0, rows=1)]
    # 400 draws with chance 1/4: five standard deviations are 0.11.
    assert np.mean(taken) == pytest.approx(0.25, abs=0.11)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"neural_width": -1}, "neural_width"),
        ({"neural_width": 65}, "neural_width"),
        ({"neural_width": 0}, "neural_width"),
        ({"neural_task": "none"}, "neural_task"),
        ({"neural_task": "guess"}, "neural_task"),
        ({"neural_noise": 0.0}, "neural_noise"),
        ({"neural_noise": math.nan}, "neural_noise"),
        ({"neural_noise": math.inf}, "neural_noise"),
        ({"neural_batches": 0}, "neural_batches"),
        ({"neural_batches": 12}, "neural_batches"),
        ({"neural_batches": 1 << 15}, "neural_batches"),
        ({"neural_steps": 0}, "neural_steps"),
        ({"neural_steps": 10_001}, "neural_steps"),
        ({"neural_weight": 0.0}, "neural_weight"),
        ({"neural_weight": 1.0}, "neural_weight"),
        ({"neural_weight": math.nan}, "neural_weight"),
    ],
)
def test_terms_out_of_range_are_refused(changes, field):
    with pytest.raises(UnsupportedParameterError, match=f"encoder.{field}: .*; correct the plan"):
        EncoderTerms(**(EXPERT | changes))


def test_only_the_label_holder_learns_labels():
    with pytest.raises(UnsupportedParameterError, match="neural_task of telecom"):
        plan(telecom=LEARNS_LABELS)


def test_expert_needs_columns():
    agreed = plan()
    idle = Partner("police", "0c" * 32, (), 0.0, EncoderTerms(**EXPERT))
    with pytest.raises(UnsupportedParameterError, match="neural_width of police"):
        replace(agreed, partners=(*agreed.partners, idle))


def test_plan_with_experts_survives_the_wire():
    agreed = plan(insurer=LEARNS_LABELS, telecom=EXPERT)
    assert TrainingPlan.decode(agreed.encode()) == agreed
    assert agreed.digest != plan(insurer=LEARNS_LABELS).digest
    whole = agreed.encode().replace(b'"neural_steps":12', b'"neural_steps":12.0')
    with pytest.raises(MalformedMessageError, match="neural_steps"):
        TrainingPlan.decode(whole)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_expert_or_malformed(data):
    try:
        expert = Expert.load(data)
    except MalformedMessageError:
        return
    assert expert.store() == data


def test_damaged_experts_are_refused():
    stored = train(replace(TERMS, steps=1), np.random.default_rng(0).bytes).store()
    assert Expert.load(stored).store() == stored
    for damaged in (*(stored[:cut] for cut in range(len(stored))), stored + b"\x00"):
        with pytest.raises(MalformedMessageError):
            Expert.load(damaged)
    endless = stored[:-4] + np.float32(np.inf).tobytes()
    with pytest.raises(MalformedMessageError, match="not finite"):
        Expert.load(endless)
