"""Int64 vectors on the wire: little-endian, as torch and numpy hold them, without a shape."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from protocols.errors import MalformedMessageError

WORD_SIZE = 8


def encode_words(values: Tensor) -> bytes:
    """Write an int64 tensor as little-endian words, without its shape."""
    words: bytes = values.contiguous().numpy().astype("<i8", copy=False).tobytes()
    return words


def decode_words(data: bytes, count: int, subject: str) -> Tensor:
    """Read exactly `count` little-endian int64 words.

    Raises:
        MalformedMessageError: on any other length.
    """
    if len(data) != count * WORD_SIZE:
        raise MalformedMessageError(
            f"{subject}: {len(data)} bytes, expected {count * WORD_SIZE} for {count} words"
        )
    return torch.from_numpy(np.frombuffer(data, dtype="<i8").astype(np.int64))
