"""The vector backend against libsodium: same bytes, same errors, for every input that matters."""

import json
from hashlib import sha512
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import MalformedMessageError, UnsupportedParameterError
from protocols.group.encoding import encode_scalar, split_elements
from protocols.group.interface import GENERATOR, IDENTITY, ORDER
from protocols.group.kernel import compiler
from protocols.group.kernel.calls import THREADED_GROUPS, Kernel
from protocols.group.selftest import verify_agreement, verify_backend
from protocols.group.sodium import load_sodium
from protocols.group.vector import Vector

# RFC 9496, appendices A.1 to A.3.
VECTORS = json.loads((Path(__file__).parent / "rfc9496_vectors.json").read_text())
REFUSED = [bytes.fromhex(item) for items in VECTORS["refused"].values() for item in items]
PRIME = 2**255 - 19
EDGES = [
    *(1, 2, 7, 8, 9, 15, 16, 2**64 - 1, 2**64, 2**127, 2**252, ORDER - 1, ORDER - 2, ORDER // 2),
    *(int(digit * 63, 16) for digit in "1789ef"),
]


@pytest.fixture(scope="module")
def kernel():
    try:
        compiler.require_machine(compiler.load_compiler())
    except UnsupportedParameterError as error:
        pytest.skip(f"needs llvmlite and a processor with AVX-512 IFMA: {error}")
    return Kernel()


@pytest.fixture(scope="module")
def sodium():
    return load_sodium(1)


@pytest.fixture(scope="module")
def vector(kernel, sodium):
    return Vector(sodium, 2, kernel=kernel, smallest=1)


def outcome(operation):
    """What a call gives or how it fails, to be compared between backends."""
    try:
        return operation()
    except (MalformedMessageError, ValueError) as error:
        return type(error), str(error)


def operations(scalars, left, right):
    """Every operation over elements, as functions of the backend."""
    yield lambda g: g.check_elements(left, "answer")
    yield lambda g: g.multiply(scalars[:32], left, "answer")
    yield lambda g: g.multiply_each(scalars, left, "answer")
    yield lambda g: g.multiply_base(scalars)
    yield lambda g: g.add(left, right)
    yield lambda g: g.subtract(left, right)
    yield lambda g: g.weighted_sum(scalars, left, "answer")


def require_same(vector, sodium, scalars, left, right):
    for number, operate in enumerate(operations(scalars, left, right)):
        found = outcome(lambda op=operate: op(vector))
        assert found == outcome(lambda op=operate: op(sodium)), number


@pytest.mark.parametrize("count", range(1, 41))
def test_every_length_gives_what_libsodium_gives(
    vector, sodium, some_elements, some_scalars, count
):
    size, at = 32 * count, 32 * count % 160
    left, right = some_elements[at : at + size], some_elements[-size:]
    require_same(vector, sodium, some_scalars[at : at + size], left, right)
    uniform = b"".join(sha512(b"%d %d" % (count, i)).digest() for i in range(count))
    assert vector.map_to_group(uniform) == sodium.map_to_group(uniform)


def test_empty_batches_are_empty(vector):
    assert vector.multiply(encode_scalar(2), b"", "e") == vector.map_to_group(b"") == b""
    assert vector.multiply_base(b"") == vector.add(b"", b"") == b""
    assert vector.weighted_sum(b"", b"", "e") == IDENTITY


def test_scalars_at_borders_of_digits_are_right(vector, sodium, some_elements):
    scalars = b"".join(map(encode_scalar, EDGES))
    size = len(scalars)
    require_same(vector, sodium, scalars, some_elements[:size], some_elements[size : 2 * size])
    for scalar in split_elements(scalars):
        assert vector.multiply(scalar, GENERATOR * 9, "e") == sodium.multiply_base(scalar) * 9


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, ORDER - 1), min_size=1, max_size=20), st.binary(max_size=8))
def test_any_scalars_are_right(vector, sodium, numbers, seed):
    scalars = b"".join(map(encode_scalar, numbers))
    uniform = b"".join(sha512(seed + bytes([i])).digest() for i in range(2 * len(numbers)))
    elements = vector.map_to_group(uniform)
    half = len(elements) // 2
    require_same(vector, sodium, scalars, elements[:half], elements[half:])


@pytest.mark.parametrize("number", [0, ORDER, 2 * ORDER, 2**255 - 1, 2**255, 2**256 - 1])
def test_scalars_out_of_range_are_treated_alike(vector, sodium, some_elements, number):
    scalars = encode_scalar(3) * 10 + number.to_bytes(32, "little") + encode_scalar(5) * 2
    elements = some_elements[: len(scalars)]
    for operate in (
        lambda g: g.multiply_each(scalars, elements, "answer"),
        lambda g: g.multiply(scalars[320:352], elements, "answer"),
        lambda g: g.multiply_base(scalars),
    ):
        found = outcome(lambda op=operate: op(vector))
        assert found == outcome(lambda op=operate: op(sodium))


