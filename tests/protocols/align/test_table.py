"""Reading a column: every defect counted, none of them shown."""

import numpy as np
import pytest

from protocols.align.table import DefectPolicy, read_identifiers
from protocols.errors import InvalidTableError
from protocols.identifiers import IdentifierKind, canonicalize

KIND = IdentifierKind.TW_NATIONAL_ID
GOOD = ["A123456789", "F131104093"]
COLUMN = ["A123456789", None, "a123-456789", "A123456780", 123456789, "F131104093"]
DROP = DefectPolicy.DROP


def test_clean_column_is_read_whole():
    column = read_identifiers(GOOD, KIND)
    assert column.identifiers == tuple(canonicalize(KIND, value) for value in GOOD)
    assert column.rows.tolist() == [0, 1]
    assert column.report.kept == column.report.rows == 2


def test_defects_are_dropped_and_counted():
    column = read_identifiers(COLUMN, KIND, malformed=DROP, duplicates=DROP)
    assert column.rows.tolist() == [0, 5]
    assert column.report.malformed == (2, 4, 5)
    assert column.report.duplicates == (3,)
    assert sum(column.report.rules.values()) == 3
    assert column.report.kept == 2


@pytest.mark.parametrize("kept", ["malformed", "duplicates"])
def test_one_policy_does_not_cover_the_other(kept):
    with pytest.raises(InvalidTableError):
        read_identifiers(COLUMN, KIND, **{kept: DROP})


def test_refusal_names_rows_and_no_value():
    with pytest.raises(InvalidTableError) as caught:
        read_identifiers(COLUMN, KIND, column="customer")
    text = str(caught.value)
    assert "'customer'" in text
    assert "3 malformed (rows 2, 4, 5)" in text
    assert "1 duplicate (rows 3)" in text
    assert not any(str(value) in text for value in COLUMN if value is not None)
    assert not any(str(value) in repr(read_identifiers(GOOD, KIND)) for value in GOOD)


def test_long_list_of_rows_is_cut():
    report = read_identifiers([None] * 1000, KIND, malformed=DROP).report
    assert len(report.describe()) < 120
    assert report.kept == 0


def test_empty_column_has_no_rows():
    column = read_identifiers([], KIND)
    assert column.rows.dtype == np.int64
    assert column.report.rows == 0
