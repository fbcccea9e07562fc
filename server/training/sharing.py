"""How a run is shared out among its partners: norms, fineness, pairs, and who computes.

Norms are shared out by the square root of each partner's columns, so that a wide table
is not drowned and a narrow one not blown up; every share is public.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from protocols.errors import UnsupportedParameterError
from protocols.vertical.contract import Contract, Numeric
from protocols.vertical.pairs import MAX_PAIRS, pairs_of
from protocols.vertical.plan import HUB
from server.training.experts import OWN_NORM

COMPUTE_PARTIES = 3
# Coordinates of a numeric column, and the most of one partner's numeric columns together.
KNOTS = 32
MAX_NUMERIC_WIDTH = 1536
# Coordinates of a numeric column within a pair.
PAIR_KNOTS = 4


def norm_shares(taking: Mapping[str, Sequence[str]], label_holder: str) -> dict[str, float]:
    """Share out the squared norm by the root of the columns; the label holder's part is fixed."""
    own = OWN_NORM if taking[label_holder] else 0.0
    roots = {name: math.sqrt(len(columns)) for name, columns in taking.items()}
    roots[label_holder] = 0.0
    total = sum(roots.values())
    if total == 0:
        raise UnsupportedParameterError("columns: nobody but the label holder brings any")
    return {name: (1 - own) * root / total for name, root in roots.items()} | {label_holder: own}


def knots_of(contract: Contract, columns: Sequence[str]) -> int:
    """Return how finely numeric columns are divided: fully, or as far as a wide table allows."""
    taking = set(columns)
    numeric = sum(
        1 for column in contract.columns if isinstance(column, Numeric) and column.name in taking
    )
    return max(1, min(KNOTS, MAX_NUMERIC_WIDTH // max(numeric, 1)))


def pairs_weight(contract: Contract, columns: Sequence[str]) -> float:
    """Return the part of a partner's squared norm for pairs of its columns; 0 where many pair.

    Pairs and columns get the same part each.
    """
    taking = contract.narrowed(frozenset(columns)).columns if columns else ()
    count = len(pairs_of(taking, PAIR_KNOTS))
    return count / (count + len(taking)) if 0 < count <= MAX_PAIRS else 0.0


def compute_parties(
    label_holder: str,
    taking: Mapping[str, Sequence[str]],
    allowed: Collection[str] = (),
    kinds: Collection[Sequence[str]] = (),
) -> tuple[str, ...]:
    """Take one of the label holders, then one owner of each kind of columns, three in all.

    An owner that computes hears its gradients under less noise, unless it is one of several:
    hence those who stand alone come first. Whoever is left over shares what it brings.

    Args:
        taking: columns by partner; empty for one that only looks on, or computes.
        allowed: who may compute by the agreement; anybody if it names nobody. The hub comes
            first among those that fill up, so that no partner does more than it must.
        kinds: partners of which only one may compute, since they hold the same kind of rows.
    """

    def kind_of(name: str) -> tuple[str, ...]:
        return next((tuple(kind) for kind in kinds if name in kind), (name,))

    owners = sorted(name for name, columns in taking.items() if columns)
    groups = dict.fromkeys(map(kind_of, [label_holder, *owners]))
    first, *others = groups
    ordered = [first, *sorted(others, key=len)]
    may = [[name for name in kind if not allowed or name in allowed] for kind in ordered]
    chosen = [names[0] for names in may if names][:COMPUTE_PARTIES]
    bringing = {name for kind in groups for name in kind}
    filling = [HUB, *sorted(set(taking) - bringing)]
    filling = [name for name in filling if not allowed or name in allowed]
    # Where nobody may, the hub stands in the plan, and the agreement is what denies it.
    return tuple(dict.fromkeys((*chosen, *filling, HUB)))[:COMPUTE_PARTIES]
