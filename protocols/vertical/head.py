"""Joint training of the head inside three-party secret sharing, one full batch a step.

    owner k      u_k = clip(phi_k w_k)                        in the clear, at its owner
    all          [z] = sum_k [u_k];  [r] = [m] s([z]) - [y]   shared; r in fixed point
    all          [g_k] = [phi_k] [r]                          shared, one for each owner
    not k        add discrete Gaussian noise of half the variance each, open to k alone
    owner k      w_k <- descent(w_k, noisy g_k)               post-processing

Row i counts for nothing unless its mask m_i is 1 (the label holder's customer in the
training part). Nothing but the noisy gradient of its own block is ever opened to anyone.

Privacy:
    Neighbours: zero out one person. With ||phi_k(x)|| <= C_k and sum C_k^2 <= 1 one person
    moves all blocks together by at most max|r| in Euclidean norm, so that one step is one
    Gaussian mechanism with the plan's noise multiplier against every single party. The
    recipient knows none of the two noises. Each compute party pays before it sends.

Source:
    Mohassel and Rindal 2018 (ABY3, eprint 2018/403), section 5; noise by several parties
    after Kairouz, Liu, Steinke 2021 (arXiv 2102.06387).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from fractions import Fraction

import torch
from torch import Tensor

from protocols.codec import canonical_json
from protocols.dp.discrete import MAX_SIGMA_SQUARED
from protocols.dp.events import Gaussian
from protocols.errors import MalformedMessageError, UnsupportedParameterError
from protocols.program import Charge, Checkpoint, Program, Progress
from protocols.vertical.conditioning import Conditioner
from protocols.vertical.descent import Descent
from protocols.vertical.response import (
    LOGIT_BITS,
    RESIDUAL_BITS,
    WORD_LIMIT_BITS,
    Response,
    Sampler,
    noise_variance,
)
from protocols.vertical.resume import common_step
from protocols.vertical.ring import to_fixed, to_real, toward_zero
from protocols.vertical.settings import Schedule
from protocols.vertical.shares import Shared, Trio, matrix_product, product

# Float32 features may exceed their norm by a rounding error; the sensitivity allows for it.
NORM_TOLERANCE = Fraction(1, 1_000_000)
MIN_FEATURE_BITS = 8
# Words of one frame while the encoded table is shared: 16 MiB.
SHARE_CHUNK_WORDS = 1 << 21


@dataclass(frozen=True, slots=True)
class Block:
    """The public shape of one owner's encoded columns."""

    owner: str
    width: int
    norm: float
    logit_bound: float


@dataclass(frozen=True, slots=True)
class Base:
    """What the label holder released about its labels, with noise: where the response starts.

    Attributes:
        trained: rows in training, at least 1; the mean gradient is taken over them.
        rate: share of positives among them.
        reach: how far the response may move from the rate.
    """

    trained: int
    rate: float
    reach: float


