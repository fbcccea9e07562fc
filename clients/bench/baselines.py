"""Two other ways to train under the same privacy, to be compared with joint training.

    pooled Opacus   all columns in one place, a network under DP-SGD. It needs somebody whom
                    everybody trusts with every column; joint training does not.
    noisy split     every partner sends the label holder a noised vector of each row, once,
                    and the label holder trains on what it gets as it likes.

Where a choice must be made it is made in the baseline's favour, and said so: both take
means, scales and directions from the training rows without paying for them.
`auc_opacus_public` is the same network when it may scale by public ranges alone, as joint
training does.
"""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from opacus import PrivacyEngine
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from clients.bench.dataset import Dataset, load_dataset, split_rows
from clients.bench.references import matrix
from protocols.dp.calibrate import mu_squared_for, noise_multiplier_of
from protocols.vertical.axis import Axis
from protocols.vertical.contract import Category

Reals = NDArray[np.float64]
Rows = NDArray[np.bool_]

# Standardised values are cut here, so that no tail fills a row's share of the gradient.
_REACH = 3.0
# Columns with a value this many deviations out, or with many zeros beside large numbers,
# are taken by their logarithm.
_FAR_OUT = 8.0
_MANY_ZEROS = 0.02
_LARGE = 10.0
_COMPONENTS = 4


@dataclass(frozen=True, slots=True)
class Settings:
    """How the network is trained; the best of what was tried on seeds from 100 up."""

    hidden: int = 64
    epochs: int = 20
    batch: int = 1024
    learning_rate: float = 0.01
    clip_norm: float = 1.0
    accountant: str = "prv"


def measure_baselines(
    directory: Path, *, epsilon: float, delta: float, seed: int, settings: Settings | None = None
) -> dict[str, Any]:
    """Run both baselines once and return every figure that `bench baselines` promises."""
    dataset = load_dataset(directory)
    held_out = split_rows(dataset.labels, seed)
    figures: dict[str, Any] = {"dataset": dataset.name, "seed": seed, "rows": len(dataset.labels)}
    seconds, spent = {}, 0.0
    for name, public in (("opacus", False), ("opacus_public", True)):
        started = time.monotonic()
        pooled = _encoded(dataset, dataset.features, ~held_out, public=public)
        scores, spent = pooled_opacus(
            pooled, dataset.labels, ~held_out,
            epsilon=epsilon, delta=delta, seed=seed, settings=settings or Settings(),
        )  # fmt: skip
        figures[f"auc_{name}"] = _auc(dataset.labels, scores, held_out)
        seconds[name] = round(time.monotonic() - started, 2)
    started = time.monotonic()
    scores = noisy_split(dataset, ~held_out, epsilon=epsilon, delta=delta, seed=seed)
    figures["auc_split"] = _auc(dataset.labels, scores, held_out)
    seconds["split"] = round(time.monotonic() - started, 2)
    return figures | {"epsilon": spent, "delta": delta, "seconds": seconds}


