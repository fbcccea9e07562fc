"""Invitation codes: what a person reads out and types, right, wrong and nearly right."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.enrolment.code import InvitationCode, is_code
from protocols.errors import MalformedMessageError

CODE = InvitationCode("hub.example:9445", "fraud-hub", bytes(range(32)), bytes(range(16)))
TEXT = CODE.format()


def test_code_is_read_as_it_was_written():
    assert InvitationCode.parse(TEXT) == CODE
    assert TEXT.startswith("LF1-")
    assert max(map(len, TEXT.split("-"))) == 5
    assert is_code(TEXT.lower())
    assert not is_code("welcome.json")


def test_code_is_read_however_it_is_typed():
    for typed in (
        TEXT.lower(),
        TEXT.replace("-", ""),
        f"  {TEXT.replace('-', ' ')}\n",
        TEXT[:4] + TEXT[4:].replace("0", "O").replace("1", "l"),
    ):
        assert InvitationCode.parse(typed) == CODE


def test_every_single_wrong_character_is_found():
    for place in range(4, len(TEXT)):
        if TEXT[place] != "-":
            other = "7" if TEXT[place] != "7" else "8"
            with pytest.raises(MalformedMessageError, match="typed wrongly"):
                InvitationCode.parse(TEXT[:place] + other + TEXT[place + 1 :])


def test_swapped_neighbours_and_missing_ends_are_found():
    swapped = next(
        i for i in range(4, 60) if "-" not in TEXT[i : i + 2] and len({*TEXT[i : i + 2]}) == 2
    )
    for wrong in (
        TEXT[:swapped] + TEXT[swapped + 1] + TEXT[swapped] + TEXT[swapped + 2 :],
        *(TEXT[:end] for end in range(3, len(TEXT) - 1)),
        TEXT + "0",
        TEXT + "00000",
    ):
        with pytest.raises(MalformedMessageError):
            InvitationCode.parse(wrong)


@given(st.text(max_size=80))
def test_any_text_is_a_code_or_malformed(text):
    for typed in (text, f"LF1-{text}"):
        with pytest.raises(MalformedMessageError):
            InvitationCode.parse(typed)


@given(
    st.from_regex(r"[a-z0-9.]{1,30}:[0-9]{1,5}", fullmatch=True),
    st.from_regex(r"[a-z0-9]{1,40}", fullmatch=True),
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=16, max_size=16),
)
def test_any_hub_comes_back(api, hub, fingerprint, secret):
    code = InvitationCode(api, hub, fingerprint, secret)
    assert InvitationCode.parse(code.format()) == code


@pytest.mark.parametrize("api", ["hub", ":9445", "hub:", "a b:1", "hub/x:1", "user@hub:1", "h\n:1"])
def test_address_that_is_none_is_refused(api):
    with pytest.raises(MalformedMessageError):
        InvitationCode(api, "hub", bytes(32), bytes(16))


def test_secret_does_not_print():
    assert "secret" not in repr(CODE)
