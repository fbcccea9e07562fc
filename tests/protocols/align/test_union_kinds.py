"""Aligning with several partners of a kind: who is trained on, and what an intersection asks."""

import numpy as np
import pytest

from protocols.align.errors import AlignmentRefusedError
from protocols.align.messages import ABSENT, RefusalReason
from protocols.align.pseudonyms import KeyedHashSource, pseudonyms
from protocols.align.union import Membership, UnionRules, place_rows
from protocols.errors import UnsupportedParameterError
from protocols.identifiers import IdentifierKind, canonicalize

KEY = bytes(range(32))
PEOPLE = {
    "insurer-a": range(300),
    "insurer-b": range(250, 500),
    "telecom-a": range(100, 400),
    "telecom-b": range(350, 700),
    "police": range(200, 800, 3),
}
KINDS = (("insurer-a", "insurer-b"), ("telecom-a", "telecom-b"))


def sets():
    found = {}
    for name, people in PEOPLE.items():
        ids = [canonicalize(IdentifierKind.PHONE, f"0912{person:06d}") for person in people]
        rows = pseudonyms(KEY, KeyedHashSource.of_run(KEY).evaluate(ids))
        found[name] = rows[np.lexsort(rows.T[::-1])]
    return found


def place(**changes):
    rules = UnionRules(
        **{
            "parties": tuple(PEOPLE), "label_holder": "insurer-a", "max_rows": 5_000,
            "kinds": KINDS,
        } | changes
    )  # fmt: skip
    return place_rows(sets(), rules, np.random.default_rng(1).bytes)


def test_rows_of_any_label_holder_are_trained_on():
    _, table = place()
    assert table.rows == len(set().union(*map(set, PEOPLE.values())))
    labelled = set(PEOPLE["insurer-a"]) | set(PEOPLE["insurer-b"])
    for name, people in PEOPLE.items():
        assert table.overlaps[name] == len(labelled & set(people))


def test_partner_that_only_the_second_label_holder_shares_is_welcome():
    changes = {"min_overlap": 100}
    place(**changes)
    with pytest.raises(AlignmentRefusedError) as caught:
        place(kinds=(), **changes)
    assert caught.value.reason is RefusalReason.NO_OVERLAP


def test_intersection_asks_for_one_of_each_kind():
    places, table = place(membership=Membership.SHARED)
    insured, lines = (set(PEOPLE[a]) | set(PEOPLE[b]) for a, b in KINDS)
    kept = insured & lines & set(PEOPLE["police"])
    assert table.rows == len(kept) > 0
    assert not set(PEOPLE["telecom-a"]) & set(PEOPLE["telecom-b"]) >= kept
    for name, people in PEOPLE.items():
        assert int((places[name] != ABSENT).sum()) == len(kept & set(people))


@pytest.mark.parametrize(
    "kinds", [(("insurer-a", "bank"),), (("insurer-a", "police"), ("police", "telecom-a"))]
)
def test_impossible_kinds_are_refused(kinds):
    with pytest.raises(UnsupportedParameterError, match="kinds name a party twice, or no party"):
        place(kinds=kinds)
