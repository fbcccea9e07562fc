"""The part of an owner that does not compute, in the programs of `head`.

    connect, compare terms
    share     presence (one of several), the encoded table, mask and labels
    step      owner of columns: share the partial logit, receive the noisy gradient
              label holder without columns: nothing; its labels serve every step

Frames follow the order in which the compute parties ask for them.

Privacy:
    As in `head`. A step is paid for before the partial logit of it leaves; who has no part
    in the steps pays for all of them before its labels leave.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from protocols.dp.events import Gaussian
from protocols.program import Charge, Program, Progress
from protocols.vertical.combining import shares_presence
from protocols.vertical.conditioning import Conditioner
from protocols.vertical.head import (
    Checked,
    Head,
    Inputs,
    Terms,
    check_inputs,
    descent_of,
    flags_of,
    frames_of,
    own_words,
    readable,
)
from protocols.vertical.outsider import Outsider
from protocols.vertical.resume import compare_terms
from protocols.vertical.ring import to_fixed, to_real


def contribute(
    *, outsider: Outsider, terms: Terms, inputs: Inputs, conditioner: Conditioner | None = None
) -> Program[Head]:
    """Take part in the training and return our part of the averaged head.

    Args:
        outsider: our side, not connected yet.
        terms, inputs, conditioner: as in `head.train`.
    """
    ours = check_inputs(outsider.ours, inputs, terms)
    yield from outsider.connect()
    yield from compare_terms(outsider.names, terms.digest)
    if ours.block is None:
        for step in range(terms.steps):
            yield _charge(step, terms)
    yield from _share_presence(outsider, (*terms.groups, terms.label_holders), ours.present)
    yield from _share_inputs(outsider, terms, ours)
    descent = descent_of(terms, ours.block, outsider.names, conditioner)
    if descent is None or ours.block is None:
        return Head()
    clear = readable(ours.features, terms)
    for step in range(terms.steps):
        words = own_words(terms, ours.block, clear, descent)
        yield _charge(step, terms)
        if words is not None:
            yield from outsider.share(words)
        gradient = yield from outsider.opened(ours.block.width)
        descent.apply(to_real(gradient, terms.gradient_bits) / terms.averaged_rows)
        yield Progress("train", step + 1, terms.steps)
    return Head(descent.result())


def contribute_logits(
    *,
    outsider: Outsider,
    terms: Terms,
    own: Tensor | None,
    mask: Tensor | None,
    resolution_bits: int,
    present: Tensor | None = None,
) -> Program[Tensor | None]:
    """Take part in `head.joint_logits`; a label holder gets those of its own rows.

    Privacy:
        As there: an exact release of one number a row to a label holder.
    """
    rows = terms.rows
    is_holder = outsider.ours in terms.label_holders
    flags = flags_of("mask", mask, rows) if is_holder else None
    bits = None if present is None else flags_of("present", present, rows)
    yield from outsider.connect()
    yield from _share_presence(outsider, terms.groups, bits)
    if own is not None:
        yield from outsider.share(to_fixed(own, resolution_bits))
    if flags is None:
        return None
    yield from outsider.share(flags)
    return to_real((yield from outsider.opened(rows)), resolution_bits)


def _charge(step: int, terms: Terms) -> Charge:
    return Charge(f"train/step/{step}", Gaussian(terms.noise_multiplier))


def _share_presence(
    outsider: Outsider, groups: Sequence[tuple[str, ...]], present: Tensor | None
) -> Program[None]:
    for _ in range(shares_presence(outsider.ours, groups)):
        if present is not None:
            yield from outsider.share(present)


def _share_inputs(outsider: Outsider, terms: Terms, ours: Checked) -> Program[None]:
    if ours.block is not None and ours.features is not None:
        for part in frames_of(ours.block, terms):
            yield from outsider.share(ours.features[part])
            yield Progress(f"share {ours.block.owner}", part.stop, ours.block.width)
    for values in (ours.mask, ours.labels):
        if values is not None:
            yield from outsider.share(values)
