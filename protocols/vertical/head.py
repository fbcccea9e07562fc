"""Joint training of the head inside three-party secret sharing, one full batch a step.

    owner k      u_k = clip(phi_k w_k)                        in the clear, at its owner
    all          [z] = sum_k [u_k];  [r] = [m] s([z]) - [y]   shared; r in fixed point
    all          [g_k] = [phi_k] [r]                          shared, one for each owner
    not k        add discrete Gaussian noise of half the variance each, open to k alone
    owner k      w_k <- descent(w_k, noisy g_k)               post-processing

Row i counts for nothing unless its mask m_i is 1 (the label holder's customer in the
training part). Nothing but the noisy gradient of its own block is ever opened to anyone.

A block may have several members, who hold rows of the same columns: `combining` makes one
row of theirs, and its gradient is opened to all of them, so that they keep equal weights.
An owner need not compute: it takes its part by `contributing`.

Privacy:
    Neighbours: zero out one person, at all owners. With ||phi_k(x)|| <= C_k and sum C_k^2 <= 1
    one person moves all blocks together by at most max|r| in Euclidean norm, so that one step
    is one Gaussian mechanism with the plan's noise multiplier against every coalition of
    owners and the hub that holds at most one compute party; two of them could rebuild all
    inputs anyhow. A block of one owner that computes: the two others add half of the variance
    each, and the coalition that opens it can hold no other compute party. Any other block:
    all three add half each, since its members may hold none or one of the three; whichever
    one it is, two halves stay unknown. Members of one block never compute both (the plan
    sees to it), so that they may lay together all that they have. Every owner pays before
    it sends.

Source:
    Mohassel and Rindal 2018 (ABY3, eprint 2018/403), section 5; noise by several parties
    after Kairouz, Liu, Steinke 2021 (arXiv 2102.06387).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from protocols.dp.events import Gaussian
from protocols.errors import MalformedMessageError, UnsupportedParameterError
from protocols.program import Charge, Checkpoint, Program, Progress
from protocols.vertical.combining import Gates, combine, combine_logits, share_gates
from protocols.vertical.conditioning import Conditioner
from protocols.vertical.descent import Descent
from protocols.vertical.head_terms import NORM_TOLERANCE, Base, Block, Terms
from protocols.vertical.response import LOGIT_BITS, RESIDUAL_BITS, Sampler, noise_variance
from protocols.vertical.resume import common_step, compare_terms
from protocols.vertical.ring import to_fixed, to_real, toward_zero
from protocols.vertical.shares import Shared, Trio, matrix_product, product

__all__ = ["Base", "Block", "Head", "Inputs", "Terms", "joint_logits", "train"]

# Words of one frame while the encoded table is shared: 16 MiB.
SHARE_CHUNK_WORDS = 1 << 21


@dataclass(slots=True)
class Inputs:
    """What one party brings, in the clear.

    Shapes:
        features: (width, rows), zero where a row is absent; labels, mask: (rows,), 0 or 1.
        present: (rows,), 1 where the person is ours; for a party that is one of several.
    """

    features: Tensor | None = field(default=None, repr=False)
    labels: Tensor | None = field(default=None, repr=False)
    mask: Tensor | None = field(default=None, repr=False)
    present: Tensor | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Checked:
    """One party's inputs as they are shared; None for what it does not bring.

    Shapes:
        features: (width, rows), fixed point; mask, labels, present: (rows,); all int64.
    """

    block: Block | None
    features: Tensor | None = field(repr=False)
    mask: Tensor | None = field(repr=False)
    labels: Tensor | None = field(repr=False)
    present: Tensor | None = field(repr=False)


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
    ours = check_inputs(trio.name(0), inputs, terms)
    # An outsider keeps no step for the others: they begin anew.
    kept = {} if trio.outsiders else resume or {}
    yield from trio.connect()
    start = yield from common_step(trio, terms.digest, kept)
    yield from compare_terms(trio.outsiders, terms.digest)
    descent = descent_of(terms, ours.block, trio.names, conditioner, kept.get(start))
    if descent is not None and descent.step != start:
        raise MalformedMessageError(f"checkpoint: of step {descent.step}, expected {start}")
    groups = (*terms.groups, terms.label_holders)
    gates = yield from share_gates(trio, groups, ours.present, terms.rows)
    shared = yield from _share_tables(trio, terms, ours.features, gates)
    outcome = yield from _share_outcome(trio, terms, (ours.mask, ours.labels), gates)
    clear = readable(ours.features, terms)
    variance = noise_variance(
        noise_multiplier=terms.noise_multiplier, sensitivity=terms.sensitivity
    )
    for step in range(start, terms.steps):
        own = own_words(terms, ours.block, clear, descent)
        residual = yield from _residual(trio, terms, own, outcome, gates)
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


def check_inputs(name: str, inputs: Inputs, terms: Terms) -> Checked:
    """Check and quantize what a party brings, before anything is sent."""
    block = terms.block_of(name)
    features = None if block is None else quantize(inputs.features, block, terms)
    mask = labels = present = None
    groups = {len(holders) for holders in (*terms.groups, terms.label_holders) if name in holders}
    if max(groups, default=1) > 1:
        present = flags_of("present", inputs.present, terms.rows)
    if name in terms.label_holders:
        mask, labels = check_outcome(inputs, terms)
    for values in (features, mask):
        # A row of nobody that is not zero would add to another member's row of the person.
        if present is not None and values is not None and bool(values[..., present == 0].any()):
            raise UnsupportedParameterError(f"rows of {name}: one is not zero and not present")
    return Checked(block, features, mask, labels, present)


def descent_of(
    terms: Terms,
    block: Block | None,
    compute: tuple[str, ...],
    conditioner: Conditioner | None,
    state: bytes | None = None,
) -> Descent | None:
    """Return the descent of a block, at its beginning or as it was kept."""
    if block is None:
        return None
    return Descent(
        terms.schedule,
        block.width,
        terms.steps,
        state,
        conditioner=conditioner,
        deviation=terms.deviation_of(block, compute),
    )


def readable(features: Tensor | None, terms: Terms) -> Tensor | None:
    """Return fixed-point features as numbers, the same that the shares stand for."""
    scale = float(1 << terms.feature_bits)
    return None if features is None else features.to(torch.float32) / scale


def own_words(
    terms: Terms, block: Block | None, clear: Tensor | None, descent: Descent | None
) -> Tensor | None:
    """Return our partial logits in fixed point, or None without a block."""
    if block is None or clear is None or descent is None:
        return None
    own = partial_logit(clear, descent.weights, terms.clip(block))
    # Rounding must not carry the sum over the bound, hence toward zero.
    return toward_zero(own, LOGIT_BITS)


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
    mask = flags_of("mask", inputs.mask, terms.rows)
    return mask, flags_of("labels", inputs.labels, terms.rows) * mask


def flags_of(name: str, values: Tensor | None, rows: int) -> Tensor:
    """Return bits as they are shared; anything but 0 and 1 is refused."""
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
    trio: Trio, terms: Terms, features: Tensor | None, gates: Gates
) -> Program[list[tuple[Block, Shared]]]:
    """Share every owner's table, a few columns a frame so that memory stays bounded."""
    shared = []
    for block in terms.blocks:
        frames = []
        for part in frames_of(block, terms):
            shape = (part.stop - part.start, terms.rows)
            parts = []
            for holder in block.holders:
                own = features[part] if holder == trio.name(0) and features is not None else None
                parts.append((yield from trio.share(holder, own, shape)))
            frames.append((yield from combine(trio, block.holders, gates, parts, shape)))
            yield Progress(f"share {block.owner}", part.stop, block.width)
        shared.append((block, _stacked(frames)))
    return shared


