"""The three-party arithmetic equals plain arithmetic modulo 2^64, whatever the inputs."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from protocols.errors import MalformedMessageError, UnsupportedParameterError
from protocols.program import Receive, run_together
from protocols.vertical import shares
from protocols.vertical.shares import Shared, Trio, matrix_product, product

NAMES = ("insurer", "telecom", "police")
EXTREMES = [-(2**63), -(2**62), -1, 0, 1, 2**31, 2**62, 2**63 - 1]
WORDS = st.one_of(st.sampled_from(EXTREMES), st.integers(-(2**63), 2**63 - 1))
VECTORS = st.integers(1, 6).flatmap(
    lambda size: st.tuples(*[st.lists(WORDS, min_size=size, max_size=size)] * 2)
)
OWNERS = st.sampled_from(NAMES)
relaxed = settings(deadline=None)


def wrap(value: int) -> int:
    return (value + 2**63) % 2**64 - 2**63


def rebuild(views: dict[str, Shared], count: int) -> list[int]:
    """Add the three summands up after checking that every two holders of one agree."""
    summands = []
    for index, name in enumerate(NAMES):
        before = views[NAMES[index - 1]].second
        ours = views[name].first
        zero = torch.zeros(count, dtype=torch.int64)
        ours, before = (zero if half is None else half for half in (ours, before))
        assert (ours + zero).tolist() == (before + zero).tolist()
        summands.append(ours + zero)
    return [wrap(sum(words)) for words in zip(*(half.tolist() for half in summands), strict=True)]


def owned(trio: Trio, owner: str, words: list[int]) -> torch.Tensor | None:
    return torch.tensor(words) if trio.name(0) == owner else None


@relaxed
@given(VECTORS, st.tuples(OWNERS, OWNERS), WORDS, st.integers(0, 2**32))
def test_linear_operations_equal_plain_ones(play, vectors, owners, factor, seed):
    left, right = vectors
    one, two = owners
    count = len(left)

    def body(trio):
        a = yield from trio.share(one, owned(trio, one, left), (count,))
        b = yield from trio.share(two, owned(trio, two, right), (count,))
        return {"share": a, "sum": a + b, "scaled": a.scaled(factor), "plus": trio.constant(b, 77)}

    views = play(body, seed)
    expected = {
        "share": left,
        "sum": [wrap(x + y) for x, y in zip(left, right, strict=True)],
        "scaled": [wrap(x * factor) for x in left],
        "plus": [wrap(y + 77) for y in right],
    }
    for name, words in expected.items():
        assert rebuild({party: view[name] for party, view in views.items()}, count) == words


@relaxed
@given(VECTORS, OWNERS, OWNERS, st.integers(0, 2**32))
def test_products_equal_plain_ones(play, vectors, one, two, seed):
    left, right = vectors
    count = len(left)

    def body(trio):
        a = yield from trio.share(one, owned(trio, one, left), (count,))
        b = yield from trio.share(two, owned(trio, two, right), (count,))
        first = yield from trio.multiply(a, b, count)
        # A product of a product and of a constant: all summands are present.
        second = yield from trio.multiply(first, trio.constant(b, 3), count)
        return first, second

    views = play(body, seed)
    once = [wrap(x * y) for x, y in zip(left, right, strict=True)]
    twice = [wrap(x * y * (y + 3)) for x, y in zip(left, right, strict=True)]
    assert rebuild({party: view[0] for party, view in views.items()}, count) == once
    assert rebuild({party: view[1] for party, view in views.items()}, count) == twice


@relaxed
@given(st.data(), st.tuples(OWNERS, OWNERS, OWNERS), st.integers(0, 2**32))
def test_matrix_product_opens_to_one_party(play, data, parties, seed):
    one, two, receiver = parties
    rows, count = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    matrix = data.draw(
        st.lists(st.lists(WORDS, min_size=count, max_size=count), min_size=rows, max_size=rows)
    )
    vector = data.draw(st.lists(WORDS, min_size=count, max_size=count))

    def body(trio):
        own = torch.tensor(matrix) if trio.name(0) == one else None
        a = yield from trio.share(one, own, (rows, count))
        b = yield from trio.share(two, owned(trio, two, vector), (count,))
        summand = matrix_product(a, b, rows, count) + trio.zero(rows)
        return (yield from trio.open_to(receiver, summand))

    opened = play(body, seed)
    expected = [wrap(sum(x * y for x, y in zip(line, vector, strict=True))) for line in matrix]
    assert opened.pop(receiver).tolist() == expected
    assert set(opened.values()) == {None}


def truncated(play, words: torch.Tensor, bits: int, seed: int, owner: str = "telecom"):
    count = words.numel()

    def body(trio):
        own = words if trio.name(0) == owner else None
        value = yield from trio.share(owner, own, (count,))
        one = yield from trio.share(owner, None if own is None else torch.ones_like(own), (count,))
        blinded = product(value, one, count) + trio.zero(count)
        return (yield from trio.truncate(blinded, bits))

    return rebuild(play(body, seed), count)


@relaxed
@given(
    st.lists(st.integers(-(2**62), 2**62 - 1), min_size=1, max_size=8),
    st.integers(1, 61),
    OWNERS,
    st.integers(0, 2**32),
)
@example([-(2**62), 2**62 - 1, 0, -1, 1], 1, "insurer", 0)
@example([-(2**62), 2**62 - 1, 0, -1, 1], 61, "police", 0)
def test_truncation_rounds_to_a_neighbour(play, words, bits, owner, seed):
    for word, result in zip(
        words, truncated(play, torch.tensor(words), bits, seed, owner), strict=True
    ):
        # An exact multiple stays exact; anything else goes to the integer below or above.
        assert result in (word >> bits, -(-word >> bits))


@pytest.mark.parametrize("bits", [1, 4, 28, 61])
def test_truncation_never_fails_at_the_edge(play, bits):
    source = np.random.default_rng(bits)
    count = 250_000
    distance = (2 ** source.uniform(0, 61, count)).astype(np.int64)
    words = torch.from_numpy(
        np.where(source.random(count) < 0.5, 2**62 - distance, distance - 2**62)
    )
    results = torch.tensor(truncated(play, words, bits, seed=bits))
    error = results - (words >> bits)
    assert bool(((error == 0) | (error == 1)).all())


@pytest.mark.parametrize("word", [3, -3, 2**61 + 7, -(2**61) - 5, 2**62 - 1])
def test_truncation_is_unbiased(play, word):
    count, bits = 100_000, 3
    results = truncated(play, torch.full((count,), word), bits, seed=word % 1000)
    share = (word % 8) / 8
    raised = sum(result - (word >> bits) for result in results) / count
    assert abs(raised - share) < 5 * (share * (1 - share) / count) ** 0.5


def everything(trio: Trio):
    """Use every method once, on secrets that are all zero."""
    count = 4
    values = []
    for owner in NAMES:
        own = torch.zeros(count, dtype=torch.int64) if trio.name(0) == owner else None
        values.append((yield from trio.share(owner, own, (count,))))
    value = yield from trio.multiply(values[0] + values[1], values[2], count)
    value = yield from trio.multiply(value, values[0] + values[2], count)
    one = trio.constant(Shared(None, None), 1)
    value = yield from trio.truncate(product(value, one, count) + trio.zero(count), 8)
    for receiver in NAMES:
        yield from trio.open_to(receiver, product(value, one, count) + trio.zero(count))


def test_no_stream_serves_twice(play, monkeypatch):
    used: list[tuple[bytes, int]] = []
    original = shares.pseudorandom_words

    def recording(seed, counter, count):
        used.append((seed, counter))
        return original(seed, counter, count)

    monkeypatch.setattr(shares, "pseudorandom_words", recording)

    def body(trio):
        yield from everything(trio)
        yield from trio.connect()
        return (yield from everything(trio))

    play(body)
    # Each seed that two parties share appears twice, the dealer's own once.
    assert max(used.count(stream) for stream in set(used)) == 2
    counters = {counter for _, counter in used}
    assert len({seed for seed, _ in used}) == 7
    assert counters == set(range(1, max(counters) + 1))


@pytest.mark.parametrize("index", range(12))
@pytest.mark.parametrize(
    "change", [lambda data: data[:-1], lambda data: data + b"\0", lambda _: b""]
)
@pytest.mark.parametrize("name", NAMES)
def test_payload_of_wrong_length_is_malformed(trios, altered, name, index, change):
    def whole(trio):
        yield from trio.connect()
        return (yield from everything(trio))

    received = []
    programs = {party: whole(trio) for party, trio in trios(1).items()}
    programs[name] = altered(programs[name], index, change)

    def watch(party, request):
        if party == name and isinstance(request, Receive):
            received.append(request)

    try:
        run_together(programs, watch)
    except MalformedMessageError as error:
        assert "bytes, expected" in str(error)  # noqa: PT017  # a party may receive less often
    else:
        assert len(received) <= index


def test_share_refuses_what_is_not_its_tensor(play):
    for wrong in (None, torch.zeros(1, dtype=torch.int64), torch.zeros(2)):

        def body(trio, wrong=wrong):
            own = wrong if trio.name(0) == "insurer" else None
            return (yield from trio.share("insurer", own, (2,)))

        with pytest.raises(UnsupportedParameterError, match="insurer must give"):
            play(body)


def test_share_refuses_an_owner_who_does_not_compute(play):
    with pytest.raises(UnsupportedParameterError, match="no compute party"):
        play(lambda trio: trio.share("hub", None, (2,)))


@pytest.mark.parametrize("names", [("a", "b", "b"), ("a", "b", "c")])
def test_trio_needs_three_names_with_ours(names):
    with pytest.raises(UnsupportedParameterError, match="three different names"):
        Trio(names=names, ours="d" if "c" in names else "a", random=bytes)
