import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from protocols.dp.lattice import gaussian_gap, sum_divergence_bound
from protocols.errors import UnsupportedParameterError


def discrete_mass(sigma_squared, reach):
    x = np.arange(-reach, reach + 1)
    mass = np.exp(-(x.astype(float) ** 2) / (2 * sigma_squared))
    return mass / mass.sum()


def test_sum_differs_from_one_discrete_gaussian_by_half_of_tau():
    # At a scale where the difference is far above rounding: sigma^2 = 1, computed in full.
    single = discrete_mass(1.0, 30)
    total = np.convolve(single, single)
    one = discrete_mass(2.0, 60)
    middle = slice(60 - 10, 60 + 11)
    largest = np.abs(np.log(total[middle] / one[middle])).max()
    tau = sum_divergence_bound(1, 0)
    assert 0.1 * tau / 2 < largest <= tau / 2


def test_bound_has_the_value_of_the_paper():
    # Kairouz, Liu and Steinke 2021, Theorem 1: 10 e^(-2 pi^2 sigma^2 k / (k + 1)), k = 1.
    assert sum_divergence_bound(4, 1) == pytest.approx(10 * math.exp(-(math.pi**2) * 4))
    assert sum_divergence_bound(2**40, 10**9) == 0.0


@pytest.mark.parametrize(("variance", "dimension"), [(Fraction(1, 2), 1), (3, 1), (4, 1000)])
def test_narrow_noise_is_refused(variance, dimension):
    with pytest.raises(UnsupportedParameterError, match="finer fixed point"):
        sum_divergence_bound(variance, dimension)


def test_gap_bounds_the_distance_to_the_rounded_gaussian():
    # One coordinate, sigma^2 = 8 each: the sum against the rounded N(0, 16), in full.
    single = discrete_mass(8.0, 60)
    total = np.convolve(single, single)
    x = np.arange(-120, 121)
    rounded = np.diff(stats.norm.cdf(np.arange(-120.5, 121.5), scale=4.0))
    common = np.abs(x) <= 4 * 7
    largest = np.abs(np.log(total[common] / rounded[common])).max()
    assert 2 * largest <= gaussian_gap(8, 1).epsilon


def test_gap_is_negligible_at_fixed_point_scales():
    gap = gaussian_gap(2**50, 120 * 3000)
    assert 0 < gap.epsilon < 1e-7
    assert gap.delta <= 1e-20
    assert gaussian_gap(2**50, 1000).epsilon < gap.epsilon
