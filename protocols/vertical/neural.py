"""The neural expert: a few learned coordinates beside the binning ones.

    binning coordinates -> outline    a number's place, a missing value, every level
                        -> centred    by the released means alone
                        -> embedding  tanh of one layer, of length at most 1

The layer is trained at its owner (`neural_training`) and never leaves it. What is kept is
the layer alone, as arrays of a fixed form, so that every later scoring embeds the same way
and nothing that is read can run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from protocols.codec import Reader, Writer
from protocols.errors import MalformedMessageError
from protocols.vertical.axis import Reals
from protocols.vertical.neural_terms import MAX_WIDTH
from protocols.vertical.outline import standardised

MAX_INPUTS = 1 << 20
_VERSION = "lianfang expert v1"


@dataclass(frozen=True, slots=True)
class Targets:
    """What the label holder's expert learns, and on which rows; (rows,) each."""

    labels: NDArray[np.float64]
    train: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Expert:
    """A trained embedding.

    Shapes:
        centre, scale: (inputs,); layer: (width, inputs), float32; bias: (width,), float32.

    Attributes:
        weight: the embedding's share of the squared norm of an encoded row.
    """

    weight: float
    centre: Reals = field(repr=False)
    scale: Reals = field(repr=False)
    layer: NDArray[np.float32] = field(repr=False)
    bias: NDArray[np.float32] = field(repr=False)

    @property
    def width(self) -> int:
        """Return how many coordinates the embedding has."""
        return len(self.bias)

    def embed(self, outlines: Reals) -> Reals:
        """Embed rows as vectors of length at most 1, whatever the rows and the layer.

        Shapes:
            outlines: (rows, inputs), as `outline` makes them; result: (rows, width).
        """
        inputs = standardised(outlines, self.centre, self.scale)
        hidden: Reals = np.tanh(inputs @ self.layer.T.astype(np.float64) + self.bias)
        return hidden / math.sqrt(self.width)

    def store(self) -> bytes:
        """Write version, width and inputs, then weight, centre, scale (f64), layer, bias (f32)."""
        writer = Writer().text(_VERSION).u32(self.width).u32(len(self.centre))
        for values in (np.array([self.weight]), self.centre, self.scale):
            writer.block(np.ascontiguousarray(values, dtype="<f8").tobytes())
        for values in (self.layer, self.bias):
            writer.block(np.ascontiguousarray(values, dtype="<f4").tobytes())
        return writer.encode()

    @classmethod
    def load(cls, data: bytes) -> Expert:
        """Read an expert that `store` wrote.

        Raises:
            MalformedMessageError: on any other byte string.
        """
        reader = Reader(data, "expert")
        if reader.text() != _VERSION:
            raise MalformedMessageError("expert: of another version")
        width, inputs = reader.u32(), reader.u32()
        if not (1 <= width <= MAX_WIDTH and 1 <= inputs <= MAX_INPUTS):
            raise MalformedMessageError("expert: width or inputs out of range")
        weight, centre, scale = (_array(reader, size, "<f8") for size in (1, inputs, inputs))
        layer, bias = _array(reader, width * inputs, "<f4"), _array(reader, width, "<f4")
        reader.finish()
        if not (0 < weight[0] < 1 and (scale > 0).all()):
            raise MalformedMessageError("expert: weight or scale out of range")
        return cls(
            float(weight[0]),
            centre,
            scale,
            layer.reshape(width, inputs).astype(np.float32),
            bias.astype(np.float32),
        )


def _array(reader: Reader, size: int, kind: str) -> Reals:
    data = reader.block()
    if len(data) != size * np.dtype(kind).itemsize:
        raise MalformedMessageError(f"expert: {len(data)} bytes for {size} numbers")
    values = np.frombuffer(data, dtype=kind).astype(np.float64)
    if not np.isfinite(values).all():
        raise MalformedMessageError("expert: a number is not finite")
    return values
