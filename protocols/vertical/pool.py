"""Sums over the members of a block, released with noise before the steps begin.

    members           compare what columns they take part with, among themselves
    member -> three   how many numbers, and the square of what one person moves in its part
    member -> three   shares of its own sums
    three             add up, add noise of half the variance each, open to the members

What is added up: fine histograms, from which knots follow; sums of encoded rows, from which
means and bound follow; and, for label holders, how many rows and positives count, where a
person of several of them counts once.

Privacy:
    Neighbours: zero out one person, at all members. Who is known to M members moves a sum of
    histograms or rows by M times what it moves in one of them, so that the noise is M times
    as large: one Gaussian mechanism with the plan's noise multiplier, which every member
    pays before its part leaves. Of the three noises a coalition with at most one compute
    party misses two, together the whole variance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from protocols.codec import Reader, Writer
from protocols.errors import MalformedMessageError, UnsupportedParameterError
from protocols.program import Program, Receive, Send
from protocols.vertical.combining import counted, share_gates
from protocols.vertical.outsider import Outsider
from protocols.vertical.response import Sampler
from protocols.vertical.shares import Shared, Trio

MAX_NUMBERS = 1 << 24
# All three add half of the variance: the sum has the root of this many times the deviation.
NOISES = 1.5
_DIGEST_SIZE = 32


@dataclass(frozen=True, slots=True)
class Part:
    """What one member adds to a sum.

    Attributes:
        squared: the square of the most that one person moves `values`, in their unit.
    """

    values: Tensor = field(repr=False)
    squared: int


@dataclass(frozen=True, slots=True)
class Pool:
    """A member's way to the sums of its block.

    Attributes:
        station: our side of the computation, connected.
        noise: draws discrete Gaussian integers, if we compute.
    """

    name: str
    station: Trio | Outsider
    holders: tuple[str, ...]
    noise: Sampler

    @property
    def spread(self) -> float:
        """Return how many times the deviation is what one member alone would have."""
        return len(self.holders) * math.sqrt(NOISES)

    def total(
        self, values: NDArray[np.int64], *, squared: int, noise_multiplier: float
    ) -> Program[NDArray[np.int64]]:
        """Return the noised sum over all members; charged by the caller before."""
        part = Part(torch.from_numpy(values), squared)
        if isinstance(self.station, Outsider):
            opened = yield from bring(self.station, part)
        else:
            opened = yield from add_up(
                self.station, self.holders, part, self.noise, noise_multiplier
            )
        result: NDArray[np.int64] = opened.numpy() if opened is not None else values[:0]
        return result


def compare_columns(ours: str, holders: Sequence[str], digest: bytes) -> Program[None]:
    """Refuse to add up what does not mean the same: members tell the hash of their columns.

    Raises:
        UnsupportedParameterError: another member's contract says something else.
    """
    others = [name for name in holders if name != ours]
    for name in others:
        yield Send(name, digest)
    for name in others:
        theirs = yield Receive(name)
        if len(theirs) != _DIGEST_SIZE:
            raise MalformedMessageError(f"columns of {name}: {len(theirs)} bytes, expected 32")
        if theirs != digest:
            raise UnsupportedParameterError(
                f"columns: the contract of {name} has other ranges, levels or kinds; agree one"
            )


def add_up(
    trio: Trio,
    holders: tuple[str, ...],
    own: Part | None,
    noise: Sampler,
    noise_multiplier: float,
) -> Program[Tensor | None]:
    """Add up the parts of all holders as a compute party; opened to the holders alone.

    Shapes:
        result: (numbers,), int64; None at a party that is no holder.
    """
    size, squared = yield from _common_head(trio, holders, own)
    if size == 0:
        return None
    total = Shared(None, None)
    for holder in holders:
        values = own.values if own is not None and holder == trio.name(0) else None
        total = total + (yield from trio.share(holder, values, (size,)))
    summand = trio.zero(size) + half_noise(noise, noise_multiplier, len(holders), squared, size)
    if total.first is not None:
        summand = summand + total.first
    return (yield from trio.open_to_each(holders, summand))


def bring(outsider: Outsider, part: Part) -> Program[Tensor | None]:
    """Add our part to a sum as a holder that does not compute."""
    head = _head(part)
    for name in outsider.names:
        yield Send(name, head)
    if part.values.numel() == 0:
        return None
    yield from outsider.share(part.values)
    return (yield from outsider.opened(part.values.numel()))


def half_noise(
    noise: Sampler, noise_multiplier: float, members: int, squared: int, size: int
) -> Tensor:
    """Draw one compute party's noise for a sum over members: half of the variance."""
    wanted = Fraction(noise_multiplier) ** 2 * members**2 * squared / 2
    return noise(math.ceil(wanted), size)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A label holder's bits of the joint rows; (rows,) each, 0 or 1, int64."""

    present: Tensor = field(repr=False)
    mask: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)

    @classmethod
    def of(cls, present: Tensor, mask: Tensor, labels: Tensor) -> Outcome:
        """Check and mask: a row counts only where the person is ours."""
        for name, values in (("present", present), ("mask", mask), ("labels", labels)):
            if not bool(((values == 0) | (values == 1)).all()):
                raise UnsupportedParameterError(f"{name}: must be 0 or 1; correct the table")
        bits = present.to(torch.int64)
        shown = mask.to(torch.int64) * bits
        return cls(bits, shown, labels.to(torch.int64) * shown)


