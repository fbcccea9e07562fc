"""The list of shared values: covers every spelling of them, and never a person."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import MalformedMessageError
from protocols.identifiers import IdentifierKind, canonicalize
from protocols.lookup.benign import BenignEntry, BenignList

HOSPITAL = {"kind": "phone", "value": "02-2312-0000", "label": "某醫院總機"}
CHARITY = {"kind": "bank_account", "value": "004-000012345678", "label": "a donation account"}


def document(*entries, **change):
    return json.dumps({"format": 1, "version": 3, "entries": list(entries)} | change).encode()


LIST = BenignList.parse(document(HOSPITAL, CHARITY))


@pytest.mark.parametrize(
    "spelling", ["0223120000", "(02) 2312 0000", "+886 2 2312-0000", "０２２３１２００００"]
)
def test_every_spelling_is_covered(spelling):
    canonical = canonicalize(IdentifierKind.PHONE, spelling)
    assert LIST.covers(canonical)
    assert LIST.label(canonical) == "某醫院總機"


def test_other_values_are_not_covered():
    for kind, value in (
        (IdentifierKind.PHONE, "0223120001"),
        (IdentifierKind.BANK_ACCOUNT, "004-000012345679"),
        (IdentifierKind.OPAQUE, "0223120000"),
    ):
        canonical = canonicalize(kind, value)
        assert not LIST.covers(canonical)
        assert LIST.label(canonical) is None


def test_list_survives_the_disk():
    assert BenignList.parse(LIST.format()) == LIST
    assert LIST.version == 3
    assert BenignList.parse(document()).entries == ()


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "not valid JSON"),
        (b"[]", "must be an object"),
        (document(format=2), "format"),
        (document(format=True), "format"),
        (document(version=0), "version"),
        (document(version=1.0), "version"),
        (document(version=2**53), "version"),
        (document(more=1), "alone"),
        (document(entries={}), "list"),
        (document("x"), "entry 1: must be an object"),
        (document(HOSPITAL, {**HOSPITAL, "note": "x"}), "entry 2: must be an object"),
        (document({**HOSPITAL, "label": 5}), "must be text"),
        (document({**HOSPITAL, "label": ""}), "label"),
        (document({**HOSPITAL, "label": "x" * 65}), "label"),
        (document({**HOSPITAL, "label": "a\nb"}), "label"),
        (document({**HOSPITAL, "kind": "fax"}), "unknown kind"),
        (document({**HOSPITAL, "value": "2312"}), "entry 1: phone: expected"),
        (document(HOSPITAL, {**HOSPITAL, "value": "0223120000"}), "entry 2: the value stands"),
        (b'{"format":1,"version":1,"version":2,"entries":[]}', "not valid JSON"),
    ],
)
def test_defective_list_is_refused(data, rule):
    with pytest.raises(MalformedMessageError, match=rule):
        BenignList.parse(data)


@pytest.mark.parametrize("kind", ["tw_national_id", "tw_resident_number", "tw_person_id", "opaque"])
def test_kind_of_a_person_is_refused(kind):
    with pytest.raises(MalformedMessageError, match="others name a person"):
        BenignList.parse(document({"kind": kind, "value": "A123456789", "label": "x"}))


def test_refusal_and_repr_show_no_value():
    for value in ("0212", "02-2312-0000-9999"):
        with pytest.raises(MalformedMessageError) as caught:
            BenignList.parse(document({**HOSPITAL, "value": value}))
        assert value not in str(caught.value)
    assert "2312" not in repr(LIST)


@given(st.binary(max_size=60), st.integers(0, 200), st.integers(0, 200))
def test_any_bytes_are_a_list_or_malformed(noise, start, end):
    good = document(HOSPITAL)
    for data in (noise, good[:start] + noise + good[end:]):
        try:
            found = BenignList.parse(data)
        except MalformedMessageError:
            continue
        assert BenignList.parse(found.format()) == found


def test_list_made_in_code_keeps_the_same_rules():
    entry = BenignEntry(IdentifierKind.PHONE, "0223120000", "x")
    with pytest.raises(MalformedMessageError, match="twice"):
        BenignList(1, (entry, entry))
