import math

import mpmath
import pytest
from dp_accounting import dp_event
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.accountants import RDPAccountant as OpacusAccountant

from protocols.dp import sampled
from protocols.dp.accounting import Statement, compose, delta, epsilon, mu_squared
from protocols.dp.events import Composed, Gaussian, SampledGaussian
from protocols.dp.neighbours import Neighbours
from protocols.errors import UnsupportedParameterError

ZERO_OUT = Neighbours.ZERO_OUT_ONE_PERSON


def true_delta(mu_squared_exact, epsilon_exact):
    # Balle and Wang 2018, Theorem 8, evaluated with 80 digits.
    with mpmath.workdps(80):
        mu = mpmath.sqrt(mu_squared_exact)
        a = mpmath.mpf(epsilon_exact)
        near, far = -a / mu + mu / 2, -a / mu - mu / 2
        return mpmath.ncdf(near) - mpmath.exp(a) * mpmath.ncdf(far)


@pytest.mark.parametrize(
    ("noise", "at", "expected"),
    [
        # By 40-digit arithmetic.
        (1.0, 1.0, 0.12693673750664),
        (1.0, 0.0, 0.38292492254802),
        (2.0, 1.0, 0.0068295949831146),
    ],
)
def test_delta_has_its_closed_value(noise, at, expected):
    assert true_delta(1 / noise**2, at) == pytest.approx(expected, rel=1e-6)
    assert delta(Gaussian(noise), epsilon=at, neighbours=ZERO_OUT) == pytest.approx(
        expected, rel=1e-6
    )


@settings(max_examples=150, deadline=None)
@given(st.floats(-4, 3), st.floats(0, 12))
def test_gaussian_delta_is_never_below_the_truth(log_mu, deviations):
    noise = 10.0**-log_mu
    at = max(0.0, deviations / noise + 0.5 / noise**2 - 1 / noise)
    truth = true_delta(1 / mpmath.mpf(noise) ** 2, at)
    found = delta(Gaussian(noise), epsilon=at, neighbours=ZERO_OUT)
    assert found >= truth
    assert found <= truth * (1 + 1e-6) + 1e-12 / noise


@settings(max_examples=100, deadline=None)
@given(st.floats(-3, 2), st.floats(-12, -0.2))
def test_gaussian_epsilon_is_never_below_the_truth(log_mu, log_delta):
    noise, target = 10.0**-log_mu, 10.0**log_delta
    found = epsilon(Gaussian(noise), delta=target, neighbours=ZERO_OUT)
    exact = 1 / mpmath.mpf(noise) ** 2
    assert true_delta(exact, found) <= target
    if found > 1e-6:
        assert true_delta(exact, found * (1 - 1e-6)) > target


def test_gaussian_agrees_with_dp_accounting():
    event = Composed((Gaussian(20.0, 40), Gaussian(9.0, 3)))
    accountant = PLDAccountant()
    accountant.compose(dp_event.SelfComposedDpEvent(dp_event.GaussianDpEvent(20.0), 40))
    accountant.compose(dp_event.SelfComposedDpEvent(dp_event.GaussianDpEvent(9.0), 3))
    ours = epsilon(event, delta=1e-5, neighbours=ZERO_OUT)
    assert ours == pytest.approx(accountant.get_epsilon(1e-5), rel=2e-3)


@pytest.mark.parametrize(
    ("noise", "rate", "steps"),
    [(1.0, 0.01, 1000), (0.7, 0.004, 500), (4.0, 0.2, 200), (2.0, 1.0, 9)],
)
def test_sampled_bound_agrees_with_two_renyi_accountants(noise, rate, steps):
    ours = epsilon(SampledGaussian(noise, rate, steps), delta=1e-5, neighbours=ZERO_OUT)
    google = RdpAccountant().compose(
        dp_event.SelfComposedDpEvent(
            dp_event.PoissonSampledDpEvent(rate, dp_event.GaussianDpEvent(noise)), steps
        )
    )
    opacus = OpacusAccountant()
    opacus.history = [(noise, rate, steps)]
    # Straight lines between whole orders cost up to 5 per cent, and our grid may be finer.
    for theirs in (google.get_epsilon(1e-5), opacus.get_epsilon(1e-5)):
        assert 0.98 * theirs <= ours <= 1.05 * theirs


@pytest.mark.parametrize(("noise", "rate", "steps"), [(1.0, 0.01, 1000), (2.0, 0.1, 100)])
def test_sampled_bound_lies_above_the_exact_curve(noise, rate, steps):
    exact = PLDAccountant(value_discretization_interval=1e-3)
    exact.compose(
        dp_event.SelfComposedDpEvent(
            dp_event.PoissonSampledDpEvent(rate, dp_event.GaussianDpEvent(noise)), steps
        )
    )
    exact.compose(dp_event.GaussianDpEvent(3.0))
    event = Composed((SampledGaussian(noise, rate, steps), Gaussian(3.0)))
    truth = exact.get_epsilon(1e-5)
    ours = epsilon(event, delta=1e-5, neighbours=ZERO_OUT)
    assert truth * 0.999 <= ours <= truth * 1.3
    assert delta(event, epsilon=truth, neighbours=ZERO_OUT) >= 1e-5 * 0.99


