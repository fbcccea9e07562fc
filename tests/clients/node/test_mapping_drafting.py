"""Drafting a contract: it accepts its own rows, shows no row's value, and names what it omits."""

import json
import math
import string

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.node.mapping.drafting import Choices, draft_contract
from clients.node.mapping.proving import prove
from clients.node.mapping.rounding import public_range
from clients.node.mapping.sources import Rows, read_file
from clients.node.table import load_table
from compliance.configuration import ConfigError
from protocols.errors import InvalidTableError
from protocols.identifiers import IdentifierKind
from protocols.vertical.contract import Category, Contract, Numeric

ROWS = 200
CHOICES = Choices("key", IdentifierKind.OPAQUE)
# Synthetic numbers with good check digits.
NATIONAL = ["A123456789", "A234567893", "F131104093"]


def drafted(choices=CHOICES, **columns):
    keys = [f"k{row}" for row in range(len(next(iter(columns.values()))))]
    return draft_contract(Rows(pl.DataFrame({"key": keys} | columns, strict=False)), choices)


def repeated(*values):
    return [values[row % len(values)] for row in range(ROWS)]


def reason(draft, name):
    (found,) = [one.reason for one in draft.left_out if one.column == name]
    return found


# ---- what is proposed -----------------------------------------------------------------------


def test_every_kind_of_column_is_guessed():
    draft = drafted(
        age=[float(20 + row % 60) for row in range(ROWS)],
        balance=[-300 + 7 * row for row in range(ROWS)],
        flag=repeated(0, 1),
        tariff=repeated("flat", "prepaid", None),
        smokes=repeated(True, False),
        answer=repeated("no", "yes"),
    )
    assert draft.contract.columns == (
        Numeric("age", 0, 80),
        Numeric("balance", -500, 1500),
        Numeric("flag", 0, 1),
        Category("tariff", ("flat", "prepaid"), missing=True),
        Category("smokes", ("false", "true")),
        Category("answer", ("no", "yes")),
    )
    assert (draft.contract.identifier, draft.contract.identifier_kind) == ("key", "opaque")
    assert draft.left_out == ()
    assert Contract.parse(json.loads(json.dumps(draft.contract.format()))) == draft.contract


def test_pair_is_named_whole_though_one_of_it_is_rare():
    draft = drafted(answer=["no"] * (ROWS - 1) + ["yes"], sure=[True] * (ROWS - 1) + [False])
    assert [column.levels for column in draft.contract.columns] == [
        ("no", "yes"),
        ("false", "true"),
    ]


def test_numbers_written_as_text_are_numbers_and_codes_are_not():
    draft = drafted(
        amount=repeated("12.5", " 7 ", "", "300"),
        code=repeated("007", "012", "100"),
        mixed=repeated("1,000", "12", "13", "14", "5", *map(str, range(20, 90))),
    )
    assert draft.contract.columns == (
        Numeric("amount", 0, 400, missing=True),
        Category("code", ("007", "012", "100")),
    )
    assert "are none" in reason(draft, "mixed")


def test_few_different_numbers_are_pointed_out():
    (note,) = drafted(sex=repeated(1, 2)).notes
    assert note.startswith("column sex: only 2 different numbers")


# ---- what is left out -----------------------------------------------------------------------

