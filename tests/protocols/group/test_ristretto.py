"""The backend against RFC 9496's vectors and against the slow reference of conftest."""

import json
from hashlib import sha512
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import MalformedMessageError
from protocols.group.encoding import decode_scalar, decode_scalars, encode_scalar, split_elements
from protocols.group.interface import GENERATOR, IDENTITY, ORDER
from protocols.group.sodium import THREADED_BATCH, load_sodium

# RFC 9496, appendices A.1 to A.3.
VECTORS = json.loads((Path(__file__).parent / "rfc9496_vectors.json").read_text())
MULTIPLES = [bytes.fromhex(item) for item in VECTORS["multiples"]]
REFUSED = [(kind, item) for kind, items in VECTORS["refused"].items() for item in items]

scalars = st.integers(1, ORDER - 1)
# Hashed, because 64 zero bytes map to the identity, which no honest hash gives.
uniform = st.binary(max_size=16).map(lambda data: sha512(data).digest())


def test_reference_gives_multiples_of_generator(reference):
    assert [reference.multiply(k, GENERATOR) for k in range(16)] == MULTIPLES
    assert reference.multiply(ORDER, GENERATOR) == IDENTITY


def test_backend_gives_multiples_of_generator(group):
    numbers = b"".join(encode_scalar(k) for k in range(1, 16))
    assert group.multiply_base(numbers) == b"".join(MULTIPLES[1:])
    assert group.multiply_each(numbers, GENERATOR * 15, "e") == b"".join(MULTIPLES[1:])
    assert group.add(b"".join(MULTIPLES[:-1]), GENERATOR * 15) == b"".join(MULTIPLES[1:])
    assert group.subtract(b"".join(MULTIPLES[1:]), GENERATOR * 15) == b"".join(MULTIPLES[:-1])


@pytest.mark.parametrize(("kind", "encoding"), [*REFUSED, ("identity", IDENTITY.hex())])
def test_bad_encodings_are_refused(group, reference, kind, encoding):
    bad = bytes.fromhex(encoding)
    assert kind == "identity" or reference.decode(bad) is None
    for refuse in (
        lambda: group.check_elements(GENERATOR + bad, "answer"),
        lambda: group.multiply(encode_scalar(3), GENERATOR + bad, "answer"),
        lambda: group.multiply_each(encode_scalar(3) * 2, GENERATOR + bad, "answer"),
        lambda: group.weighted_sum(encode_scalar(3) * 2, GENERATOR + bad, "answer"),
    ):
        with pytest.raises(MalformedMessageError, match="answer: item 1"):
            refuse()


@pytest.mark.parametrize("vector", VECTORS["derived"], ids=lambda v: v["element"][:8])
def test_element_derivation_matches_rfc_9496(group, reference, vector):
    data = sha512(vector["sha512_of"].encode()).digest()
    assert group.map_to_group(data).hex() == vector["element"]
    assert reference.map_to_group(data).hex() == vector["element"]


@settings(max_examples=15, deadline=None)
@given(uniform, uniform, scalars)
def test_backend_agrees_with_reference(group, reference, first, second, scalar):
    left, right = group.map_to_group(first), group.map_to_group(second)
    assert (left, right) == (reference.map_to_group(first), reference.map_to_group(second))
    assert group.multiply(encode_scalar(scalar), left, "e") == reference.multiply(scalar, left)
    assert group.add(left, right) == reference.add(left, right)
    assert group.subtract(group.add(left, right), right) == left


@settings(max_examples=50)
@given(st.binary(min_size=32, max_size=32) | st.sampled_from(MULTIPLES))
def test_backend_and_reference_accept_the_same_bytes(group, reference, data):
    expected = reference.decode(data) is not None and data != IDENTITY
    try:
        group.check_elements(data, "element")
        accepted = True
    except MalformedMessageError:
        accepted = False
    assert accepted == expected