def test_sampled_delta_and_epsilon_agree():
    event = Composed((SampledGaussian(1.0, 0.02, 300), Gaussian(4.0, 2)))
    at = epsilon(event, delta=1e-6, neighbours=ZERO_OUT)
    assert delta(event, epsilon=at, neighbours=ZERO_OUT) == pytest.approx(1e-6, rel=1e-6)


@pytest.mark.parametrize("rate", [1e-9, 2e-9, 7e-9, 3e-8, 1e-7, 1e-6])
def test_tiny_sample_rate_is_never_priced_below_the_truth(rate):
    # One step's moment is below what double precision resolves beside 1; a billion are not.
    with mpmath.workdps(60):
        order_two = mpmath.log1p(mpmath.mpf(rate) ** 2 * (mpmath.exp(1) - 1)) * 10**9
    divergence = sampled._one_divergence(SampledGaussian(1.0, rate, 10**9))
    assert divergence[sampled._ORDERS == 2.0] >= order_two


def test_full_sampling_costs_what_the_gaussian_does_by_renyi():
    gaussian = epsilon(Gaussian(5.0, 10), delta=1e-5, neighbours=ZERO_OUT)
    full = epsilon(SampledGaussian(5.0, 1.0, 10), delta=1e-5, neighbours=ZERO_OUT)
    assert gaussian < full < 1.15 * gaussian


def test_nothing_released_costs_nothing():
    assert epsilon(Composed(()), delta=1e-5, neighbours=ZERO_OUT) == 0.0
    assert delta(Composed(()), epsilon=0.0, neighbours=ZERO_OUT) == 0.0
    assert mu_squared(Composed(())) == 0.0


def test_more_releases_cost_more():
    prices = [epsilon(Gaussian(9.0, n), delta=1e-5, neighbours=ZERO_OUT) for n in (1, 2, 3, 100)]
    assert prices == sorted(set(prices))


def test_mu_squared_adds_up_and_rounds_up():
    assert mu_squared(Gaussian(2.0, 3)) == 0.75
    assert mu_squared(Composed((Gaussian(2.0), Gaussian(4.0, 4)))) == 0.5
    third = mu_squared(Gaussian(math.sqrt(3)))
    with mpmath.workdps(60):
        truth = 1 / mpmath.mpf(math.sqrt(3)) ** 2
        assert truth <= third <= truth * (1 + mpmath.mpf(2) ** -50)


def test_order_and_grouping_do_not_change_the_price():
    grouped = Gaussian(7.0, 40)
    single = Composed(tuple(Gaussian(7.0) for _ in range(40)))
    assert mu_squared(grouped) == mu_squared(single)


def test_sampled_steps_have_no_mu():
    with pytest.raises(UnsupportedParameterError, match="no mu"):
        mu_squared(Composed((Gaussian(1.0), SampledGaussian(1.0, 0.1, 1))))


def test_sampled_steps_are_not_priced_under_replacement():
    event = Composed((Gaussian(1.0), SampledGaussian(1.0, 0.1, 1)))
    with pytest.raises(UnsupportedParameterError, match="replace_one"):
        epsilon(event, delta=1e-5, neighbours=Neighbours.REPLACE_ONE)
    assert epsilon(Gaussian(1.0), delta=1e-5, neighbours=Neighbours.REPLACE_ONE) > 0


def test_statements_of_two_relations_do_not_add_up():
    ours = Statement(Gaussian(1.0), ZERO_OUT)
    other = Statement(Gaussian(1.0), Neighbours.REPLACE_ONE)
    with pytest.raises(UnsupportedParameterError, match="replace_one, zero_out_one_person"):
        compose([ours, other])
    with pytest.raises(UnsupportedParameterError):
        compose([])


def test_statements_of_one_relation_add_up():
    total = compose([Statement(Gaussian(2.0, 3), ZERO_OUT), Statement(Gaussian(4.0), ZERO_OUT)])
    assert mu_squared(total.event) == 0.8125
    assert total.epsilon(delta=1e-5) == epsilon(total.event, delta=1e-5, neighbours=ZERO_OUT)


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, math.nan, math.inf])
def test_delta_outside_of_its_range_is_refused(value):
    with pytest.raises(UnsupportedParameterError, match="delta"):
        epsilon(Gaussian(1.0), delta=value, neighbours=ZERO_OUT)


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_epsilon_outside_of_its_range_is_refused(value):
    with pytest.raises(UnsupportedParameterError, match="epsilon"):
        delta(Gaussian(1.0), epsilon=value, neighbours=ZERO_OUT)


def test_extreme_events_have_a_finite_price():
    for event in (Gaussian(1e-6, 10**9), Gaussian(1e9), SampledGaussian(1e-6, 1e-9, 10**9)):
        for target in (1e-300, 1e-5, 0.999999):
            assert 0 <= epsilon(event, delta=target, neighbours=ZERO_OUT) < math.inf
        for at in (0.0, 1.0, 1e300):
            assert 0 < delta(event, epsilon=at, neighbours=ZERO_OUT) <= 1