LEFT_OUT = {
    "national": (repeated(*NATIONAL), "national or resident numbers"),
    "some national": (repeated(NATIONAL[0], "b", "c"), "national or resident numbers"),
    "phone": (repeated("0912345678", "02-2345-6789"), "telephone numbers"),
    "mail": (repeated("a@example.com", "b@example.org"), "e-mail addresses"),
    "short mobile": ([912_000_000 + 17 * row for row in range(ROWS)], "mobile numbers"),
    "account": ([f"{row:03}-{10**10 + 7919 * row}" for row in range(ROWS)], "like accounts"),
    "long number": ([10**11 + 7919 * row for row in range(ROWS)], "like accounts"),
    "card": ([f"40{row:013}" for row in range(ROWS)], "payment cards"),
    "running": (list(range(1000, 1000 + ROWS)), "running number"),
    "name": ([f"Person {row}" for row in range(ROWS)], "speak for persons"),
    "words": ([f"{row} " + "word " * 20 for row in range(ROWS)], "free text"),
    "many": ([f"level {row}" for row in range(ROWS)], "different texts"),
    "rare": ([*repeated("a", "b")[:-1], "only one person"], "would betray them"),
    "blank": (repeated("a", " "), "blank texts"),
    "iso date": (repeated("2001-02-03", "1999/12/31"), "dates or times"),
    "roc date": (repeated("民國88年1月2日", "113/05/06"), "dates or times"),
    "day number": ([20_000_101 + row % 28 for row in range(ROWS)], "dates written as numbers"),
    "date": (pl.Series(repeated("2001-01-01")).str.to_date(), "dates or times"),
    "constant": (repeated(7), "the same in every row"),
    "constant text": (repeated("x"), "the same in every row"),
    "empty": (repeated(None), "no value"),
    "infinite": (repeated(1.0, math.inf), "infinite"),
    "huge": (repeated(1.0, 1e200), "too large"),
    "list": (repeated([1], [2]), "is of type List"),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_column_is_left_out_with_its_reason_and_cure(name):
    values, says = LEFT_OUT[name]
    if name == "card":
        values = [text + str(check_digit(text)) for text in values]
    draft = drafted(**{name: values})
    assert draft.contract.columns == ()
    (found,) = draft.left_out
    assert found.column == name
    assert says in found.reason
    assert found.cure
    shown = {text for text in map(str, values) if len(text) > 4}
    assert not any(text in found.reason + found.cure for text in shown)


def check_digit(text):
    doubled = [int(digit) * (2 - at % 2) for at, digit in enumerate(reversed(text))]
    return -sum(number - 9 * (number > 9) for number in doubled) % 10


def test_amounts_that_are_nearly_all_different_stay():
    generator = np.random.default_rng(5)
    amounts = (generator.lognormal(10, 1, ROWS)).round(2)
    draft = drafted(account_balance=amounts, whole=amounts.astype(int))
    assert [column.name for column in draft.contract.columns] == ["account_balance", "whole"]


def test_what_the_operator_names_is_left_out_as_asked():
    draft = drafted(Choices("key", IdentifierKind.OPAQUE, without=("age",)), age=repeated(20, 30))
    assert reason(draft, "age") == "left out as asked"


def test_heading_that_stands_twice_is_told(tmp_path):
    path = tmp_path / "t.csv"
    rows = "\n".join(f"k{row},{row % 7},{row % 5}" for row in range(ROWS))
    path.write_text(f"key,a,a\n{rows}\n")
    draft = draft_contract(read_file(path), CHOICES)
    assert [column.name for column in draft.contract.columns] == ["a"]
    assert "stands twice" in draft.left_out[0].reason


def test_row_of_data_in_place_of_the_heading_is_refused_and_not_repeated(tmp_path):
    path = tmp_path / "t.csv"
    for first in ("A123456789,30,flat", "5,30,12"):
        path.write_text(f"{first}\nA234567893,40,flat\n")
        with pytest.raises(InvalidTableError, match="like a row of data") as caught:
            read_file(path)
        assert first.split(",")[0] not in str(caught.value).replace("column 1", "")


# ---- ranges ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        ((18, 79), (0, 80)), ((18, 80), (0, 100)), ((1994, 1996), (1990, 2000)),
        ((0, 0.37), (0, 0.4)), ((-5, 3), (-10, 5)), ((-40, -3), (-50, 0)),
        ((10_000, 1_000_000), (0, 1_200_000)), ((0, 3), (0, 5)),
    ],
)  # fmt: skip
def test_ranges_are_round(data, wanted):
    whole = all(value == int(value) for value in data)
    assert public_range(*data, whole=whole) == wanted


@given(
    st.floats(-1e140, 1e140, allow_nan=False),
    st.floats(-1e140, 1e140, allow_nan=False),
    st.booleans(),
)
def test_range_holds_the_data_and_shows_neither_end(one, other, whole):
    if whole:
        one, other = float(round(one)), float(round(other))
    low, high = min(one, other), max(one, other)
    if whole and 0 <= low <= high <= 1:
        return
    least, most = public_range(low, high, whole=whole)
    # Zero is no value of a row: it says that nothing is negative, or nothing positive.
    assert least < low or least == 0
    assert most > high or most == 0
    assert most - least <= 4 * max(high - low, abs(low) * 0.01, abs(high) * 0.01, 5.0 + 1e-9)
    Numeric("x", least, most)


# ---- identifiers ----------------------------------------------------------------------------


