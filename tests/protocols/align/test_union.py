"""Alignment between parties in memory: what comes out, and what nobody learns."""

import hashlib
import hmac
from collections.abc import Generator

import numpy as np
import pytest

from protocols.align.errors import AlignmentRefusedError
from protocols.align.messages import ABSENT, PseudonymSet, RefusalReason
from protocols.align.pseudonyms import KeyedHashSource, pseudonyms
from protocols.align.rows import RowMap, align_rows
from protocols.align.union import (
    Membership,
    UnionRules,
    join_union,
    padded_size,
    permutation,
    place_rows,
)
from protocols.errors import (
    InvalidTableError,
    MalformedMessageError,
    ProtocolError,
    UnsupportedParameterError,
)
from protocols.identifiers import DOMAIN, IdentifierKind, canonicalize
from protocols.program import Receive, Send, run_together

KEY = bytes(range(32))
NAMES = ("insurer", "telecom", "police")
PEOPLE = {
    "insurer": range(300),
    "telecom": range(100, 700),
    "police": [5, 120, 650, 900, 250],
}


def phone(person: int) -> bytes:
    return canonicalize(IdentifierKind.PHONE, f"0912{person:06d}")


def pseudonyms_of(identifiers, run_key: bytes = KEY) -> np.ndarray:
    return pseudonyms(run_key, KeyedHashSource.of_run(run_key).evaluate(list(identifiers)))


def rules(**changes) -> UnionRules:
    return UnionRules(
        **({"parties": NAMES, "label_holder": "insurer", "max_rows": 5_000} | changes)
    )


def source(seed: int):
    return np.random.default_rng(seed).bytes


def caught(program: Generator) -> Generator:
    """Give an error as the result, so that the other parties can end too."""
    try:
        return (yield from program)
    except ProtocolError as error:
        return error


def align(people=PEOPLE, *, seed=0, watch=None, membership=Membership.HIDDEN, **changes):
    used = rules(membership=membership, **changes)
    programs = {"hub": caught(join_union(used, source(seed)))}
    for name, members in people.items():
        own = pseudonyms_of(phone(person) for person in members)
        programs[name] = caught(align_rows(own, membership=membership))
    return run_together(programs, watch)


def places(people, results):
    return {
        name: dict(zip(members, results[name].rows.tolist(), strict=True))
        for name, members in people.items()
    }


def test_same_person_gets_same_row_everywhere():
    results = align()
    seen: dict[int, int] = {}
    for rows in places(PEOPLE, results).values():
        for person, row in rows.items():
            assert seen.setdefault(person, row) == row
    assert len(set(seen.values())) == len(seen) == 701
    totals = {results[name].total for name in NAMES}
    assert totals == {padded_size(701)}
    assert results["hub"].rows == 701
    assert results["hub"].overlaps == {"insurer": 300, "telecom": 200, "police": 3}


def test_shared_membership_keeps_the_intersection_only():
    results = align(membership=Membership.SHARED)
    rows = places(PEOPLE, results)
    shared = {120, 250}
    for name in NAMES:
        assert {person for person, row in rows[name].items() if row != ABSENT} == shared
    assert rows["insurer"][120] == rows["telecom"][120] == rows["police"][120]


def test_two_partners_suffice():
    people = {"insurer": range(50), "telecom": range(20, 90)}
    results = align(people, parties=("insurer", "telecom"))
    assert results["hub"].rows == 90


def test_scatter_leaves_strangers_zero():
    row_map = RowMap(np.array([3, ABSENT, 0], dtype=np.int32), 4)
    joint = row_map.scatter(np.array([[1.0], [2.0], [3.0]]))
    assert joint.tolist() == [[3.0], [0.0], [0.0], [1.0]]


def everything_sent_to(party: str, people=PEOPLE, **changes) -> bytes:
    seen: list[bytes] = []

    def watch(name, request):
        if isinstance(request, Send) and request.to == party:
            seen.append(request.payload)

    align(people, watch=watch, **changes)
    return b"".join(seen)


