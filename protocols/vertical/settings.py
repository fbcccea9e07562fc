"""What a plan may choose about encoding and descent, with its limits; importable without torch."""

from __future__ import annotations

from dataclasses import dataclass

from protocols.errors import UnsupportedParameterError
from protocols.vertical.neural_terms import NO_TASK, NeuralTerms

MAX_DEGREE = 3
MAX_KNOTS = 256
MAX_BOUND = 16
MAX_STEP_SIZE = 1e6
MAX_THRESHOLD = 100
MIN_PAIR_KNOTS, MAX_PAIR_KNOTS = 2, 16


@dataclass(frozen=True, slots=True)
class Schedule:
    """How an owner follows its gradients.

    Attributes:
        step_size: factor of the mean gradient; greater than 0.
        momentum: share of the last direction kept, in [0, 1).
        average_from: share of the steps after which iterates are averaged, in [0, 1).
        threshold: how far above the noise a column's weights must rise to stay, in
            standard deviations of the mean gradient; 0 keeps them all.
    """

    step_size: float
    momentum: float
    average_from: float
    threshold: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.step_size < MAX_STEP_SIZE:
            raise UnsupportedParameterError(
                "step size: must be between 0 and 1e6; correct the plan"
            )
        if not (0 <= self.momentum < 1 and 0 <= self.average_from < 1):
            raise UnsupportedParameterError(
                "momentum, averaging: must be in [0, 1); correct the plan"
            )
        if not 0 <= self.threshold < MAX_THRESHOLD:
            raise UnsupportedParameterError("threshold: must be in [0, 100); correct the plan")


@dataclass(frozen=True, slots=True)
class EncoderTerms:
    """How a partner encodes, and which shares of the run's mu^2 it may spend on it.

    Attributes:
        knots: coordinates of a numeric column, before spikes and missing values; 1 is a
            single ramp over the public range, for tables with very many columns.
        edge_share: for histograms; 0 takes fixed knots, which look at no row.
        mean_share: for the means that rows are centred by.
        pairs_weight: share of the squared norm of an encoded row for products of two columns;
            0 is none. They follow from the means, which therefore must be released.
        pair_knots: coordinates of a numeric column within a product, before missing values.
        neural_width and others: as in `NeuralTerms`; all at rest without an expert.
    """

    knots: int = 32
    edge_share: float = 0.0
    mean_share: float = 0.0
    pairs_weight: float = 0.0
    pair_knots: int = 4
    neural_width: int = 0
    neural_task: str = NO_TASK
    neural_noise: float = 0.0
    neural_batches: int = 0
    neural_steps: int = 0
    neural_weight: float = 0.0
    neural_rounds: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.knots <= MAX_KNOTS:
            raise UnsupportedParameterError("encoder.knots: must be 1 to 256; correct the plan")
        if not (0 <= self.edge_share < 1 and 0 <= self.mean_share < 1):
            raise UnsupportedParameterError("encoder shares: must lie in [0, 1); correct the plan")
        self._check_pairs()
        resting = (NO_TASK, 0, 0, 0, 0, 0)
        others: tuple[object, ...] = (
            self.neural_task,
            self.neural_noise,
            self.neural_batches,
            self.neural_steps,
        )
        others += (self.neural_weight, self.neural_rounds)
        if self.neural is None and others != resting:
            raise UnsupportedParameterError(
                f"encoder.neural_width: 0 is no expert, so neural_task must be {NO_TASK} and the "
                "others 0; correct the plan"
            )

    def _check_pairs(self) -> None:
        if not 0 <= self.pairs_weight < 1:
            raise UnsupportedParameterError(
                "encoder.pairs_weight: must lie in [0, 1); correct the plan"
            )
        if not MIN_PAIR_KNOTS <= self.pair_knots <= MAX_PAIR_KNOTS:
            raise UnsupportedParameterError(
                f"encoder.pair_knots: must be {MIN_PAIR_KNOTS} to {MAX_PAIR_KNOTS}; "
                "correct the plan"
            )
        if self.pairs_weight > 0 and not self.mean_share > 0:
            raise UnsupportedParameterError(
                "encoder.pairs_weight: pairs follow from the means, so mean_share must be above "
                "0; correct the plan"
            )

    @property
    def neural(self) -> NeuralTerms | None:
        """Return the terms of the expert, None if there is none."""
        if self.neural_width == 0:
            return None
        return NeuralTerms(
            width=self.neural_width,
            task=self.neural_task,
            noise=self.neural_noise,
            batches=self.neural_batches,
            steps=self.neural_steps,
            weight=self.neural_weight,
            rounds=self.neural_rounds,
        )
