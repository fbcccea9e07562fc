"""Reading a table: every defect is named by column, rule and cure, and no value is shown."""

import numpy as np
import polars as pl
import pytest

from clients.node.table import load_table
from protocols.errors import InvalidTableError
from protocols.vertical.contract import Category, Contract, Numeric

SECRET = 987654.25
CONTRACT = Contract(
    (
        Numeric("age", 0, 120),
        Numeric("calls", -5, 1000, missing=True),
        Category("tariff", ("flat", "prepaid"), missing=True),
    ),
    label="y",
)
GOOD = {
    "id": ["a1", "a2", "a3"],
    "age": [30.0, 40.0, 50.0],
    "calls": [1.0, None, -5.0],
    "tariff": ["flat", None, "prepaid"],
    "y": [0, 1, 0],
}


def written(path, suffix=".parquet", **changes):
    frame = pl.DataFrame({k: v for k, v in (GOOD | changes).items() if v is not ...}, strict=False)
    path /= f"table{suffix}"
    frame.write_parquet(path) if suffix == ".parquet" else frame.write_csv(path)
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_good_table_is_read_alike_from_both_forms(tmp_path, suffix):
    table = load_table(written(tmp_path, suffix), CONTRACT)
    assert table.identifiers == GOOD["id"]
    assert table.columns["age"].tolist() == GOOD["age"]
    assert np.isnan(table.columns["calls"]).tolist() == [False, True, False]
    assert table.columns["tariff"].tolist() == [0, -1, 1]
    assert table.labels.tolist() == [0, 1, 0]
    assert table.held_out is None


def test_rows_are_taken_in_the_given_order(tmp_path):
    table = load_table(written(tmp_path), CONTRACT).taken(np.array([2, 0]))
    assert table.identifiers == ["a3", "a1"]
    assert table.columns["tariff"].tolist() == [1, 0]
    assert table.rows == 2


def test_held_out_column_marks_people(tmp_path):
    path = written(tmp_path, held=[1, 0, 0])
    assert load_table(path, CONTRACT, held_out_column="held").held_out.tolist() == [True, 0, 0]


DEFECTS = {
    "missing column": ({"calls": ...}, "calls", "does not have it", "correct the mapping"),
    "no identifiers": ({"id": ...}, "id", "does not have it", "correct the mapping"),
    "no label": ({"y": ...}, "y", "does not have it", "correct the mapping"),
    "text for a number": (
        {"age": ["30", f"x{SECRET}", "50"]}, "age", "is not a number (rows 2)",
        "correct the export",
    ),
    "date for a number": (
        {"age": pl.Series(["2001-01-01"] * 3).str.to_date()}, "age", "type is Date", "convert it",
    ),
    "list for a level": ({"tariff": [["flat"]] * 3}, "tariff", "not a level", "convert it"),
    "outside the range": (
        {"age": [30.0, 40.0, SECRET]}, "age", "outside the contract's range 0 to 120 (rows 3)",
        "clip it",
    ),
    "infinity": ({"calls": [np.inf, 0.0, 0.0]}, "calls", "outside the contract's range", "clip it"),
    "undeclared missing": (
        {"age": [None, 40.0, SECRET]}, "age", "has no value (rows 1)", "declare it missing",
    ),
    "unknown level": (
        {"tariff": ["flat", f"gold {SECRET}", None]}, "tariff", "is not a level of the contract",
        "agree the level",
    ),
    "label of two": ({"y": [0, 2, 1]}, "y", "is not 0 or 1 (rows 2)", "label every row"),
    "label missing": ({"y": [0, None, 1]}, "y", "is not 0 or 1 (rows 2)", "label every row"),
    "identifier as number": (
        {"id": [1.5, 2.5, SECRET]}, "id", "must be text", "export them as text",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", DEFECTS.values(), ids=DEFECTS)
def test_defect_names_column_rule_and_cure_and_no_value(tmp_path, case):
    changes, column, rule, cure = case
    with pytest.raises(InvalidTableError) as caught:
        load_table(written(tmp_path, **changes), CONTRACT)
    text = str(caught.value)
    assert text.startswith(f"column {column}: ")
    assert rule in text
    assert cure in text
    assert str(SECRET) not in text


def test_whole_numbers_identify_only_where_the_agreement_defines_them(tmp_path):
    path = written(tmp_path, id=[7, 8, 9])
    assert load_table(path, CONTRACT).identifiers == ["7", "8", "9"]
    phones = Contract(CONTRACT.columns, identifier_kind="phone", label="y")
    with pytest.raises(InvalidTableError, match="column id: identifiers must be text"):
        load_table(path, phones)


def test_number_with_leading_zeros_keeps_them_in_csv(tmp_path):
    assert (
        load_table(written(tmp_path, ".csv", id=["007", "08", "9"]), CONTRACT).identifiers[0]
        == "007"
    )


def test_table_that_cannot_be_read_is_told_with_its_cure(tmp_path):
    with pytest.raises(InvalidTableError, match="no such file; correct the path"):
        load_table(tmp_path / "none.parquet", CONTRACT)
    (tmp_path / "bad.parquet").write_bytes(b"not parquet")
    with pytest.raises(InvalidTableError, match="cannot be read; export it again"):
        load_table(tmp_path / "bad.parquet", CONTRACT)
    with pytest.raises(InvalidTableError, match=r"give \.parquet or \.csv"):
        load_table(tmp_path / "table.xlsx", CONTRACT)
    with pytest.raises(InvalidTableError, match="table: it has no rows"):
        load_table(written(tmp_path, **{name: [] for name in GOOD}), CONTRACT)