def test_identifier_is_guessed_by_its_check_digits():
    phones = ["0912345678", "0922345678", "0932345678"]
    frame = pl.DataFrame({"phone": phones, "who": NATIONAL, "age": [20, 30, 40]})
    draft = draft_contract(Rows(frame), Choices())
    assert draft.contract.identifier == "who"
    assert draft.contract.identifier_kind == "tw_person_id"
    assert "check that it is so" in draft.notes[0]


def test_identifier_that_cannot_be_guessed_is_asked_for():
    frame = pl.DataFrame({"a": ["x", "y"], "b": [1, 2]})
    with pytest.raises(ConfigError, match="none found; name it with --identifier"):
        draft_contract(Rows(frame), Choices())
    both = pl.DataFrame({"a": NATIONAL, "b": NATIONAL[::-1]})
    with pytest.raises(ConfigError, match=r"2 columns could be \(a, b\)"):
        draft_contract(Rows(both), Choices())


@pytest.mark.parametrize(
    ("choices", "says"),
    [
        (Choices("none"), "column none: the table does not have it"),
        (Choices("key", label="none"), "column none"),
        (Choices("key", without=("none",)), "column none"),
        (Choices("key", label="key"), "may not be the label"),
    ],
)
def test_column_that_is_not_there_is_told(choices, says):
    with pytest.raises(ConfigError, match=says):
        drafted(choices, age=repeated(20, 30))


def test_identifiers_that_have_become_numbers_are_refused():
    with pytest.raises(InvalidTableError, match="leading zeros"):
        draft_contract(
            Rows(pl.DataFrame({"p": [912345678, 912345679]})), Choices("p", IdentifierKind.PHONE)
        )
    with pytest.raises(InvalidTableError, match="no rows"):
        draft_contract(Rows(pl.DataFrame({"key": []})), CHOICES)


# ---- any table ------------------------------------------------------------------------------

TEXTS = st.one_of(
    st.text(string.printable + "０一é", max_size=8),
    st.sampled_from(["a", "b", "yes", "no", "007", "12", "1.5", "nan", "inf", "", " ", *NATIONAL]),
)
KINDS = [
    (pl.Int64, st.integers(-(2**63), 2**63 - 1)),
    (pl.Int64, st.integers(0, 3)),
    (pl.UInt8, st.integers(0, 255)),
    (pl.Float64, st.floats()),
    (pl.Float64, st.sampled_from([0.0, 1.0, -0.0, 5e-324, 1e300, math.nan])),
    (pl.Float32, st.floats(width=32)),
    (pl.Boolean, st.booleans()),
    (pl.String, TEXTS),
    (pl.String, st.sampled_from(["x", "y"])),
    (pl.Date, st.dates()),
    (pl.Null, st.none()),
]


@st.composite
def frames(draw):
    rows = draw(st.integers(1, 12)) * draw(st.sampled_from([1, 10]))
    columns = {"key": [f"k{row}" for row in range(rows)]}
    for number in range(draw(st.integers(0, 5))):
        kind, values = draw(st.sampled_from(KINDS))
        if draw(st.booleans()):
            values = st.one_of(values, st.none())
        seen = draw(st.lists(values, min_size=1, max_size=12))
        cells = [seen[row % len(seen)] for row in range(rows)]
        columns[f"c{number}"] = pl.Series(cells, dtype=kind)
    return pl.DataFrame(columns)


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
@settings(max_examples=60, deadline=None)
@given(frame=frames(), rare=st.sampled_from([1, 10]))
def test_draft_accepts_the_table_from_which_it_was_made(tmp_path_factory, suffix, frame, rare):
    path = tmp_path_factory.getbasetemp() / f"any.{suffix}"
    if suffix == "parquet":
        frame.write_parquet(path)
    else:
        frame.write_csv(path, quote_style="non_numeric")
    rows = read_file(path)
    draft = draft_contract(rows, Choices("key", IdentifierKind.OPAQUE, rare=rare))
    named = {column.name for column in draft.contract.columns}
    assert named | {one.column for one in draft.left_out} | {"key"} == set(frame.columns)
    assert prove(rows.frame, draft.contract).holds
    assert load_table(path, draft.contract).rows == frame.height
    for column in draft.contract.columns:
        if isinstance(column, Numeric):
            values = rows.frame[column.name].cast(pl.Float64).fill_nan(None).drop_nulls()
            if not values.is_in([0.0, 1.0]).all():
                assert column.low not in values.to_list() or column.low == 0
                assert column.high not in values.to_list() or column.high == 0
