import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import UnsupportedParameterError
from protocols.vertical.response import (
    LOGIT_BITS,
    RESIDUAL_BITS,
    Response,
    noise_variance,
)

relaxed = settings(deadline=None)


def exact(response: Response, z: int) -> int:
    return sum(word * z**power for power, word in enumerate(response.coefficients))


def largest_residual(response: Response, points) -> Fraction:
    """Return the largest |s(z) - y| over points and labels, in units after truncation."""
    one = 1 << response.scale_bits
    values = [exact(response, z) for z in points]
    largest = max(max(abs(value), abs(value - one)) for value in values)
    return Fraction(largest, 1 << (response.scale_bits - RESIDUAL_BITS))


@pytest.mark.parametrize("degree", [1, 3])
@pytest.mark.parametrize("bound", [0.1, 0.5, 1.0, 2.0, 5.0])
def test_residual_bound_is_the_true_maximum(degree, bound):
    response = Response.fitted(degree=degree, bound=bound)
    edge = math.ceil(bound * 2**LOGIT_BITS)
    largest = largest_residual(response, range(-edge, edge + 1))
    # The truncation may go one unit up; the bound leaves room for that and no more.
    assert math.ceil(largest) + 1 == response.residual_bound()


@settings(deadline=None, max_examples=40)
@given(st.sampled_from([1, 3]), st.floats(0.01, 16), st.lists(st.floats(-1, 1), max_size=50))
def test_residual_bound_covers_any_point(degree, bound, shares):
    response = Response.fitted(degree=degree, bound=bound)
    edge = round(bound * 2**LOGIT_BITS)
    points = [-edge, 0, edge, *(round(share * edge) for share in shares)]
    assert math.ceil(largest_residual(response, points)) < response.residual_bound()


def test_residual_bound_finds_a_peak_inside():
    # s(z) = 1/2 + z - z^3 peaks at 1/sqrt(3), beyond its values at the ends.
    scale = 3 * LOGIT_BITS + 16
    words = (1 << (scale - 1), 1 << (scale - LOGIT_BITS), 0, -(1 << (scale - 3 * LOGIT_BITS)))
    response = Response(-1.0, 1.0, words)
    largest = largest_residual(response, range(-4096, 4097))
    assert math.ceil(largest) + 1 == response.residual_bound()
    assert largest > max(largest_residual(response, [z]) for z in (-4096, 4096))


# Largest distances between polynomial and sigmoid on the bound, measured once.
@pytest.mark.parametrize(
    ("degree", "bound", "error"),
    [
        (1, 2.0, 0.05),
        (1, 4.0, 0.14),
        (3, 2.0, 0.005),
        (3, 4.0, 0.04),
        (3, 6.0, 0.09),
        (3, 8.0, 0.12),
    ],
)
def test_polynomial_stays_near_the_sigmoid(degree, bound, error):
    points = torch.linspace(-bound, bound, 2001, dtype=torch.float64)
    found = (
        (Response.fitted(degree=degree, bound=bound).real(points) - points.sigmoid()).abs().max()
    )
    assert error / 2 < float(found) < error


@pytest.mark.parametrize("degree", [1, 3])
@pytest.mark.parametrize("bound", [1.0, 4.0, 10.0])
def test_fit_agrees_with_numpy_least_squares(degree, bound):
    points = np.linspace(-bound, bound, 2001)
    powers = np.stack([points**power for power in range(1, degree + 1, 2)], axis=1)
    expected = np.linalg.lstsq(powers, 1 / (1 + np.exp(-points)) - 0.5, rcond=None)[0]
    response = Response.fitted(degree=degree, bound=bound)
    reals = [
        word / 2 ** (response.scale_bits - power * LOGIT_BITS)
        for power, word in enumerate(response.coefficients)
    ]
    assert reals[0] == 0.5
    assert np.allclose(reals[1::2], expected, rtol=2e-3, atol=2**-16)


def test_coefficients_are_the_same_everywhere():
    # Fixed words: a machine that rounded otherwise would turn every sum into noise.
    assert Response.fitted(degree=3, bound=4.0).coefficients == (
        1 << 51,
        238_125_612_653,
        0,
        -433,
    )
    assert Response.fitted(degree=1, bound=2.5).coefficients == (1 << 27, 12_803)