def count_rows(
    trio: Trio,
    holders: tuple[str, ...],
    own: Outcome | None,
    rows: int,
    draw: Callable[[int], Tensor],
) -> Program[Tensor | None]:
    """Count rows and positives over several label holders, each person once.

    Args:
        draw: our noise for that many numbers: half of the variance, for a person that
            moves the two counts by (1, 1).

    Shapes:
        result: (2,), int64, at a label holder; None elsewhere.
    """
    ours = trio.name(0)
    present = None if own is None else own.present
    gates = yield from share_gates(trio, (holders,), present, rows)
    sums = []
    for values in (None, None) if own is None else (own.mask, own.labels):
        parts = []
        for holder in holders:
            words = values if holder == ours else None
            parts.append((yield from trio.share(holder, words, (rows,))))
        sums.append(counted(holders, gates, parts, rows))
    summand = torch.cat(sums) + trio.zero(2) + draw(2)
    return (yield from trio.open_to_each(holders, summand))


def bring_rows(outsider: Outsider, holders: tuple[str, ...], own: Outcome) -> Program[Tensor]:
    """Take part in `count_rows` as a label holder that does not compute."""
    if outsider.ours != holders[-1]:
        yield from outsider.share(own.present)
    yield from outsider.share(own.mask)
    yield from outsider.share(own.labels)
    return (yield from outsider.opened(2))


def _head(part: Part) -> bytes:
    return Writer().u32(part.values.numel()).u64(part.squared).encode()


def _common_head(
    trio: Trio, holders: tuple[str, ...], own: Part | None
) -> Program[tuple[int, int]]:
    """Learn how many numbers are added up and what one person moves; alike at all holders."""
    ours, found = trio.name(0), set()
    if own is not None:
        head = _head(own)
        found.add(head)
        for other in trio.names:
            if other != ours:
                yield Send(other, head)
    for holder in holders:
        if holder != ours:
            found.add((yield Receive(holder)))
    if len(found) != 1:
        raise UnsupportedParameterError(
            f"sums of {holders[0]} and others: of different sizes; compare their contracts"
        )
    reader = Reader(found.pop(), "sum")
    size, squared = reader.u32(), reader.u64()
    reader.finish()
    if size > MAX_NUMBERS:
        raise MalformedMessageError(f"sum: {size} numbers, at most {MAX_NUMBERS}")
    return size, squared
