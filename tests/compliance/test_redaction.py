"""No identifier survives: of any kind, however it is written, wherever it stands."""

import base64
import re
import string
import unicodedata

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from compliance.redaction import REMOVED, is_dropped, redact, redact_fields, redact_value
from protocols.identifiers import (
    IdentifierKind,
    canonicalize,
    national_checksum,
)

FULL_WIDTH = str.maketrans(
    string.digits + string.ascii_letters,
    "".join(unicodedata.lookup(f"FULLWIDTH DIGIT {name}") for name in (
        "ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE",
    )) + "".join(chr(ord(letter) + 0xFEE0) for letter in string.ascii_letters),
)  # fmt: skip
GAPS = ["", "", "", "-", " ", "\u200b", "\ufeff", "\u2013", "\u3000", "\n", " - "]
PHONE_GAPS = [*GAPS, ".", "(", ")"]
DIGIT = st.sampled_from(string.digits)


def digits(least, most=None):
    return st.text(DIGIT, min_size=least, max_size=most or least)


@st.composite
def people(draw):
    """A national ID or a resident number, old or new, whose check digit fits."""
    letter = draw(st.sampled_from(string.ascii_uppercase))
    second = draw(st.sampled_from("1289ABCD"))
    middle = draw(digits(7))
    counted = str((ord(second) - ord("A")) % 10) if second.isalpha() else second
    check = next(
        digit for digit in string.digits
        if national_checksum(letter, counted + middle + digit) % 10 == 0
    )  # fmt: skip
    return f"{letter}{second}{middle}{check}"


phones = st.one_of(
    digits(8).map("09{}".format),
    digits(8).map("02{}".format),
    digits(8).map("+8869{}".format),
    digits(7).map("03{}".format),
    digits(6).map("0800{}".format),
    digits(6, 14).map("+1{}".format),
)
accounts = st.tuples(
    digits(3).filter(lambda code: code != "000"), digits(6, 16).filter(lambda text: text.strip("0"))
).map("".join)
names = st.text(string.ascii_lowercase + string.digits + "!#$%&'*+/=?^_`{|}~-", min_size=1,
                max_size=20)  # fmt: skip
labels = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=12)
hosts = st.one_of(
    st.lists(labels, min_size=2, max_size=4).map(".".join),
    st.sampled_from(["例子.台灣", "例子。台灣", "bücher.example"]),
)
emails = st.tuples(names, hosts).map("@".join)


@st.composite
def written(draw, values, gaps):
    """Write an identifier as people do: with gaps, full-width, in small letters."""
    value = draw(values)
    parts = [value[0]]
    for character in value[1:]:
        parts += [draw(st.sampled_from(gaps)), character]
    text = "".join(parts)
    match draw(st.sampled_from(["plain", "lower", "wide"])):
        case "lower":
            return text.lower()
        case "wide":
            return text.translate(FULL_WIDTH)
    return text


IDENTIFIERS = st.one_of(
    st.tuples(st.just(IdentifierKind.TW_PERSON_ID), written(people(), GAPS)),
    st.tuples(st.just(IdentifierKind.PHONE), written(phones, PHONE_GAPS)),
    st.tuples(st.just(IdentifierKind.BANK_ACCOUNT), written(accounts, GAPS)),
    st.tuples(st.just(IdentifierKind.EMAIL), written(emails, [""])),
)


def bare(text):
    """The text as whoever looks for an identifier in it would read it."""
    text = unicodedata.normalize("NFKC", text).lower()
    return re.sub(r"[\s\-().\u2010-\u2015\u2212\u200b-\u200d\ufeff]+", "", text)


@given(IDENTIFIERS)
def test_what_is_planted_here_is_an_identifier(found):
    kind, text = found
    assert canonicalize(kind, text)


def core(kind, text):
    """What would give the identifier away: the digits of a number, or the address."""
    found = bare(text)
    if kind is IdentifierKind.EMAIL:
        return found
    found = "".join(re.findall(r"\d", found))
    return found[-8:] if kind is IdentifierKind.TW_PERSON_ID else found[-7:]


@given(IDENTIFIERS, st.text(max_size=12), st.text(max_size=12))
@example((IdentifierKind.PHONE, "0.227.123.245"), "", "")
@example((IdentifierKind.PHONE, "03.123.45.67"), "at ", ":80")
@example((IdentifierKind.TW_PERSON_ID, "A1 2345 6789"), "token=", "")
@example((IdentifierKind.TW_PERSON_ID, "\u0131A12345678"), "", "")
@example((IdentifierKind.PHONE, "03 0000000"), "0@", "")
@example((IdentifierKind.PHONE, "03 0000000"), "c" * 32, "")
@example((IdentifierKind.EMAIL, "john0912345678smith@123456789.example"), "", "")
def test_no_identifier_survives_in_a_text(found, before, after):
    kind, text = found
    secret = core(kind, text)
    assume(secret not in bare(before + "|" + after))
    assert secret not in bare(redact(before + text + after))


