"""Noise, sensitivity and charges: what the privacy claim of a step stands on."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.codec import Reader, Writer
from protocols.dp.discrete import sample_discrete_gaussian
from protocols.dp.events import Gaussian
from protocols.errors import UnsupportedParameterError
from protocols.program import Charge, Checkpoint, Send
from protocols.vertical.head import Base, Inputs
from protocols.vertical.response import Response, noise_variance
from protocols.vertical.settings import Schedule

NAMES = ("insurer", "telecom", "police")
Person = tuple[dict[str, torch.Tensor], dict[str, list[float]], list[int]]


def recording(log):
    def draw(variance, size):
        log.append((variance, size))
        return torch.zeros(size, dtype=torch.int64)

    return draw


def discrete(seed):
    source = np.random.default_rng(seed)

    def draw(variance, size):
        return torch.from_numpy(sample_discrete_gaussian(variance, size, random=source.bytes))

    return draw


@pytest.mark.parametrize("widths", [{"telecom": 5}, {"insurer": 3, "telecom": 5, "police": 7}])
@pytest.mark.parametrize("noise_multiplier", [0.37, 4.0, 41.3])
def test_the_two_others_add_the_noise(case, trained, widths, noise_multiplier):
    made = case(widths=widths, noise_multiplier=noise_multiplier, steps=2)
    logs = {name: [] for name in NAMES}
    trained(made, noise={name: recording(log) for name, log in logs.items()})
    wanted = Fraction(noise_multiplier) ** 2 * made.terms.sensitivity**2
    for name, log in logs.items():
        expected = [width for owner, width in widths.items() if owner != name]
        assert [size for _, size in log] == 2 * expected
        for variance, _ in log:
            assert wanted <= 2 * variance <= wanted * (1 + Fraction(1, 10**9))


def gradients_of(case, trained, **options) -> torch.Tensor:
    """Return the integer gradients of one step of size 1 from zero weights, all together."""
    plain = Schedule(1.0, 0.0, 0.0)
    made = replace(case, terms=replace(case.terms, schedule=plain, steps=1))
    heads = trained(made, **options)
    weights = [heads[block.owner].weights for block in made.terms.blocks]
    return -torch.cat(weights) * made.terms.rows * 2.0**made.terms.gradient_bits


def test_opened_gradient_has_the_promised_variance(case, trained):
    widths = dict.fromkeys(NAMES, 2000)
    made = case(widths=widths, rows=4, noise_multiplier=2.5)
    samplers = {name: discrete(index) for index, name in enumerate(NAMES)}
    noise = gradients_of(made, trained, noise=samplers) - gradients_of(made, trained)
    deviation = 2.5 * made.terms.sensitivity
    # Relative deviation of a variance from n normal numbers: sqrt(2 / n).
    for block in noise.reshape(3, 2000):
        assert abs(float(block.var()) / deviation**2 - 1) < 5 * (2 / 2000) ** 0.5
        assert abs(float(block.mean())) < 5 * deviation / 2000**0.5
    # Blocks share no noise: a party that reused its draw would correlate two of them.
    correlation = np.corrcoef(noise.reshape(3, 2000).numpy()) - np.eye(3)
    assert np.abs(correlation).max() < 5 / 2000**0.5


def test_one_noise_alone_is_not_enough(case, trained):
    # The recipient cannot remove either part: with one of them silent, half is left.
    made = case(widths={"telecom": 4000}, rows=4)
    silent = {"insurer": discrete(1), "telecom": discrete(2), "police": recording([])}
    noise = gradients_of(made, trained, noise=silent) - gradients_of(made, trained)
    ratio = float(noise.var()) / made.terms.sensitivity**2
    assert abs(ratio - 0.5) < 5 * 0.5 * (2 / 4000) ** 0.5


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("widths", [{"police": 7}, {"insurer": 7, "telecom": 9, "police": 11}])
def test_each_step_is_paid_before_it_is_sent(case, trained, steps, widths):
    # Widths and rows are chosen so that nothing else has an opening's length.
    made = case(widths=widths, rows=20, steps=steps, noise_multiplier=3.5)
    log = {name: [] for name in NAMES}
    trained(made, watch=lambda name, request: log[name].append(request))
    for name in NAMES:
        per_step = sum(owner != name for owner in widths)
        charges, opened = [], 0
        for request in log[name]:
            if isinstance(request, Charge):
                assert opened == per_step * len(charges)
                charges.append(request)
            elif isinstance(request, Send) and len(request.payload) in {56, 72, 88}:
                opened += 1
                assert opened <= per_step * len(charges)
                assert len(request.payload) == 8 * widths[request.to]
        assert charges == [Charge(f"train/step/{s}", Gaussian(3.5)) for s in range(steps)]
        assert opened == per_step * steps


def checkpoint(weights: list[float]) -> bytes:
    """Write the state after one step, with weights of our choice."""
    writer = Writer().u8(1).u32(1).u32(0)
    zeros = np.zeros(len(weights))
    for vector in (np.array(weights), zeros, zeros):
        writer.block(vector.astype("<f8").tobytes())
    return writer.encode()


def integer_gradients(made, trained, weights) -> list[int]:
    """Run the second step from given weights without noise; return what was opened, exactly."""
    states = {name: {1: checkpoint(weights[name])} for name in NAMES}
    opened = {}

    def watch(name, request):
        if isinstance(request, Checkpoint):
            reader = Reader(request.state, "test")
            assert reader.u8() == 1
            assert reader.u32() == request.step == 2
            reader.u32()
            reader.block()
            opened[name] = np.frombuffer(reader.block(), dtype="<f8")

    trained(made, resume=states, watch=watch)
    # Without momentum the velocity is the gradient; rows are a power of 2, so it is exact.
    scale = made.terms.averaged_rows * 2.0**made.terms.gradient_bits
    found = np.concatenate([opened[name] for name in NAMES]) * scale
    assert (found == np.round(found)).all()
    return [int(value) for value in found]


def moved(case, trained, person: Person, base: Base | None) -> Fraction:
    """Return the squared change of all gradients by zeroing out the person of row 0.

    The result is in units of the squared sensitivity.
    """
    features, weights, labels = person
    names = dict.fromkeys(NAMES, len(weights["insurer"]))
    degree = 3 if base is None else 1
    plain = Schedule(1.0, 0.0, 0.0)
    options = {"degree": degree, "logit_bound": 1.3, "schedule": plain, "base": base}
    made = case(widths=names, rows=4, steps=2, **options)
    runs = []
    for present in (1, 0):
        for name in NAMES:
            table = features[name].clone()
            table[:, 0] *= present
            made.inputs[name] = Inputs(features=table)
        here = torch.tensor([present, 1, 1, 0])
        made.inputs["insurer"].mask = here
        made.inputs["insurer"].labels = torch.tensor(labels) * torch.tensor([present, 1, 1, 1])
        runs.append(integer_gradients(made, trained, weights))
    squares = sum((one - two) ** 2 for one, two in zip(*runs, strict=True))
    return Fraction(squares, made.terms.sensitivity**2)


NORM = 3**-0.5
BASES = (None, Base(4, 0.3, 0.2), Base(8, 0.01, 1.0))
DIRECTIONS = st.lists(st.floats(-1, 1), min_size=2, max_size=2)


@settings(deadline=None, max_examples=60)
@given(st.data(), st.sampled_from(BASES))
def test_one_person_moves_all_gradients_by_at_most_the_sensitivity(case, trained, data, base):
    features, weights = {}, {}
    for name in NAMES:
        table = torch.tensor(
            [data.draw(DIRECTIONS) for _ in range(4)], dtype=torch.float64
        ).T.contiguous()
        lengths = table.norm(dim=0)
        # Rows as long as `quantize` lets through, rounding included.
        table = torch.where(lengths > 1e-6, table / lengths * NORM * (1 + 1e-6), 0.0)
        features[name] = table
        weights[name] = data.draw(st.lists(st.floats(-4, 4), min_size=2, max_size=2))
    labels = data.draw(st.lists(st.integers(0, 1), min_size=4, max_size=4))
    assert moved(case, trained, (features, weights, labels), base) <= 1


@pytest.mark.parametrize(("base", "label"), [(BASES[0], 0), (BASES[1], 1), (BASES[2], 0)])
def test_worst_person_reaches_the_sensitivity(case, trained, base, label):
    # Rows of full length, the logit where s is farthest from the wrong label: the bound is
    # reached but for rounding, so that it neither lets too much through nor wastes noise.
    response = Response.fitted(degree=3, bound=3 * 1.3)
    if base is not None:
        response = Response.linear(rate=base.rate, reach=base.reach)
    logits = torch.linspace(response.low, response.high, 10_001, dtype=torch.float64)
    worst = float(logits[(response.real(logits) - label).abs().argmax()])
    features = {name: torch.zeros(1, 4, dtype=torch.float64) for name in NAMES}
    weights = {}
    for name in NAMES:
        features[name][0, 0] = NORM
        weights[name] = [worst / 3 / NORM]
    share = moved(case, trained, (features, weights, [label, 1, 0, 1]), base)
    assert Fraction(998, 1000) < share <= 1


def test_sensitivity_allows_for_rounded_norms(case):
    terms = case().terms
    exact = terms.response.residual_bound() << terms.feature_bits
    longest = (1 + Fraction(1, 10**6)) ** 2 * (1 + Fraction(1, 10**9))
    assert terms.sensitivity**2 >= exact**2 * longest
    assert terms.sensitivity <= exact * (1 + Fraction(1, 10**5))


def test_noise_that_terms_allow_can_be_drawn(case):
    # The largest noise multiplier that terms accept is one that the sampler accepts too.
    terms = case().terms
    low, high = 1.0, 1e9
    for _ in range(60):
        middle = (low * high) ** 0.5
        try:
            replace(terms, noise_multiplier=middle)
        except UnsupportedParameterError:
            high = middle
        else:
            low = middle
    variance = noise_variance(noise_multiplier=low * (1 - 1e-9), sensitivity=terms.sensitivity)
    assert len(sample_discrete_gaussian(variance, 3, random=np.random.default_rng(0).bytes)) == 3
    # And nothing wraps: gradient and ten deviations stay within 63 bits.
    assert terms.rows * terms.sensitivity + 10 * low * terms.sensitivity < 2**63