@given(st.lists(scalars, min_size=1, max_size=8), uniform)
def test_scalar_arithmetic_is_that_of_integers(group, numbers, wide):
    batch = b"".join(encode_scalar(n) for n in numbers)
    value = int.from_bytes(wide, "little")
    one = group.reduce(wide)
    assert one == encode_scalar(value)

    def encoded(results):
        return b"".join(encode_scalar(n) for n in results)

    assert group.scalar_add(one, batch) == encoded(value + n for n in numbers)
    assert group.scalar_subtract(one, batch) == encoded(value - n for n in numbers)
    assert group.scalar_multiply(one, batch) == encoded(value * n for n in numbers)
    assert group.invert(batch) == encoded(pow(n, -1, ORDER) for n in numbers)


def test_inverting_a_batch_with_zero_is_refused(group, some_scalars):
    with pytest.raises(MalformedMessageError, match="zero has no inverse"):
        group.invert(some_scalars + bytes(32) + some_scalars)


def test_weighted_sum_is_sum_of_products(group, reference, some_elements, some_scalars):
    terms = split_elements(group.multiply_each(some_scalars, some_elements, "e"))
    total = IDENTITY
    for term in terms:
        total = reference.add(total, term)
    assert group.weighted_sum(some_scalars, some_elements, "e") == total


def test_threads_give_the_same_as_one(some_elements, some_scalars):
    one, three = load_sodium(1), load_sodium(3)
    assert len(some_elements) // 32 > THREADED_BATCH
    for results in (
        [g.multiply(some_scalars[:32], some_elements, "e") for g in (one, three)],
        [g.multiply_each(some_scalars, some_elements, "e") for g in (one, three)],
        [g.weighted_sum(some_scalars, some_elements, "e") for g in (one, three)],
        [g.map_to_group(some_scalars) for g in (one, three)],
    ):
        assert results[0] == results[1]


def test_first_bad_element_of_a_threaded_batch_is_named(group, some_elements, some_scalars):
    bad = bytearray(some_elements)
    for index in (299, 151, 31):  # one in each half, so that two threads fail
        bad[32 * index : 32 * index + 32] = IDENTITY
    with pytest.raises(MalformedMessageError, match="batch: item 31 "):
        group.multiply(some_scalars[:32], bytes(bad), "batch")


def test_empty_batch_gives_empty_batch(group):
    assert group.multiply(encode_scalar(2), b"", "e") == b""
    assert group.map_to_group(b"") == b""
    assert group.invert(b"") == b""
    assert group.weighted_sum(b"", b"", "e") == IDENTITY


@pytest.mark.parametrize("size", [1, 31, 33, 63])
def test_cut_batch_is_refused(group, size):
    with pytest.raises(MalformedMessageError, match="expected a multiple of 32"):
        group.multiply(encode_scalar(2), bytes(size), "batch")


def test_batches_of_different_size_are_refused(group):
    with pytest.raises(ValueError, match="different sizes"):
        group.add(GENERATOR * 2, GENERATOR * 3)
    with pytest.raises(ValueError, match="as many scalars"):
        group.multiply_each(encode_scalar(2), GENERATOR * 2, "e")


@pytest.mark.parametrize("value", [0, ORDER, ORDER + 1, 2**255, 2**256 - 1])
def test_bad_scalars_are_refused(value):
    with pytest.raises(MalformedMessageError, match="blind: not a canonical non-zero scalar"):
        decode_scalar(value.to_bytes(32, "little"), "blind")


@given(st.binary(max_size=70))
def test_any_bytes_are_a_scalar_or_malformed(data):
    try:
        scalar = decode_scalar(data, "scalar")
    except MalformedMessageError:
        assert len(data) != 32 or not 0 < int.from_bytes(data, "little") < ORDER
    else:
        assert scalar == data == encode_scalar(int.from_bytes(data, "little"))


def test_bad_scalar_of_a_batch_is_named():
    with pytest.raises(MalformedMessageError, match="blinds 2: "):
        decode_scalars(encode_scalar(1) * 2 + bytes(32), "blinds")
