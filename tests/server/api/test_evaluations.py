"""Blinded batches over HTTP: outputs, receipts, charges, refusals, failing holders."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from time import monotonic

import pytest

from protocols.errors import InvalidProofError
from protocols.group.interface import IDENTITY
from protocols.lookup.receipt import Reply, verify_receipt
from protocols.lookup.request import NO_CASE, Purpose
from protocols.oprf.messages import EvaluationRequest

INPUTS = (b"one", b"two", b"three")


def finish(query, answer):
    assert answer.status_code == 200, answer.text
    reply = Reply.decode(answer.content)
    for part in reply.answers:
        query.receive(part)
    return query.finish(), reply


def test_two_holders_give_the_outputs_and_the_hub_a_receipt(world):
    query = world.query(INPUTS)
    request = world.sign(query.request)
    answer = world.post(request)
    outputs, reply = finish(query, answer)
    assert answer.headers["content-type"] == "application/vnd.lianfang.evaluation-reply"
    assert len(set(outputs)) == 3
    verify_receipt(world.identities["hub"].public_key(), reply.receipt, request)
    assert (reply.receipt.used, reply.receipt.quota) == (3, 100)
    assert reply.receipt.holders[0] == "hub"
    assert len(reply.receipt.holders) == 2
    again, _ = finish(other := world.query(INPUTS), world.post(world.sign(other.request)))
    assert again == outputs


def test_every_holder_that_answered_has_charged(world):
    reply = finish(query := world.query(INPUTS), world.post(world.sign(query.request)))[1]
    for holder in world.books:
        assert world.used(holder) == (3 if holder in reply.receipt.holders else 0)


def test_repetition_is_answered_and_not_charged(world):
    query = world.query(INPUTS)
    request = world.sign(query.request)
    first, second = world.post(request), world.post(request)
    finish(query, second)
    assert (
        Reply.decode(first.content).receipt.holders == Reply.decode(second.content).receipt.holders
    )
    assert [world.used(holder) for holder in ("hub", *set(world.others.asked))] == [3, 3]
    world.clock.advance(86_400 + 3600 - 1)
    assert world.post(request).status_code == 200
    assert world.used() == 3


def test_simultaneous_repetitions_are_charged_once(world):
    request = world.sign(world.query(INPUTS).request)
    client = world.client("insurer")

    def send(_):
        return client.post(
            "/v1/evaluations",
            content=request.encode(),
            headers={
                "Content-Type": "application/vnd.lianfang.evaluation-request",
                "Idempotency-Key": request.request_id.hex(),
            },
        ).status_code

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(send, range(6))) == {200}
    assert world.used() == 3


def test_request_id_with_another_batch_is_refused(world, problem):
    request_id = bytes(range(16))
    world.post(world.sign(world.query(INPUTS, request_id).request))
    answer = world.post(world.sign(world.query((b"four",), request_id).request))
    problem(answer, 422, "replayed_message")
    assert world.used() == 3


@pytest.mark.parametrize("key", ["", "00" * 16, "not-hex", '"'])
def test_wrong_idempotency_key_is_refused(world, problem, key):
    answer = world.post(world.sign(world.query(INPUTS).request), key=key)
    problem(answer, 400, "idempotency_key")
    assert world.used() == 0


def test_quoted_idempotency_key_is_taken(world):
    request = world.sign(world.query(INPUTS).request)
    assert world.post(request, key=f'"{request.request_id.hex()}"').status_code == 200


def test_missing_idempotency_key_is_refused(world, problem):
    request = world.sign(world.query(INPUTS).request)
    answer = world.client("insurer").post(
        "/v1/evaluations",
        content=request.encode(),
        headers={"Content-Type": "application/vnd.lianfang.evaluation-request"},
    )
    problem(answer, 400, "idempotency_key")


def test_quota_is_told_with_every_answer(world):
    answer = world.post(world.sign(world.query(INPUTS).request))
    assert answer.headers["ratelimit-policy"] == '"epoch";q=100;w=172800'
    assert answer.headers["ratelimit"] == '"epoch";r=97;t=86400'
    assert world.client("insurer").get("/v1/quota").json() == {
        "epoch": 5,
        "quota": 100,
        "used": 3,
        "resets_at": world.manifest.not_after,
    }


def test_over_quota_is_429_and_charges_nobody(make_world, problem):
    world = make_world(quota=4)
    assert world.post(world.sign(world.query(INPUTS).request)).status_code == 200
    charged = {holder: world.used(holder) for holder in world.books}
    world.others.asked.clear()
    for _ in range(6):
        answer = world.post(world.sign(world.query(INPUTS).request))
        problem(answer, 429, "quota_exhausted")
    assert answer.headers["retry-after"] == "86400"
    assert answer.headers["ratelimit"] == '"epoch";r=1;t=86400'
    assert world.others.asked == []
    assert {holder: world.used(holder) for holder in world.books} == charged
    # What is left can still be asked.
    assert world.post(world.sign(world.query((b"x",)).request)).status_code == 200


def test_spent_quota_of_another_holder_is_429_too(make_world, problem):
    world = make_world(quota=4)
    for holder in ("police", "telecom"):
        evaluation = world.query(INPUTS).request
        world.others.holders[holder].answer(world.sign(evaluation).encode())
    answer = world.post(world.sign(world.query(INPUTS).request))
    assert problem(answer, 429, "quota_exhausted")["holder"] in {"police", "telecom"}
    assert answer.headers["retry-after"] == "86400"


def test_asker_must_be_the_caller(world, problem):
    request = world.sign(world.query(INPUTS).request, asker="police")
    problem(world.post(request, name="insurer"), 403, "not_permitted")
    assert world.used("hub", "police") == 0


def test_request_signed_by_another_is_refused(world, problem):
    request = world.sign(world.query(INPUTS).request)
    forged = replace(request, signature=world.sign(request.evaluation, "police").signature)
    problem(world.post(forged), 422, "invalid_proof")
    assert world.used() == 0


def test_purpose_with_a_person_needs_a_case(world, problem):
    request = world.sign(world.query(INPUTS).request, case=NO_CASE)
    problem(world.post(request), 403, "not_permitted")
    screening = world.sign(world.query(INPUTS).request, case=NO_CASE, purpose=Purpose.SCREENING)
    assert world.post(screening).status_code == 200


def test_old_request_is_refused(world, problem):
    request = world.sign(world.query(INPUTS).request, asked_at=world.clock.now() - 301)
    problem(world.post(request), 403, "not_permitted")


@pytest.mark.parametrize("change", [{"epoch": 6}, {"key_id": bytes(16)}])
def test_other_epoch_or_key_conflicts(world, problem, change):
    evaluation = replace(world.query(INPUTS).request, **change)
    problem(world.post(world.sign(evaluation)), 409, "wrong_epoch")


def test_epoch_that_is_over_conflicts(world, problem):
    world.clock.advance(86_400 + 3600)
    problem(world.post(world.sign(world.query(INPUTS).request)), 409, "wrong_epoch")


BAD = [IDENTITY, b"\xff" * 32, (2**255 - 19 + 2).to_bytes(32, "little"), b"\x01" + bytes(31)]


@pytest.mark.parametrize("element", BAD, ids=["identity", "ones", "not-reduced", "off-curve"])
@pytest.mark.parametrize("place", [0, 2])
def test_bad_element_is_400_and_charges_nobody(world, problem, element, place):
    good = world.query(INPUTS).request
    elements = [good.blinded[at : at + 32] for at in range(0, 96, 32)]
    elements[place] = element
    evaluation = EvaluationRequest(good.epoch, good.key_id, good.request_id, b"".join(elements))
    problem(world.post(world.sign(evaluation)), 400, "malformed_message")
    assert [world.used(holder) for holder in world.books] == [0, 0, 0]


@pytest.mark.parametrize("cut", [0, 1, 40, -1])
def test_truncated_message_is_400(world, problem, cut):
    request = world.sign(world.query(INPUTS).request)
    problem(world.post(request, data=request.encode()[:cut]), 400, "malformed_message")
    problem(world.post(request, data=request.encode() + b"\0"), 400, "malformed_message")


def test_next_holder_answers_for_one_that_fails(world):
    for silent in ("police", "telecom"):
        world.others.silent = {silent}
        query = world.query(INPUTS)
        _, reply = finish(query, world.post(world.sign(query.request)))
        assert reply.receipt.holders == ("hub", "telecom" if silent == "police" else "police")


def test_refusal_of_another_holder_names_it_and_keeps_its_words(world, problem):
    """Two holders that have not pinned the asker, each with a sentence of its own about it."""
    for name, holder in world.others.holders.items():
        world.others.holders[name] = replace(holder, identities={}.get)
    answer = world.post(world.sign(world.query(INPUTS).request))
    value = problem(answer, 403, "not_permitted")
    assert value.pop("holder") in {"police", "telecom"}
    assert "detail" not in value


def test_failed_holder_is_asked_last_for_a_while(world):
    world.others.silent = {"police", "telecom"}
    world.post(world.sign(world.query(INPUTS).request))
    world.others.silent = {"police"}
    finish(query := world.query(INPUTS), world.post(world.sign(query.request)))
    world.others.asked.clear()
    for _ in range(8):
        finish(query := world.query(INPUTS), world.post(world.sign(query.request)))
    assert set(world.others.asked) == {"telecom"}


def test_without_enough_holders_it_is_503(world, problem):
    world.others.silent = {"police", "telecom"}
    answer = world.post(request := world.sign(world.query(INPUTS).request))
    problem(answer, 503, "too_few_holders")
    assert int(answer.headers["retry-after"]) > 0
    # The hub has charged; the same request is answered without a second charge.
    world.others.silent = set()
    assert world.post(request).status_code == 200
    assert world.used() == 3
    world.others.holders.clear()
    problem(world.post(world.sign(world.query(INPUTS).request)), 503, "too_few_holders")


class Liar:
    """A holder that answers an earlier request."""

    def __init__(self, answer):
        self.earlier = answer

    def answer(self, data):
        return self.earlier


def test_answer_to_another_request_counts_as_failure(world):
    earlier = world.others.holders["police"].answer(
        world.sign(world.query(INPUTS).request).encode()
    )
    world.others.holders["police"] = Liar(earlier)
    for _ in range(4):
        query = world.query(INPUTS)
        _, reply = finish(query, world.post(world.sign(query.request)))
        assert reply.receipt.holders == ("hub", "telecom")


def test_answer_of_a_wrong_share_is_found_by_the_client(world):
    police = world.others.holders["police"]
    world.others.holders = {"police": police}
    query = world.query(INPUTS)
    reply = Reply.decode(world.post(world.sign(query.request)).content)
    tampered = replace(reply.answers[1], evaluated=reply.answers[0].evaluated)
    query.receive(reply.answers[0])
    with pytest.raises(InvalidProofError):
        query.receive(tampered)


def test_lookup_does_not_wait_behind_screening(make_world):
    world = make_world(quota=10**6)
    batch = tuple(i.to_bytes(4, "big") for i in range(3000))
    requests = [
        world.sign(world.query(batch).request, purpose=Purpose.SCREENING, case=NO_CASE)
        for _ in range(4)
    ]
    world.client("insurer")
    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(world.post, request) for request in requests]
        single = world.sign(world.query((b"x",)).request)
        began = monotonic()
        assert world.post(single).status_code == 200
        took = monotonic() - began
        assert not all(future.done() for future in running)
        assert all(future.result().status_code == 200 for future in running)
    assert took < monotonic() - began
