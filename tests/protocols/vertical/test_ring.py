import math

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from protocols.vertical.ring import (
    pseudorandom_words,
    shift_right,
    to_fixed,
    to_real,
    toward_zero,
)

WORDS = st.one_of(
    st.sampled_from([-(2**63), -(2**62), -1, 0, 1, 2**62, 2**63 - 1]),
    st.integers(-(2**63), 2**63 - 1),
)


@given(st.lists(WORDS, min_size=1, max_size=20), st.integers(1, 63))
def test_shift_right_is_unsigned(words, bits):
    shifted = shift_right(torch.tensor(words), bits)
    assert shifted.tolist() == [(word % 2**64) >> bits for word in words]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20), st.integers(0, 30))
def test_fixed_point_is_off_by_half_a_unit(values, bits):
    real = torch.tensor(values, dtype=torch.float64)
    error = (to_real(to_fixed(real, bits), bits) - real).abs()
    assert bool((error <= 0.5 / 2**bits).all())


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20), st.integers(0, 30))
def test_cut_toward_zero_never_lengthens(values, bits):
    real = torch.tensor(values, dtype=torch.float64)
    cut = to_real(toward_zero(real, bits), bits)
    assert bool((cut.abs() <= real.abs()).all())
    assert bool(((cut - real).abs() < 1 / 2**bits).all())


def test_stream_is_aes_256_in_counter_mode():
    # Each block of the stream is the encryption of counter || block number.
    seed = bytes(range(32))
    encryptor = Cipher(algorithms.AES(seed), modes.ECB()).encryptor()
    blocks = b"".join(
        encryptor.update((7).to_bytes(8, "big") + block.to_bytes(8, "big")) for block in range(4)
    )
    assert pseudorandom_words(seed, 7, 8).numpy().tobytes() == blocks


def test_stream_of_odd_or_no_length_is_a_prefix():
    seed = bytes(32)
    long = pseudorandom_words(seed, 3, 33)
    for count in (0, 1, 2, 31):
        assert pseudorandom_words(seed, 3, count).tolist() == long[:count].tolist()


def test_streams_of_seeds_and_counters_differ():
    seeds = [bytes([number]) * 32 for number in range(4)]
    streams = [
        tuple(pseudorandom_words(seed, counter, 4).tolist())
        for seed in seeds
        for counter in [0, 1, 2, 255, 256, 2**32, 2**63]
    ]
    words = {word for stream in streams for word in stream}
    assert len(words) == 4 * len(streams)


def test_stream_is_balanced_in_every_bit():
    count = 20_000
    words = pseudorandom_words(bytes(32), 1, count).numpy().view(np.uint64)
    bits = np.unpackbits(words.view(np.uint8)).reshape(count, 64)
    deviation = np.abs(bits.mean(axis=0) - 0.5) * 2 * math.sqrt(count)
    assert deviation.max() < 5
