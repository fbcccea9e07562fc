"""An audit of the training program itself: made-up persons, real runs, a lower bound.

Many small runs are one audit: each canary is in one run only, so that together they are
one mechanism in which every person takes part once, and its claim is that of one run.

The bound must stay below the claim, and must rise above it where a build adds no noise or
lets rows of twice the norm in. 4,000 canaries show the first; the second takes 80,000,
which is what makes it clear of chance. Randomness is from seeds: the figures are fixed.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from protocols.codec import Reader
from protocols.dp import accounting
from protocols.dp.canary import Audit, audit, choose, place, plan_guesses, score
from protocols.dp.discrete import sample_discrete_gaussian
from protocols.dp.events import Composed, Gaussian
from protocols.dp.neighbours import Neighbours
from protocols.program import Charge, Checkpoint
from protocols.vertical import head
from protocols.vertical.head import Base, Block, Inputs, Terms
from protocols.vertical.response import Sampler
from protocols.vertical.ring import toward_zero
from protocols.vertical.settings import Schedule

DELTA = 1e-6
CANARIES, STEPS = 200, 2
NOISE_MULTIPLIER = 8**0.5  # two steps: mu = 1/2
# Steps so short that a logit stays near 0, where the residual of a canary is 1/2: nearly
# the largest, since the response may move by 0.02 only.
STEP_SIZE = 1e-6
PARTIES = ("insurer", "hub", "police")
TERMS = Terms(
    rows=CANARIES,
    blocks=(Block("police", CANARIES, 1.0, 1.0),),
    label_holder="insurer",
    steps=STEPS,
    noise_multiplier=NOISE_MULTIPLIER,
    degree=1,
    schedule=Schedule(STEP_SIZE, 0.0, 0.0),
    base=Base(CANARIES, 0.5, 0.02),
)


def discrete(seed: int) -> Sampler:
    source = np.random.default_rng(seed)

    def draw(variance, size):
        return torch.from_numpy(sample_discrete_gaussian(variance, size, random=source.bytes))

    return draw


def silent(_: int, size: int) -> torch.Tensor:
    return torch.zeros(size, dtype=torch.int64)


def one_run(train_all, run: int, sampler: Callable[[int], Sampler], norm: float):
    """Train on the canaries that a coin put there; return their scores, coins and charges."""
    included = choose(CANARIES, random=np.random.default_rng([run, 1]).bytes)
    inputs = {name: Inputs() for name in PARTIES}
    rows = place(included, width=CANARIES, norm=norm)
    inputs["police"].features = torch.from_numpy(rows.T.copy())
    there = torch.from_numpy(included.astype(np.int64))
    inputs["insurer"].mask, inputs["insurer"].labels = there, there.clone()
    charges, states = [], []

    def watch(name, request):
        if name == "police" and isinstance(request, Charge):
            charges.append(request.event)
        elif name == "police" and isinstance(request, Checkpoint):
            states.append(request.state)

    seeds = {name: 10 * run + place for place, name in enumerate(PARTIES)}
    noise = {name: sampler(seed) for name, seed in seeds.items()}
    train_all(TERMS, inputs, seeds=seeds, noise=noise, watch=watch)
    reader = Reader(states[-1], "state")
    reader.u8(), reader.u32(), reader.u32()
    # Without momentum the weights are the sum of all opened gradients, up to a factor.
    opened = -np.frombuffer(reader.block(), dtype="<f8")
    return score(opened, canaries=CANARIES, label=1), included, charges


def audited(train_all, *, runs: int, sampler=discrete, norm: float = 1.0) -> tuple[Audit, float]:
    """Return the audit of many runs and the epsilon that the parties were charged."""
    scores, coins, charges = [], [], []
    for run in range(runs):
        found, included, charges = one_run(train_all, run, sampler, norm)
        scores.append(found)
        coins.append(included)
    paid = Composed(tuple(charges))
    assert paid == Composed((Gaussian(NOISE_MULTIPLIER),) * STEPS)
    guesses = plan_guesses(
        # The count of guesses that would best show an error by a factor of two.
        mu_squared=4 * accounting.mu_squared(paid),
        canaries=runs * CANARIES,
        delta=DELTA,
    )
    result = audit(np.concatenate(scores), np.concatenate(coins), guesses=guesses, delta=DELTA)
    claim = accounting.epsilon(paid, delta=DELTA, neighbours=Neighbours.ZERO_OUT_ONE_PERSON)
    return result, claim


def let_longer_rows_in(monkeypatch) -> None:
    """Build a party that forgets to check its rows against the norm."""
    monkeypatch.setattr(
        head, "quantize", lambda rows, block, terms: toward_zero(rows, terms.feature_bits)
    )


def test_bound_stays_below_the_claim(train_all):
    result, claim = audited(train_all, runs=20)
    assert claim == pytest.approx(2.25, abs=0.02)
    assert result.epsilon < claim


def test_training_without_noise_is_caught(train_all):
    result, claim = audited(train_all, runs=20, sampler=lambda _: silent)
    assert result.correct == result.guesses
    assert result.epsilon > 1.5 * claim


def test_rows_of_twice_the_norm_are_caught(train_all, monkeypatch):
    let_longer_rows_in(monkeypatch)
    result, claim = audited(train_all, runs=400, norm=2.0)
    assert result.epsilon > claim


@pytest.mark.slow
def test_bound_of_many_canaries_is_near_but_below_the_claim(train_all):
    result, claim = audited(train_all, runs=600)
    assert 0.4 * claim < result.epsilon < claim


@pytest.mark.slow
def test_rows_of_twice_the_norm_are_caught_clearly(train_all, monkeypatch):
    let_longer_rows_in(monkeypatch)
    result, claim = audited(train_all, runs=1500, norm=2.0)
    assert result.epsilon > 1.1 * claim


@pytest.mark.slow
def test_noise_of_one_party_alone_is_caught(train_all):
    # Half of the variance: the claim is off by the root of two. The hub adds none.
    def sampler(seed):
        return silent if seed % 10 == PARTIES.index("hub") else discrete(seed)

    whole, _ = audited(train_all, runs=600)
    half, _ = audited(train_all, runs=600, sampler=sampler)
    assert half.epsilon > 1.1 * whole.epsilon
