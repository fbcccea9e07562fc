"""Three parties in one process, with randomness from a seed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from protocols.program import Program, Receive, Watcher, run_together
from protocols.vertical.head import Base, Block, Head, Inputs, Terms, train
from protocols.vertical.response import Sampler
from protocols.vertical.settings import Schedule
from protocols.vertical.shares import Trio

NAMES = ("insurer", "telecom", "police")
GENTLE = Schedule(step_size=2.0, momentum=0.5, average_from=0.0)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


def make_trios(seed: int) -> dict[str, Trio]:
    source = np.random.default_rng(seed)
    return {name: Trio(names=NAMES, ours=name, random=source.bytes) for name in NAMES}


def run_trio(
    body: Callable[[Trio], Program[Any]], seed: int = 0, watch: Watcher | None = None
) -> dict[str, Any]:
    """Connect three parties and run `body` at each; the result is keyed by party."""

    def whole(trio: Trio) -> Program[Any]:
        yield from trio.connect()
        return (yield from body(trio))

    trios = make_trios(seed)
    return run_together({name: whole(trio) for name, trio in trios.items()}, watch)


def alter_received(
    program: Program[Any], index: int, change: Callable[[bytes], bytes]
) -> Program[Any]:
    """Pass a program's requests on, but change what its Receive number `index` brings."""
    answer: bytes | None = None
    seen = 0
    while True:
        try:
            request = program.send(answer)
        except StopIteration as stop:
            return stop.value
        answer = yield request
        if isinstance(request, Receive):
            if seen == index:
                answer = change(answer)
            seen += 1


@dataclass
class Case:
    """The terms of a training and every party's own table."""

    terms: Terms
    inputs: dict[str, Inputs]


def make_case(
    seed: int = 0,
    *,
    rows: int = 20,
    widths: Mapping[str, int] | None = None,
    label_holder: str = "insurer",
    steps: int = 3,
    degree: int = 3,
    logit_bound: float = 2.0,
    noise_multiplier: float = 1.0,
    schedule: Schedule = GENTLE,
    base: Base | None = None,
) -> Case:
    """Make a random table: rows of any length up to the norm, some absent, some not masked."""
    source = np.random.default_rng(seed)
    widths = {"insurer": 3, "telecom": 2, "police": 4} if widths is None else widths
    norm = len(widths) ** -0.5
    blocks = tuple(Block(name, width, norm, logit_bound) for name, width in widths.items())
    inputs = {name: Inputs() for name in NAMES}
    for name, width in widths.items():
        table = source.standard_normal((width, rows))
        table *= norm * source.random(rows) / np.linalg.norm(table, axis=0)
        table[:, source.random(rows) < 0.2] = 0
        inputs[name].features = torch.from_numpy(table)
    inputs[label_holder].labels = torch.from_numpy(source.integers(0, 2, rows))
    inputs[label_holder].mask = torch.from_numpy((source.random(rows) < 0.8).astype(np.int64))
    terms = Terms(
        rows=rows,
        blocks=blocks,
        label_holder=label_holder,
        steps=steps,
        noise_multiplier=noise_multiplier,
        degree=degree,
        schedule=schedule,
        base=base,
    )
    return Case(terms, inputs)


def no_noise(_: int, size: int) -> torch.Tensor:
    return torch.zeros(size, dtype=torch.int64)


def train_case(
    case: Case,
    *,
    seed: int = 0,
    noise: Mapping[str, Sampler] | Sampler = no_noise,
    resume: Mapping[str, Mapping[int, bytes]] | None = None,
    watch: Watcher | None = None,
) -> dict[str, Head]:
    """Train in memory; `noise` is of all parties or by party, and silent unless given."""
    programs = {
        name: train(
            trio=trio,
            terms=case.terms,
            inputs=case.inputs[name],
            noise=noise[name] if isinstance(noise, Mapping) else noise,
            resume=None if resume is None else resume[name],
        )
        for name, trio in make_trios(seed).items()
    }
    return run_together(programs, watch)


@pytest.fixture(scope="session")
def case() -> Callable[..., Case]:
    return make_case


@pytest.fixture(scope="session")
def trained() -> Callable[..., dict[str, Head]]:
    return train_case


@pytest.fixture(scope="session")
def trios() -> Callable[[int], dict[str, Trio]]:
    return make_trios


@pytest.fixture(scope="session")
def play() -> Callable[..., dict[str, Any]]:
    return run_trio


@pytest.fixture(scope="session")
def altered() -> Callable[..., Program[Any]]:
    return alter_received
