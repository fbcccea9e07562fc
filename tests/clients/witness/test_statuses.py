"""Each answer of C2SP tlog-witness, add-checkpoint, by a witness with state on disk."""

from collections import namedtuple

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from compliance.log.alarms import AlarmKind
from protocols.tlog.asking import WitnessAnswer
from protocols.tlog.cosignature import verify_cosignature
from protocols.tlog.merkle import hash_leaf, prove_consistency, root_of
from protocols.tlog.note import KeyKind, Note, Signer, VerifierKey
from protocols.tlog.witness import (
    MAX_REQUEST_SIZE,
    SIZE_TYPE,
    TEXT_TYPE,
    AddCheckpoint,
    read_answer,
)

STRANGER = Signer.from_seed("hub.example/audit/2026", KeyKind.ED25519, b"s" * 32)
OTHER = Signer.from_seed("other.example/log", KeyKind.ED25519, b"o" * 32)
HELD = 7
Row = namedtuple("Row", "rule status request body", defaults=(None,))


def garbled(history):
    return history.request(HELD, 9).replace(b"old 7", b"old 07")


TABLE = [
    Row("extends what was cosigned", 200, lambda log: log.request(HELD, 300)),
    Row("the same size and root again", 200, lambda log: log.request(HELD, HELD)),
    Row("leading zero in the old size", 400, garbled),
    Row("no bytes at all", 400, lambda log: b""),
    Row("old size above the checkpoint", 400, lambda log: log.request(HELD, 5)),
    Row("signed by a key that is not trusted", 403, lambda log: log.request(7, 9, signer=STRANGER)),
    Row("origin is not known", 404, lambda log: log.request(7, 9, origin=OTHER.name, signer=OTHER)),
    Row("old size below", 409, lambda log: log.request(5, 9), b"7\n"),
    Row("old size above", 409, lambda log: log.request(8, 9), b"7\n"),
    Row("old size not known to the log", 409, lambda log: log.request(0, 9), b"7\n"),
    Row("smaller than what was cosigned", 409, lambda log: log.request(3, 5), b"7\n"),
    Row("proof is missing", 422, lambda log: log.request(HELD, 9, proof=[])),
    Row("proof is of another size", 422, lambda log: log.request(7, 9, proof=proof(log, 6, 9))),
    Row("another root", 422, lambda log: log.request(HELD, 9, root=hash_leaf(b"x"))),
    # Later texts of the specification; this one has 409 without a size.
    Row("the same size and another root", 422, lambda log: log.request(7, 7, root=bytes(32))),
    Row("order: unknown before unsigned", 404, lambda log: log.request(7, 9, origin="x.example")),
    Row("order: unsigned before old size", 403, lambda log: log.request(9, 5, signer=STRANGER)),
    Row("order: old size before its conflict", 400, lambda log: log.request(6, 5)),
    Row("order: conflict before proof", 409, lambda log: log.request(6, 9, proof=[]), b"7\n"),
]


def proof(history, old, size):
    return prove_consistency(old, size, history.node)


@pytest.fixture
def holding(witness, trunk):
    """A witness that holds size 7."""
    assert witness.add_checkpoint(trunk.request(0, HELD)).status == 200
    return witness


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.rule)
def test_answers_are_those_of_the_specification(holding, trunk, row):
    answer = holding.add_checkpoint(row.request(trunk))
    assert answer.status == row.status
    assert answer.content_type == (SIZE_TYPE if row.body else TEXT_TYPE)
    if row.body:
        assert answer.body == row.body
    if row.status != 200:
        assert holding.store.latest(trunk.signer.name).checkpoint.size == HELD


def test_cosignatures_of_both_kinds_verify(witness, trunk, clock):
    answer = witness.add_checkpoint(trunk.request(0, 9))
    note = trunk.note(9)
    assert [key.kind for key in witness.keys] == [KeyKind.COSIGNATURE, KeyKind.SUBTREE]
    lines = read_answer(*as_tuple(answer), note=note, keys=witness.keys)
    checkpoint = witness.store.latest(trunk.signer.name).checkpoint
    for line, key in zip(lines, witness.keys, strict=True):
        assert verify_cosignature(checkpoint, line, key) == clock.now()


def as_tuple(answer):
    return answer.status, answer.content_type, answer.body


def test_replays_change_nothing_and_raise_no_alarm(holding, trunk, clock):
    old = [trunk.request(0, HELD), trunk.request(HELD, 9), trunk.request(9, 20)]
    for body in old[1:]:
        assert holding.add_checkpoint(body).status == 200
    clock.advance(86_400)
    for body in old:
        assert as_tuple(holding.add_checkpoint(body)) == (409, SIZE_TYPE, b"20\n")
    assert holding.store.latest(trunk.signer.name).checkpoint.size == 20
    assert holding.alarms.all() == []