def guesses_found(transcript: bytes, tests) -> int:
    blocks = {transcript[i : i + 16] for i in range(len(transcript) - 15)}
    return sum(any(test(phone(person)) in blocks for test in tests) for person in range(10_000))


def test_hub_cannot_test_identifiers():
    transcript = everything_sent_to("hub")
    assert DOMAIN not in transcript
    assert b"+8869" not in transcript
    guess = KeyedHashSource.of_run(bytes(32))
    tests = [
        lambda identifier: identifier[-16:],
        lambda identifier: hashlib.sha256(identifier).digest()[:16],
        lambda identifier: hashlib.sha512(identifier).digest()[:16],
        lambda identifier: hmac.digest(b"", identifier, "sha256")[:16],
        lambda identifier: guess.evaluate([identifier])[0][:16],
        lambda identifier: pseudonyms_of([identifier], bytes(32)).tobytes(),
    ]
    assert guesses_found(transcript, tests) == 0


def test_run_key_would_find_everyone():
    # The counterpart of the test above: the same search succeeds for who holds the key.
    transcript = everything_sent_to("hub")
    tests = [lambda identifier: pseudonyms_of([identifier]).tobytes()]
    assert guesses_found(transcript, tests) == 701


def test_order_of_the_table_is_not_sent():
    shuffled = {name: list(members)[::-1] for name, members in PEOPLE.items()}
    assert everything_sent_to("hub") == everything_sent_to("hub", shuffled)


def test_partner_sees_size_and_own_rows_only():
    # Two worlds in which police holds all, or none but one, of the telecom's subscribers.
    many = PEOPLE | {"police": range(100, 700)}
    few = PEOPLE | {"police": [120]}
    seen = [everything_sent_to("telecom", people) for people in (many, few)]
    assert len(seen[0]) == len(seen[1])
    assert seen[0][:9] == seen[1][:9]  # kind, total, count


def test_places_do_not_depend_on_other_members():
    telecom = pseudonyms_of([phone(person) for person in range(3)])
    counts = []
    for others in ([0, 1, 2, 3], [0, 10, 11, 12]):
        insurer = pseudonyms_of(map(phone, others))
        counts.append(place_counts(telecom, insurer))
    # Uniform in both worlds: three rows on sixteen places, 15 degrees of freedom each.
    for table in counts:
        expected = table.sum() / 16 / 3
        statistic = ((table - expected) ** 2 / expected).sum(axis=1)
        assert (statistic < 44.3).all()  # p = 1e-4


def place_counts(telecom: np.ndarray, insurer: np.ndarray, runs: int = 1_600) -> np.ndarray:
    def ordered(rows: np.ndarray) -> np.ndarray:
        return np.array(sorted(rows.tolist()), dtype=np.uint8)

    sets = {"insurer": ordered(insurer), "telecom": ordered(telecom)}
    used = rules(parties=("insurer", "telecom"))
    table = np.zeros((3, 16))
    random = source(5)
    for _ in range(runs):
        found, _joint = place_rows(sets, used, random)
        table[np.arange(3), found["telecom"]] += 1
    return table


def test_permutation_is_uniform_over_orders():
    random = source(1)
    counts: dict[tuple[int, ...], int] = {}
    for _ in range(6_000):
        order = tuple(permutation(3, random).tolist())
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 6
    assert sum((count - 1_000) ** 2 / 1_000 for count in counts.values()) < 25.7  # p = 1e-4


@pytest.mark.parametrize(
    ("rows", "size"), [(0, 16), (1, 16), (16, 16), (17, 32), (1024, 1024), (1025, 1152), (701, 704)]
)
def test_padded_size_follows_the_public_rule(rows, size):
    assert padded_size(rows) == size


def test_padding_costs_an_eighth_at_most():
    assert all(rows <= padded_size(rows) <= max(16, rows * 1.125 + 16) for rows in range(5_000))


