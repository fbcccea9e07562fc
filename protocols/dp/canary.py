"""A lower bound on epsilon from one training run: the claim is tested, not believed.

1. `choose` flips a coin for each of m canaries: made-up persons, each alone in a feature
   column of its own, so that no real row and no other canary touches its direction.
2. The run trains with the rows of `place`: the chosen canaries are there, the others are
   zeroed out, which is exactly the project's neighbouring relation.
3. `score` projects what was opened, the noisy gradients summed over all steps, on each
   canary's direction. `guess` says "there" for the highest scores, "not there" for the
   lowest, and abstains between.
4. `audit` turns the count of right guesses into a bound: were the run (epsilon, delta)
   private for a smaller epsilon, so many would be right with probability 1 - confidence.

How many guesses are made must not depend on the scores: `plan_guesses` finds a good count
from the claim alone. A bound above the claim means that noise or clipping is broken. A
bound below proves nothing, and is far below for few canaries or small residuals.

Source: Steinke, Nasr and Jagielski 2023 (arXiv 2305.08846), Algorithm 1, Theorem 5.2 and
appendix D.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import bdtrc, expit, gammaln, ndtr, xlog1py, xlogy

from protocols.dp.accounting import check_delta
from protocols.dp.exact import WORD_BITS, Random, random_words
from protocols.errors import UnsupportedParameterError

Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Guesses = npt.NDArray[np.int8]

# Epsilon is walked up in these steps, then halved to the first value that is not refuted.
_STEP = 0.125
_HALVINGS = 40
_MAX_EPSILON = 64.0
_SHARES = np.geomspace(0.002, 1.0, 40)


@dataclass(frozen=True, slots=True)
class Audit:
    """The outcome of one audited run; `epsilon` is the lower bound."""

    canaries: int
    guesses: int
    correct: int
    delta: float
    confidence: float
    epsilon: float


def choose(canaries: int, *, random: Random) -> Flags:
    """Flip a fair coin for each canary: is it there?

    Shapes:
        result: (canaries,).
    """
    words = random_words((canaries + WORD_BITS - 1) // WORD_BITS, random)
    bits = np.unpackbits(words.view(np.uint8))
    return bits[:canaries].astype(np.bool_)


def place(included: Flags, *, width: int, first_column: int = 0, norm: float = 1.0) -> Floats:
    """Make the rows of the canaries: one column each, zero where the canary is not there.

    Shapes:
        included: (m,); result: (m, width).

    Args:
        included: the coins of `choose`.
        width: count of columns of the block, those of the canaries included.
        first_column: where the m columns begin that belong to canaries alone.
        norm: Euclidean norm of a row; the largest that the accounting allows.
    """
    if first_column + len(included) > width:
        raise UnsupportedParameterError(
            f"width: {width} columns leave no own one to each of {len(included)} canaries"
        )
    rows = np.zeros((len(included), width))
    index = np.flatnonzero(included)
    rows[index, first_column + index] = norm
    return rows


def score(opened: Floats, *, canaries: int, first_column: int = 0, label: int) -> Floats:
    """Project the summed noisy gradients on the canaries' directions; high means there.

    Shapes:
        opened: (width,), residual x features summed over persons and steps; result: (canaries,).

    Args:
        opened: what the owner of the block saw.
        canaries: their count.
        first_column: as in `place`.
        label: of the canaries; the residual prediction - label is negative for 1.
    """
    projected = opened[first_column : first_column + canaries].astype(np.float64)
    return -projected if label else projected


def guess(scores: Floats, *, guesses: int) -> Guesses:
    """Say 1 for the highest scores, -1 for the lowest, half each, and 0 between: no guess.

    Shapes:
        scores, result: (m,).
    """
    if not 0 <= guesses <= len(scores):
        raise UnsupportedParameterError(f"guesses: {guesses} not in 0..{len(scores)} canaries")
    order = np.argsort(scores, kind="stable")
    answer = np.zeros(len(scores), dtype=np.int8)
    answer[order[: guesses // 2]] = -1
    answer[order[len(scores) - (guesses - guesses // 2) :]] = 1
    return answer


def audit(
    scores: Floats, included: Flags, *, guesses: int, delta: float, confidence: float = 0.95
) -> Audit:
    """Bound epsilon from below by how well `scores` tell who was there.

    Shapes:
        scores, included: (m,).

    Args:
        scores: of `score`; nothing of `included` may have gone into them but by the run.
        included: the coins of `choose`.
        guesses: fixed before the scores were seen, as by `plan_guesses`.
        delta: at which epsilon is claimed.
        confidence: probability with which the bound holds.
    """
    if scores.shape != included.shape or not np.isfinite(scores).all():
        raise UnsupportedParameterError("scores: not one finite number per canary")
    answer = guess(scores, guesses=guesses)
    correct = int(np.sum((answer == 1) & included) + np.sum((answer == -1) & ~included))
    bound = epsilon_lower_bound(
        correct=correct, guesses=guesses, canaries=len(scores), delta=delta, confidence=confidence
    )
    return Audit(len(scores), guesses, correct, delta, confidence, bound)


def epsilon_lower_bound(
    *, correct: int, guesses: int, canaries: int, delta: float, confidence: float = 0.95
) -> float:
    """Return an epsilon below which (epsilon, delta)-privacy is refuted at `confidence`.

    Source:
        Steinke, Nasr and Jagielski 2023, Theorem 5.2.
    """
    check_delta(delta)
    if not 0 <= correct <= guesses <= canaries:
        raise UnsupportedParameterError("guesses: need 0 <= correct <= guesses <= canaries")
    if not 0 < confidence < 1:
        raise UnsupportedParameterError(f"confidence: {confidence} is not in (0, 1)")

    def refuted(epsilon: float) -> bool:
        return _p_value(correct, guesses, canaries, epsilon, delta) < 1 - confidence

    # The p-value need not rise with epsilon everywhere, so the first crossing is sought.
    if not refuted(0.0):
        return 0.0
    low = 0.0
    while low < _MAX_EPSILON and refuted(low + _STEP):
        low += _STEP
    high = low + _STEP
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low


def plan_guesses(
    *, mu_squared: float, canaries: int, delta: float, confidence: float = 0.95
) -> int:
    """Return the count of guesses that promises the largest bound if the claim is exact.

    Args:
        mu_squared: of the audited releases, for the largest bound on a sound run; four
            times that, to be likelier to catch a sensitivity that is twice the claimed;
            a hundred times that, to catch missing noise.
        canaries: their count.
        delta: at which epsilon is claimed.
        confidence: of the audit to come.
    """
    mu = math.sqrt(mu_squared)
    best, best_bound = canaries, -1.0
    for guesses in sorted({max(2, int(canaries * share)) for share in _SHARES}):
        if guesses > canaries:
            continue
        bound = epsilon_lower_bound(
            correct=int(guesses * _accuracy(mu, guesses / canaries)),
            guesses=guesses,
            canaries=canaries,
            delta=delta,
            confidence=confidence,
        )
        if bound > best_bound:
            best, best_bound = guesses, bound
    return best


def _accuracy(mu: float, share: float) -> float:
    """Return how often the extreme `share` of scores is guessed right, N(0, 1) or N(mu, 1)."""
    low, high = -40.0, mu + 40.0
    for _ in range(60):
        middle = (low + high) / 2
        above = (ndtr(mu - middle) + ndtr(-middle)) / 2
        low, high = (middle, high) if above > share / 2 else (low, middle)
    there, absent = float(ndtr(mu - low)), float(ndtr(-low))
    return there / (there + absent) if there > 0 else 1.0


def _p_value(correct: int, guesses: int, canaries: int, epsilon: float, delta: float) -> float:
    """Bound the probability of `correct` or more right guesses under (epsilon, delta)-privacy."""
    if correct == 0:
        return 1.0
    accuracy = float(expit(epsilon))
    tail = float(bdtrc(correct - 1, guesses, accuracy))
    # The correction by delta: the largest mean probability of missing by at most i guesses.
    wrong = np.arange(correct - 1, -1, -1, dtype=np.float64)
    log_choose = gammaln(guesses + 1) - gammaln(wrong + 1) - gammaln(guesses - wrong + 1)
    log_mass = log_choose + xlogy(wrong, accuracy) + xlog1py(guesses - wrong, -accuracy)
    mean = np.cumsum(np.exp(log_mass)) / np.arange(1, correct + 1)
    return min(1.0, tail + 2 * canaries * delta * float(mean.max()))
