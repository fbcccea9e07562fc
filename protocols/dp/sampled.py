"""The price of DP-SGD, alone or together with Gaussian releases: a Renyi bound.

Of Opacus's accountants this uses the Renyi one, not the tighter PRV one, because its
bound is a theorem in both directions of the relation (Mironov, Talwar and Zhang 2019,
Theorem 5), while the PRV accountant numerically composes the direction "removed" only.
The bound lies some per cent above the exact curve. Opacus's formula is used at whole
orders, where it is a sum of positive terms; for orders between, (order - 1) x divergence
is convex in the order, so that a straight line between whole orders lies above it.

Source: Mironov, Talwar and Zhang 2019 (arXiv 1908.10530), section 3.3; van Erven and
Harremoes 2014 (arXiv 1206.2459), Corollary 2; Canonne, Kamath and Steinke 2020
(arXiv 2004.00010), Proposition 12.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from protocols.dp.events import SampledGaussian

Floats = npt.NDArray[np.float64]

_WHOLE_ORDERS = np.array([*range(2, 65), 80, 96, 128, 160, 192, 256, 320, 384, 512], dtype=float)
_ORDERS = np.unique(
    np.concatenate([1 + np.arange(1, 30) / 30, 2 + np.arange(200) / 20, _WHOLE_ORDERS])
)
# What rounding may hide in the logarithm of one step's moment, absolute and relative.
_ABSOLUTE_ERROR = 1e-13
_RELATIVE_ERROR = 1e-12


def epsilon_at(sampled: Sequence[SampledGaussian], mu_squared: float, delta: float) -> float:
    """Return an upper bound on epsilon for these events and a Gaussian part together."""
    divergence = _divergence(sampled, mu_squared)
    gain = np.log1p(-1 / _ORDERS) - (np.log(delta) + np.log(_ORDERS)) / (_ORDERS - 1)
    return max(0.0, float(np.min(divergence + gain)) * (1 + _RELATIVE_ERROR) + _ABSOLUTE_ERROR)


def delta_at(sampled: Sequence[SampledGaussian], mu_squared: float, epsilon: float) -> float:
    """Return an upper bound on delta for these events and a Gaussian part together."""
    divergence = _divergence(sampled, mu_squared)
    exponent = (_ORDERS - 1) * (divergence - epsilon + np.log1p(-1 / _ORDERS)) - np.log(_ORDERS)
    slack = _RELATIVE_ERROR * (1 + (_ORDERS - 1) * (divergence + epsilon))
    bound = math.exp(min(0.0, float(np.min(exponent + slack))))
    return max(bound, sys.float_info.min)


def _divergence(sampled: Sequence[SampledGaussian], mu_squared: float) -> Floats:
    """Return the Renyi divergence at each of `_ORDERS`, rounded up."""
    total = _ORDERS * mu_squared / 2
    for event in sampled:
        total = total + _one_divergence(event)
    return total * (1 + _RELATIVE_ERROR)


def _one_divergence(event: SampledGaussian) -> Floats:
    if event.sample_rate == 1.0:
        return _ORDERS * (event.steps / (2 * event.noise_multiplier**2))
    return _one_step(event.sample_rate, event.noise_multiplier) * event.steps


@lru_cache(maxsize=4096)
def _one_step(sample_rate: float, noise_multiplier: float) -> Floats:
    """Return the divergence of one step at each of `_ORDERS`; 50 ms the first time."""
    from opacus.accountants.analysis.rdp import (  # noqa: PLC0415  # over a second; few need it
        compute_rdp,
    )

    per_step = compute_rdp(
        q=sample_rate,
        noise_multiplier=noise_multiplier,
        steps=1,
        orders=_WHOLE_ORDERS.tolist(),
    )
    # The logarithm of the moment is 0 at order 1, where the line begins.
    moment = np.maximum(0.0, np.asarray(per_step)) * (_WHOLE_ORDERS - 1)
    moment = np.concatenate([[0.0], moment * (1 + _RELATIVE_ERROR) + _ABSOLUTE_ERROR])
    line = np.interp(_ORDERS, np.concatenate([[1.0], _WHOLE_ORDERS]), moment)
    found = np.asarray(line / (_ORDERS - 1), dtype=np.float64)
    found.setflags(write=False)  # everybody gets the same one
    return found
