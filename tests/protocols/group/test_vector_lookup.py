"""A whole lookup with the kernel on one side and libsodium on the other."""

import random

import pytest

from protocols.errors import InvalidProofError, UnsupportedParameterError
from protocols.group.encoding import split_elements
from protocols.group.kernel import compiler
from protocols.group.sodium import load_sodium
from protocols.group.vector import Vector, sound_kernel
from protocols.oprf import client, holder, threshold
from protocols.oprf.messages import EvaluationAnswer
from protocols.oprf.records import KeyRecord, KeyShare
from protocols.oprf.shares import split_secret
from protocols.oprf.suite import Suite

INPUTS = [b"input %d" % number for number in range(203)]


@pytest.fixture(scope="module")
def suites():
    sodium = load_sodium(1)
    try:
        compiler.require_machine(compiler.load_compiler())
    except UnsupportedParameterError as error:
        pytest.skip(f"needs llvmlite and a processor with AVX-512 IFMA: {error}")
    return Suite(Vector(sodium, 2, kernel=sound_kernel(sodium))), Suite(sodium)


@pytest.fixture
def randomness():
    return random.Random(255).randbytes


@pytest.fixture
def dealt(suites, randomness):
    """A key in the clear and its 2-of-3 shares."""
    suite = suites[1]
    key = holder.generate_key(suite, randomness)
    scalars = split_secret(suite.group, key.scalar, threshold=2, holders=3, random=randomness)
    publics = tuple(suite.group.multiply_base(scalar) for scalar in scalars)
    record = KeyRecord(1, 0, 2, ("hub", "police", "telecom"), key.public, publics)
    return key, [KeyShare(record, index, scalar) for index, scalar in enumerate(scalars, 1)]


@pytest.mark.parametrize("kernel_at_client", [True, False])
def test_backends_understand_each_other(suites, dealt, randomness, kernel_at_client):
    ours, theirs = suites if kernel_at_client else reversed(suites)
    key, shares = dealt
    blinds = client.random_blinds(ours, len(INPUTS), randomness)
    query = threshold.Query(ours, shares[0].record, INPUTS, blinds, bytes(16))
    for share in (shares[0], shares[2]):
        query.receive(threshold.answer_request(theirs, share, query.request, randomness))
    assert query.finish() == [holder.evaluate(suites[1], key, item) for item in INPUTS]


@pytest.mark.parametrize("position", [0, 100, 202])
def test_one_wrong_evaluation_is_found(suites, dealt, randomness, position):
    suite, _ = suites
    share = dealt[1][1]
    blinds = client.random_blinds(suite, len(INPUTS), randomness)
    query = threshold.Query(suite, share.record, INPUTS, blinds, bytes(16))
    answer = threshold.answer_request(suite, share, query.request, randomness)
    elements = split_elements(answer.evaluated)
    elements[position] = suite.group.add(elements[position], elements[position])
    forged = EvaluationAnswer(
        answer.epoch,
        answer.key_id,
        answer.request_id,
        answer.index,
        b"".join(elements),
        answer.proof,
    )
    with pytest.raises(InvalidProofError):
        query.receive(forged)
