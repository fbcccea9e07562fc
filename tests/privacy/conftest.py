"""A whole training in one process, with randomness from a seed for each party."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch

from protocols.program import Watcher, run_together
from protocols.vertical.head import Head, Inputs, Terms, train
from protocols.vertical.response import Sampler
from protocols.vertical.shares import Trio


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


def train_together(
    terms: Terms,
    inputs: Mapping[str, Inputs],
    *,
    seeds: Mapping[str, int],
    noise: Mapping[str, Sampler],
    watch: Watcher | None = None,
) -> dict[str, Head]:
    """Train with three compute parties, named and ordered as in `inputs`."""
    first, second, third = inputs
    programs: dict[str, Any] = {}
    for name in inputs:
        random = np.random.default_rng(seeds[name]).bytes
        trio = Trio(names=(first, second, third), ours=name, random=random)
        programs[name] = train(trio=trio, terms=terms, inputs=inputs[name], noise=noise[name])
    return run_together(programs, watch)


@pytest.fixture(scope="session")
def train_all() -> Callable[..., dict[str, Head]]:
    return train_together