@dataclass(frozen=True, slots=True)
class Terms:
    """What all compute parties must agree on before the first step; all of it public."""

    rows: int
    blocks: tuple[Block, ...]
    label_holder: str
    steps: int
    noise_multiplier: float
    degree: int
    schedule: Schedule
    base: Base | None = None

    def __post_init__(self) -> None:
        if len({block.owner for block in self.blocks}) != len(self.blocks):
            raise UnsupportedParameterError("blocks: one for each owner; correct the plan")
        if not all(
            block.width > 0 and block.norm > 0 and block.logit_bound > 0 for block in self.blocks
        ):
            raise UnsupportedParameterError(
                "width, norm and logit bound of a block: must be more than 0; correct the plan"
            )
        if not sum(block.norm**2 for block in self.blocks) <= 1 + 1e-9:
            raise UnsupportedParameterError(
                "norms: their squares must sum to at most 1; correct the plan"
            )
        if not self.blocks or self.rows < 1 or self.steps < 1 or not self.noise_multiplier > 0:
            raise UnsupportedParameterError(
                "blocks, rows, steps, noise multiplier: must be more than 0; correct the plan"
            )
        if self.base is not None and not self.base.trained > 0:
            raise UnsupportedParameterError("trained rows: must be more than 0; check the counts")
        if self.feature_bits < MIN_FEATURE_BITS:
            raise UnsupportedParameterError(
                f"rows: {self.rows} leave too few bits; sample the population"
            )
        # Found out here and not at the first draw, when the step is paid for already.
        if not (self.noise_multiplier * self.sensitivity) ** 2 <= 2 * MAX_SIGMA_SQUARED:
            raise UnsupportedParameterError(
                "noise multiplier: no such noise can be drawn; allow more epsilon or fewer steps"
            )

    @property
    def response(self) -> Response:
        """Return the tangent at the base rate, or the polynomial on the owners' logit bounds."""
        if self.base is not None:
            return Response.linear(rate=self.base.rate, reach=self.base.reach)
        return Response.fitted(
            degree=self.degree, bound=sum(block.logit_bound for block in self.blocks)
        )

    @property
    def digest(self) -> bytes:
        """Return the SHA-256 of what must be the same everywhere, to the last bit.

        The noise multiplier is left out: each party adds what it computed itself.
        """
        fields = asdict(self)
        del fields["noise_multiplier"]
        fields["coefficients"] = self.response.coefficients
        return hashlib.sha256(b"lianfang head terms v1\x00" + canonical_json(fields)).digest()

    def clip(self, block: Block) -> tuple[float, float]:
        """Return an owner's part of the public bound on the logit."""
        if self.base is None:
            return -block.logit_bound, block.logit_bound
        response, owners = self.response, len(self.blocks)
        return response.low / owners, response.high / owners

    @property
    def averaged_rows(self) -> int:
        """Return the rows that a mean gradient is taken over."""
        return self.rows if self.base is None else self.base.trained

    @property
    def feature_bits(self) -> int:
        """Return the fixed-point bits of features for which no gradient can overflow."""
        return min(16, WORD_LIMIT_BITS - RESIDUAL_BITS - 2 - self.rows.bit_length())

    @property
    def sensitivity(self) -> int:
        """Return the largest change of all gradients together, in their integer unit.

        Twice the tolerance of `quantize` covers that of the sum of squared norms too.
        """
        exact = self.response.residual_bound() << self.feature_bits
        return math.ceil(exact * (1 + 2 * NORM_TOLERANCE))

    @property
    def gradient_deviation(self) -> float:
        """Return the noise of one opened mean gradient's coordinate."""
        unit = float(1 << self.gradient_bits) * self.averaged_rows
        return self.noise_multiplier * self.sensitivity / unit

    @property
    def gradient_bits(self) -> int:
        """Return the fixed-point bits of an opened gradient."""
        return self.feature_bits + RESIDUAL_BITS


@dataclass(slots=True)
class Inputs:
    """What one party brings, in the clear.

    Shapes:
        features: (width, rows), zero where a row is absent; labels, mask: (rows,), 0 or 1.
    """

    features: Tensor | None = field(default=None, repr=False)
    labels: Tensor | None = field(default=None, repr=False)
    mask: Tensor | None = field(default=None, repr=False)


@dataclass(slots=True)
class Head:
    """One party's part of the head; `weights` is None at a party without columns."""

    weights: Tensor | None = field(default=None, repr=False)


