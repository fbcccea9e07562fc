"""A benchmark directory: what is wrong with it is told, and its contracts hold its data."""

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.bench.dataset import HELD_OUT, load_dataset, outward, split_rows
from clients.node.table import load_table
from compliance.configuration import ConfigError
from protocols.errors import InvalidTableError

ROWS = 60
FRAME = {
    "id": list(range(ROWS)),
    "y": [row % 3 == 0 for row in range(ROWS)],
    "income": [None if row == 5 else -1.5 * row for row in range(ROWS)],
    "branch": ["a" if row % 2 else "b" for row in range(ROWS)],
    "huge": [1e18] * ROWS,
    "secret": [1] * ROWS,
}
SPLITS = {
    "label_holder": "insurer",
    "parties": {"insurer": ["income"], "telecom": ["branch", "huge"]},
    "not_features": ["secret"],
}


def written(path, splits=SPLITS, **changes):
    pl.DataFrame(FRAME | changes, strict=False).write_parquet(path / "data.parquet")
    (path / "splits.json").write_text(splits if isinstance(splits, str) else json.dumps(splits))
    return path


def test_directory_is_read(tmp_path):
    dataset = load_dataset(written(tmp_path))
    assert dataset.features == ("income", "branch", "huge")
    assert dataset.labels.sum() == 20
    assert dataset.contract("telecom").label is None
    assert dataset.contract("insurer").label == "y"


def test_every_party_can_read_the_table_that_is_written_for_it(tmp_path):
    dataset = load_dataset(written(tmp_path))
    held_out = split_rows(dataset.labels, 1)
    for party in dataset.parties:
        path = tmp_path / f"{party}.parquet"
        dataset.write_party(party, path, held_out)
        flags = HELD_OUT if party == "insurer" else None
        table = load_table(path, dataset.contract(party), held_out_column=flags)
        assert table.rows == ROWS
    assert set(pl.read_parquet(tmp_path / "telecom.parquet").columns) == {"id", "branch", "huge"}


def test_split_is_stratified_and_repeats(tmp_path):
    labels = load_dataset(written(tmp_path)).labels
    held_out = split_rows(labels, 3)
    assert held_out.sum() == 18
    assert labels[held_out].sum() == 6
    assert np.array_equal(held_out, split_rows(labels, 3))
    assert not np.array_equal(held_out, split_rows(labels, 4))


@pytest.mark.parametrize(
    ("splits", "says"),
    [
        ("{", "not valid JSON"),
        ("[]", "must hold one object"),
        ({"label_holder": "insurer"}, "parties is missing"),
        (SPLITS | {"seed": 1}, "unknown fields"),
        (SPLITS | {"parties": ["insurer"]}, "parties must be of type object"),
        (SPLITS | {"parties": {"insurer": "income", "telecom": []}}, "must be a list of columns"),
        (SPLITS | {"label_holder": "bank"}, "the label holder among them"),
        (SPLITS | {"parties": {"insurer": ["income"]}}, "two or three parties"),
        (SPLITS | {"not_features": ["income"]}, "or is no feature"),
        (SPLITS | {"parties": {"insurer": ["income"], "b": ["income"]}}, "listed twice"),
    ],
)
def test_wrong_splits_are_named(tmp_path, splits, says):
    with pytest.raises(ConfigError, match=rf"splits\.json: .*{says}"):
        load_dataset(written(tmp_path, splits))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"y": [2] * ROWS}, "column y: 60 rows where the value is not 0 or 1"),
        ({"y": [None, *[1] * (ROWS - 1)]}, r"column y: 1 rows .*\(rows 1\)"),
        ({"y": ["yes"] * ROWS}, "column y: must hold the numbers 0 and 1"),
        ({"y": [0] * ROWS}, "column y: must hold both"),
        ({"id": [1] * ROWS}, "column id: is missing or repeated"),
        ({"id": [None, *range(1, ROWS)]}, "column id: is missing or repeated"),
    ],
)
def test_wrong_data_is_named(tmp_path, changes, says):
    with pytest.raises(InvalidTableError, match=says):
        load_dataset(written(tmp_path, **changes))


def test_missing_and_broken_files_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"splits\.json: not found; see --data"):
        load_dataset(tmp_path)
    written(tmp_path)
    (tmp_path / "data.parquet").write_bytes(b"no")
    with pytest.raises(InvalidTableError, match=r"data\.parquet: cannot be read"):
        load_dataset(tmp_path)
    (tmp_path / "data.parquet").unlink()
    with pytest.raises(InvalidTableError, match=r"data\.parquet: not found"):
        load_dataset(tmp_path)


def test_column_without_a_value_is_named(tmp_path):
    dataset = load_dataset(written(tmp_path, income=[float("nan")] * ROWS))
    with pytest.raises(InvalidTableError, match="column income: has no value"):
        dataset.contract("insurer")


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300))
def test_outward_never_cuts_off(value):
    if abs(value) < 1e-300:
        value = 0.0
    assert outward(value, down=True) <= value <= outward(value, down=False)
