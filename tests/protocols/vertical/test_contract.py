import contextlib
import json
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import InvalidTableError, UnsupportedParameterError
from protocols.vertical.contract import (
    MAX_COLUMNS,
    MAX_LEVELS,
    MISSING_LEVEL,
    UNKNOWN_LEVEL,
    Category,
    Contract,
    Numeric,
    check_category,
    check_label,
    check_numeric,
)

TEXT = st.text(min_size=1, max_size=8)
RANGES = st.tuples(st.floats(-1e100, 1e100), st.floats(-1e100, 1e100)).filter(lambda r: r[0] < r[1])
COLUMNS = st.one_of(
    st.builds(lambda name, r, missing: Numeric(name, *r, missing), TEXT, RANGES, st.booleans()),
    st.builds(
        Category,
        TEXT,
        st.lists(st.text(max_size=5), min_size=1, max_size=4, unique=True).map(tuple),
        st.booleans(),
    ),
)
CONTRACTS = st.builds(
    lambda columns, label: Contract(tuple(columns), "the id", "opaque", label and f"the {label}"),
    st.lists(COLUMNS, max_size=5, unique_by=lambda column: column.name).filter(
        lambda columns: all(not column.name.startswith("the ") for column in columns)
    ),
    st.none() | TEXT.filter(lambda text: text != "id"),
)
SAMPLE = {
    "identifier": {"column": "id", "kind": "national"},
    "label": "fraud",
    "columns": [
        {"name": "age", "kind": "numeric", "low": 0, "high": 120, "missing": False},
        {"name": "plan", "kind": "category", "levels": ["a", "b"], "missing": True},
    ],
}


@given(CONTRACTS)
def test_contract_comes_back_through_json(contract):
    assert Contract.parse(json.loads(json.dumps(contract.format()))) == contract


def test_sample_is_read_as_written():
    contract = Contract.parse(SAMPLE)
    assert contract.identifier_kind == "national"
    assert contract.columns == (
        Numeric("age", 0.0, 120.0, missing=False),
        Category("plan", ("a", "b"), missing=True),
    )
    assert contract.format() == SAMPLE


def changed(path: list, value) -> dict:
    copy = json.loads(json.dumps(SAMPLE))
    place = copy
    for step in path[:-1]:
        place = place[step]
    if value is KeyError:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return copy


DEFECTS = [
    ([["columns"], KeyError], "contract: needs exactly the fields columns, identifier, label"),
    ([["more"], 1], "contract: needs exactly the fields"),
    ([["label"], 3], "contract.label: must be a column name or null"),
    ([["identifier"], "id"], "contract.identifier: needs exactly the fields column, kind"),
    ([["identifier", "column"], ""], "contract.identifier.column: must be a text"),
    ([["identifier", "kind"], None], "contract.identifier.kind: must be a text"),
    ([["columns"], {}], "contract.columns: must be a list"),
    ([["columns", 0], "age"], "contract.columns[0]: needs a kind, numeric or category"),
    ([["columns", 0, "kind"], "text"], "contract.columns[0]: needs a kind, numeric or category"),
    ([["columns", 0, "kind"], ["numeric"]], "contract.columns[0]: needs a kind"),
    ([["columns", 0, "levels"], []], "contract.columns[0]: needs exactly the fields"),
    ([["columns", 0, "missing"], KeyError], "contract.columns[0]: needs exactly the fields"),
    ([["columns", 0, "missing"], "yes"], "contract.columns[0].missing: must be true or false"),
    ([["columns", 0, "missing"], 1], "contract.columns[0].missing: must be true or false"),
    ([["columns", 0, "low"], "0"], "contract.columns[0].low: must be a number"),
    ([["columns", 0, "low"], True], "contract.columns[0].low: must be a number"),
    ([["columns", 0, "high"], 10**400], "contract.columns[0].high: too large"),
    ([["columns", 0, "low"], 120], "column age: range needs finite low < high"),
    ([["columns", 0, "high"], math.inf], "column age: range needs finite low < high"),
    ([["columns", 0, "high"], math.nan], "column age: range needs finite low < high"),
    ([["columns", 0, "name"], ""], "contract.columns[0].name: must be a text"),
    ([["columns", 0, "name"], "plan"], "contract: a column is named twice"),
    ([["columns", 0, "name"], "id"], "contract: identifier and label may not be features"),
    ([["columns", 0, "name"], "fraud"], "contract: identifier and label may not be features"),
    ([["label"], "id"], "contract: the identifier may not be the label"),
    ([["columns", 1, "levels"], []], "column plan: 1 to 512 different levels"),
    ([["columns", 1, "levels"], ["a", "a"]], "column plan: 1 to 512 different levels"),
    ([["columns", 1, "levels"], [str(n) for n in range(MAX_LEVELS + 1)]], "column plan: 1 to 512"),
    ([["columns", 1, "levels"], ["a", 1]], "contract.columns[1].levels: must be a list of texts"),
    ([["columns", 1, "levels"], "ab"], "contract.columns[1].levels: must be a list of texts"),
]


