"""A query to several holders: who may answer, and each kind of answer that is refused."""

import itertools
from dataclasses import replace

import pytest

from protocols.errors import InvalidProofError, MalformedMessageError, UnsupportedParameterError
from protocols.group.encoding import encode_scalar, split_elements
from protocols.group.interface import GENERATOR, IDENTITY, ORDER
from protocols.oprf import client, holder, threshold
from protocols.oprf.errors import (
    ReplayedMessageError,
    TooFewHoldersError,
    WrongEpochError,
    WrongShareError,
)
from protocols.oprf.shares import lagrange_weights, require_threshold, small_sum

INPUTS = [b"", b"A123456789", b"x" * 65535]


@pytest.fixture
def ask(suite, randomness):
    """Make a query of three inputs under a record, with fresh blinds."""

    def make(record, request_id=b"r" * 16, inputs=INPUTS):
        blinds = client.random_blinds(suite, len(inputs), randomness)
        return threshold.Query(suite, record, inputs, blinds, request_id)

    return make


@pytest.fixture
def answer(suite, randomness):
    def make(share, request):
        return threshold.answer_request(suite, share, request, randomness)

    return make


def whole_key(group, key):
    """The key that nobody holds, rebuilt from its shares with plain integers."""
    weights, denominator = lagrange_weights([s.index for s in key.shares.values()])
    scalars = [int.from_bytes(s.scalar, "little") for s in key.shares.values()]
    total = sum(w * s for w, s in zip(weights, scalars, strict=True))
    return encode_scalar(total * pow(denominator, -1, ORDER))


@pytest.mark.parametrize("name", ["shared_key", "larger_key"])
def test_any_threshold_of_holders_give_the_output_of_the_whole_key(
    suite, ask, answer, request, name
):
    key = request.getfixturevalue(name)
    whole = holder.load_key(suite, whole_key(suite.group, key))
    assert whole.public == key.record.public
    expected = [holder.evaluate(suite, whole, item) for item in INPUTS]
    for chosen in itertools.combinations(key.shares.values(), key.record.threshold):
        query = ask(key.record)
        for share in reversed(chosen):
            assert (
                query.receive(answer(share, query.request)) == key.record.holders[share.index - 1]
            )
        assert query.finish() == expected


def test_more_answers_than_needed_change_nothing(ask, answer, shared_key):
    two, three = ask(shared_key.record), ask(shared_key.record)
    for query, count in ((two, 2), (three, 3)):
        for share in list(shared_key.shares.values())[:count]:
            query.receive(answer(share, query.request))
    assert two.finish() == three.finish()


def test_too_few_holders_are_refused(ask, answer, shared_key):
    query = ask(shared_key.record)
    query.receive(answer(shared_key.shares["police"], query.request))
    assert not query.is_ready
    with pytest.raises(TooFewHoldersError, match="1 holders have answered, need 2"):
        query.finish()


def test_wrong_key_is_refused_and_the_query_goes_on(suite, ask, answer, shared_key):
    query = ask(shared_key.record)
    impostor = replace(shared_key.shares["police"], scalar=shared_key.shares["hub"].scalar)
    with pytest.raises(InvalidProofError, match="answer of police: proof"):
        query.receive(answer(impostor, query.request))
    for name in ("hub", "telecom"):
        query.receive(answer(shared_key.shares[name], query.request))
    whole = holder.load_key(suite, whole_key(suite.group, shared_key))
    assert query.finish()[1] == holder.evaluate(suite, whole, INPUTS[1])


def test_answer_under_another_holders_name_is_refused(ask, answer, shared_key):
    query = ask(shared_key.record)
    with pytest.raises(InvalidProofError):
        query.receive(replace(answer(shared_key.shares["hub"], query.request), index=2))


@pytest.mark.parametrize("index", [0, 4, 255])
def test_unknown_holder_is_refused(ask, answer, shared_key, index):
    query = ask(shared_key.record)
    with pytest.raises(WrongShareError, match=f"holder {index} is not in the key record"):
        query.receive(replace(answer(shared_key.shares["hub"], query.request), index=index))


def test_answer_to_another_request_is_refused(ask, answer, shared_key):
    old, new = ask(shared_key.record, b"1" * 16), ask(shared_key.record, b"2" * 16)
    replayed = answer(shared_key.shares["hub"], old.request)
    with pytest.raises(ReplayedMessageError, match="belongs to another request"):
        new.receive(replayed)


def test_request_id_is_inside_the_proof(suite, answer, shared_key):
    """Equal inputs and blinds, so that nothing but the id tells the requests apart."""
    blinds = encode_scalar(3)
    old, new = (
        threshold.Query(suite, shared_key.record, [b"x"], blinds, request_id)
        for request_id in (b"1" * 16, b"2" * 16)
    )
    renamed = replace(answer(shared_key.shares["hub"], old.request), request_id=b"2" * 16)
    with pytest.raises(InvalidProofError):
        new.receive(renamed)


