"""The simulated town: valid, reproducible, and as informative as it says."""

import json
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import train_test_split

from clients.demo.town import make_town, write_town
from clients.demo.town_telecom import measures
from protocols.errors import UnsupportedParameterError
from protocols.identifiers import IdentifierKind, canonicalize
from protocols.vertical.contract import (
    MISSING_LEVEL,
    UNKNOWN_LEVEL,
    Contract,
    Numeric,
    check_category,
    check_numeric,
)

PEOPLE = 6_000


@pytest.fixture(scope="module")
def town():
    return make_town(0, PEOPLE)


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    # The chance that a case scores above another person, ties counted half.
    values, inverse = np.unique(scores, return_inverse=True)
    all_counts = np.bincount(inverse, minlength=len(values))
    ranks = (np.cumsum(all_counts) - (all_counts - 1) / 2)[inverse]
    cases = labels.sum()
    return (ranks[labels].sum() - cases * (cases + 1) / 2) / (cases * (len(labels) - cases))


def test_same_seed_gives_same_town(town):
    again = make_town(0, PEOPLE)
    assert_frame_equal(again.truth, town.truth)
    for name, table in town.parties.items():
        assert_frame_equal(again.parties[name].frame, table.frame)
        assert again.parties[name].contract == table.contract


def test_other_seed_gives_other_people_of_the_same_world(town):
    other = make_town(1, PEOPLE)
    assert set(other.truth["id"]) != set(town.truth["id"])
    assert other.parties["telecom"].contract == town.parties["telecom"].contract
    assert other.parties["insurer"].contract == town.parties["insurer"].contract


def test_every_identifier_is_valid_and_unique(town):
    canonical = {canonicalize(IdentifierKind.TW_NATIONAL_ID, value) for value in town.truth["id"]}
    assert len(canonical) == PEOPLE
    for table in town.parties.values():
        assert table.frame["id"].is_unique().all()
        assert set(table.frame["id"]) <= set(town.truth["id"])


@pytest.mark.parametrize("party", ["insurer", "telecom", "police"])
def test_table_keeps_its_contract(town, party):
    table = town.parties[party]
    assert Contract.parse(json.loads(json.dumps(table.contract.format()))) == table.contract
    names = [column.name for column in table.contract.columns]
    label = [] if table.contract.label is None else [table.contract.label]
    assert table.frame.columns == ["id", *label, *names]
    for column in table.contract.columns:
        series = table.frame[column.name]
        if isinstance(column, Numeric):
            check_numeric(column, series.cast(pl.Float64).fill_null(np.nan).to_numpy())
        else:
            codes = {level: code for code, level in enumerate(column.levels)} | {
                None: MISSING_LEVEL
            }
            check_category(column, np.array([codes.get(x, UNKNOWN_LEVEL) for x in series]))
        if column.missing:
            assert 0 < series.null_count() < len(series) / 2


def test_telecom_has_1400_columns():
    names = [measure.name for measure in measures()]
    assert len(set(names)) == len(names) == 1_394


def test_telecom_table_is_wide_zero_inflated_and_heavy(town):
    frame = town.parties["telecom"].frame
    assert frame.width == 1 + 1_400
    calls = frame["overseas_calls_in_m12"]
    assert 0.3 < (calls == 0).mean() < 0.9
    assert calls.max() > 10 * calls.mean()


def test_parties_overlap_as_described(town):
    members = {name: set(table.frame["id"]) for name, table in town.parties.items()}
    customers = members["insurer"]
    assert 0.6 < len(customers & members["telecom"]) / len(customers) < 0.8
    assert 0.01 < len(customers & members["police"]) / len(customers) < 0.08
    assert all(members[name] - customers for name in ("telecom", "police"))
    confirmed = (town.parties["police"].frame["status"] == "confirmed").mean()
    assert 0.35 < confirmed < 0.65