def pooled_opacus(
    values: Reals,
    labels: Reals,
    train: Rows,
    *,
    epsilon: float,
    delta: float,
    seed: int,
    settings: Settings,
) -> tuple[Reals, float]:
    """Train a network by Opacus DP-SGD and return scores of all rows and the epsilon spent.

    Shapes:
        values: (rows, width); labels, train, scores: (rows,).

    Privacy:
        Neighbours: add or remove one row. Poisson sampling counts here, since the batch of
        a step stays secret with the one who pools; Opacus's PRV accountant by default.
    """
    inputs = torch.tensor(values, dtype=torch.float32)
    targets = torch.tensor(labels, dtype=torch.float32)
    kept = torch.from_numpy(train)
    data = TensorDataset(inputs[kept], targets[kept])
    with torch.random.fork_rng(), warnings.catch_warnings():
        # Opacus warns of its fast random numbers and of hooks on the first layer.
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Linear(values.shape[1], settings.hidden), nn.Tanh(), nn.Linear(settings.hidden, 1)
        )
        engine = PrivacyEngine(accountant=settings.accountant)
        private, optimizer, loader = engine.make_private_with_epsilon(
            module=network,
            optimizer=torch.optim.Adam(network.parameters(), lr=settings.learning_rate),
            data_loader=DataLoader(data, batch_size=min(settings.batch, len(data) // 4)),
            target_epsilon=epsilon,
            target_delta=delta,
            epochs=settings.epochs,
            max_grad_norm=settings.clip_norm,
        )
        _descend(private, optimizer, loader, settings.epochs)
        spent = float(engine.get_epsilon(delta))
    with torch.no_grad():
        scores: Reals = network(inputs).squeeze(1).numpy().astype(np.float64)
    return scores, spent


def _descend(private: nn.Module, optimizer: Any, loader: Any, epochs: int) -> None:
    """Take every step, and leave the network at a running average of the later half."""
    loss = nn.BCEWithLogitsLoss()
    parameters = list(private.parameters())
    average: list[Tensor] = []
    step, first_averaged = 0, epochs * len(loader) // 2
    for _ in range(epochs):
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss(private(inputs).squeeze(1), targets).backward()
            optimizer.step()
            step += 1
            if step == first_averaged:
                average = [parameter.detach().clone() for parameter in parameters]
            elif step > first_averaged:
                for mean, parameter in zip(average, parameters, strict=True):
                    mean.lerp_(parameter.detach(), 0.05)
    with torch.no_grad():
        for mean, parameter in zip(average, parameters, strict=True):
            parameter.copy_(mean)


def noisy_split(dataset: Dataset, train: Rows, *, epsilon: float, delta: float, seed: int) -> Reals:
    """Train boosted trees on the label holder's columns and the partners' noised vectors.

    Each partner sends its leading principal components, of length at most
    1 / sqrt(partners). Their directions and scale are taken from the rows free of charge.

    Privacy:
        Neighbours: zero out one person, which moves all partners' vectors together by at
        most 1. One Gaussian release; the trees are post-processing of it. A row is sent
        as such, so nothing averages the noise out: that is why this does so badly.
    """
    random = np.random.default_rng(seed)
    deviation = noise_multiplier_of(
        mu_squared=mu_squared_for(epsilon=epsilon, delta=delta), count=1
    )
    own, categories = matrix(dataset.frame, dataset.parties[dataset.label_holder])
    partners = [name for name in dataset.parties if name != dataset.label_holder]
    blocks = [own]
    for name in partners:
        block = _encoded(dataset, dataset.parties[name], train, public=False)
        sent = _components(block, train) / math.sqrt(len(partners))
        blocks.append(sent + deviation * random.standard_normal(sent.shape))
        categories += [False] * sent.shape[1]
    joined = np.concatenate(blocks, axis=1)
    model = HistGradientBoostingClassifier(
        learning_rate=0.07, max_iter=120, random_state=0, categorical_features=categories
    )
    scores: Reals = model.fit(joined[train], dataset.labels[train]).decision_function(joined)
    return scores


def _components(block: Reals, train: Rows) -> Reals:
    """Return rows' leading components, of length at most 1 and half of them exactly 1."""
    centred = block - block[train].mean(axis=0)
    _, directions = np.linalg.eigh(centred[train].T @ centred[train])
    leading = centred @ directions[:, -_COMPONENTS:]
    norms = np.linalg.norm(leading, axis=1, keepdims=True)
    shortened: Reals = leading / np.maximum(norms, max(float(np.median(norms[train])), 1e-9))
    return shortened


def _encoded(dataset: Dataset, names: tuple[str, ...], train: Rows, *, public: bool) -> Reals:
    """Turn columns into network inputs, as a careful practitioner would."""
    columns = {
        column.name: column for name in dataset.parties for column in dataset.contract(name).columns
    }
    parts: list[Reals] = []
    for name in names:
        column = columns[name]
        if isinstance(column, Category):
            codes, _ = matrix(dataset.frame, [name])
            parts.append((codes == np.arange(len(column.levels))).astype(np.float64))
            continue
        values = matrix(dataset.frame, [name])[0][:, 0]
        missing = np.isnan(values)
        if column.missing:
            parts.append(missing[:, None].astype(np.float64))
        if public:
            axis = Axis.of(column)
            low, high = axis.stretch(np.array([column.low, column.high]))
            scaled = 2 * (axis.stretch(values) - low) / (high - low) - 1
        else:
            scaled = _standardised(values, train & ~missing, parts)
        parts.append(np.where(missing, 0.0, scaled)[:, None])
    return np.concatenate(parts, axis=1)


def _standardised(values: Reals, known: Rows, parts: list[Reals]) -> Reals:
    """Centre and scale by the known training rows, after a logarithm where tails are heavy."""
    sample = values[known]
    spread = float(sample.std()) + 1e-12
    heavy = np.abs(sample - np.median(sample)).max() > _FAR_OUT * spread
    if heavy or (np.mean(sample == 0) > _MANY_ZEROS and spread > _LARGE):
        parts.append((values == 0).astype(np.float64)[:, None])
        values = np.sign(values) * np.log1p(np.abs(values))
        sample = values[known]
    scaled = (values - sample.mean()) / (sample.std() + 1e-12)
    cut: Reals = np.clip(scaled, -_REACH, _REACH)
    return cut


def _auc(labels: Reals, scores: Reals, rows: Rows) -> float:
    return float(roc_auc_score(labels[rows], scores[rows]))
