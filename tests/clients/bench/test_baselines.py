"""The two baselines: they learn, they spend what they may, and noise is what holds them back."""

import json
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from clients.bench.baselines import Settings, measure_baselines, noisy_split, pooled_opacus
from clients.bench.dataset import load_dataset

ROWS = 600
# The RDP accountant is looser than the default and takes no time.
QUICK = Settings(hidden=8, epochs=4, batch=128, learning_rate=0.05, accountant="rdp")


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    # The label hangs on one column of each party, so that each has something to tell.
    random = np.random.default_rng(5)
    income, calls, reports = random.standard_normal((3, ROWS))
    logit = income + 2 * calls + 2 * reports
    frame = pl.DataFrame(
        {
            "id": np.arange(ROWS),
            "y": (logit + random.logistic(size=ROWS) > 0).astype(np.int64),
            "income": income,
            "calls": pl.Series(np.exp(3 * calls)).set(pl.Series(np.arange(ROWS) % 20 == 0), None),
            "reports": np.where(reports > 0, "many", "few"),
        }
    )
    path = tmp_path_factory.mktemp("bench") / "tiny"
    path.mkdir()
    frame.write_parquet(path / "data.parquet")
    parties = {"insurer": ["income"], "telecom": ["calls"], "police": ["reports"]}
    splits = {"label_holder": "insurer", "parties": parties}
    (path / "splits.json").write_text(json.dumps(splits))
    return path


@pytest.fixture(scope="module")
def train():
    return np.arange(ROWS) % 3 != 0


def test_figures_are_complete(directory):
    figures = measure_baselines(directory, epsilon=8.0, delta=1e-5, seed=0, settings=QUICK)
    assert set(figures) >= {"auc_opacus", "auc_split", "epsilon", "delta", "seconds"}
    assert 7.0 < figures["epsilon"] <= 8.0
    assert min(figures["auc_opacus"], figures["auc_opacus_public"]) > 0.7
    assert all(seconds > 0 for seconds in figures["seconds"].values())


def test_same_seed_gives_same_network(train):
    random = np.random.default_rng(0)
    values = random.standard_normal((ROWS, 3))
    labels = (values[:, 0] > 0).astype(np.float64)
    first, second, other = (
        pooled_opacus(values, labels, train, epsilon=4.0, delta=1e-5, seed=seed, settings=QUICK)[0]
        for seed in (1, 1, 2)
    )
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_tighter_epsilon_hurts_network(train):
    values = np.random.default_rng(1).standard_normal((ROWS, 30))
    labels = (values.sum(axis=1) > 0).astype(np.float64)

    def held_out_auc(epsilon: float) -> float:
        scores, spent = pooled_opacus(
            values, labels, train, epsilon=epsilon, delta=1e-5, seed=0, settings=QUICK
        )
        assert spent <= epsilon
        return float(roc_auc_score(labels[~train], scores[~train]))

    assert held_out_auc(50.0) > held_out_auc(0.5) + 0.1


def test_split_vectors_tell_only_under_loose_epsilon(directory, train):
    dataset = load_dataset(directory)

    def held_out_auc(epsilon: float) -> float:
        scores = noisy_split(dataset, train, epsilon=epsilon, delta=1e-5, seed=0)
        return float(roc_auc_score(dataset.labels[~train], scores[~train]))

    assert held_out_auc(200.0) > held_out_auc(0.1) + 0.1


@pytest.mark.slow
def test_command_writes_its_figures(directory, tmp_path):
    written = tmp_path / "figures.json"
    command = [sys.executable, "-m", "clients.cli", "bench", "baselines", "--data", str(directory)]
    options = ["--epsilon", "8", "--seed", "1", "--json", str(written)]
    result = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    figures = json.loads(written.read_text())
    assert figures["dataset"] == "tiny"
    assert f"{figures['auc_split']:.4f}" in result.stdout
