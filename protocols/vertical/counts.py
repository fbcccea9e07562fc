"""How many people are trained on and how many of them are positive, with noise.

Owners need both: the mean gradient is taken over the first, and the response starts at
their ratio. Exact counts would tell of one person; these do not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from protocols.dp.discrete import sample_discrete_gaussian
from protocols.dp.events import Gaussian
from protocols.errors import UnsupportedParameterError
from protocols.program import Charge, Program
from protocols.vertical.budget import noise_multiplier_of_share
from protocols.vertical.head_terms import Base
from protocols.vertical.outsider import Outsider
from protocols.vertical.pool import Outcome, bring_rows, count_rows, half_noise
from protocols.vertical.response import MIN_RATE, Sampler
from protocols.vertical.shares import Trio

if TYPE_CHECKING:
    from protocols.vertical.plan import TrainingPlan

# One person is one row, and at most one positive: the two counts move by (1, 1).
_MOVED = 2  # the square of it
_SENSITIVITY = math.sqrt(_MOVED)
_MAX_ROWS = 1 << 31


@dataclass(frozen=True, slots=True)
class Counts:
    """Noised counts of rows in training and of positives among them."""

    trained: int
    positives: int

    def __post_init__(self) -> None:
        if not 1 <= self.trained <= _MAX_ROWS or not 0 <= self.positives <= self.trained:
            raise UnsupportedParameterError("counts: rows and positives do not fit together")

    def base(self, reach: float) -> Base:
        """Return where the response starts."""
        rate = min(max(self.positives / self.trained, MIN_RATE), 1 - MIN_RATE)
        return Base(self.trained, rate, reach)


def release_counts(
    plan: TrainingPlan,
    labels: NDArray[np.float64],
    train: NDArray[np.bool_],
    random: Callable[[int], bytes],
) -> Program[Counts]:
    """Count and noise, as the label holder.

    Shapes:
        labels, train: (rows,).

    Privacy:
        One Gaussian mechanism on two counts, charged before they are drawn; neighbours
        zero out one person.
    """
    noise = noise_multiplier_of_share(plan, plan.count_share)
    yield Charge("labels/counts", Gaussian(noise))
    exact = np.array([int(train.sum()), int(labels[train].sum())])
    variance = math.ceil((noise * _SENSITIVITY) ** 2)
    trained, positives = (exact + sample_discrete_gaussian(variance, 2, random=random)).tolist()
    return _within_limits(trained, positives)


def pool_counts(
    plan: TrainingPlan,
    station: Trio | Outsider,
    own: Outcome | None,
    *,
    rows: int,
    noise: Sampler,
) -> Program[Counts | None]:
    """Count over several label holders, a person of several once; told to them alone.

    Args:
        station: our side, connected: of a compute party, or of a label holder outside.
        own: a label holder's rows; None at a compute party that is none.

    Privacy:
        As `release_counts`: the same single mechanism, paid by every label holder.
    """
    multiplier = noise_multiplier_of_share(plan, plan.count_share)
    if own is not None:
        yield Charge(f"pooled/{plan.label_kind.name}/counts", Gaussian(multiplier))
    if isinstance(station, Trio):
        # A person is in one row that counts, however many holders know it.
        opened = yield from count_rows(
            station,
            plan.label_holders,
            own,
            rows,
            lambda size: half_noise(noise, multiplier, 1, _MOVED, size),
        )
    elif own is not None:
        opened = yield from bring_rows(station, plan.label_holders, own)
    if own is None or opened is None:
        return None
    trained, positives = opened.tolist()
    return _within_limits(trained, positives)


def _within_limits(trained: int, positives: int) -> Counts:
    trained = max(trained, 1)
    return Counts(trained, min(max(positives, 0), trained))
