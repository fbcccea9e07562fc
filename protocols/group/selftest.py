"""Known answers that a backend must give before it computes anything for real.

A library that was miscompiled, swapped or met a processor it mistakes would otherwise
fill a snapshot with tags that no other holder can reproduce. Takes about a millisecond.

Specification: RFC 9496, appendix A; the scalar identities follow from section 4.4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import sha512

from protocols.errors import MalformedMessageError, UnsupportedParameterError
from protocols.group.encoding import encode_scalar
from protocols.group.interface import ELEMENT_SIZE, GENERATOR, IDENTITY, ORDER, UNIFORM_SIZE, Group

# RFC 9496, appendix A.1: multiples 2, 3, 5 and 15 of the generator.
_MULTIPLES = {
    2: "6a493210f7499cd17fecb510ae0cea23a110e8d5b901f8acadd3095c73a3b919",
    3: "94741f5d5d52755ece4f23f044ee27d5d1ea1e2bd196b462166b16152a9d0259",
    5: "e882b131016b52c1d3337080187cf768423efccbb517bb495ab812c4160ff44e",
    15: "e0c418f7c8d9c4cdd7395b93ea124f3ad99021bb681dfc3302a9d99a2e53e64e",
}
# RFC 9496, appendix A.2: one of each kind, and the identity, which RFC 9497 refuses.
_REFUSED = {
    "not canonical": "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "high bit set": "0100000000000000000000000000000000000000000000000000000000000080",
    "negative": "ed57ffd8c914fb201471d1c3d245ce3c746fcbe63a3679d51b6a516ebebe0e20",
    "not square": "26948d35ca62e643e26a83177332e6b6afeb9d08e4268b650f1f5bbd8d81d371",
    "negative product": "3eb858e78f5a7254d8c9731174a94f76755fd3941c0ac93735c07ba14579630e",
    "zero y": "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "identity": IDENTITY.hex(),
}
# RFC 9496, appendix A.3: the SHA-512 of this text, mapped.
_TEXT = b"Ristretto is traditionally a short shot of espresso coffee"
_MAPPED = "3066f82a1a747d45120d1740f14358531a8f04bbffe6a819f86dfe50f44a0a46"

# Scalars that reach the ends of digits, carries and the order; not a multiple of eight.
_DIFFICULT = (
    *(1, 2, 7, 8, 9, 15, 16, 2**64 - 1, 2**64, 2**128 - 1, 2**251, 2**252),
    *(ORDER - 1, ORDER - 2, ORDER - 8, (ORDER + 1) // 2),
    *(int(digit * 63, 16) for digit in "12789abcdef"),
)


def verify_backend(group: Group) -> None:
    """Return only if the backend gives every known answer.

    Raises:
        UnsupportedParameterError: names the first operation that is wrong.
    """
    _verify_multiples(group)
    _verify_refusals(group)
    _verify_scalars(group)
    _require(group, "map_to_group", group.map_to_group(sha512(_TEXT).digest()).hex() == _MAPPED)


def verify_agreement(group: Group, reference: Group) -> None:
    """Return only if both backends give the same for derived and for difficult inputs.

    The scalars include those whose digits in base 16 are all alike, at the borders of the
    signed digits that fast backends use. Takes a few milliseconds.

    Raises:
        UnsupportedParameterError: names the first operation that differs.
    """
    count = len(_DIFFICULT)
    uniform = b"".join(sha512(bytes([index])).digest() for index in range(2 * count))
    both = reference.map_to_group(uniform)
    left, right = both[: ELEMENT_SIZE * count], both[ELEMENT_SIZE * count :]
    derived, scalars = reference.reduce(uniform[: UNIFORM_SIZE * count]), _encoded(_DIFFICULT)
    _require(group, "map_to_group of a batch", group.map_to_group(uniform) == both)
    operations: tuple[tuple[str, Callable[[Group], bytes]], ...] = (
        ("add", lambda g: g.add(left, right)),
        ("subtract", lambda g: g.subtract(left, right)),
        ("subtract of equals", lambda g: g.subtract(left, left)),
        ("multiply", lambda g: g.multiply(derived[:ELEMENT_SIZE], left, "self-test")),
        ("multiply_each", lambda g: g.multiply_each(derived, left, "self-test")),
        ("multiply_each of digits", lambda g: g.multiply_each(scalars, right, "self-test")),
        ("multiply_base", lambda g: g.multiply_base(derived)),
        ("multiply_base of digits", lambda g: g.multiply_base(scalars)),
        ("weighted_sum", lambda g: g.weighted_sum(derived, left, "self-test")),
        ("weighted_sum of digits", lambda g: g.weighted_sum(scalars, right, "self-test")),
    )
    for name, operate in operations:
        _require(group, f"{name} of a batch", operate(group) == operate(reference))


def _verify_multiples(group: Group) -> None:
    scalars = b"".join(encode_scalar(number) for number in _MULTIPLES)
    expected = bytes.fromhex("".join(_MULTIPLES.values()))
    count = len(_MULTIPLES)
    two, three, five = (
        expected[i : i + ELEMENT_SIZE] for i in range(0, 3 * ELEMENT_SIZE, ELEMENT_SIZE)
    )
    _require(group, "multiply_base", group.multiply_base(scalars) == expected)
    each = group.multiply_each(scalars, GENERATOR * count, "self-test")
    _require(group, "multiply_each", each == expected)
    _require(
        group, "multiply", group.multiply(encode_scalar(5), three, "self-test") == expected[-32:]
    )
    _require(group, "add", group.add(two, three) == five)
    _require(group, "subtract", group.subtract(five, three) == two)
    # 2 (2G) + 3 (3G) + 5 (5G) + 15 (15G) = 263 G, and l - 1 times the generator undoes one.
    total = group.weighted_sum(scalars, expected, "self-test")
    _require(group, "weighted_sum", total == group.multiply_base(encode_scalar(263)))
    largest = group.multiply_base(encode_scalar(ORDER - 1))
    _require(group, "order", group.add(largest, GENERATOR) == IDENTITY)


def _verify_refusals(group: Group) -> None:
    for reason, encoding in _REFUSED.items():
        bad = bytes.fromhex(encoding)
        for name, refused in (
            ("check_elements", _refuses_to_check(group, bad)),
            ("multiply", _refuses_to_multiply(group, bad)),
        ):
            _require(group, f"{name} of an element that is {reason}", refused)
    group.check_elements(GENERATOR, "self-test")


def _refuses_to_check(group: Group, element: bytes) -> bool:
    try:
        group.check_elements(GENERATOR + element, "self-test")
    except MalformedMessageError:
        return True
    return False


def _refuses_to_multiply(group: Group, element: bytes) -> bool:
    try:
        group.multiply(encode_scalar(7), GENERATOR + element, "self-test")
    except MalformedMessageError:
        return True
    return False


def _verify_scalars(group: Group) -> None:
    uniform = sha512(_TEXT).digest()
    value = int.from_bytes(uniform, "little")
    scalar = group.reduce(uniform)
    _require(group, "reduce", scalar == encode_scalar(value))
    _require(
        group, "reduce to zero", group.reduce(ORDER.to_bytes(UNIFORM_SIZE, "little")) == bytes(32)
    )
    small = encode_scalar(3) + encode_scalar(ORDER - 1)
    for name, result, expected in (
        ("scalar_add", group.scalar_add(scalar, small), (value + 3, value - 1)),
        ("scalar_subtract", group.scalar_subtract(scalar, small), (value - 3, value + 1)),
        ("scalar_multiply", group.scalar_multiply(scalar, small), (3 * value, -value)),
        ("invert", group.invert(small), (pow(3, -1, ORDER), ORDER - 1)),
    ):
        _require(group, name, result == b"".join(encode_scalar(number) for number in expected))


def _encoded(numbers: Iterable[int]) -> bytes:
    return b"".join(encode_scalar(number) for number in numbers)


def _require(group: Group, operation: str, correct: bool) -> None:  # noqa: FBT001 - an assertion
    if not correct:
        raise UnsupportedParameterError(f"{group.name}: self-test fails at {operation}")
