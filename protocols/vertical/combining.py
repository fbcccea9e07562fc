"""Rows of one block from several members, made one inside the secret sharing.

A person may be known to several members of a kind. With p_j the secret bit "member j knows
the person", the first of them counts and the others do not:

    q_1 = 1,  q_j = (1 - p_1) ... (1 - p_{j-1})         shared, once
    phi   = sum_j q_j phi_j                             one round for each frame of the table
    z     = sum_j q_j u_j                               one round a step, for all blocks
    m, y  = sum_j q_j m_j, sum_j q_j y_j                one round, for mask and labels

Nobody learns who is known to whom. Dropping a q_j would let a person's row grow to the sum
of several, and with it beyond the norm that the sensitivity rests on.

Privacy:
    For every person at most one q_j p_j is 1, so that ||phi|| <= C as for a single owner,
    and m and y stay 0 or 1. Zeroing the person out at all members makes phi, m and y zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from protocols.program import Program
from protocols.vertical.shares import Shared, Trio, gated, product

Gates = Mapping[tuple[str, ...], tuple[Shared, ...]]
"""By the holders of a block: q_j of every holder but the first."""


def share_gates(
    trio: Trio, groups: Sequence[tuple[str, ...]], present: Tensor | None, rows: int
) -> Program[Gates]:
    """Make the bits of every group of several holders, once for each group.

    Args:
        present: our own bits, where we stand in such a group; the last of it needs none.
    """
    gates: dict[tuple[str, ...], tuple[Shared, ...]] = {}
    for holders in groups:
        if len(holders) == 1 or holders in gates:
            continue
        found: list[Shared] = []
        for name in holders[:-1]:
            own = present if name == trio.name(0) else None
            shared = yield from trio.share(name, own, (rows,))
            absent = trio.constant(shared.scaled(-1), 1)
            if found:
                absent = yield from trio.multiply(found[-1], absent, rows)
            found.append(absent)
        gates[holders] = tuple(found)
    return gates


def shares_presence(ours: str, groups: Sequence[tuple[str, ...]]) -> int:
    """Return in how many groups our bits are needed: all that we are in and not the last of."""
    return sum(ours in holders[:-1] for holders in dict.fromkeys(groups) if len(holders) > 1)


def combine(
    trio: Trio,
    holders: tuple[str, ...],
    gates: Gates,
    parts: Sequence[Shared],
    shape: tuple[int, ...],
) -> Program[Shared]:
    """Return the rows that count of what several holders have shared; one round.

    Shapes:
        parts: one of `shape` for each holder, whose last axis is the rows.
    """
    if len(parts) == 1:
        return parts[0]
    others = _others(holders, gates, parts, shape)
    joined = yield from trio.reshare(others + trio.zero(others.numel()).reshape(shape))
    return parts[0] + joined


def combine_logits(
    trio: Trio,
    groups: Sequence[tuple[str, ...]],
    gates: Gates,
    own: Tensor | None,
    rows: int,
) -> Program[Shared]:
    """Return the sum of all partial logits that count; one round if there are gates at all.

    Args:
        own: our fixed-point words of every row, if we hold a block.
    """
    total = Shared(None, None)
    others: Tensor | None = None
    for holders in groups:
        parts = []
        for name in holders:
            words = own if name == trio.name(0) else None
            parts.append((yield from trio.share(name, words, (rows,))))
        total = total + parts[0]
        if len(parts) > 1:
            found = _others(holders, gates, parts, (rows,))
            others = found if others is None else others + found
    if others is not None:
        total = total + (yield from trio.reshare(others + trio.zero(rows)))
    return total


def counted(holders: tuple[str, ...], gates: Gates, parts: Sequence[Shared], rows: int) -> Tensor:
    """Return our summand of how many rows count for 1; (1,), not blinded, no round."""
    first = parts[0].first
    total = torch.zeros(1, dtype=torch.int64) if first is None else first.sum()[None]
    for gate, part in zip(gates.get(holders, ()), parts[1:], strict=True):
        total = total + product(gate, part, rows).sum()[None]
    return total


def _others(
    holders: tuple[str, ...], gates: Gates, parts: Sequence[Shared], shape: tuple[int, ...]
) -> Tensor:
    """Return our summand of what every holder but the first adds."""
    total = torch.zeros(shape, dtype=torch.int64)
    for gate, part in zip(gates[holders], parts[1:], strict=True):
        total += gated(gate, part, shape)
    return total
