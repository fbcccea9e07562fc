"""A mistyped number never passes for another kind of which it happens to be a valid one."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.desk.pages.recognising import recognise
from protocols.identifiers import IdentifierKind

KIND = IdentifierKind


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("A123456789", KIND.TW_PERSON_ID),
        ("a123 456 789", KIND.TW_PERSON_ID),
        ("Ａ１２３４５６７８９", KIND.TW_PERSON_ID),
        ("AC01234567", KIND.TW_PERSON_ID),
        ("A800000014", KIND.TW_PERSON_ID),
        ("0912-345-678", KIND.PHONE),
        ("０９１２３４５６７８", KIND.PHONE),
        ("+886 912 345 678", KIND.PHONE),
        ("someone@example.org", KIND.EMAIL),
        ("02-2345-6789", None),  # a landline, or an account of bank 022
        ("004123456789", None),
        ("somebody_88", None),
        ("@shop", None),
        ("", None),
    ],
)
def test_only_what_can_be_one_kind_is_recognised(text, kind):
    assert recognise(text) is kind


@given(st.text(max_size=40))
def test_any_text_is_recognised_or_not_and_never_fails(text):
    assert recognise(text) in {None, KIND.TW_PERSON_ID, KIND.PHONE, KIND.EMAIL}


def test_slips_of_the_finger_are_not_taken_for_another_kind(person):
    source = random.Random(3)
    for index in range(200):
        right = person(index) if index % 2 else f"09{source.randrange(10**8):08}"
        at = source.randrange(1 if index % 2 else 2, len(right))
        wrong = [
            right[:at] + right[at + 1 :],
            right[:at] + str(source.randrange(10)) + right[at:],
            right[:at] + str((int(right[at]) + source.randrange(1, 10)) % 10) + right[at + 1 :],
        ]
        for text in wrong:
            kind = recognise(text)
            own = KIND.TW_PERSON_ID if index % 2 else KIND.PHONE
            assert kind in {None, own}