REFUSED = [
    ({"people": PEOPLE | {"police": range(900, 950)}}, RefusalReason.NO_OVERLAP),
    ({"people": PEOPLE | {"police": []}}, RefusalReason.NO_OVERLAP),
    ({"min_overlap": 4}, RefusalReason.NO_OVERLAP),
    ({"min_rows": 301}, RefusalReason.TOO_FEW_ROWS),
    ({"min_rows": 3, "membership": Membership.SHARED}, RefusalReason.TOO_FEW_ROWS),
    ({"max_rows": 599}, RefusalReason.TOO_MANY_ROWS),
    ({"max_rows": 703}, RefusalReason.TOO_MANY_ROWS),
]


@pytest.mark.parametrize(("changes", "reason"), REFUSED)
def test_refusal_reaches_all_with_its_reason_only(changes, reason):
    results = align(**changes)
    for name in ("hub", *NAMES):
        assert isinstance(results[name], AlignmentRefusedError)
        assert results[name].reason is reason
        assert not any(character.isdigit() for character in str(results[name]))
    assert everything_sent_to("telecom", **changes) == bytes([3, reason])


def sends(payload: bytes) -> Generator:
    yield Send("hub", payload)
    return (yield Receive("hub"))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        PseudonymSet(pseudonyms_of([phone(1), phone(1)])).encode(),
        PseudonymSet(pseudonyms_of([phone(1)])).encode()[:-1],
        PseudonymSet(pseudonyms_of([phone(1)])).encode() + b"\0",
    ],
)
def test_malformed_set_is_refused_to_all(payload):
    programs = {name: caught(align_rows(pseudonyms_of([phone(1)]))) for name in NAMES[:2]}
    programs["police"] = sends(payload)
    programs["hub"] = caught(join_union(rules(), source(0)))
    results = run_together(programs)
    assert isinstance(results["hub"], MalformedMessageError)
    assert str(results["hub"]).startswith("police: ")
    assert results["insurer"].reason is results["telecom"].reason is RefusalReason.MALFORMED_SET
    assert results["police"] == bytes([3, RefusalReason.MALFORMED_SET])


def answers(payload: bytes) -> Generator:
    yield Receive("insurer")
    yield Send("insurer", payload)


@pytest.mark.parametrize(
    "rows", [[0], [0, 1, 2], [0, ABSENT], [0, 0]], ids=["fewer", "more", "absent", "repeated"]
)
def test_answer_that_does_not_fit_is_malformed(rows):
    payload = bytes([2]) + (16).to_bytes(4, "big") + len(rows).to_bytes(4, "big")
    payload += np.array(rows, dtype="<i4").tobytes()
    program = align_rows(pseudonyms_of([phone(1), phone(2)]))
    with pytest.raises(MalformedMessageError):
        run_together({"hub": answers(payload), "insurer": program})


def test_table_larger_than_accepted_is_malformed():
    programs = {name: align_rows(pseudonyms_of(map(phone, PEOPLE[name]))) for name in NAMES}
    programs["insurer"] = align_rows(pseudonyms_of(map(phone, PEOPLE["insurer"])), max_rows=703)
    programs["hub"] = join_union(rules(), source(0))
    with pytest.raises(MalformedMessageError):
        run_together(programs)


def test_own_duplicate_never_leaves():
    with pytest.raises(InvalidTableError):
        next(align_rows(pseudonyms_of([phone(1), phone(2), phone(1)])))


@pytest.mark.parametrize(
    "changes", [{"label_holder": "bank"}, {"parties": ("insurer", "insurer")}, {"min_rows": 0}]
)
def test_impossible_rules_are_refused(changes):
    with pytest.raises(UnsupportedParameterError):
        rules(**changes)


def test_set_of_a_stranger_is_refused():
    sets = {name: pseudonyms_of([phone(1)]) for name in (*NAMES, "bank")}
    with pytest.raises(UnsupportedParameterError):
        place_rows(sets, rules(), source(0))
