"""Sensible terms for a neural expert: what an operator gets who only names a partner.

They are modest on purpose: on the benchmark sets the binning coordinates alone do better
at epsilon 1, so that an expert is chosen for what a partner's table is known to hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from protocols.dp.calibrate import sampled_noise_multiplier_for
from protocols.errors import UnsupportedParameterError
from protocols.vertical.neural_terms import LABELS, RECONSTRUCTION

WIDTH = 8
BATCHES = 32
STEPS = 128
# Of a block of several: after each its members average, by one message of Flower each.
ROUNDS = 4
WEIGHT = 0.15
# C_k^2 of the label holder's own columns, which are in the head only with an expert.
OWN_NORM = 0.1
# Of epsilon, for all experts: with much more no noise of the steps keeps the rest.
MAX_SHARE = 0.9


def check_experts(shares: Mapping[str, float], partners: Mapping[str, object]) -> None:
    """Refuse experts of unknown partners, or shares of epsilon that leave nothing else.

    Raises:
        UnsupportedParameterError: names the field, the rule and the cure.
    """
    unknown = shares.keys() - partners.keys()
    if unknown:
        raise UnsupportedParameterError(
            f"neural: {min(unknown)[:32]} is not among the partners; approve it or correct the name"
        )
    if not (all(share > 0 for share in shares.values()) and sum(shares.values()) <= MAX_SHARE):
        raise UnsupportedParameterError(
            f"neural: shares of epsilon must be above 0 and together at most {MAX_SHARE:g}; "
            "choose others"
        )


def expert_fields(
    name: str, *, is_label_holder: bool, epsilon: float, delta: float, shared: bool = False
) -> dict[str, Any]:
    """Return the fields of `EncoderTerms` for an expert that costs at most `epsilon` alone.

    Raises:
        UnsupportedParameterError: no noise is enough for so little.
    """
    try:
        noise = sampled_noise_multiplier_for(
            epsilon=epsilon, delta=delta, sample_rate=1 / BATCHES, steps=STEPS
        )
    except UnsupportedParameterError as error:
        raise UnsupportedParameterError(
            f"neural of {name}: epsilon {epsilon:g} is too little to train with; "
            "give it a larger share or leave it out"
        ) from error
    return {
        "neural_width": WIDTH,
        "neural_task": LABELS if is_label_holder else RECONSTRUCTION,
        "neural_noise": noise,
        "neural_batches": BATCHES,
        "neural_steps": STEPS,
        "neural_weight": WEIGHT,
        "neural_rounds": ROUNDS if shared else 0,
    }