def test_second_answer_of_a_holder_is_refused(ask, answer, shared_key):
    query = ask(shared_key.record)
    query.receive(answer(shared_key.shares["hub"], query.request))
    with pytest.raises(ReplayedMessageError, match="hub has already answered"):
        query.receive(answer(shared_key.shares["hub"], query.request))
    assert not query.is_ready


def test_other_epoch_is_refused_by_both_sides(ask, answer, shared_key, larger_key):
    query = ask(shared_key.record)
    late = replace(query.request, epoch=6)
    with pytest.raises(WrongEpochError, match="request: epoch 6, expected 5"):
        answer(shared_key.shares["hub"], late)
    with pytest.raises(WrongEpochError, match="request: another key"):
        answer(larger_key.shares["hub"], query.request)
    good = answer(shared_key.shares["hub"], query.request)
    with pytest.raises(WrongEpochError, match="answer: epoch 4, expected 5"):
        query.receive(replace(good, epoch=4))
    with pytest.raises(WrongEpochError, match="answer: another key"):
        query.receive(replace(good, key_id=larger_key.record.key_id))


@pytest.mark.parametrize("bad", [IDENTITY, b"\xff" * 32])
def test_bad_element_is_refused_by_both_sides(ask, answer, shared_key, bad):
    query = ask(shared_key.record)
    bad_request = replace(query.request, blinded=bad + query.request.blinded[32:])
    with pytest.raises(MalformedMessageError, match="blinded elements: item 0"):
        answer(shared_key.shares["hub"], bad_request)
    good = answer(shared_key.shares["hub"], query.request)
    with pytest.raises(MalformedMessageError, match="evaluated elements: item 0"):
        query.receive(replace(good, evaluated=bad + good.evaluated[32:]))


def test_answer_of_another_length_is_refused(ask, answer, shared_key):
    query = ask(shared_key.record)
    good = answer(shared_key.shares["hub"], query.request)
    with pytest.raises(MalformedMessageError, match="64 bytes of elements, expected 96"):
        query.receive(replace(good, evaluated=good.evaluated[:64]))


def test_query_refuses_bad_parameters(suite, shared_key):
    for inputs, blinds, request_id in (
        ([b"x"], encode_scalar(1), b"short"),
        ([b"x"], encode_scalar(1) * 2, bytes(16)),
        ([], b"", bytes(16)),
        ([b"x" * 65536], encode_scalar(1), bytes(16)),
    ):
        with pytest.raises(UnsupportedParameterError):
            threshold.Query(suite, shared_key.record, inputs, blinds, request_id)


def test_record_with_a_foreign_share_or_key_is_refused(group, larger_key):
    record = larger_key.record
    threshold.verify_record(group, record)
    for index in range(5):
        shares = list(record.public_shares)
        shares[index] = group.add(shares[index], GENERATOR)
        with pytest.raises(WrongShareError):
            threshold.verify_record(group, replace(record, public_shares=tuple(shares)))
    with pytest.raises(WrongShareError, match="do not give the public key"):
        threshold.verify_record(group, replace(record, public=GENERATOR))
    with pytest.raises(MalformedMessageError):
        threshold.verify_record(group, replace(record, public=IDENTITY))


def test_share_of_another_holder_is_refused(group, shared_key):
    share = shared_key.shares["hub"]
    assert threshold.load_share(group, share.encode()) == share
    with pytest.raises(WrongShareError, match="does not match public share 2"):
        threshold.load_share(group, replace(share, index=2).encode())


def test_secrets_do_not_print(ask, shared_key):
    share = shared_key.shares["hub"]
    query = ask(shared_key.record)
    shown = f"{share} {share!r} {query!r} {query.request!r}"
    for secret in (share.scalar, query._blinds, query.request.blinded):
        assert secret.hex() not in shown
        assert repr(secret) not in shown
    assert "A123456789" not in shown


@pytest.mark.parametrize(
    "indices", [(1, 2), (1, 3), (2, 3), (1, 3, 5), (3, 4, 5), (2, 90, 255), (1, 2, 3, 4, 5, 6, 7)]
)
def test_small_sum_is_the_weighted_sum(group, indices):
    weights, _ = lagrange_weights(indices)
    batches = [group.multiply_base(encode_scalar(1000 * i + 1) + encode_scalar(i)) for i in indices]
    scalars = b"".join(encode_scalar(w) for w in weights)
    columns = zip(*(split_elements(batch) for batch in batches), strict=True)
    expected = [group.weighted_sum(scalars, b"".join(column), "e") for column in columns]
    assert split_elements(small_sum(group, weights, batches)) == expected


@pytest.mark.parametrize(("need", "count"), [(1, 3), (4, 3), (2, 256), (0, 0)])
def test_senseless_threshold_is_refused(need, count):
    with pytest.raises(UnsupportedParameterError, match="threshold"):
        require_threshold(need, count)
