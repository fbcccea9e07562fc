"""An audit of training over a block of two members, by one of them and a compute party.

As `test_canary_training`, but every canary is known to both members with a row of the whole
norm: that it counts once is what the claim rests on. What the member opens is all that it sees;
the compute party that it plays with tells it its own noise.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from protocols.dp import accounting
from protocols.dp.canary import Audit, audit, choose, place, plan_guesses, score
from protocols.dp.discrete import sample_discrete_gaussian
from protocols.dp.events import Composed, Gaussian
from protocols.dp.neighbours import Neighbours
from protocols.program import Charge, Send, run_together
from protocols.vertical import combining
from protocols.vertical.contributing import contribute
from protocols.vertical.head import Base, Block, Inputs, Terms, train
from protocols.vertical.outsider import Outsider
from protocols.vertical.response import Sampler
from protocols.vertical.settings import Schedule
from protocols.vertical.shares import Trio

DELTA = 1e-6
CANARIES, STEPS = 200, 2
NOISE_MULTIPLIER = 8**0.5  # two steps: mu = 1/2
LINES = ("line-a", "line-b")
COMPUTE = ("insurer", "hub", "police")
TERMS = Terms(
    rows=CANARIES,
    blocks=(Block("lines", CANARIES, 1.0, 1.0, LINES),),
    label_holder="insurer",
    steps=STEPS,
    noise_multiplier=NOISE_MULTIPLIER,
    degree=1,
    # Steps so short that a logit stays near 0, where the residual of a canary is 1/2.
    schedule=Schedule(1e-6, 0.0, 0.0),
    base=Base(CANARIES, 0.5, 0.02),
)


def discrete(seed: int) -> Sampler:
    source = np.random.default_rng(seed)

    def draw(variance, size):
        return torch.from_numpy(sample_discrete_gaussian(variance, size, random=source.bytes))

    return draw


def silent(_: int, size: int) -> torch.Tensor:
    return torch.zeros(size, dtype=torch.int64)


def quiet(*names: str) -> Callable[[str, int], Sampler]:
    """Return noise of all compute parties but the named ones."""
    return lambda name, seed: silent if name in names else discrete(seed)


def one_run(run: int, sampler: Callable[[str, int], Sampler]):
    """Train on the canaries that a coin put there; return scores, coins and charges."""
    included = choose(CANARIES, random=np.random.default_rng([run, 1]).bytes)
    there = torch.from_numpy(included.astype(np.int64))
    rows = torch.from_numpy(place(included, width=CANARIES, norm=1.0).T.copy())
    opened, charges = np.zeros(CANARIES, dtype=np.int64), []

    def watch(name, request):
        if name == "line-b" and isinstance(request, Charge):
            charges.append(request.event)
        elif (
            isinstance(request, Send)
            and request.to == "line-b"
            and len(request.payload) == 8 * CANARIES
        ):
            opened[:] += np.frombuffer(request.payload, dtype="<i8")

    programs = {}
    for at, name in enumerate(COMPUTE):
        seed = 10 * run + at
        random = np.random.default_rng(seed).bytes
        inputs = Inputs(None, there.clone(), there) if name == "insurer" else Inputs()
        trio = Trio(names=COMPUTE, ours=name, random=random, outsiders=LINES)
        programs[name] = train(trio=trio, terms=TERMS, inputs=inputs, noise=sampler(name, seed + 5))
    for at, name in enumerate(LINES):
        random = np.random.default_rng([run, at, 7]).bytes
        side = Outsider(names=COMPUTE, ours=name, random=random)
        programs[name] = contribute(outsider=side, terms=TERMS, inputs=Inputs(rows, present=there))
    run_together(programs, watch)
    return score(opened.astype(np.float64), canaries=CANARIES, label=1), included, charges


def audited(sampler: Callable[[str, int], Sampler], *, runs: int) -> tuple[Audit, float]:
    """Return the audit of many runs and the epsilon that the member was charged."""
    scores, coins, charges = [], [], []
    for run in range(runs):
        found, included, charges = one_run(run, sampler)
        scores.append(found)
        coins.append(included)
    paid = Composed(tuple(charges))
    assert paid == Composed((Gaussian(NOISE_MULTIPLIER),) * STEPS)
    guesses = plan_guesses(
        mu_squared=4 * accounting.mu_squared(paid), canaries=runs * CANARIES, delta=DELTA
    )
    result = audit(np.concatenate(scores), np.concatenate(coins), guesses=guesses, delta=DELTA)
    claim = accounting.epsilon(paid, delta=DELTA, neighbours=Neighbours.ZERO_OUT_ONE_PERSON)
    return result, claim


def ungate(monkeypatch) -> None:
    """Build parties that add up the rows of all members, whoever knows the person first."""

    def others(holders, gates, parts, shape):
        del holders, gates
        total = torch.zeros(shape, dtype=torch.int64)
        for part in parts[1:]:
            total += 0 if part.first is None else part.first
        return total

    monkeypatch.setattr(combining, "_others", others)


@pytest.mark.parametrize("accomplice", COMPUTE)
def test_member_with_one_compute_party_stays_below_the_claim(accomplice):
    result, claim = audited(quiet(accomplice), runs=20)
    assert claim == pytest.approx(2.25, abs=0.02)
    assert result.epsilon < claim


def test_training_without_noise_is_caught():
    result, claim = audited(quiet(*COMPUTE), runs=20)
    assert result.correct == result.guesses
    assert result.epsilon > 1.5 * claim


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_noise_of_one_party_alone_is_caught():
    # All that a coalition of a member and two compute parties would leave: half the variance.
    whole, _ = audited(quiet("hub"), runs=600)
    half, _ = audited(quiet("hub", "police"), runs=600)
    assert half.epsilon > 1.1 * whole.epsilon


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_rows_of_both_members_added_up_are_caught(monkeypatch):
    ungate(monkeypatch)
    result, claim = audited(quiet("hub"), runs=600)
    assert result.epsilon > claim


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_bound_of_many_canaries_is_near_but_below_the_claim():
    result, claim = audited(quiet("hub"), runs=600)
    assert 0.4 * claim < result.epsilon < claim
