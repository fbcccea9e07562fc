from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.dp.accounting import epsilon as epsilon_of
from protocols.dp.accounting import mu_squared as mu_squared_of
from protocols.dp.calibrate import (
    mu_squared_for,
    noise_multiplier_for,
    noise_multiplier_of,
    sampled_noise_multiplier_for,
    split_mu,
)
from protocols.dp.events import Composed, Gaussian, SampledGaussian
from protocols.dp.neighbours import Neighbours
from protocols.errors import UnsupportedParameterError

ZERO_OUT = Neighbours.ZERO_OUT_ONE_PERSON


@settings(max_examples=40, deadline=None)
@given(st.floats(0.01, 20), st.floats(-12, -1), st.integers(1, 10_000))
def test_noise_keeps_the_target_and_is_no_larger_than_needed(target, log_delta, count):
    delta = 10.0**log_delta
    noise = noise_multiplier_for(epsilon=target, delta=delta, count=count)
    assert epsilon_of(Gaussian(noise, count), delta=delta, neighbours=ZERO_OUT) <= target
    less = Gaussian(noise * (1 - 1e-9), count)
    assert epsilon_of(less, delta=delta, neighbours=ZERO_OUT) > target


def test_noise_for_epsilon_one_has_its_known_value():
    # Balle and Wang 2018: the analytic Gaussian mechanism at epsilon 1, delta 1e-5.
    assert noise_multiplier_for(epsilon=1.0, delta=1e-5, count=1) == pytest.approx(
        3.730632, rel=1e-6
    )


def test_noise_grows_with_count_and_falls_with_epsilon_and_delta():
    by_count = [noise_multiplier_for(epsilon=1.0, delta=1e-5, count=n) for n in (1, 2, 40, 120)]
    by_epsilon = [noise_multiplier_for(epsilon=e, delta=1e-5, count=40) for e in (0.1, 1.0, 4.0)]
    by_delta = [noise_multiplier_for(epsilon=1.0, delta=d, count=40) for d in (1e-9, 1e-6, 1e-3)]
    assert by_count == sorted(set(by_count))
    assert by_epsilon == sorted(set(by_epsilon), reverse=True)
    assert by_delta == sorted(set(by_delta), reverse=True)


@pytest.mark.parametrize("already", [Gaussian(20.0, 3), SampledGaussian(2.0, 0.01, 100)])
def test_earlier_releases_count_against_the_budget(already):
    alone = noise_multiplier_for(epsilon=1.0, delta=1e-5, count=40)
    noise = noise_multiplier_for(epsilon=1.0, delta=1e-5, count=40, already=already)
    total = Composed((already, Gaussian(noise, 40)))
    assert noise > alone
    assert 0.999999 < epsilon_of(total, delta=1e-5, neighbours=ZERO_OUT) <= 1.0


def test_spent_budget_leaves_no_noise_to_choose():
    with pytest.raises(UnsupportedParameterError, match="release less"):
        noise_multiplier_for(epsilon=1.0, delta=1e-5, count=1, already=Gaussian(3.0))
    with pytest.raises(UnsupportedParameterError):
        noise_multiplier_for(epsilon=float("nan"), delta=1e-5, count=1)


def test_sampled_noise_keeps_the_target():
    for already in (None, Gaussian(20.0)):
        noise = sampled_noise_multiplier_for(
            epsilon=2.0, delta=1e-5, sample_rate=0.01, steps=500, already=already
        )
        event = SampledGaussian(noise, 0.01, 500)
        total = event if already is None else Composed((already, event))
        assert 1.999999 < epsilon_of(total, delta=1e-5, neighbours=ZERO_OUT) <= 2.0


def test_sampled_noise_is_refused_under_replacement():
    with pytest.raises(UnsupportedParameterError, match="replace_one"):
        sampled_noise_multiplier_for(
            epsilon=2.0, delta=1e-5, sample_rate=0.01, steps=5, neighbours=Neighbours.REPLACE_ONE
        )


def test_shared_out_budget_keeps_the_target_and_wastes_nothing():
    whole = mu_squared_for(epsilon=1.0, delta=1e-5)
    parts = split_mu(whole, {"histograms": 0.05, "training": 0.95})
    event = Composed(
        (
            Gaussian(noise_multiplier_of(mu_squared=parts["histograms"], count=1)),
            Gaussian(noise_multiplier_of(mu_squared=parts["training"], count=120), 120),
        )
    )
    assert 0.999999 < epsilon_of(event, delta=1e-5, neighbours=ZERO_OUT) <= 1.0


@given(
    st.floats(1e-6, 1e6),
    st.lists(st.floats(1e-3, 1.0), min_size=1, max_size=8).map(lambda s: [x / sum(s) for x in s]),
)
def test_parts_never_exceed_the_whole(whole, shares):
    parts = split_mu(whole, {str(i): share for i, share in enumerate(shares)})
    assert sum(map(Fraction, parts.values())) <= Fraction(whole)


@pytest.mark.parametrize(
    "shares", [{"a": 0.6, "b": 0.5}, {"a": 0.0}, {"a": -0.1}, {"a": float("nan")}]
)
def test_wrong_shares_are_refused(shares):
    with pytest.raises(UnsupportedParameterError, match="shares"):
        split_mu(1.0, shares)


@pytest.mark.parametrize("whole", [0.0, -1.0, float("nan"), float("inf"), 1e-300])
def test_whole_that_pays_for_nothing_is_not_shared(whole):
    with pytest.raises(UnsupportedParameterError, match="mu_squared"):
        split_mu(whole, {"training": 1.0})


@given(st.floats(1e-11, 1e6), st.integers(1, 10**6))
def test_noise_of_a_share_costs_at_most_the_share(share, count):
    noise = noise_multiplier_of(mu_squared=share, count=count)
    assert share * (1 - 1e-9) <= mu_squared_of(Gaussian(noise, count)) <= share


@pytest.mark.parametrize(("share", "count"), [(1e-12, 10**6), (5e-324, 1), (0.0, 1), (-1.0, 1)])
def test_share_too_small_for_any_noise_is_refused(share, count):
    with pytest.raises(UnsupportedParameterError, match="mu_squared"):
        noise_multiplier_of(mu_squared=share, count=count)