def train(
    *,
    trio: Trio,
    terms: Terms,
    inputs: Inputs,
    noise: Sampler,
    resume: Mapping[int, bytes] | None = None,
    conditioner: Conditioner | None = None,
) -> Program[Head]:
    """Run all steps as one compute party and return our part of the averaged head.

    Args:
        trio: our side of the computation, not connected yet.
        terms: the same at every party.
        inputs: ours in the clear; checked before anything is sent.
        noise: draws discrete Gaussian integers; its randomness is the caller's.
        resume: our kept checkpoints by step, at least the last two; training goes on from
            the largest step that all three parties hold.
        conditioner: of our block, as its encoder built it.
    """
    block = next((block for block in terms.blocks if block.owner == trio.name(0)), None)
    features = None if block is None else quantize(inputs.features, block, terms)
    outcome = check_outcome(inputs, terms) if trio.name(0) == terms.label_holder else (None, None)
    kept = resume or {}
    yield from trio.connect()
    start = yield from common_step(trio, terms.digest, kept)
    descent = None
    if block is not None:
        descent = Descent(
            terms.schedule,
            block.width,
            terms.steps,
            kept.get(start),
            conditioner=conditioner,
            deviation=terms.gradient_deviation,
        )
        if descent.step != start:
            raise MalformedMessageError(f"checkpoint: of step {descent.step}, expected {start}")
    shared = yield from _share_tables(trio, terms, features)
    mask, labels = yield from _share_outcome(trio, terms, outcome)
    scale = float(1 << terms.feature_bits)
    clear = None if features is None else features.to(torch.float32) / scale
    variance = noise_variance(
        noise_multiplier=terms.noise_multiplier, sensitivity=terms.sensitivity
    )
    for step in range(start, terms.steps):
        own = None
        if descent is not None and clear is not None and block is not None:
            own = partial_logit(clear, descent.weights, terms.clip(block))
        residual = yield from _residual(trio, terms, own, mask, labels)
        yield Charge(f"train/step/{step}", Gaussian(terms.noise_multiplier))
        for each, table in shared:
            gradient = yield from _open_gradient(
                trio, each, table, residual, rows=terms.rows, noise=noise, variance=variance
            )
            if gradient is not None and descent is not None:
                descent.apply(to_real(gradient, terms.gradient_bits) / terms.averaged_rows)
        # A party without columns has no state, but says by its step how far it has come.
        yield Checkpoint(step + 1, b"" if descent is None else descent.encode())
        yield Progress("train", step + 1, terms.steps)
    return Head(None if descent is None else descent.result())


def quantize(features: Tensor | None, block: Block, terms: Terms) -> Tensor:
    """Cut features to fixed point and refuse a row longer than the block's public norm.

    Shapes:
        features, result: (width, rows); int64.
    """
    if features is None or tuple(features.shape) != (block.width, terms.rows):
        raise UnsupportedParameterError(
            f"features of {block.owner}: need {block.width} x {terms.rows}"
        )
    if not bool(torch.isfinite(features).all()):
        raise UnsupportedParameterError(f"features of {block.owner}: need finite numbers")
    words = toward_zero(features, terms.feature_bits)
    largest = float(words.to(torch.float64).pow(2).sum(0).sqrt().max())
    if not largest <= block.norm * (1 << terms.feature_bits) * float(1 + NORM_TOLERANCE):
        raise UnsupportedParameterError(f"features of {block.owner}: a row is longer than its norm")
    return words


def check_outcome(inputs: Inputs, terms: Terms) -> tuple[Tensor, Tensor]:
    """Return the label holder's mask and masked labels; anything but 0 and 1 is refused.

    Privacy:
        The sensitivity holds for labels and masks of 0 and 1 only.

    Shapes:
        results: (rows,), int64.
    """
    mask = _flags("mask", inputs.mask, terms.rows)
    return mask, _flags("labels", inputs.labels, terms.rows) * mask


def _flags(name: str, values: Tensor | None, rows: int) -> Tensor:
    if values is None or tuple(values.shape) != (rows,):
        raise UnsupportedParameterError(f"{name}: the label holder must give one for each row")
    if not bool(((values == 0) | (values == 1)).all()):
        raise UnsupportedParameterError(f"{name}: must be 0 or 1; correct the table")
    return values.to(torch.int64)


def partial_logit(features: Tensor, weights: Tensor, clip: tuple[float, float]) -> Tensor:
    """Return phi_k w_k for all rows, clipped to the owner's public part of the logit bound."""
    logit = weights.to(torch.float32) @ features  # (rows,)
    return logit.clamp(*clip)