@pytest.mark.parametrize(("change", "message"), DEFECTS)
def test_defect_is_named_by_field_and_rule(change, message):
    with pytest.raises(UnsupportedParameterError, match="^" + re.escape(message)):
        Contract.parse(changed(*change))


def test_range_whose_width_overflows_is_refused():
    with pytest.raises(UnsupportedParameterError, match="column x: range"):
        Numeric("x", -1.7e308, 1.7e308)


def test_too_many_columns_are_refused():
    columns = tuple(Category(str(n), ("a",)) for n in range(MAX_COLUMNS + 1))
    with pytest.raises(UnsupportedParameterError, match="4097 columns, at most 4096; choose fewer"):
        Contract(columns)
    assert len(Contract(columns[:-1]).columns) == MAX_COLUMNS


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(ANY_JSON, st.sampled_from([change[0] for change, _ in DEFECTS]))
def test_any_value_is_a_contract_or_refused(value, path):
    with contextlib.suppress(UnsupportedParameterError):
        Contract.parse(value)
    with contextlib.suppress(UnsupportedParameterError):
        contract = Contract.parse(changed(path, value))
        assert Contract.parse(contract.format()) == contract


def test_narrowed_contract_keeps_order_and_label():
    contract = Contract.parse(SAMPLE)
    narrow = contract.narrowed(frozenset({"plan"}))
    assert [column.name for column in narrow.columns] == ["plan"]
    assert (narrow.identifier, narrow.label) == ("id", "fraud")
    assert contract.narrowed(frozenset({"plan", "age"})) == contract
    with pytest.raises(UnsupportedParameterError, match=r"1 not in the contract \(income\)"):
        contract.narrowed(frozenset({"plan", "income"}))


AGE = Numeric("age", 0.0, 100.0)


@given(st.lists(st.floats(0, 100), max_size=20))
def test_numbers_inside_the_range_pass(values):
    check_numeric(AGE, np.array(values, dtype=np.float64))
    check_numeric(Numeric("age", 0, 100, missing=True), np.array([*values, math.nan]))


@pytest.mark.parametrize("bad", [-0.001, 100.001, math.inf, -math.inf, 1e300])
def test_number_outside_the_range_is_refused_without_its_value(bad):
    values = np.array([50.0, bad, 7.0])
    with pytest.raises(InvalidTableError) as caught:
        check_numeric(AGE, values)
    assert str(caught.value) == (
        "column age: 1 rows where the value is outside the contract's range 0 to 100 (rows 2); "
        "clip it at the source or agree a wider range"
    )


def test_undeclared_missing_values_are_refused():
    with pytest.raises(
        InvalidTableError, match=r"column age: 1 rows .* no value \(rows 1\); declare"
    ):
        check_numeric(AGE, np.array([math.nan, 1.0]))
    with pytest.raises(InvalidTableError, match=r"column plan: 1 rows .* no value .*; declare"):
        check_category(Category("plan", ("a",)), np.array([0, MISSING_LEVEL]))
    check_category(Category("plan", ("a",), missing=True), np.array([0, MISSING_LEVEL]))


@pytest.mark.parametrize("code", [UNKNOWN_LEVEL, -3, 2, 99])
def test_code_without_a_level_is_refused(code):
    for missing in (True, False):
        with pytest.raises(InvalidTableError, match=r"column plan: .* not a level .*; map it"):
            check_category(Category("plan", ("a", "b"), missing), np.array([0, 1, code]))


@pytest.mark.parametrize("bad", [2.0, -1.0, 0.5, math.nan, math.inf])
def test_label_other_than_0_and_1_is_refused(bad):
    check_label("fraud", np.array([0.0, 1.0]))
    with pytest.raises(InvalidTableError, match=r"column fraud: 1 rows .* not 0 or 1 \(rows 2\)"):
        check_label("fraud", np.array([0.0, bad]))


def test_only_three_rows_are_shown():
    with pytest.raises(InvalidTableError, match=r"200 rows .* \(rows 1, 2, 3 and others\)"):
        check_numeric(AGE, np.full(200, -1.0))