@pytest.mark.parametrize("bad", [*REFUSED, IDENTITY], ids=lambda item: item.hex()[:8])
def test_bad_encodings_are_refused_alike(vector, sodium, some_elements, some_scalars, bad):
    good = some_elements[: 32 * 11]
    for position in (0, 7, 10):
        elements = good[: 32 * position] + bad + good[32 * position + 32 :]
        require_same(vector, sodium, some_scalars[: len(good)], elements, good)
        require_same(vector, sodium, some_scalars[: len(good)], good, elements)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=12), st.data())
def test_any_bytes_are_accepted_or_refused_alike(vector, sodium, some_elements, strings, data):
    # Half of the items are valid but for one bit, since random strings rarely decode.
    for item in split_elements(some_elements)[: len(strings)]:
        bit = 1 << data.draw(st.integers(0, 255))
        changed = (int.from_bytes(item, "little") ^ bit).to_bytes(32, "little")
        for candidate in (changed, strings.pop()):
            batch = GENERATOR * 2 + candidate
            found = outcome(lambda b=batch: vector.check_elements(b, "e"))
            assert found == outcome(lambda b=batch: sodium.check_elements(b, "e"))


def test_identity_is_a_legal_operand_and_result(vector, sodium, some_elements):
    left, zero = some_elements[: 32 * 9], IDENTITY * 9
    assert vector.add(left, zero) == vector.add(zero, left) == left
    assert vector.subtract(left, left) == vector.add(zero, zero) == zero
    assert vector.subtract(zero, left) == sodium.subtract(zero, left)
    minus_one = encode_scalar(ORDER - 1)
    total = vector.weighted_sum((encode_scalar(1) + minus_one) * 4, left[:32] * 8, "e")
    assert total == IDENTITY


def test_map_agrees_at_difficult_field_elements(vector, sodium):
    numbers = [0, 1, 2, PRIME - 1, PRIME, PRIME + 1, PRIME + 18, 2**255 - 1, 2**255, 2**256 - 1]
    numbers += [2**51 - 1, 2**51, 2**204, pow(2, (PRIME - 1) // 4, PRIME)]
    halves = [number.to_bytes(32, "little") for number in numbers]
    uniform = b"".join(first + second for first in halves for second in halves)
    assert vector.map_to_group(uniform) == sodium.map_to_group(uniform)


@pytest.mark.parametrize("size", [1, 31, 33, 63])
def test_cut_batches_are_refused_alike(vector, sodium, size):
    for operate in (
        lambda g: g.multiply(encode_scalar(2), bytes(size), "batch"),
        lambda g: g.multiply_each(bytes(size), bytes(size), "batch"),
        lambda g: g.multiply_base(bytes(size)),
        lambda g: g.map_to_group(bytes(size)),
        lambda g: g.weighted_sum(bytes(size), bytes(size), "batch"),
        lambda g: g.add(bytes(size), bytes(size)),
    ):
        found = outcome(lambda op=operate: op(vector))
        assert found == outcome(lambda op=operate: op(sodium))
        assert found[0] is MalformedMessageError


def test_batches_of_different_size_are_treated_alike(vector, sodium):
    for operate in (
        lambda g: g.add(GENERATOR * 2, GENERATOR * 3),
        lambda g: g.add(GENERATOR, GENERATOR * 3),
        lambda g: g.subtract(GENERATOR * 3, GENERATOR),
        lambda g: g.multiply(encode_scalar(2) * 2, GENERATOR * 3, "e"),
        lambda g: g.multiply_each(encode_scalar(2), GENERATOR * 3, "e"),
        lambda g: g.weighted_sum(encode_scalar(2), GENERATOR * 3, "e"),
    ):
        found = outcome(lambda op=operate: op(vector))
        assert found == outcome(lambda op=operate: op(sodium))


def test_threads_give_the_same_as_one(kernel, sodium, vector, some_elements, some_scalars):
    elements, scalars = some_elements * 3, some_scalars * 3
    assert len(elements) // 32 > 2 * 8 * THREADED_GROUPS
    one = Vector(sodium, 1, kernel=kernel, smallest=1)
    three = Vector(sodium, 3, kernel=kernel, smallest=1)
    for operate in operations(scalars, elements, elements):
        assert operate(one) == operate(three)
    bad = bytearray(elements)
    for index in (899, 451, 331):  # so that two of three threads fail
        bad[32 * index : 32 * index + 32] = IDENTITY
    for group in (one, three):
        with pytest.raises(MalformedMessageError, match="batch: item 331 "):
            group.weighted_sum(scalars, bytes(bad), "batch")


def test_scalar_arithmetic_is_that_of_libsodium(vector, sodium, some_scalars):
    for operate in (
        lambda g: g.invert(some_scalars),
        lambda g: g.reduce(some_scalars),
        lambda g: g.scalar_add(some_scalars[:32], some_scalars),
        lambda g: g.scalar_subtract(some_scalars, some_scalars[::-1]),
        lambda g: g.scalar_multiply(some_scalars[:32], some_scalars),
    ):
        assert operate(vector) == operate(sodium)


def test_whole_self_test_holds_with_the_kernel(vector, sodium):
    verify_backend(vector)
    verify_agreement(vector, sodium)
