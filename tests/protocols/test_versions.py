"""Neighbouring versions talk; others say whose program is to be updated."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import MalformedMessageError, UnsupportedParameterError
from protocols.versions import OLDEST, WIRE, _against, compatible, offer, spoken


def test_program_talks_to_itself_and_to_one_that_says_nothing():
    assert compatible(offer()) == ""
    assert spoken(offer()) == WIRE
    assert (OLDEST <= 1) == (compatible("") == "")


def test_neighbours_talk_in_the_older_version():
    assert compatible(f"{WIRE}-{WIRE + 1}") == ""
    assert spoken(f"{WIRE}-{WIRE + 1}") == WIRE
    assert _against("2-3", (1, 2)) == ""
    assert _against("1-2", (2, 3)) == ""


@pytest.mark.parametrize(
    ("theirs", "ours", "cure"),
    [
        ("3-4", (1, 2), "versions 3 to 4 of the wire, this program speaks versions 1 to 2; "
         "update this program"),
        ("", (2, 3), "let the other side update its program"),
        ("1-1", (2, 2), "version 1 of the wire, this program speaks version 2; let the other"),
    ],
)  # fmt: skip
def test_programs_too_far_apart_say_who_is_to_update(theirs, ours, cure):
    assert cure in _against(theirs, ours)


def test_refusal_is_an_error_with_the_same_words():
    theirs = f"{WIRE + 1}-{WIRE + 2}"
    with pytest.raises(UnsupportedParameterError, match="update this program") as caught:
        spoken(theirs)
    assert str(caught.value) == compatible(theirs)


@pytest.mark.parametrize("text", ["1", "2-1", "0-1", "1-2 ", "1-99999", "a-b", "１-１", "1-2\n"])
def test_what_is_no_offer_is_malformed(text):
    with pytest.raises(MalformedMessageError):
        compatible(text)


@given(st.text(max_size=12))
def test_any_text_is_an_answer_or_malformed(text):
    try:
        compatible(text)
    except MalformedMessageError:
        return
    assert text == "" or text.count("-") == 1