def test_every_year_of_a_pinned_log_is_known_and_no_other(open_at, log_signer, trunk):
    witness = open_at()
    for origin, status in [
        ("hub.example/audit/2027", 200),
        ("hub.example/audit/27", 404),
        ("hub.example/audit/2027/x", 404),
        ("hub.example/audits/2027", 404),
    ]:
        signer = Signer(origin, log_signer.kind, log_signer.private)
        body = trunk.request(0, 3, origin=origin, signer=signer)
        assert witness.add_checkpoint(body).status == status
    only = open_at("insurer", every_year=False)
    other_year = Signer("hub.example/audit/2027", log_signer.kind, log_signer.private)
    body = trunk.request(0, 3, origin=other_year.name, signer=other_year)
    assert only.add_checkpoint(body).status == 404
    assert only.add_checkpoint(trunk.request(0, 3)).status == 200


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@example(data=None)
def test_altered_bytes_are_refused_and_change_nothing(holding, trunk, data):
    whole = trunk.request(HELD, 12)
    body = b"x" * (MAX_REQUEST_SIZE + 1)
    if data is not None:
        at = data.draw(st.integers(0, len(whole) - 1))
        how = data.draw(st.sampled_from(["cut", "flip", "insert", "noise"]))
        body = {
            "cut": whole[:at],
            "flip": whole[:at]
            + bytes([whole[at] ^ data.draw(st.integers(1, 255))])
            + whole[at + 1 :],
            "insert": whole[:at] + data.draw(st.binary(min_size=1, max_size=5)) + whole[at:],
            "noise": data.draw(st.binary(max_size=400)),
        }[how]
    if body == whole:
        return
    answer = holding.add_checkpoint(body)
    assert answer.status in {400, 403, 404, 409, 422}
    assert holding.store.latest(trunk.signer.name).checkpoint.size == HELD
    assert WitnessAnswer.decode(holding.answer(body)) == answer


def test_long_request_is_malformed(holding):
    assert holding.add_checkpoint(b"x" * (MAX_REQUEST_SIZE + 1)).status == 400


def test_log_cosigned_by_another_implementation_is_cosigned(open_at, vectors):
    golden = vectors / "golden_cosigned_log"
    key = VerifierKey.parse((golden / "vkeys.txt").read_text().splitlines()[0])
    witness = open_at(key=key, every_year=False)
    first = Note.decode((golden / "checkpoint.257").read_bytes())
    last = Note.decode((golden / "log" / "checkpoint").read_bytes())
    proof_text = (golden / "consistency_257_600.txt").read_bytes()
    assert witness.add_checkpoint(b"old 0\n\n" + first.encode()).status == 200
    assert witness.add_checkpoint(b"old 257\n" + proof_text + b"\n" + last.encode()).status == 200
    # Checkpoints carry the lines of other witnesses: kept are those of the log alone.
    held = Note.decode(witness.store.latest(key.name).note)
    assert [line.name for line in held.signatures] == [key.name]
    bad = proof_text.splitlines(keepends=True)
    body = b"old 600\n" + b"".join(bad) + b"\n" + last.encode()
    assert witness.add_checkpoint(body).status == 422
    assert [raised.alarm.kind for raised in witness.alarms.all()] == []


def test_checkpoints_of_another_implementation_are_walked(open_at, vectors):
    sample = vectors / "tessera_sample_log"
    key = VerifierKey.parse(
        "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx"
    )
    witness = open_at(key=key, every_year=False)
    tile = (sample / "tile" / "0" / "000.p" / "15").read_bytes()
    leaves = [tile[at : at + 32] for at in range(0, len(tile), 32)]

    def node(level, index):
        return root_of(leaves[index << level : (index + 1) << level])

    for old, size in [(0, 1), (1, 4), (4, 5), (5, 11), (11, 15)]:
        note = Note.decode((sample / f"checkpoint.{size}").read_bytes())
        way = tuple(prove_consistency(old, size, node)) if old else ()
        assert witness.add_checkpoint(AddCheckpoint(old, way, note).encode()).status == 200
    back = Note.decode((sample / "checkpoint.4").read_bytes())
    assert witness.add_checkpoint(AddCheckpoint(4, (), back).encode()).body == b"15\n"
    assert not [item for item in witness.alarms.all() if item.alarm.kind is AlarmKind.FORK]
