"""A benchmark directory: data.parquet and splits.json, as partners would hold it.

`data.parquet` has `id`, `y` in {0, 1} and features; `splits.json` names the label holder,
the parties' columns (at most three parties) and, if any, columns that are no features.
A `contract.json` per party would be agreed beforehand; where the directory brings none,
ranges and levels are taken from the data, rounded outward, and treated as public. A
report must say so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from compliance.configuration import ConfigError, check_fields, read_object, typed
from protocols.errors import InvalidTableError
from protocols.vertical.contract import Category, Column, Contract, Numeric, check_label

MIN_PARTIES, MAX_PARTIES = 2, 3
_SPLITS = {"label_holder", "parties", "not_features"}
TEST_FRACTION = 0.3
HELD_OUT = "held_out"


@dataclass(frozen=True, slots=True)
class Dataset:
    """One data set, split by columns among parties.

    Shapes:
        labels: (rows,), 0 or 1.
    """

    name: str
    frame: pl.DataFrame
    labels: NDArray[np.float64]
    label_holder: str
    parties: dict[str, tuple[str, ...]]

    @property
    def features(self) -> tuple[str, ...]:
        """Return all parties' columns."""
        return tuple(name for columns in self.parties.values() for name in columns)

    def contract(self, party: str) -> Contract:
        """Return one party's contract, taken from the data's own ranges and levels."""
        columns = tuple(_column(self.frame[name]) for name in self.parties[party])
        label = "y" if party == self.label_holder else None
        return Contract(columns, "id", "opaque", label)

    def write_party(self, party: str, path: Path, held_out: NDArray[np.bool_]) -> None:
        """Write the table that this party would hold."""
        table = self.frame.select("id", *self.parties[party])
        if party == self.label_holder:
            flags = pl.Series(HELD_OUT, held_out.astype(np.int64))
            table = table.with_columns(self.frame["y"], flags)
        table.write_parquet(path)


def load_dataset(directory: Path) -> Dataset:
    """Read a benchmark directory.

    Raises:
        ConfigError, InvalidTableError: names the file, the rule and the cure.
    """
    parties, holder, barred = _splits(directory / "splits.json")
    try:
        frame = pl.read_parquet(directory / "data.parquet")
    except FileNotFoundError as error:
        raise InvalidTableError("data.parquet: not found; see --data in the help") from error
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InvalidTableError("data.parquet: cannot be read; export it again") from error
    listed = [name for columns in parties.values() for name in columns]
    if len(set(listed)) != len(listed) or barred & set(listed):
        raise ConfigError("splits.json: a column is listed twice, or is no feature; correct it")
    missing_columns = {"id", "y", *listed} - set(frame.columns)
    if missing_columns:
        raise InvalidTableError(
            f"column {min(missing_columns)}: data.parquet does not have it; correct splits.json"
        )
    frame = frame.with_columns(pl.col("id").cast(pl.String))
    if frame["id"].null_count() or frame["id"].n_unique() != frame.height:
        raise InvalidTableError("column id: is missing or repeated in a row; number the rows")
    return Dataset(directory.name, frame, _labels(frame["y"]), holder, parties)


def _splits(path: Path) -> tuple[dict[str, tuple[str, ...]], str, set[str]]:
    """Return the parties' columns, the label holder, and the columns that are no features."""
    splits = read_object(path, cure="see --data in the help")
    check_fields({"not_features": []} | splits, _SPLITS, path.name)
    named = typed(splits, "parties", dict, path.name)
    parties = {name: _names(columns, f"parties, {name}") for name, columns in named.items()}
    holder = typed(splits, "label_holder", str, path.name)
    if not MIN_PARTIES <= len(parties) <= MAX_PARTIES or holder not in parties:
        raise ConfigError("splits.json: needs two or three parties, the label holder among them")
    return parties, holder, set(_names(splits.get("not_features", []), "not_features"))


def _names(value: object, field: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ConfigError(f"splits.json: {field} must be a list of columns; correct it")
    return tuple(value)


def _labels(series: pl.Series) -> NDArray[np.float64]:
    if not (series.dtype.is_numeric() or series.dtype == pl.Boolean):
        raise InvalidTableError("column y: must hold the numbers 0 and 1; convert it")
    labels = series.cast(pl.Float64).fill_null(np.nan).to_numpy()
    check_label("y", labels)
    if not 0 < labels.sum() < len(labels):
        raise InvalidTableError("column y: must hold both 0 and 1; take another data set")
    return labels


def split_rows(labels: NDArray[np.float64], seed: int) -> NDArray[np.bool_]:
    """Return the test rows of a 70/30 split, stratified by label.

    Source:
        scikit-learn's train_test_split, so that others can repeat the split.
    """
    from sklearn.model_selection import train_test_split  # noqa: PLC0415  slow to import

    rows = np.arange(len(labels))
    _, test = train_test_split(rows, test_size=TEST_FRACTION, random_state=seed, stratify=labels)
    held_out = np.zeros(len(labels), dtype=np.bool_)
    held_out[test] = True
    return held_out


def _column(series: pl.Series) -> Column:
    missing = series.null_count() > 0
    if series.dtype in (pl.String, pl.Categorical, pl.Boolean):
        levels = series.cast(pl.String).drop_nulls().unique().sort().to_list()
        return Category(series.name, tuple(levels), missing)
    values = series.cast(pl.Float64)
    missing = missing or bool(values.is_nan().any())
    finite = values.fill_nan(None).drop_nulls()
    if finite.is_empty():
        raise InvalidTableError(f"column {series.name}: has no value; leave it out of splits.json")
    low, high = float(finite.min()), float(finite.max())  # type: ignore[arg-type]  # numeric by cast
    low, high = outward(low, down=True), outward(max(high, low + 1e-9), down=False)
    # A constant so large that the step beside it is lost needs a range all the same.
    return Numeric(series.name, low, high if high > low else low + abs(low), missing)


def outward(value: float, *, down: bool) -> float:
    """Round away from the data to two significant digits, as people agree on ranges."""
    if value == 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - 1)
    rounded = (math.floor if down else math.ceil)(value / unit) * unit
    # The last digit of a double may fall on the wrong side of the value.
    return min(rounded, value) if down else max(rounded, value)
