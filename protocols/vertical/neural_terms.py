"""What a plan says about one partner's neural expert, with its limits; importable without torch."""

from __future__ import annotations

from dataclasses import dataclass

from protocols.dp.events import Gaussian, SampledGaussian
from protocols.errors import UnsupportedParameterError

NO_TASK, LABELS, RECONSTRUCTION = "none", "labels", "reconstruction"
MAX_WIDTH = 64
MAX_BATCHES = 1 << 14
MAX_STEPS = 10_000
MAX_ROUNDS = 8


@dataclass(frozen=True, slots=True)
class NeuralTerms:
    """How one partner's expert is trained.

    Attributes:
        width: coordinates of the embedding.
        task: `labels` predicts the label, `reconstruction` fills in hidden columns.
        noise: noise multiplier of DP-SGD. batches: a step takes each person with
            probability 1/batches.
        weight: the embedding's share of the squared norm of an encoded row.
        rounds: into which the steps are cut, with an average over the members of the block
            after each; 0 where the expert is trained by its owner alone.
    """

    width: int
    task: str
    noise: float
    batches: int
    steps: int
    weight: float
    rounds: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.width <= MAX_WIDTH:
            raise _refused("neural_width", f"must be 0 or 1 to {MAX_WIDTH}")
        if self.task not in (LABELS, RECONSTRUCTION):
            raise _refused("neural_task", f"must be {LABELS} or {RECONSTRUCTION}")
        # The rate of a power of two is an exact number, here and in Opacus's accountant.
        if not 1 <= self.batches <= MAX_BATCHES or self.batches & (self.batches - 1):
            raise _refused("neural_batches", f"must be a power of two up to {MAX_BATCHES}")
        if not 1 <= self.steps <= MAX_STEPS:
            raise _refused("neural_steps", f"must be 1 to {MAX_STEPS}")
        if not 0 <= self.rounds <= MAX_ROUNDS or (self.rounds and self.steps % self.rounds):
            raise _refused(
                "neural_rounds", f"must be 0 to {MAX_ROUNDS}, and divide the steps evenly"
            )
        if not 0 < self.weight < 1:
            raise _refused("neural_weight", "must lie between 0 and 1")
        try:
            Gaussian(self.noise)
        except UnsupportedParameterError as error:
            raise _refused("neural_noise", "must be a noise multiplier greater than 0") from error

    @property
    def event(self) -> SampledGaussian:
        """Return what the whole training releases."""
        return SampledGaussian(self.noise, 1 / self.batches, self.steps)

    @property
    def round_event(self) -> SampledGaussian:
        """Return what one round releases, where there are rounds."""
        return SampledGaussian(self.noise, 1 / self.batches, self.steps // max(self.rounds, 1))


def _refused(name: str, rule: str) -> UnsupportedParameterError:
    return UnsupportedParameterError(f"encoder.{name}: {rule}; correct the plan")
