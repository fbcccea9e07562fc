"""Matching many cached customers against all tables: a search in columns of numbers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from clients.lookup.cache import OutputCache
from clients.lookup.tables import Table
from protocols.errors import ProtocolError
from protocols.lookup.light import Light, Match, Source, judge
from protocols.lookup.payload import Use


@dataclass(frozen=True, slots=True)
class Lights:
    """The lights of many customers.

    Attributes:
        common: the light of everyone who stands in no table.
        special: the others, by their row in the cache.
        canaries: rows and contributors of canaries that were asked for.
    """

    common: Light
    special: Mapping[int, Light] = field(repr=False)
    canaries: Sequence[tuple[int, str]] = field(repr=False)


def match_all(
    cache: OutputCache,
    rows: NDArray[np.int64],
    tables: Mapping[str, Table],
    sources: Sequence[Source],
    *,
    use: Use,
    month: int,
) -> Lights:
    """Return the lights of cached rows.

    Shapes:
        rows: (n,) distinct rows of the cache.
    """
    matches: defaultdict[int, list[Match]] = defaultdict(list)
    broken: defaultdict[int, set[str]] = defaultdict(set)
    canaries: list[tuple[int, str]] = []
    for name, table in tables.items():
        hits = rows[table.candidates(cache.tags(table.header.number)[rows])]
        for row, root in zip(hits.tolist(), cache.roots(hits), strict=True):
            try:
                payloads = table.payloads(root)
            except ProtocolError:
                broken[row].add(name)
                continue
            canaries += [(row, name) for payload in payloads if payload.canary]
            matches[row] += [Match(name, item) for item in payloads if not item.canary]
    special = {
        row: judge(matches[row], without(sources, frozenset(broken[row])), use=use, month=month)
        for row in sorted({*matches, *broken})
    }
    return Lights(judge([], sources, use=use, month=month), special, canaries)


def without(sources: Sequence[Source], broken: frozenset[str]) -> list[Source]:
    """Return the sources with the broken ones as missing, required or not.

    A record under our tag that does not open shows that its contributor cannot be used for
    this person: nothing it says or does not say may make the light green.
    """
    return [
        Source(item.contributor, None, item.max_age_s, is_required=True)
        if item.contributor in broken
        else item
        for item in sources
    ]
