"""RFC 9497, appendix A.1, byte for byte: with one holder, and through shares of its key."""

import itertools
import json
from pathlib import Path

import pytest

from protocols.errors import InvalidProofError, MalformedMessageError
from protocols.group.encoding import split_elements
from protocols.oprf import client, holder, threshold
from protocols.oprf.records import KeyRecord, KeyShare
from protocols.oprf.shares import split_secret
from protocols.oprf.suite import Mode, Suite

DATA = json.loads((Path(__file__).parent / "rfc9497_vectors.json").read_text())
SUITES = {item["mode"]: item for item in DATA["suites"]}
VECTORS = [(mode, vector) for mode in (0, 1) for vector in SUITES[mode]["vectors"]]
named = pytest.mark.parametrize(
    ("mode", "vector"),
    VECTORS,
    ids=[f"mode{m}-{v['Input'][:8]}-batch{v['Batch']}" for m, v in VECTORS],
)
proven = pytest.mark.parametrize(
    "vector", SUITES[1]["vectors"], ids=lambda v: f"{v['Input'][:8]}-{v['Batch']}"
)


def values(text: str) -> list[bytes]:
    return [bytes.fromhex(item) for item in text.split(",")]


def joined(text: str) -> bytes:
    return b"".join(values(text))


def fixed(scalar: bytes):
    """A source of randomness whose wide reduction is the scalar of a vector."""
    return lambda size: scalar.ljust(size, b"\0")


@pytest.mark.parametrize("mode", [0, 1])
def test_key_derivation(group, mode):
    data = SUITES[mode]
    suite = Suite(group, Mode(mode))
    assert (b"HashToGroup-" + suite.context).hex() == data["groupDST"]
    key = holder.derive_key(suite, bytes.fromhex(data["seed"]), bytes.fromhex(data["keyInfo"]))
    assert key.scalar.hex() == data["skSm"]
    assert key.public.hex() == data.get("pkSm", key.public.hex())


@named
def test_evaluation(group, mode, vector):
    suite = Suite(group, Mode(mode))
    key = holder.load_key(suite, bytes.fromhex(SUITES[mode]["skSm"]))
    inputs, blinds = values(vector["Input"]), joined(vector["Blind"])
    blinded = client.blind(suite, inputs, blinds)
    assert blinded == joined(vector["BlindedElement"])
    evaluated = holder.blind_evaluate(suite, key, blinded)
    assert evaluated == joined(vector["EvaluationElement"])
    outputs = values(vector["Output"])
    assert client.finalize(suite, inputs, blinds, evaluated) == outputs
    assert [holder.evaluate(suite, key, item) for item in inputs] == outputs


@proven
def test_proof(suite, vector):
    key = holder.load_key(suite, bytes.fromhex(SUITES[1]["skSm"]))
    blinded = joined(vector["BlindedElement"])
    nonce = fixed(bytes.fromhex(vector["Proof"]["r"]))
    evaluated, proof = holder.blind_evaluate_verifiable(suite, key, blinded, random=nonce)
    assert proof.hex() == vector["Proof"]["proof"]
    outputs = client.finalize_verified(
        suite,
        values(vector["Input"]),
        joined(vector["Blind"]),
        public=bytes.fromhex(SUITES[1]["pkSm"]),
        blinded=blinded,
        evaluated=evaluated,
        proof=proof,
    )
    assert outputs == values(vector["Output"])


@proven
@pytest.mark.parametrize("part", ["public", "blinded", "evaluated", "proof"])
def test_tampered_vector_is_refused(suite, vector, part):
    fields = {
        "public": bytes.fromhex(SUITES[1]["pkSm"]),
        "blinded": joined(vector["BlindedElement"]),
        "evaluated": joined(vector["EvaluationElement"]),
        "proof": bytes.fromhex(vector["Proof"]["proof"]),
    }
    # Every byte of the proof; one bit of each element, which mostly breaks its encoding.
    for at in range(0, len(fields[part]), 1 if part == "proof" else 32):
        changed = bytearray(fields[part])
        changed[at] ^= 2
        with pytest.raises((InvalidProofError, MalformedMessageError)):
            client.finalize_verified(
                suite,
                values(vector["Input"]),
                joined(vector["Blind"]),
                **{**fields, part: bytes(changed)},
            )


@named
@pytest.mark.parametrize("sharing", [(2, 3), (3, 5)], ids=["2of3", "3of5"])
def test_shares_of_the_key_give_the_same_outputs(group, randomness, mode, vector, sharing):
    suite, (need, count) = Suite(group, Mode(mode)), sharing
    secret = bytes.fromhex(SUITES[mode]["skSm"])
    scalars = split_secret(group, secret, threshold=need, holders=count, random=randomness)
    names = tuple(f"holder {i}" for i in range(1, count + 1))
    publics = tuple(split_elements(group.multiply_base(b"".join(scalars))))
    record = KeyRecord(1, 0, need, names, group.multiply_base(secret), publics)
    threshold.verify_record(group, record)
    inputs, blinds = values(vector["Input"]), joined(vector["Blind"])
    queried = threshold.Query(suite, record, inputs, blinds, bytes(16))
    assert queried.request.blinded == joined(vector["BlindedElement"])
    answers = {
        i: threshold.answer_request(suite, KeyShare(record, i, scalar), queried.request, randomness)
        for i, scalar in enumerate(scalars, 1)
    }
    for chosen in itertools.combinations(answers, need):
        parts = {i: answers[i].evaluated for i in chosen}
        assert threshold.combine(group, parts) == joined(vector["EvaluationElement"])
    # With proofs: the first holders and the last, so that small and large weights occur.
    for chosen in (range(1, need + 1), range(count - need + 1, count + 1)):
        query = threshold.Query(suite, record, inputs, blinds, bytes(16))
        for i in chosen:
            assert query.receive(answers[i]) == names[i - 1]
        assert query.finish() == values(vector["Output"])


def test_fewer_shares_than_threshold_give_another_result(group, randomness):
    secret = bytes.fromhex(SUITES[1]["skSm"])
    scalars = split_secret(group, secret, threshold=3, holders=5, random=randomness)
    element = bytes.fromhex(SUITES[1]["vectors"][0]["BlindedElement"])
    parts = {i: group.multiply(scalars[i - 1], element, "e") for i in (1, 2)}
    assert threshold.combine(group, parts) != group.multiply(secret, element, "e")
