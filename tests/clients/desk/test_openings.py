"""What an auditor finds out, and what stays hidden from it."""

import json
import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.desk.desk import Desk
from clients.desk.openings import CaseFile, audit, draw_sample, open_sample
from clients.desk.papers import (
    OPENINGS,
    SAMPLE,
    Opening,
    Pick,
    format_openings,
    format_sample,
    parse_openings,
    parse_sample,
    read_cases,
)
from clients.lookup.queries import QueryStore
from clients.lookup.secrets import OPENING_KEY, keep_secret
from compliance.evaluations.evidence import FORMAT, Evidence, EvidenceEntry, evidence_of
from protocols.errors import InvalidTableError, MalformedMessageError
from protocols.identifiers import IdentifierKind, canonicalize
from protocols.lookup.request import Purpose

PERSON = IdentifierKind.TW_PERSON_ID
NOBODY = 99


@pytest.fixture
def asked(town, person):
    """A desk that checked ten customers and screened forty, and what it can open."""
    with Desk(town.home().root, clock=town.clock) as desk:
        for number in range(10):
            desk.check([(PERSON, person(number))], purpose=Purpose.COUNTER, case=f"C-{number}")
        wanted = [canonicalize(PERSON, person(number)) for number in range(100, 140)]
        desk.lookup.evaluate(wanted, purpose=Purpose.SCREENING)
    home = town.home()
    town.queries = QueryStore(home, os.urandom)
    town.opening_key = keep_secret(home.keys / OPENING_KEY, os.urandom)
    return town


def evidence(town, holder="hub"):
    return evidence_of(holder, "insurer", town.manifest.epoch, town.entries(holder))


def cases(person, customers=range(100, 140)):
    found = {
        f"C-{number}": frozenset([canonicalize(PERSON, person(number))]) for number in range(10)
    }
    found[""] = frozenset(canonicalize(PERSON, person(number)) for number in customers)
    return CaseFile(found)


def opened(town, picks):
    return open_sample(town.suite, town.queries, town.opening_key, picks, epoch=town.manifest.epoch)


def everything(entries):
    return draw_sample(entries, seed="s", size=1000)


def test_honest_desk_passes_with_every_holder(asked, person):
    for holder in ("hub", "police", "telecom"):
        entries = evidence(asked, holder).entries
        picks = everything(entries)
        assert len(picks) == sum(entry.count for entry in entries)
        verdict = audit(asked.suite, entries, picks, opened(asked, picks), cases(person))
        assert verdict.is_clean, verdict.faults
        assert verdict.opened == len(picks)


def test_desk_that_asks_without_a_case_is_found_out(asked, person):
    with Desk(asked.home().root, clock=asked.clock) as desk:
        # Under an invented case, and under the purpose that needs none.
        desk.check([(PERSON, person(NOBODY))], purpose=Purpose.COUNTER, case="C-invented")
        desk.lookup.evaluate([canonicalize(PERSON, person(NOBODY - 1))], purpose=Purpose.SCREENING)
    entries = evidence(asked).entries
    picks = everything(entries)
    verdict = audit(asked.suite, entries, picks, opened(asked, picks), cases(person))
    assert len(verdict.faults) == 2
    assert "the case's file does not name this identifier" in verdict.faults[0]
    assert "nobody with this identifier is a customer" in verdict.faults[1]


def test_desk_that_checks_another_person_under_a_real_case_is_found_out(asked, person):
    with Desk(asked.home().root, clock=asked.clock) as desk:
        desk.check([(PERSON, person(NOBODY))], purpose=Purpose.COUNTER, case="C-1")
    entries = evidence(asked).entries
    picks = everything(entries)
    found = opened(asked, picks)
    verdict = audit(asked.suite, entries, picks, found, cases(person))
    assert len(verdict.faults) == 1
    # Opening somebody else instead, with the same blind, does not help.
    at = next(i for i, item in enumerate(found) if item.request_id == entries[-1].request_id)
    innocent = canonicalize(PERSON, person(1))
    lied = replace(found[at], opened=(replace(found[at].opened[0], canonical=innocent),))
    found[at] = lied
    verdict = audit(asked.suite, entries, picks, found, cases(person))
    assert "another identifier was asked" in verdict.faults[0]


