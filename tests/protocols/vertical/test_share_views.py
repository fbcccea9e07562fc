"""What one party receives is uniform, and masked by no stream that it can compute."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch

from protocols.program import Send
from protocols.vertical.ring import pseudorandom_words
from protocols.vertical.shares import Shared, product

NAMES = ("insurer", "telecom", "police")
COUNT = 4096


def all_methods(secret: int, owner: str, receiver: str):
    """Share one secret COUNT times, multiply, truncate and open the result."""

    def body(trio):
        values = torch.full((COUNT,), secret) if trio.name(0) == owner else None
        a = yield from trio.share(owner, values, (COUNT,))
        b = yield from trio.multiply(a, a, COUNT)
        c = yield from trio.truncate(product(a, b, COUNT) + trio.zero(COUNT), 5)
        one = trio.constant(Shared(None, None), 1)
        return (yield from trio.open_to(receiver, product(c, one, COUNT) + trio.zero(COUNT)))

    return body


def view(play, body, party: str, seed: int) -> list[np.ndarray]:
    """Return the words of every message that a party receives, without the seed."""
    received: list[np.ndarray] = []

    def watch(_, request):
        if isinstance(request, Send) and request.to == party:
            received.append(np.frombuffer(request.payload, dtype="<u8"))

    play(body, seed, watch)
    return received[1:]


def worst_deviation(words: np.ndarray) -> float:
    """Return the largest distance from balance over the 64 bits, in standard deviations."""
    bits = np.unpackbits(np.ascontiguousarray(words).view(np.uint8)).reshape(-1, 64)
    return float(np.abs(bits.mean(axis=0) - 0.5).max() * 2 * math.sqrt(len(bits)))


def byte_chi_square(words: np.ndarray) -> float:
    """Return chi square of the byte counts, as a standard normal number."""
    counts = np.bincount(np.ascontiguousarray(words).view(np.uint8), minlength=256)
    expected = counts.sum() / 256
    return float((((counts - expected) ** 2 / expected).sum() - 255) / math.sqrt(2 * 255))


@pytest.mark.parametrize("party", NAMES)
@pytest.mark.parametrize("owner", NAMES)
@pytest.mark.parametrize("secret", [0, 1, -(2**19)])
def test_received_words_are_uniform(play, party, owner, secret):
    for receiver in NAMES:
        for words in view(play, all_methods(secret, owner, receiver), party, seed=11):
            assert worst_deviation(words) < 6
            assert abs(byte_chi_square(words)) < 6


@pytest.mark.parametrize("party", NAMES)
def test_received_words_are_uniform_over_fresh_seeds(play, party):
    # One word a message and run: here the keys vary, above the place in a stream.
    def body(trio):
        values = torch.full((2,), 5) if trio.name(0) == "telecom" else None
        a = yield from trio.share("telecom", values, (2,))
        b = yield from trio.multiply(a, a, 2)
        return (yield from trio.truncate(product(a, b, 2) + trio.zero(2), 5))

    runs = [np.stack([w[:2] for w in view(play, body, party, seed)]) for seed in range(400)]
    for message in np.stack(runs).transpose(1, 0, 2):
        assert worst_deviation(message[:, 0]) < 6


@pytest.mark.parametrize("party", NAMES)
def test_two_messages_together_are_uniform(play, party):
    # A mask that served twice would cancel in a sum or a difference of two messages.
    # The last two messages of the receiver of an opening are left out: their sum is the
    # result, less its own summand.
    other = NAMES[NAMES.index(party) - 1]
    words = [w for w in view(play, all_methods(3, other, other), party, 5) if len(w) == COUNT]
    for one, two in combinations(words, 2):
        if np.array_equal(one, two):
            pytest.fail("one message was received twice")
        assert worst_deviation(one - two) < 6
        assert worst_deviation(one + two) < 6


def test_shared_value_shows_only_to_who_knows_the_mask(play):
    values = torch.arange(COUNT)
    trios = {}

    def body(trio):
        trios[trio.name(0)] = trio
        own = values if trio.name(0) == "insurer" else None
        return (yield from trio.share("insurer", own, (COUNT,)))

    (words,) = view(play, body, "telecom", seed=3)
    mask = pseudorandom_words(trios["insurer"]._seeds[0], 1, COUNT).numpy().view(np.uint64)
    assert (words + mask).tolist() == values.tolist()
    for seed in trios["telecom"]._seeds:
        known = pseudorandom_words(seed, 1, COUNT).numpy().view(np.uint64)
        assert worst_deviation(words + known) < 6


@pytest.mark.parametrize("party", NAMES)
def test_no_held_stream_unmasks_a_message(play, party):
    # All secrets are 0, so each message is a sum of masks: were all of them known to the
    # receiver, one or two of its own streams would cancel it.
    trios = {}

    def body(trio):
        trios[trio.name(0)] = trio
        return (yield from all_methods(0, "telecom", "insurer")(trio))

    words = [message[:4] for message in view(play, body, party, seed=9)]
    ours = trios[party]
    streams = [np.zeros(4, dtype=np.uint64)]
    for seed in (*ours._seeds, ours._own_seed):
        for counter in range(ours._counter + 2):
            stream = pseudorandom_words(seed, counter, 4).numpy().view(np.uint64)
            streams += [stream, -stream]
    sums = {tuple((one + two).tolist()) for one in streams for two in streams}
    for message in words:
        assert tuple(message.tolist()) not in sums


@pytest.mark.parametrize("receiver", NAMES)
def test_opening_tells_the_sum_alone(play, receiver):
    # Two worlds with other summands at the senders and the same sum: what the receiver
    # gets differs only by what one sender's mask, unknown to the receiver, hides.
    def body_of(shift):
        def body(trio):
            place = (NAMES.index(trio.name(0)) - NAMES.index(receiver)) % 3
            summand = torch.full((COUNT,), (0, shift, -shift)[place] + 10 * place)
            return (yield from trio.open_to(receiver, summand + trio.zero(COUNT)))

        return body

    for shift in (0, 123_456):
        assert play(body_of(shift), 2)[receiver].tolist() == [30] * COUNT
        one, two = view(play, body_of(shift), receiver, seed=2)
        assert worst_deviation(one) < 6
        assert worst_deviation(two) < 6
    same = view(play, body_of(0), receiver, seed=2)
    other = view(play, body_of(123_456), receiver, seed=2)
    assert ((same[0] + same[1]) == (other[0] + other[1])).all()


@pytest.mark.parametrize("opener", ["insurer", "telecom"])
def test_truncation_opens_a_uniform_word(play, opener):
    # Each opener adds its own summand to the two that it receives: only the dealer's mask
    # keeps the sum from being the value.
    def body(trio):
        values = torch.full((COUNT,), 77) if trio.name(0) == "police" else None
        a = yield from trio.share("police", values, (COUNT,))
        one = trio.constant(Shared(None, None), 1)
        summand = product(a, one, COUNT) + trio.zero(COUNT)
        own = summand.numpy().view(np.uint64).copy()
        yield from trio.truncate(summand, 5)
        return own

    own = play(body, 4)[opener]
    received = [words for words in view(play, body, opener, 4) if len(words) == COUNT]
    # Among what is received are the dealer's and the other opener's summands.
    sums = [own + one + two for one, two in combinations(received, 2)]
    for words in sums:
        assert worst_deviation(words) < 6


def test_dealer_gets_nothing_of_the_value(play):
    def body(trio):
        values = torch.full((COUNT,), 77) if trio.name(0) == "insurer" else None
        a = yield from trio.share("insurer", values, (COUNT,))
        one = trio.constant(Shared(None, None), 1)
        yield from trio.truncate(product(a, one, COUNT) + trio.zero(COUNT), 5)

    # Its share of the first value aside, the dealer only sends.
    assert len(view(play, body, "police", 4)) == 0
    assert len(view(play, body, "telecom", 4)) == 1 + 4