def test_order_of_rows_is_each_partys_own(town):
    place = {person: row for row, person in enumerate(town.truth["id"])}
    for table in town.parties.values():
        rows = [place[person] for person in table.frame["id"]]
        assert abs(np.corrcoef(rows, np.arange(len(rows)))[0, 1]) < 0.15


def test_truth_knows_more_than_any_table(town):
    labels = town.truth["y"].to_numpy()
    assert auc(labels, town.truth["chance"].to_numpy()) > 0.90
    assert abs(labels.mean() - town.truth["chance"].mean()) < 5 * (0.1 / PEOPLE) ** 0.5
    policies = town.parties["insurer"].frame
    joined = policies.join(town.truth, on="id", suffix="_true")
    assert (joined["y"] == joined["y_true"].cast(pl.Int8)).all()
    assert 0.05 < policies["y"].mean() < 0.15


def test_contacts_inform_and_ordinary_traffic_does_not(town):
    joined = town.parties["telecom"].frame.join(town.truth.select("id", "y"), on="id")
    labels = joined["y"].to_numpy()
    assert auc(labels, joined["overseas_calls_in_m12"].to_numpy()) > 0.68
    assert auc(labels, joined["first_contact_long_calls_m12"].to_numpy()) > 0.68
    assert auc(labels, joined["overseas_calls_in_m01"].to_numpy()) < 0.60
    ordinary = ["data_count_m12", "region_07_calls_out", "app_12_days", "top_ups"]
    assert all(abs(auc(labels, joined[name].to_numpy()) - 0.5) < 0.07 for name in ordinary)


def test_each_party_gets_its_own_folder_and_nothing_of_the_truth(tmp_path):
    town = write_town(tmp_path, 3, 300)
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    tables = {f"{name}/table.parquet" for name in town.parties}
    contracts = {f"{name}/contract.json" for name in town.parties}
    assert written == tables | contracts | {"truth/truth.parquet"}
    for name, table in town.parties.items():
        frame = pl.read_parquet(tmp_path / name / "table.parquet")
        assert_frame_equal(frame, table.frame)
        assert not {"chance", "targeted", "yielding"} & set(frame.columns)
        contract = Contract.parse(json.loads((tmp_path / name / "contract.json").read_bytes()))
        assert contract == table.contract
        assert (contract.label == "y") == (name == "insurer")


@pytest.mark.parametrize("people", [0, 199, 10**7])
def test_impossible_size_is_refused(people):
    with pytest.raises(UnsupportedParameterError):
        make_town(0, people)


MEASURE = """
import re
from pathlib import Path
from clients.demo.town import make_town
make_town(0)
# Of this program alone: what a process reports of its use begins with its parent's.
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1e6)
"""


@pytest.mark.slow
def test_town_is_made_in_under_a_gigabyte():
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, check=True)
    assert float(done.stdout) < 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_pooling_pays_off_as_described(seed):
    town = make_town(seed)
    frames = {name: table.frame for name, table in town.parties.items()}
    policies = frames["insurer"]
    labels = policies["y"].to_numpy()
    own = numbers(policies.drop("id", "y"))
    others = [
        numbers(policies.select("id").join(frames[name], on="id", how="left").drop("id"))
        for name in ("telecom", "police")
    ]
    train, test = train_test_split(
        np.arange(len(labels)), test_size=0.3, stratify=labels, random_state=seed
    )

    def measured(table: np.ndarray) -> float:
        model = HistGradientBoostingClassifier(learning_rate=0.07, max_iter=120, random_state=0)
        scores = model.fit(table[train], labels[train]).predict_proba(table[test])[:, 1]
        return auc(labels[test] == 1, scores)

    assert 0.63 < measured(own) < 0.72
    assert 0.84 < measured(np.hstack([own, *others])) < 0.90


def numbers(frame: pl.DataFrame) -> np.ndarray:
    coded = [
        series.cast(pl.Categorical).to_physical() if series.dtype == pl.String else series
        for series in frame
    ]
    return np.stack([series.cast(pl.Float32).to_numpy() for series in coded], axis=1)