def test_each_lie_in_the_openings_is_named(asked, person):
    entries = evidence(asked).entries
    picks = [Pick(entries[0].request_id, 0)]
    (truth,) = opened(asked, picks)
    element = truth.opened[0]
    other = opened(asked, [Pick(entries[1].request_id, 0)])[0]
    zero = Opening(0, element.canonical, bytes(32))
    lies = {
        "was not opened": [],
        "is not the one that was logged": [replace(truth, batch=other.batch)],
        "another number of elements": [replace(truth, batch=truth.batch * 2)],
        "the case is not the one": [replace(truth, reference="C-2")],
        "the case or its salt is none": [replace(truth, salt=b"short")],
        "no case is shown": [replace(truth, reference="")],
        "element 0: was not opened": [replace(truth, opened=())],
        "the blind is none": [replace(truth, opened=(zero,))],
        "another identifier was asked": [
            replace(truth, opened=(replace(element, blind=other.opened[0].blind),))
        ],
    }
    for text, openings in lies.items():
        verdict = audit(asked.suite, entries, picks, openings, cases(person))
        assert len(verdict.faults) == 1
        assert text in verdict.faults[0], text
        assert verdict.opened == 0
    strange = [Pick(bytes(16), 0)]
    assert (
        "not in the evidence" in audit(asked.suite, entries, strange, [], cases(person)).faults[0]
    )


def test_only_the_sampled_are_named(asked, person):
    entries = evidence(asked).entries
    picks = [Pick(entries[-1].request_id, 5)]
    (found,) = opened(asked, picks)
    paper = format_openings([found])
    names = {canonicalize(PERSON, person(number)).hex() for number in range(140)}
    assert sum(name.encode() in paper for name in names) == 1
    assert len(found.batch) == 40 * 32
    assert len(found.opened) == 1


def test_requests_of_another_desk_are_not_opened(asked):
    assert opened(asked, [Pick(bytes(16), 0)]) == []
    entries = evidence(asked).entries
    assert opened(asked, [Pick(entries[0].request_id, 1)]) == []


def test_sample_is_uniform_repeatable_and_of_the_seed():
    entries = [
        EvidenceEntry(bytes([n]) * 16, bytes(32), 1 + n * 10, Purpose.SCREENING, bytes(32), 0)
        for n in range(9)
    ]
    total = sum(entry.count for entry in entries)
    first = draw_sample(entries, seed="one", size=40)
    assert first == draw_sample(entries, seed="one", size=40)
    assert first != draw_sample(entries, seed="two", size=40)
    assert len(set(first)) == 40
    hits = {entry.request_id: 0 for entry in entries}
    for seed in range(200):
        for pick in draw_sample(entries, seed=str(seed), size=20):
            hits[pick.request_id] += 1
    for entry in entries[1:]:
        assert hits[entry.request_id] / 4000 == pytest.approx(entry.count / total, rel=0.25)
    every = draw_sample(entries, seed="x", size=total + 5)
    assert [(pick.request_id, pick.index) for pick in every] == [
        (entry.request_id, index) for entry in entries for index in range(entry.count)
    ]
    assert draw_sample([], seed="x", size=3) == []


def test_papers_survive_writing_and_reading(asked):
    book = evidence(asked)
    assert Evidence.parse(book.format()) == book
    picks = draw_sample(book.entries, seed="s", size=7)
    assert parse_sample(format_sample(book, picks, "s")) == (book.epoch, picks)
    found = opened(asked, picks)
    assert parse_openings(format_openings(found)) == found


@given(st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["entries", "picks", "requests", "opened", "index", "count", "at",
                             "request_id", "batch", "case", "salt", "epoch", "holder", "asker"]),
            inner, max_size=5,
        ),
    ),
    max_leaves=12,
))  # fmt: skip
def test_any_paper_is_read_or_malformed(value):
    for parse, form in (
        (Evidence.parse, FORMAT), (parse_sample, SAMPLE), (parse_openings, OPENINGS),
    ):  # fmt: skip
        if isinstance(value, dict):
            value = value | {"format": form}
        try:
            parse(json.dumps(value).encode())
        except MalformedMessageError:
            continue


def test_case_file_names_rows_and_never_values(tmp_path, person):
    path = tmp_path / "cases.csv"
    path.write_text(f"case,kind,value\nC-1,tw_person_id,{person(1)}\n,tw_person_id,{person(2)}\n")
    assert read_cases(path) == {
        "C-1": frozenset([canonicalize(PERSON, person(1))]),
        "": frozenset([canonicalize(PERSON, person(2))]),
    }
    for text, rule in (
        ("case,kind\n1,2\n", "needs the columns"),
        ("case,kind,value\n1,shoe_size,42\n", "row 1: unknown kind"),
        ("case,kind,value\n1,tw_person_id,A123456780\n", "row 1: .*check digit"),
    ):
        path.write_text(text)
        with pytest.raises(InvalidTableError, match=rule) as error:
            read_cases(path)
        assert "A123456780" not in str(error.value)
    path.write_bytes(b"case,kind,value\n\xff,phone,1\n")
    with pytest.raises(InvalidTableError, match="cannot be read"):
        read_cases(path)
