"""Noise from the operating system's randomness, for the phases that add some."""

from __future__ import annotations

import os

import torch

from protocols.dp.discrete import sample_discrete_gaussian


def discrete_noise(variance: int, size: int) -> torch.Tensor:
    """Draw discrete Gaussian integers from the operating system's randomness."""
    return torch.from_numpy(sample_discrete_gaussian(variance, size, random=os.urandom))
