import random

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.desk.columns import canonicalize_column, load_column
from protocols.errors import InvalidTableError
from protocols.identifiers import IdentifierKind, InvalidIdentifierError, canonicalize

KINDS = list(IdentifierKind)


def one_by_one(values, kind):
    found = []
    for value in values:
        try:
            found.append(None if value is None else canonicalize(kind, value))
        except InvalidIdentifierError:
            found.append(None)
    return found


def by_column(values, kind):
    column = canonicalize_column(pl.Series(values, dtype=pl.String), kind)
    found = [None] * len(values)
    for row, item in zip(column.rows.tolist(), column.canonical, strict=True):
        found[row] = item
    assert column.malformed == found.count(None)
    return found


def near_misses(person):
    source = random.Random(4)
    for number in range(400):
        text = list(person(number))
        yield "".join(text)
        at = source.randrange(10)
        yield "".join([*text[:at], source.choice("0123456789ABCDZz１Ａ -"), *text[at + 1 :]])
        text[1] = source.choice("0389")
        yield "".join(text)
    for _ in range(300):
        yield f"09{source.randrange(10**8):08d}"
        yield f"0{source.randrange(10**9):09d}"
    yield from (None, "", " ", "A12345678", "0912-345-678", "+886912345678", "九", "0912345678\n")


@pytest.mark.parametrize("kind", KINDS)
def test_whole_columns_agree_with_single_values(person, kind):
    values = list(near_misses(person))
    found = by_column(values, kind)
    assert found == one_by_one(values, kind)
    if kind in (IdentifierKind.TW_PERSON_ID, IdentifierKind.PHONE):
        assert sum(item is not None for item in found) > 300


@given(st.lists(st.one_of(st.none(), st.text(max_size=12)), max_size=20), st.sampled_from(KINDS))
def test_any_text_is_treated_alike(values, kind):
    assert by_column(values, kind) == one_by_one(values, kind)


def test_resident_numbers_of_the_new_form_agree():
    values = [f"A8{serial:07d}{digit}" for serial in range(0, 5000, 7) for digit in range(10)]
    for kind in (IdentifierKind.TW_RESIDENT_NUMBER, IdentifierKind.TW_PERSON_ID):
        found = by_column(values, kind)
        assert found == one_by_one(values, kind)
        assert sum(item is not None for item in found) == len(values) // 10


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_files_of_both_forms_are_read_as_text(tmp_path, suffix):
    path = tmp_path / f"customers.{suffix}"
    frame = pl.DataFrame({"id": ["0912345678", "x", None], "other": [1, 2, 3]})
    frame.write_csv(path) if suffix == "csv" else frame.write_parquet(path)
    column = load_column(path, "id", IdentifierKind.PHONE)
    assert column.canonical == [canonicalize(IdentifierKind.PHONE, "0912345678")]
    assert column.malformed == 2


def test_files_that_cannot_be_used_are_told_by_column_and_cure(tmp_path):
    numbers = tmp_path / "numbers.parquet"
    pl.DataFrame({"id": [912345678]}).write_parquet(numbers)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    cases = [
        (numbers, "id", "must be text"),
        (numbers, "no", "does not have it"),
        (tmp_path / "gone.csv", "id", "no such file"),
        (tmp_path / "broken.parquet", "id", "cannot be read"),
        (tmp_path / "table.xlsx", "id", "give .parquet or .csv"),
    ]
    for path, column, text in cases:
        with pytest.raises(InvalidTableError, match=text):
            load_column(path, column, IdentifierKind.PHONE)