def _share_tables(
    trio: Trio, terms: Terms, features: Tensor | None
) -> Program[list[tuple[Block, Shared]]]:
    """Share every owner's table, a few columns a frame so that memory stays bounded."""
    shared = []
    columns = max(1, SHARE_CHUNK_WORDS // terms.rows)
    for block in terms.blocks:
        parts = []
        for start in range(0, block.width, columns):
            width = min(columns, block.width - start)
            own = None
            if block.owner == trio.name(0) and features is not None:
                own = features[start : start + width]
            parts.append((yield from trio.share(block.owner, own, (width, terms.rows))))
            yield Progress(f"share {block.owner}", start + width, block.width)
        shared.append((block, _stacked(parts)))
    return shared


def _stacked(parts: list[Shared]) -> Shared:
    firsts = [part.first for part in parts if part.first is not None]
    seconds = [part.second for part in parts if part.second is not None]
    return Shared(torch.cat(firsts) if firsts else None, torch.cat(seconds) if seconds else None)


def _share_outcome(
    trio: Trio, terms: Terms, outcome: tuple[Tensor | None, Tensor | None]
) -> Program[tuple[Shared, Shared]]:
    """Share mask and masked labels; both are integers without fixed point."""
    mask, labels = outcome
    shared_mask = yield from trio.share(terms.label_holder, mask, (terms.rows,))
    shared_labels = yield from trio.share(terms.label_holder, labels, (terms.rows,))
    return shared_mask, shared_labels


def _residual(
    trio: Trio, terms: Terms, own: Tensor | None, mask: Shared, labels: Shared
) -> Program[Shared]:
    """Compute the shared residual m s(z) - y at scale 2^RESIDUAL_BITS."""
    response = terms.response
    logits = Shared(None, None)
    for block in terms.blocks:
        words = None
        if block.owner == trio.name(0) and own is not None:
            # Rounding must not carry the sum over the bound, hence toward zero.
            words = toward_zero(own, LOGIT_BITS)
        logits = logits + (yield from trio.share(block.owner, words, (terms.rows,)))
    value = yield from response.evaluate(trio, logits, terms.rows)
    summand = product(mask, value, terms.rows) + trio.zero(terms.rows)
    if labels.first is not None:
        summand -= labels.first << response.scale_bits
    return (yield from trio.truncate(summand, response.scale_bits - RESIDUAL_BITS))


def _open_gradient(
    trio: Trio,
    block: Block,
    table: Shared,
    residual: Shared,
    *,
    rows: int,
    noise: Sampler,
    variance: int,
) -> Program[Tensor | None]:
    """Open one block's gradient to its owner, noised by the two others."""
    summand = matrix_product(table, residual, block.width, rows) + trio.zero(block.width)
    if trio.name(0) != block.owner:
        summand = summand + noise(variance, block.width)
    return (yield from trio.open_to(block.owner, summand))


def joint_logits(
    *, trio: Trio, terms: Terms, own: Tensor | None, mask: Tensor | None, resolution_bits: int
) -> Program[Tensor | None]:
    """Open the masked sum of all partial logits to the label holder alone.

    Args:
        trio: our side of the computation; it is connected anew.
        terms: those of the training.
        own: our partial logit of every row, clipped; None at a party without columns.
        mask: the label holder's rows to open; all others come out as 0.
        resolution_bits: fixed-point bits of each partial logit; fewer say less.

    Privacy:
        An exact release of one number a row to the label holder; no noise is added.
    """
    rows = terms.rows
    flags = _flags("mask", mask, rows) if trio.name(0) == terms.label_holder else None
    yield from trio.connect()
    logits = Shared(None, None)
    for block in terms.blocks:
        words = None
        if block.owner == trio.name(0) and own is not None:
            words = to_fixed(own, resolution_bits)
        logits = logits + (yield from trio.share(block.owner, words, (rows,)))
    shown = yield from trio.share(terms.label_holder, flags, (rows,))
    summand = product(shown, logits, rows) + trio.zero(rows)
    opened = yield from trio.open_to(terms.label_holder, summand)
    return None if opened is None else to_real(opened, resolution_bits)
