"""Descent on opened gradients: momentum and averaging, at the owner of the block.

Everything here is post-processing of what was opened with noise, so it costs no privacy
and each owner may run it alone.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from protocols.codec import Reader, Writer
from protocols.errors import MalformedMessageError
from protocols.vertical.conditioning import Conditioner
from protocols.vertical.settings import Schedule

_VERSION = 1


class Descent:
    """The weights of one block on their way; a value that can be stored and resumed.

    Args:
        conditioner: of the block's columns.
        deviation: the noise of one mean gradient, which shrinking is measured by.
    """

    def __init__(
        self,
        schedule: Schedule,
        width: int,
        steps: int,
        state: bytes | None = None,
        *,
        conditioner: Conditioner | None = None,
        deviation: float = 0.0,
    ) -> None:
        self._schedule = schedule
        self._conditioner = conditioner or Conditioner.none(width)
        # Over all steps the noise of the mean gradients averages out by the root of their
        # number; the whole way of one step is what momentum makes of it.
        way = schedule.step_size / (1 - schedule.momentum)
        self._cut = way * schedule.threshold * deviation / math.sqrt(steps)
        self._first_averaged = int(schedule.average_from * steps)
        self.step = 0
        self.weights = torch.zeros(width, dtype=torch.float64)
        self._velocity = torch.zeros(width, dtype=torch.float64)
        self._total = torch.zeros(width, dtype=torch.float64)
        self._averaged = 0
        if state is not None:
            self._decode(state)

    def apply(self, gradient: Tensor) -> None:
        """Take one step along a noisy mean gradient.

        Shapes:
            gradient: (width,), float64.
        """
        conditioned = self._conditioner.condition(gradient)
        self._velocity = self._schedule.momentum * self._velocity + conditioned
        self.weights = self.weights - self._schedule.step_size * self._velocity
        if self._cut > 0:
            self.weights = self._conditioner.shrink(self.weights, self._cut)
        self.step += 1
        if self.step > self._first_averaged:
            self._total += self.weights
            self._averaged += 1

    def result(self) -> Tensor:
        """Return the average of the late iterates, or the last one before averaging began."""
        return self._total / self._averaged if self._averaged else self.weights.clone()

    def encode(self) -> bytes:
        """Write `version, step, averaged, weights, velocity, total`."""
        writer = Writer().u8(_VERSION).u32(self.step).u32(self._averaged)
        for vector in (self.weights, self._velocity, self._total):
            writer.block(vector.numpy().astype("<f8").tobytes())
        return writer.encode()

    def _decode(self, data: bytes) -> None:
        reader = Reader(data, "checkpoint")
        if reader.u8() != _VERSION:
            raise MalformedMessageError(f"checkpoint: unknown version, expected {_VERSION}")
        step, averaged = reader.u32(), reader.u32()
        size = self.weights.numel() * 8
        vectors = []
        for _ in range(3):
            block = reader.block()
            if len(block) != size:
                raise MalformedMessageError(f"checkpoint: {len(block)} bytes, expected {size}")
            vectors.append(torch.from_numpy(np.frombuffer(block, dtype="<f8").astype(np.float64)))
        reader.finish()
        self.step, self._averaged = step, averaged
        self.weights, self._velocity, self._total = vectors
