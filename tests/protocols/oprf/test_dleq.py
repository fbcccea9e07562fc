"""One proof for a batch: what it must accept, and everything it must not."""

from dataclasses import replace

import pytest

from protocols.errors import InvalidProofError, MalformedMessageError, UnsupportedParameterError
from protocols.group.encoding import encode_scalar, split_elements
from protocols.group.interface import IDENTITY, ORDER
from protocols.oprf import client, dleq, holder
from protocols.oprf.suite import MAX_BATCH, Mode, Suite, random_scalars


def batch_of(suite, count, randomness):
    inputs = [b"input %d" % i for i in range(count)]
    return client.blind(suite, inputs, client.random_blinds(suite, count, randomness))


@pytest.fixture
def proven(suite, randomness):
    """A key, a batch of 200, its evaluations and their proof, bound to a request."""
    key = holder.generate_key(suite, randomness)
    blinded = batch_of(suite, 200, randomness)
    evaluated, proof = holder.blind_evaluate_verifiable(
        suite, key, blinded, random=randomness, binding=b"request 1"
    )
    return {"public": key.public, "blinded": blinded, "evaluated": evaluated, "proof": proof}


def test_batch_verifies(suite, proven):
    dleq.verify(suite, **proven, binding=b"request 1")


@pytest.mark.parametrize("binding", [b"", b"request 2"])
def test_proof_serves_one_binding_only(suite, proven, binding):
    with pytest.raises(InvalidProofError, match="does not verify"):
        dleq.verify(suite, **proven, binding=binding)


def test_proof_serves_one_mode_only(group, proven):
    with pytest.raises(InvalidProofError):
        dleq.verify(Suite(group, Mode.OPRF), **proven, binding=b"request 1")


def test_reordered_batch_is_refused(suite, proven):
    first, second, *rest = split_elements(proven["evaluated"])
    swapped = {**proven, "evaluated": b"".join([second, first, *rest])}
    with pytest.raises(InvalidProofError):
        dleq.verify(suite, **swapped, binding=b"request 1")


def test_one_evaluation_under_another_key_is_refused(suite, proven, randomness):
    other = holder.generate_key(suite, randomness)
    wrong = holder.blind_evaluate(suite, other, proven["blinded"][-32:])
    changed = {**proven, "evaluated": proven["evaluated"][:-32] + wrong}
    with pytest.raises(InvalidProofError):
        dleq.verify(suite, **changed, binding=b"request 1")


def test_errors_that_cancel_without_weights_are_refused(suite, proven):
    first, second, *rest = split_elements(proven["evaluated"])
    error = suite.group.multiply_base(encode_scalar(5))
    moved = [suite.group.add(first, error), suite.group.subtract(second, error), *rest]
    with pytest.raises(InvalidProofError):
        dleq.verify(suite, **{**proven, "evaluated": b"".join(moved)}, binding=b"request 1")


def test_binding_reaches_every_weight(suite, proven):
    """RFC 9497 weighs a pair by itself, the reason why `dleq` takes a binding at all."""

    def weights(binding, evaluated):
        found = dleq._weights(suite, proven["public"], proven["blinded"], evaluated, binding)
        return split_elements(found)

    changed = proven["evaluated"][:-32] + proven["evaluated"][:32]
    plain, plain_changed = weights(b"", proven["evaluated"]), weights(b"", changed)
    assert plain[:-1] == plain_changed[:-1]
    bound, bound_changed = weights(b"a", proven["evaluated"]), weights(b"b", changed)
    assert all(before != after for before, after in zip(bound, bound_changed, strict=True))


@pytest.mark.parametrize("size", [0, 63, 65])
def test_proof_of_wrong_size_is_malformed(suite, proven, size):
    with pytest.raises(MalformedMessageError, match=f"proof: {size} bytes, expected 64"):
        dleq.verify(suite, **{**proven, "proof": bytes(size)})


@pytest.mark.parametrize("half", [0, 32])
@pytest.mark.parametrize("value", [0, ORDER])
def test_proof_scalar_out_of_range_is_malformed(suite, proven, half, value):
    proof = bytearray(proven["proof"])
    proof[half : half + 32] = value.to_bytes(32, "little")
    with pytest.raises(MalformedMessageError, match="not a canonical non-zero scalar"):
        dleq.verify(suite, **{**proven, "proof": bytes(proof)})


@pytest.mark.parametrize("part", ["public", "blinded", "evaluated"])
def test_identity_is_refused(suite, proven, part):
    changed = {**proven, part: IDENTITY + proven[part][32:]}
    with pytest.raises(MalformedMessageError):
        dleq.verify(suite, **changed, binding=b"request 1")


def test_batch_limit_is_that_of_the_rfc(suite, proven, randomness):
    key = holder.generate_key(suite, randomness)
    too_many = bytes(32 * (MAX_BATCH + 1))
    with pytest.raises(UnsupportedParameterError, match="65537 elements"):
        holder.blind_evaluate(suite, key, too_many)
    with pytest.raises(UnsupportedParameterError, match="65537 elements"):
        dleq.verify(suite, **{**proven, "blinded": too_many, "evaluated": too_many})
    with pytest.raises(UnsupportedParameterError, match="0 elements"):
        holder.blind_evaluate(suite, key, b"")


def test_batch_of_another_length_is_malformed(suite, proven):
    with pytest.raises(
        MalformedMessageError, match="evaluated elements: 6368 bytes, expected 6400"
    ):
        dleq.verify(suite, **{**proven, "evaluated": proven["evaluated"][:-32]})


def test_secret_does_not_print(suite, randomness):
    key = holder.generate_key(suite, randomness)
    assert key.scalar.hex() not in repr(key)
    assert repr(key.scalar) not in repr(key)
    assert repr(replace(key, scalar=b"x" * 32)) == repr(key)


@pytest.mark.parametrize("source", [bytes, lambda size: b"x"], ids=["zeros", "short"])
def test_broken_randomness_is_refused(group, source):
    with pytest.raises(UnsupportedParameterError, match=r"os\.urandom"):
        random_scalars(group, 2, source)


def test_openable_blinds_are_repeatable_and_never_shared(suite):
    one = client.derive_blinds(suite, b"k" * 32, b"request 1", 3)
    assert one == client.derive_blinds(suite, b"k" * 32, b"request 1", 3)
    assert one[:64] == client.derive_blinds(suite, b"k" * 32, b"request 1", 2)
    others = [
        client.derive_blinds(suite, b"k" * 32, b"request 2", 3),
        client.derive_blinds(suite, b"l" * 32, b"request 1", 3),
    ]
    assert len(set(split_elements(one + b"".join(others)))) == 9
    with pytest.raises(UnsupportedParameterError, match="opening key: 5 bytes"):
        client.derive_blinds(suite, b"short", b"request 1", 1)


@pytest.mark.slow
def test_largest_batch_verifies(suite, randomness):
    key = holder.generate_key(suite, randomness)
    blinded = batch_of(suite, MAX_BATCH, randomness)
    evaluated, proof = holder.blind_evaluate_verifiable(suite, key, blinded, random=randomness)
    dleq.verify(suite, public=key.public, blinded=blinded, evaluated=evaluated, proof=proof)
    changed = evaluated[:-32] + evaluated[:32]
    with pytest.raises(InvalidProofError):
        dleq.verify(suite, public=key.public, blinded=blinded, evaluated=changed, proof=proof)