@pytest.mark.parametrize("rate", [0.001, 0.03, 0.22, 0.5, 0.999])
@pytest.mark.parametrize("reach", [0.02, 0.3, 1.0])
def test_residual_bound_of_the_tangent_is_the_true_maximum(rate, reach):
    response = Response.linear(rate=rate, reach=reach)
    bottom, top = math.floor(response.low * 4096), math.ceil(response.high * 4096)
    step = max(1, (top - bottom) // 10_000)
    points = [*range(bottom, top, step), top]
    assert math.ceil(largest_residual(response, points)) + 1 == response.residual_bound()


@pytest.mark.parametrize("rate", [0.001, 0.03, 0.22, 0.5, 0.999])
def test_tangent_touches_the_sigmoid_and_keeps_its_reach(rate):
    response = Response.linear(rate=rate, reach=0.15)
    zero, ends = torch.zeros(1), torch.tensor([response.low, response.high])
    assert float(response.real(zero)) == pytest.approx(rate, abs=2**-27)
    shift = math.log(rate / (1 - rate))
    for logit in (-1e-3, 1e-3):
        sigmoid = 1 / (1 + math.exp(-logit - shift))
        # The slope has 16 bits.
        assert float(response.real(torch.tensor([logit]))) == pytest.approx(sigmoid, abs=2e-7)
    low, high = response.real(ends.to(torch.float64)).tolist()
    # An end is the nearer of the reach and of 0 or 1, but for the slope's rounding.
    error = 2**-17 * response.bound + 1e-9
    assert low == pytest.approx(max(rate - 0.15, 0), abs=error)
    assert high == pytest.approx(min(rate + 0.15, 1), abs=error)


@pytest.mark.parametrize("rate", [0.0, 0.0009, 0.9991, 1.0, math.nan])
def test_base_rate_at_the_ends_is_refused(rate):
    with pytest.raises(UnsupportedParameterError, match="base rate: "):
        Response.linear(rate=rate, reach=0.2)


@pytest.mark.parametrize("reach", [0.0, -0.1, 1.01, math.nan])
def test_reach_outside_of_its_range_is_refused(reach):
    with pytest.raises(UnsupportedParameterError, match="reach: "):
        Response.linear(rate=0.2, reach=reach)


@relaxed
@given(st.sampled_from([1, 3]), st.sampled_from([0.1, 1.0, 4.0, 9.7, 16.0]), st.data())
def test_shared_evaluation_is_exact(play, degree, bound, data):
    response = Response.fitted(degree=degree, bound=bound)
    edge = round(bound * 2**LOGIT_BITS)
    logits = data.draw(st.lists(st.integers(-edge, edge), min_size=1, max_size=5))
    owner = data.draw(st.sampled_from(["insurer", "telecom", "police"]))

    def body(trio):
        own = torch.tensor(logits) if trio.name(0) == owner else None
        shared = yield from trio.share(owner, own, (len(logits),))
        return (yield from response.evaluate(trio, shared, len(logits)))

    views = play(body)
    total = sum(view.first for view in views.values() if view.first is not None)
    assert total.tolist() == [exact(response, z) for z in logits]
    real = response.real(torch.tensor(logits, dtype=torch.float64) / 2**LOGIT_BITS)
    assert torch.allclose(real, total.double() / 2.0**response.scale_bits, atol=1e-12)


@pytest.mark.parametrize("degree", [0, 2, 4, 5])
def test_degree_other_than_1_or_3_is_refused(degree):
    with pytest.raises(UnsupportedParameterError, match=r"response degree: .*; correct the plan"):
        Response.fitted(degree=degree, bound=4.0)


@pytest.mark.parametrize("bound", [0.0, -1.0, 16.01, math.inf, math.nan])
def test_bound_outside_of_its_range_is_refused(bound):
    with pytest.raises(UnsupportedParameterError, match=r"logit bound: .*; correct the plan"):
        Response.fitted(degree=3, bound=bound)


def test_polynomial_beyond_62_bits_is_refused():
    steep = Response(-16.0, 16.0, (1 << 51, 1 << 46, 0, 0))
    with pytest.raises(UnsupportedParameterError, match="62 bits"):
        steep.residual_bound()


@given(st.floats(1e-6, 1e6), st.integers(1, 2**62))
def test_noise_variance_is_rounded_up_only(multiplier, sensitivity):
    variance = noise_variance(noise_multiplier=multiplier, sensitivity=sensitivity)
    wanted = Fraction(multiplier) ** 2 * sensitivity**2
    assert wanted <= 2 * variance < wanted + 2
