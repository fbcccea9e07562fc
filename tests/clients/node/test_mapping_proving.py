"""Proving a contract: it holds exactly where a run would take the rows, and tells only counts."""

import json
import math

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.node.mapping.proving import prove, sample_of
from clients.node.mapping.sources import read_file
from clients.node.table import load_table
from compliance.configuration import ConfigError
from protocols.errors import InvalidTableError
from protocols.vertical.contract import Category, Contract, Numeric

CONTRACT = Contract(
    (
        Numeric("age", 0, 120),
        Numeric("calls", -5, 1000, missing=True),
        Category("tariff", ("flat", "prepaid"), missing=True),
        Category("town", ("Keelung", "Taipei")),
    ),
    label="y",
)
NATIONAL = ["A123456789", "A234567893", "F131104093"]


def counted(proof, name):
    (found,) = [column for column in proof.columns if column.name == name]
    return {
        key: value for key, value in found.fields().items()
        if value and key not in ("column", "role", "rows", "holds")
    }  # fmt: skip


def test_every_defect_is_counted_by_column():
    frame = pl.DataFrame(
        {
            "id": ["a", "b", "b", "", None, "c"],
            "age": ["30", "x", "", "200", "NaN", "inf"],
            "calls": [None, 5.0, -6.0, 1001.0, math.inf, math.nan],
            "tariff": ["flat", "gold", None, "gold", "", "prepaid"],
            "town": ["Taipei", None, "Hualien", "Taipei", "Taipei", "Keelung"],
            "y": [0, 1, 2, None, 1, 0],
        },
        strict=False,
    )
    proof = prove(frame, CONTRACT)
    assert not proof.holds
    rules = {"expected printable text, not empty": 2}
    problem = "too many identifiers break their kind's rules; correct the kind or the export"
    assert counted(proof, "id") == {
        "missing": 1, "malformed": 1, "duplicates": 1, "rules": rules, "problem": problem,
    }  # fmt: skip
    assert counted(proof, "age") == {"missing": 2, "outside": 2, "unreadable": 1}
    assert counted(proof, "calls") == {"missing": 2, "outside": 3}
    assert counted(proof, "tariff") == {"missing": 1, "unknown": 3}
    assert counted(proof, "town") == {"missing": 1, "unknown": 1}
    assert counted(proof, "y") == {"missing": 1, "unreadable": 1}
    assert {column.name for column in proof.broken} == {
        "id", "age", "calls", "tariff", "town", "y",
    }  # fmt: skip
    text = json.dumps(proof.fields())
    assert not any(value in text for value in ("gold", "Hualien", "200", "1001"))


def test_identifiers_are_judged_by_their_kind():
    numbers = [NATIONAL[row % 3][:9] + str(row % 10) for row in range(40)]
    frame = pl.DataFrame({"id": [*NATIONAL, *NATIONAL[:1], *numbers]})
    proof = prove(frame, Contract((), identifier_kind="tw_person_id"))
    (found,) = proof.columns
    assert found.rules.keys() == {"check digit does not fit"}
    assert found.problem
    few = prove(frame[:3].vstack(frame[:1]), Contract((), identifier_kind="tw_person_id"))
    assert few.holds
    assert few.columns[0].duplicates == 1


def test_few_malformed_identifiers_are_counted_and_left_out_of_runs():
    frame = pl.DataFrame({"id": [f"k{row}" for row in range(99)] + [""]})
    proof = prove(frame, Contract(()))
    assert proof.holds
    assert proof.columns[0].malformed == 1


def test_column_that_is_missing_or_of_another_type_is_told():
    frame = pl.DataFrame(
        {"id": [1.5], "age": pl.Series(["2001-01-01"]).str.to_date(), "tariff": [["flat"]]}
    )
    found = {column.name: column.problem for column in prove(frame, CONTRACT).columns}
    assert found["id"].startswith("must be text")
    assert found["age"].startswith("is no column of numbers")
    assert found["tariff"].startswith("holds no levels")
    assert found["calls"] == found["y"] == "the table does not have it; add it"
    with pytest.raises(ConfigError, match=r"identifier\.kind: must be one of"):
        prove(frame, Contract((), identifier_kind="passport"))


def test_empty_table_does_not_hold():
    assert not prove(pl.DataFrame({"id": []}, schema={"id": pl.String}), Contract(())).holds


def test_sample_is_from_all_over_the_table():
    frame = pl.DataFrame({"row": range(12_345)})
    rows = sample_of(frame)["row"].to_list()
    assert 900 <= len(rows) <= 1_000
    assert (rows[0], rows[-1] > 12_000) == (0, True)
    assert sample_of(frame[:7]).height == 7


def test_progress_is_told_column_by_column():
    told = []
    frame = pl.DataFrame({"id": ["a"]})
    prove(frame, CONTRACT, held_out_column="y", progress=lambda *step: told.append(step))
    assert told[-1] == ("proving columns", 7, 7)


CELLS = {
    "id": st.sampled_from(["a", "b", "c", "d"]),
    "age": st.sampled_from([0.0, 30.0, 120.0, 121.0, None, math.nan, math.inf]),
    "calls": st.sampled_from(["-5", "7", "", " 12 ", "x", "NaN", None]),
    "tariff": st.sampled_from(["flat", "prepaid", None, "gold", ""]),
    "town": st.sampled_from(["Keelung", "Taipei", None]),
    "y": st.sampled_from([0, 1, 1, 0, 2, None]),
}


@settings(max_examples=150, deadline=None)
@given(
    rows=st.integers(1, 6),
    good=st.sets(st.sampled_from(sorted(CELLS))),
    data=st.data(),
)
def test_proof_holds_exactly_where_the_node_takes_the_table(tmp_path_factory, rows, good, data):
    fine = {"id": "a", "age": 30.0, "calls": "7", "tariff": "flat", "town": "Taipei", "y": 1}
    columns = {
        name: [fine[name] if name in good else data.draw(cells) for _ in range(rows)]
        for name, cells in CELLS.items()
    }
    path = tmp_path_factory.getbasetemp() / "equal.parquet"
    pl.DataFrame(columns, strict=False).write_parquet(path)
    proof = prove(read_file(path).frame, CONTRACT)
    try:
        taken = load_table(path, CONTRACT).rows == rows
    except InvalidTableError:
        taken = False
    assert proof.holds == taken