def frames_of(block: Block, terms: Terms) -> list[slice]:
    """Cut a block's columns into what is shared at once."""
    columns = max(1, SHARE_CHUNK_WORDS // terms.rows)
    starts = range(0, block.width, columns)
    return [slice(start, min(start + columns, block.width)) for start in starts]


def _stacked(parts: list[Shared]) -> Shared:
    firsts = [part.first for part in parts if part.first is not None]
    seconds = [part.second for part in parts if part.second is not None]
    return Shared(torch.cat(firsts) if firsts else None, torch.cat(seconds) if seconds else None)


def _share_outcome(
    trio: Trio, terms: Terms, outcome: tuple[Tensor | None, Tensor | None], gates: Gates
) -> Program[tuple[Shared, Shared]]:
    """Share mask and masked labels; both are integers without fixed point."""
    rows, holders = terms.rows, terms.label_holders
    found = []
    for own in outcome:
        parts = []
        for holder in holders:
            words = own if holder == trio.name(0) else None
            parts.append((yield from trio.share(holder, words, (rows,))))
        found.append((yield from combine(trio, holders, gates, parts, (rows,))))
    return found[0], found[1]


def _residual(
    trio: Trio, terms: Terms, own: Tensor | None, outcome: tuple[Shared, Shared], gates: Gates
) -> Program[Shared]:
    """Compute the shared residual m s(z) - y at scale 2^RESIDUAL_BITS."""
    response, (mask, labels) = terms.response, outcome
    logits = yield from combine_logits(trio, terms.groups, gates, own, terms.rows)
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
    """Open one block's gradient to its owners, noised as the module's privacy claim says."""
    summand = matrix_product(table, residual, block.width, rows) + trio.zero(block.width)
    if block.holders != (trio.name(0),):
        summand = summand + noise(variance, block.width)
    return (yield from trio.open_to_each(block.holders, summand))


def joint_logits(
    *,
    trio: Trio,
    terms: Terms,
    own: Tensor | None,
    mask: Tensor | None,
    resolution_bits: int,
    present: Tensor | None = None,
) -> Program[Tensor | None]:
    """Open the masked sum of all partial logits to each label holder, of its own rows alone.

    Args:
        trio: our side of the computation; it is connected anew.
        terms: those of the training.
        own: our partial logit of every row, clipped; None at a party without columns.
        mask: a label holder's rows to open; all others come out as 0.
        resolution_bits: fixed-point bits of each partial logit; fewer say less.
        present: as in `Inputs`.

    Privacy:
        An exact release of one number a row to the label holder; no noise is added.
    """
    rows, ours = terms.rows, trio.name(0)
    flags = flags_of("mask", mask, rows) if ours in terms.label_holders else None
    bits = None if present is None else flags_of("present", present, rows)
    words = None if own is None else to_fixed(own, resolution_bits)
    yield from trio.connect()
    gates = yield from share_gates(trio, terms.groups, bits, rows)
    logits = yield from combine_logits(trio, terms.groups, gates, words, rows)
    found: Tensor | None = None
    for holder in terms.label_holders:
        shown = yield from trio.share(holder, flags if holder == ours else None, (rows,))
        summand = product(shown, logits, rows) + trio.zero(rows)
        opened = yield from trio.open_to(holder, summand)
        found = found if opened is None else opened
    return None if found is None else to_real(found, resolution_bits)
