"""Does the audit stay below the claim of a sound run, and exceed that of a broken one?

The runs here are logistic regressions whose every gradient gets the noise that calibrate
gives for the claim. Only the canaries' columns are simulated: they are orthogonal to all
others, so that nothing else touches their scores.
"""

import math

import numpy as np
import pytest

from protocols.dp import canary
from protocols.dp.calibrate import noise_multiplier_for
from protocols.dp.discrete import sample_discrete_gaussian

DELTA = 1e-5
STEPS = 40
SCALE = 2**30  # fixed point of the noise


def canary_run(claim, *, canaries, seed, norm=1.0, noise_share=1.0, step_size=0.0):
    """Train on canaries alone and return their scores, who was there, and mu^2 claimed.

    A step size of 0 keeps every residual at its first value: here 1, the worst case that
    the accounting allows, by a start where the prediction of every row is all but wrong.
    """
    random = np.random.default_rng(seed).bytes
    noise_multiplier = noise_multiplier_for(epsilon=claim, delta=DELTA, count=STEPS)
    included = canary.choose(canaries, random=random)
    sigma_squared = int((noise_multiplier * SCALE) ** 2)
    weights, opened = np.zeros(canaries), np.zeros(canaries)
    for _ in range(STEPS):
        residual = 1 / (1 + np.exp(-(30.0 * (step_size == 0) + weights * norm * included)))
        # Two parties each add half of the variance, as in the joint training.
        noise = sum(
            sample_discrete_gaussian(max(1, sigma_squared // 2), canaries, random=random)
            for _ in range(2)
        )
        gradient = residual * norm * included + noise_share * noise / SCALE
        weights -= step_size * gradient
        opened += gradient
    scores = canary.score(opened, canaries=canaries, label=0)
    return scores, included, STEPS / noise_multiplier**2


def bound(claim, *, suspicion=1.0, **run):
    scores, included, mu_squared = canary_run(claim, **run)
    guesses = canary.plan_guesses(
        mu_squared=mu_squared * suspicion, canaries=len(scores), delta=DELTA
    )
    return canary.audit(scores, included, guesses=guesses, delta=DELTA).epsilon


@pytest.mark.parametrize("seed", range(5))
def test_sound_run_is_bounded_below_its_claim_and_not_trivially(seed):
    assert 1.0 <= bound(4.0, canaries=4000, seed=seed) <= 4.0


@pytest.mark.parametrize(("claim", "suspicion"), [(1.0, 1.0), (4.0, 100.0)])
def test_run_without_noise_is_caught(claim, suspicion):
    run = {"canaries": 1000, "seed": 1, "suspicion": suspicion}
    assert bound(claim, noise_share=0.0, **run) > claim
    assert bound(claim, **run) <= claim


def test_learning_run_without_noise_is_caught():
    # Residuals start at a half here and shrink as the model learns the canaries.
    run = {"canaries": 1000, "seed": 2, "step_size": 1.0}
    assert bound(1.0, noise_share=0.0, **run) > 1.0
    assert bound(1.0, **run) <= 1.0


@pytest.mark.parametrize("seed", range(3))
def test_rows_of_twice_the_norm_are_caught(seed):
    run = {"canaries": 20_000, "seed": seed, "suspicion": 4.0}
    assert bound(4.0, norm=2.0, **run) > 4.0
    assert 1.0 <= bound(4.0, **run) <= 4.0


@pytest.mark.slow
def test_bound_exceeds_the_truth_no_oftener_than_it_may():
    # With scores as telling as the claim allows at all, pure randomised response, the
    # bound must fail in at most 5 per cent of runs. 500 runs: 25 expected, 40 is 3 sigma.
    rng = np.random.default_rng(3)
    claim, canaries = 1.0, 400
    failures = 0
    for _ in range(500):
        included = canary.choose(canaries, random=rng.bytes)
        told = included ^ (rng.random(canaries) >= 1 / (1 + math.exp(-claim)))
        scores = np.where(told, 1.0, -1.0) + 1e-3 * rng.random(canaries)
        correct = int((told == included).sum())
        found = canary.epsilon_lower_bound(
            correct=correct, guesses=canaries, canaries=canaries, delta=1e-9
        )
        half = canary.audit(scores, included, guesses=canaries // 4, delta=1e-9)
        failures += found > claim
        assert half.epsilon < 3
    assert failures <= 40


@pytest.mark.slow
@pytest.mark.parametrize("claim", [1.0, 4.0, 8.0])
def test_no_sound_run_of_many_is_refuted_oftener_than_confidence_allows(claim):
    bounds = [bound(claim, canaries=1000, seed=100 + seed) for seed in range(100)]
    assert sum(found > claim for found in bounds) <= 5
    assert np.median(bounds) > 0.2 * claim
