"""The hub's part of alignment: one joint table whose rows nobody can name.

    1. receive the sorted set of pseudonyms of every partner;
    2. form the union (or, where membership is shared by agreement, the intersection);
    3. give every row a place by a secret permutation of the padded table;
    4. tell each partner the places of its own pseudonyms.

Who learns what:

    hub       the size of every set and of every overlap; no identifier can be tested
              without the run key, and without it no run can be linked with another
    partner   the padded size of the joint table, and, if there is no alignment, a reason
              code, which tells one bit about the overlaps; membership "shared" tells a
              partner besides which of its own rows every other kind of partner has

The places of one partner's rows are a uniformly random choice whatever the others hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from protocols.align.errors import AlignmentRefusedError
from protocols.align.messages import (
    ABSENT,
    MAX_ROWS,
    PseudonymSet,
    Refusal,
    RefusalReason,
    RowNumbers,
    halves,
)
from protocols.align.pseudonyms import Pseudonyms
from protocols.errors import MalformedMessageError, UnsupportedParameterError
from protocols.program import Program, Progress, Receive, Send

MIN_STEP = 16  # rows; the smallest step of the padded size
_KEY_SIZE = 16  # bytes that order one row: two rows draw the same with probability 2^-128


class Membership(StrEnum):
    """Whether partners may learn who is shared."""

    HIDDEN = "hidden"
    SHARED = "shared"


@dataclass(frozen=True, slots=True)
class UnionRules:
    """What the agreement fixes about a joint table.

    Args:
        parties: the partners, each once.
        label_holder: the partner whose rows are trained on; one of `parties`.
        max_rows: the most rows that one partner may bring, and that the table may have.
        min_rows: the fewest rows to train on: those of the label holder, or, where
            membership is shared, those of the intersection.
        min_overlap: the fewest rows that each other partner shares with the label holder.
        kinds: of partners that hold rows of the same columns, or labels alike: the label
            holder's kind is trained on, and an intersection asks for one of each kind. Who
            stands in none is a kind of its own.
    """

    parties: tuple[str, ...]
    label_holder: str
    max_rows: int
    min_rows: int = 1
    min_overlap: int = 1
    membership: Membership = Membership.HIDDEN
    kinds: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        named = [name for kind in self.kinds for name in kind]
        if len(set(named)) != len(named) or not set(named) <= set(self.parties):
            raise UnsupportedParameterError("union: kinds name a party twice, or no party")
        if len(set(self.parties)) != len(self.parties) or self.label_holder not in self.parties:
            raise UnsupportedParameterError("union: expected different parties, one with the label")
        if not 1 <= self.max_rows <= MAX_ROWS or self.min_rows < 1 or self.min_overlap < 1:
            raise UnsupportedParameterError("union: limits are not whole numbers from 1")

    def kind_of(self, name: str) -> tuple[str, ...]:
        """Return the kind of a party, itself alone if it stands in none."""
        return next((kind for kind in self.kinds if name in kind), (name,))


@dataclass(frozen=True, slots=True)
class JointTable:
    """What the hub keeps of an alignment: sizes, for its own record only."""

    total: int
    rows: int
    sizes: Mapping[str, int]
    overlaps: Mapping[str, int]


def padded_size(rows: int) -> int:
    """Return the next multiple of a sixteenth of the next power of two: at most 1/8 more."""
    step = max(MIN_STEP, (1 << max(rows - 1, 0).bit_length()) // 16)
    return max(1, -(-rows // step)) * step


def join_union(
    rules: UnionRules,
    random: Callable[[int], bytes],
    *,
    padding: Callable[[int], int] = padded_size,
) -> Program[JointTable]:
    """Receive every partner's set, place the rows, and answer every partner.

    Args:
        rules: what the agreement fixes.
        random: the only source of randomness; must be cryptographic.
        padding: from the number of rows to the size of the table; public.

    Raises:
        AlignmentRefusedError: the sets break the rules; every partner has been told the reason.
        MalformedMessageError: a set does not decode; every partner has been told so.
    """
    payloads: dict[str, bytes] = {}
    for name in rules.parties:
        payloads[name] = yield Receive(name)
        yield Progress("align", len(payloads), len(rules.parties))
    try:
        sets = _decode_sets(payloads)
        places, table = place_rows(sets, rules, random, padding=padding)
    except (AlignmentRefusedError, MalformedMessageError) as error:
        malformed = RefusalReason.MALFORMED_SET
        reason = error.reason if isinstance(error, AlignmentRefusedError) else malformed
        for name in rules.parties:
            yield Send(name, Refusal(reason).encode())
        raise
    for name in rules.parties:
        yield Send(name, RowNumbers(table.total, places[name]).encode())
    return table


def place_rows(
    sets: Mapping[str, Pseudonyms],
    rules: UnionRules,
    random: Callable[[int], bytes],
    *,
    padding: Callable[[int], int] = padded_size,
) -> tuple[dict[str, NDArray[np.int32]], JointTable]:
    """Give every row of the joint table a secret random place.

    Shapes:
        sets: (count, 16) for each partner, strictly rising; result: (count,) places.

    Raises:
        AlignmentRefusedError: the sets break the rules.
    """
    if set(sets) != set(rules.parties):
        raise UnsupportedParameterError("union: the sets are not those of the parties")
    # Before anything is joined: a set that is too large costs no more than its reading.
    if any(len(rows) > rules.max_rows for rows in sets.values()):
        raise AlignmentRefusedError(RefusalReason.TOO_MANY_ROWS)
    member = _membership(sets, rules.parties)  # (parties, persons)
    held = {
        kind: member[[rules.parties.index(name) for name in kind]].any(axis=0)
        for kind in dict.fromkeys(map(rules.kind_of, rules.parties))
    }
    labelled = held[rules.kind_of(rules.label_holder)]
    overlaps = {name: int((member[k] & labelled).sum()) for k, name in enumerate(rules.parties)}
    shared = rules.membership is Membership.SHARED
    everybody = np.ones(member.shape[1], dtype=np.bool_)
    kept = np.logical_and.reduce(list(held.values())) if shared else everybody
    rows = int(kept.sum())
    total = padding(rows)
    _check_limits(rules, overlaps, int((kept & labelled).sum()), total)
    place_of = np.full(member.shape[1], ABSENT, dtype=np.int32)
    place_of[kept] = permutation(total, random)[:rows]
    # Persons stand in rising order, as the sets do, so a mask keeps the order sent.
    places = {name: place_of[member[k]] for k, name in enumerate(rules.parties)}
    sizes = {name: len(sets[name]) for name in rules.parties}
    return places, JointTable(total, rows, sizes, overlaps)


def permutation(size: int, random: Callable[[int], bytes]) -> NDArray[np.int32]:
    """Return a uniformly random order of 0..size-1, by sorting random keys of 128 bits."""
    words = np.frombuffer(random(size * _KEY_SIZE), dtype="<u8").reshape(size, 2)
    return np.lexsort((words[:, 0], words[:, 1])).astype(np.int32)


def _decode_sets(payloads: Mapping[str, bytes]) -> dict[str, Pseudonyms]:
    sets: dict[str, Pseudonyms] = {}
    for name, payload in payloads.items():
        try:
            sets[name] = PseudonymSet.decode(payload).pseudonyms
        except MalformedMessageError as error:
            raise MalformedMessageError(f"{name}: {error}") from error
    return sets


def _membership(sets: Mapping[str, Pseudonyms], parties: Sequence[str]) -> NDArray[np.bool_]:
    """Return which party holds which person, the persons in rising order of pseudonym."""
    high, low = halves(np.concatenate([sets[name] for name in parties]))
    owner = np.repeat(np.arange(len(parties)), [len(sets[name]) for name in parties])
    order = np.lexsort((low, high))
    high, low, owner = high[order], low[order], owner[order]
    new = np.ones(len(order), dtype=np.bool_)
    new[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    person = np.cumsum(new) - 1
    member = np.zeros((len(parties), int(new.sum())), dtype=np.bool_)
    member[owner, person] = True
    return member


def _check_limits(rules: UnionRules, overlaps: Mapping[str, int], trained: int, total: int) -> None:
    if total > rules.max_rows:
        raise AlignmentRefusedError(RefusalReason.TOO_MANY_ROWS)
    if min(overlaps.values()) < rules.min_overlap:
        raise AlignmentRefusedError(RefusalReason.NO_OVERLAP)
    if trained < rules.min_rows:
        raise AlignmentRefusedError(RefusalReason.TOO_FEW_ROWS)