@given(IDENTIFIERS, st.sampled_from(["event", "partner", "id", "a list", "nested", "a key"]))
def test_no_identifier_survives_in_a_structure(found, place):
    kind, text = found
    fields = {
        "a list": {"items": [1, (text,), {"x": [text]}]},
        "nested": {"of": {"another": {"partner": f"<{text}>"}}},
        "a key": {text: 1},
    }.get(place, {place: text})
    assert core(kind, text) not in bare(repr(redact_fields(fields)))


@given(st.integers(min_value=10**8))
def test_numbers_of_nine_digits_and_more_go(number):
    assert redact_value(number) == redact_value(-number) == redact_value(float(number)) == REMOVED
    assert str(number) not in redact(f"a number {number} of somebody")


class Odd:
    """An object that tells an identifier of itself, or fails to."""

    def __init__(self, text):
        self.text = text

    def __str__(self):
        if self.text is None:
            raise ValueError("A123456789")
        return self.text


def test_objects_bytes_and_deep_structures_tell_nothing():
    deep = "A123456789"
    for _ in range(50):
        deep = [deep]
    told = redact_fields(
        {"a": Odd("A123456789"), "b": Odd(None), "c": b"A123456789", "d": deep,
         "e": {"A123456789"}, "f": ValueError("0912-345-678")}
    )  # fmt: skip
    assert "123456789" not in repr(told)
    assert "345-678" not in repr(told)
    assert told["b"] == "<Odd>"
    assert told["c"] == "[10 bytes]"


@pytest.mark.parametrize(
    "text",
    [
        "line_id=somebody.8", "LINE ID：somebody.8", '{"line": "somebody.8"}', "lineId: somebody.8",
        "identifier=somebody.8", "{'value': 'somebody.8'}", "reason=somebody.8",
        'password = "somebody.8 and more"', "token: somebody.8", "Authorization: Bearer somebody.8",
        "case='somebody.8'", "Cookie: somebody.8",
    ],
)  # fmt: skip
def test_what_stands_behind_a_label_goes(text):
    assert "somebody" not in redact(f"it said {text}, and went on").lower()
    assert redact(f"it said {text}, and went on").endswith(", and went on")


@pytest.mark.parametrize(
    "key",
    ["line_id", "lineId", "identifier", "value", "case", "caseReference", "reason", "password",
     "token", "customer-phone", "E-MAIL", "subject", "access_token"],
)  # fmt: skip
def test_fields_of_such_names_are_left_out(key):
    assert is_dropped(key)
    assert redact_fields({key: "anything", "inner": {key: "anything"}}) == {"inner": {}}


@given(st.randoms(use_true_random=False))
def test_keys_and_tokens_go(source):
    secret = source.randbytes(32)
    for text in (secret.hex(), secret.hex().upper(), base64.b64encode(secret).decode(),
                 base64.urlsafe_b64encode(secret).decode()):  # fmt: skip
        # A text without a capital, a small letter or a digit is one in two thousand.
        if all(re.search(kind, text) for kind in ("[A-Z]", "[a-z]", "[0-9]")) or text.isalnum():
            assert text not in redact(f"key {text} is used")


@pytest.mark.parametrize(
    "text",
    [
        "standing link: cannot reach 127.0.0.1:9443",
        "the hub at 192.168.100.200:9443 ended the stream",
        "quota of insurer in epoch 5: 3 of 100 used, 40 more asked; nothing was charged",
        "agreement 3f2ab14c9d0e: something new came from the hub",
        'File "/srv/lianfang/clients/audit/reconciling.py", line 123, in fetch',
        "epoch 12 is over: its share was destroyed",
        "spiffe://fraud-hub/node/telecom",
        "2026-11-22T07:10:28Z took 12.345 s for 1,000,000,000 bytes",
        "evaluate refused: request of insurer: asked more than 300 seconds from our time",
        "協議已生效",
    ],
)
def test_what_operators_need_stays(text):
    assert redact(text) == text


def test_what_is_plain_stays_as_it_is():
    fields = {"status": 200, "ms": 12.5, "ok": True, "none": None, "partner": "insurer", "n": [1]}
    assert redact_fields(fields) == fields


@given(st.text())
def test_redacting_twice_changes_nothing_more(text):
    assert redact(redact(text)) == redact(text)
