"""The ring Z_2^64 on torch int64: pseudorandom words, fixed point, exact bounds.

Torch int64 arithmetic wraps modulo 2^64, which is what replicated sharing needs. A
value v is held as round(v * 2^bits). Nothing here may depend on a secret's value in its
running time: there is no branch on a word.
"""

from __future__ import annotations

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from torch import Tensor

from protocols.vertical.words import WORD_SIZE

SEED_SIZE = 32


def pseudorandom_words(seed: bytes, counter: int, count: int) -> Tensor:
    """Expand a seed to `count` uniform ring elements; each counter gives an own stream.

    Source:
        AES-256 in counter mode as a pseudorandom function, NIST SP 800-38A, section 6.5.
        The counter fills the upper half of the initial block, so that streams of up to
        2^64 blocks never meet.
    """
    block = counter.to_bytes(8, "big") + bytes(8)
    encryptor = Cipher(algorithms.AES(seed), modes.CTR(block)).encryptor()
    out = np.zeros(count, dtype="<i8")
    # A cipher in counter mode is a stream: encrypting zeros in place yields the keystream.
    encryptor.update_into(bytes(count * WORD_SIZE), out.data.cast("B"))
    return torch.from_numpy(out.astype(np.int64, copy=False))


def to_fixed(values: Tensor, bits: int) -> Tensor:
    """Round real values to fixed point, half to even."""
    return torch.round(values.to(torch.float64) * float(1 << bits)).to(torch.int64)


def toward_zero(values: Tensor, bits: int) -> Tensor:
    """Cut real values to fixed point toward zero, so that no norm grows by rounding."""
    return torch.trunc(values.to(torch.float64) * float(1 << bits)).to(torch.int64)


def to_real(words: Tensor, bits: int) -> Tensor:
    """Read fixed point as float64."""
    return words.to(torch.float64) / float(1 << bits)


def shift_right(words: Tensor, bits: int) -> Tensor:
    """Shift right filling with zeros, for 1 <= bits <= 63; torch's own shift copies the sign."""
    mask = (1 << (64 - bits)) - 1
    return (words >> bits) & mask
