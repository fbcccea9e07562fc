import contextlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import MalformedMessageError, UnsupportedParameterError
from protocols.vertical.conditioning import Conditioner
from protocols.vertical.descent import Descent
from protocols.vertical.settings import Schedule

GRADIENTS = st.lists(st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=3), max_size=8)


def descended(schedule: Schedule, gradients: list[list[float]], steps: int) -> Descent:
    descent = Descent(schedule, 3, steps)
    for gradient in gradients:
        descent.apply(torch.tensor(gradient, dtype=torch.float64))
    return descent


def test_plain_descent_follows_its_definition():
    descent = descended(Schedule(0.5, 0.9, 0.0), [[1.0, 0, 0], [1.0, 2, 0]], 2)
    # Directions 1 then 1.9; iterates -0.5 then -1.45; their mean is -0.975.
    assert torch.allclose(descent.weights, torch.tensor([-1.45, -1.0, 0.0], dtype=torch.float64))
    assert torch.allclose(descent.result(), torch.tensor([-0.975, -0.5, 0.0], dtype=torch.float64))


@pytest.mark.parametrize(("average_from", "averaged"), [(0.0, 4), (0.5, 2), (0.75, 1), (0.99, 1)])
def test_late_iterates_are_averaged(average_from, averaged):
    descent = Descent(Schedule(1.0, 0.0, average_from), 1, 4)
    iterates = []
    for _ in range(4):
        descent.apply(torch.tensor([-1.0], dtype=torch.float64))
        iterates.append(float(descent.weights))
    assert float(descent.result()) == sum(iterates[-averaged:]) / averaged


def test_result_before_averaging_is_the_last_iterate():
    descent = descended(Schedule(1.0, 0.0, 0.5), [[1.0, 2.0, 3.0]], 10)
    assert descent.result().tolist() == [-1.0, -2.0, -3.0]


@given(GRADIENTS, GRADIENTS)
def test_restored_descent_goes_on_alike(before, after):
    schedule = Schedule(0.3, 0.8, 0.25)
    whole = descended(schedule, before + after, 12)
    restored = Descent(schedule, 3, 12, descended(schedule, before, 12).encode())
    assert restored.step == len(before)
    for gradient in after:
        restored.apply(torch.tensor(gradient, dtype=torch.float64))
    assert restored.encode() == whole.encode()
    assert torch.equal(restored.result(), whole.result())


def test_conditioned_and_shrunk_descent_goes_on_alike():
    schedule = Schedule(0.3, 0.8, 0.25, threshold=1.5)
    conditioner = Conditioner.of([(0.0, 0.5), (float("nan"),)], np.array([0.1, 0.2, 0.3]))
    options = {"conditioner": conditioner, "deviation": 0.5}
    whole = Descent(schedule, 3, 12, **options)
    part = Descent(schedule, 3, 12, **options)
    for step in range(12):
        gradient = torch.tensor([step, -1.0, 0.01], dtype=torch.float64)
        whole.apply(gradient)
        part.apply(gradient)
        part = Descent(schedule, 3, 12, part.encode(), **options)
    assert part.encode() == whole.encode()
    # The cut of 1.5 standard deviations has drawn the small column to nothing.
    assert whole.weights[2] == 0
    assert whole.weights[0] != 0


def test_checkpoint_is_whole_or_malformed():
    schedule = Schedule(0.3, 0.8, 0.0)
    data = descended(schedule, [[1.0, 2.0, 3.0]], 2).encode()
    broken = [data[:size] for size in range(len(data))]
    broken += [data + b"\0", b"\2" + data[1:]]
    for bad in broken:
        with pytest.raises(MalformedMessageError, match="checkpoint"):
            Descent(schedule, 3, 2, bad)
    with pytest.raises(MalformedMessageError, match=r"24 bytes, expected 16"):
        Descent(schedule, 2, 2, data)


@given(st.binary(max_size=100))
def test_any_bytes_are_a_checkpoint_or_malformed(data):
    with contextlib.suppress(MalformedMessageError):
        Descent(Schedule(1.0, 0.0, 0.0), 1, 1, data)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("step size", (0.0, 0.5, 0.5)),
        ("step size", (-1.0, 0.5, 0.5)),
        ("step size", (1e6, 0.5, 0.5)),
        ("step size", (float("nan"), 0.5, 0.5)),
        ("momentum", (1.0, 1.0, 0.5)),
        ("momentum", (1.0, -0.1, 0.5)),
        ("momentum", (1.0, float("nan"), 0.5)),
        ("averaging", (1.0, 0.5, 1.0)),
        ("averaging", (1.0, 0.5, -0.1)),
        ("averaging", (1.0, 0.5, float("nan"))),
        ("threshold", (1.0, 0.5, 0.5, -1.0)),
        ("threshold", (1.0, 0.5, 0.5, 100.0)),
        ("threshold", (1.0, 0.5, 0.5, float("nan"))),
    ],
)
def test_schedule_out_of_range_is_refused(field, values):
    with pytest.raises(UnsupportedParameterError, match=rf"{field}.*; correct the plan"):
        Schedule(*values)
