"""What an operator with the log's own key can do to it, and who catches it.

Every row is caught twice: by `lianfang audit verify` on what the operator hands out, and by
a partner's witness that is asked to cosign it. The operator signs whatever it likes, with the
real program; only the witness's key is not its own.
"""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clients.audit.cli import app
from clients.witness.alarms import RACE_S
from compliance.log.alarms import AlarmKind
from compliance.log.draft import draft_entry
from compliance.log.export import export_log
from compliance.log.log import Log
from compliance.log.memory import MemoryStorage
from compliance.log.second import FileCheckpoints
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.entry import Decision, Entry, Outcome, Verb
from protocols.tlog.merkle import hash_leaf, prove_consistency, root_of
from protocols.tlog.note import KeyKind, Note, Signer, sign_note
from protocols.tlog.policy import NONE, Policy, Witness
from protocols.tlog.policy import Log as KnownLog
from protocols.tlog.witness import AddCheckpoint, read_answer

HELD, GROWN = 300, 320
NOW = 1_795_305_600
ENTRY = Entry(
    0, NOW, "insurer", b"a" * 16, Verb.CONSULT, "evaluate",
    "https://w3id.org/dpv#FraudPreventionAndDetection", "tw/pdpa-20", None, b"p" * 32,
    ("partners-take-part",), Decision.PERMIT, Outcome.DONE, "fraud-reports", ("insurer",), 1,
    None, None, b"c" * 32,
)  # fmt: skip


def entries(start, end, branch=0):
    return [replace(ENTRY, commitment=(branch << 32 | at).to_bytes(32)) for at in range(start, end)]


class Operator:
    """The log's operator, honest and otherwise."""

    def __init__(self, root, signer, witness, clock):
        self.root, self.signer, self.witness, self.clock = root, signer, witness, clock
        known = Witness("police", witness.keys[0])
        self.policy = Policy((KnownLog(signer.key),), (known,), (), "police")
        self.alone = Policy((KnownLog(signer.key),), (), (), NONE)

    def cosign(self, note, prove):
        """Ask the witness, as the hub does."""
        latest = self.witness.store.latest(self.signer.name)
        old = latest.checkpoint.size if latest else 0
        answer = self.ask(old, note, prove(old) if old else [])
        told = answer.status, answer.content_type, answer.body
        return read_answer(*told, note=note, keys=self.witness.keys)

    def ask(self, old, note, proof):
        return self.witness.add_checkpoint(AddCheckpoint(old, tuple(proof), note).encode())

    def publish(self, name, *batches, witnessed=False, signer=None):
        """Write a history with the real program; returns its export after each batch."""
        storage, directory = MemoryStorage(), self.root / name
        log = Log(
            storage,
            FileCheckpoints(directory / "second"),
            signer or self.signer,
            policy=self.policy if witnessed else replace(self.alone, logs=(self.known(signer),)),
            cosign=self.cosign if witnessed else lambda _note, _prove: [],
            clock=self.clock,
        )
        exports = []
        for batch in batches:
            log._commit([draft_entry(item, None) for item in batch])
            log.checkpoint()
            exports.append(directory / str(log.size))
            export_log(storage, log.origin, exports[-1])
        return exports

    def known(self, signer):
        return KnownLog((signer or self.signer).key)


@dataclass
class Attack:
    """What is handed to a verifier, and what a witness is asked."""

    export: Path
    since: Path | None
    fault: str
    asked: AddCheckpoint
    status: int
    alarm: AlarmKind | None


@pytest.fixture
def operator(tmp_path, log_signer, witness, clock):
    return Operator(tmp_path / "operator", log_signer, witness, clock)


@pytest.fixture
def honest(operator):
    """The log as the witness knows it: cosigned at 300 entries, and exported."""
    (export,) = operator.publish("honest", entries(0, HELD), witnessed=True)
    return export


def request(operator, batch, *, old=HELD, size=GROWN, signer=None):
    """A checkpoint over any entries, with the proof that its own tree gives."""
    leaves = [
        hash_leaf(replace(item, sequence=at).encode()) for at, item in enumerate(batch[:size])
    ]

    def node(level, index):
        return root_of(leaves[index << level : (index + 1) << level])

    signer = signer or operator.signer
    text = Checkpoint(operator.signer.name, size, root_of(leaves)).format()
    proof = prove_consistency(old, size, node) if old <= size else []
    return AddCheckpoint(old, tuple(proof), Note(text, (sign_note(text, signer),)))


def altered_entry(operator, honest):
    changed = entries(0, GROWN)
    changed[40] = replace(changed[40], organisation="police")
    (export,) = operator.publish("altered", changed[:HELD])
    asked = request(operator, changed)
    return Attack(export, None, "no quorum", asked, 422, AlarmKind.INCONSISTENT)


def altered_under_its_signatures(operator, honest):
    bundle = honest / "tile/entries/000"
    data = bundle.read_bytes()
    bundle.write_bytes(data.replace(b'"insurer","outcome"', b'"telecom","outcome"', 1))
    changed = entries(0, HELD)
    changed[0] = replace(changed[0], organisation="telecom")
    asked = request(operator, changed, size=HELD)
    return Attack(honest, None, "tile/0/000", asked, 422, AlarmKind.FORK)


def flipped_bit(operator, honest):
    path = honest / "tile/0/000"
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(bytes(data))
    good = request(operator, entries(0, GROWN))
    proof = (bytes([good.proof[0][0] ^ 1]) + good.proof[0][1:], *good.proof[1:])
    asked = replace(good, proof=proof)
    return Attack(honest, None, "tile/0/000", asked, 422, AlarmKind.INCONSISTENT)


def truncated_tile(operator, honest):
    path = honest / "tile/0/001.p/44"
    path.write_bytes(path.read_bytes()[:-32])
    good = request(operator, entries(0, GROWN))
    asked = replace(good, proof=good.proof[:-1])
    return Attack(honest, None, "tile/0/001.p/44", asked, 422, AlarmKind.INCONSISTENT)


def forked_history(operator, honest):
    branch = entries(0, 200) + entries(200, GROWN, branch=1)
    (export,) = operator.publish("forked", branch)
    # The witness's own copy is the older one: a fork even for who believes the log's key alone.
    asked = request(operator, branch)
    return Attack(export, honest, "no quorum", asked, 422, AlarmKind.INCONSISTENT)


def wrong_key(operator, honest):
    stranger = Signer.from_seed(operator.signer.name, KeyKind.ED25519, b"x" * 32)
    (export,) = operator.publish("strange", entries(0, GROWN), signer=stranger)
    asked = request(operator, entries(0, GROWN), signer=stranger)
    return Attack(export, None, "not signed by a log", asked, 403, None)


def rollback(operator, honest):
    # What was cosigned once stays cosigned: only who saw more can tell.
    older = operator.root / "older"
    shutil.copytree(honest, older)
    asked = request(operator, entries(0, GROWN))
    assert operator.ask(asked.old_size, asked.note, asked.proof).status == 200
    newer = operator.root / "newer"
    newer.mkdir()
    answer = operator.ask(GROWN, asked.note, [])
    line = read_answer(
        answer.status, answer.content_type, answer.body, note=asked.note, keys=operator.witness.keys
    )
    (newer / "checkpoint").write_bytes(asked.note.with_signatures(line).encode())
    operator.clock.advance(RACE_S + 1)
    # Put back to 300 entries, it goes on from there.
    asked = request(operator, entries(0, HELD + 5), size=HELD + 5)
    return Attack(older, newer / "checkpoint", "rollback: 300", asked, 409, AlarmKind.ROLLBACK)


ATTACKS = (
    altered_entry,
    altered_under_its_signatures,
    flipped_bit,
    truncated_tile,
    forked_history,
    wrong_key,
    rollback,
)


def verify(export, policy, since=None):
    """Run the officer's command; return how it ended and what it said."""
    more = [] if since is None else ["--since", str(since)]
    done = CliRunner().invoke(
        app, ["verify", str(export), "--policy", str(policy), "--format", "json", *more]
    )
    return done.exit_code, json.loads(done.stdout)["fault"]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_tampering_is_caught_by_the_verifier_and_by_a_witness(operator, honest, witness, attack):
    policy = operator.root / "trusted.txt"
    policy.write_bytes(operator.policy.encode())
    assert verify(honest, policy) == (0, "")
    made = attack(operator, honest)
    held = witness.store.latest(operator.signer.name).checkpoint
    code, fault = verify(made.export, policy, made.since)
    assert code == 1
    assert made.fault in fault
    answer = operator.ask(made.asked.old_size, made.asked.note, made.asked.proof)
    assert answer.status == made.status
    assert witness.store.latest(operator.signer.name).checkpoint == held
    # Nothing that the witness sends back is a cosignature of it.
    assert "—" not in answer.body.decode()
    found = [raised.alarm.kind for raised in witness.alarms.open()]
    assert found == ([] if made.alarm is None else [made.alarm])


def test_operator_that_signs_two_histories_is_caught_without_any_witness(operator, honest):
    branch = entries(0, 200) + entries(200, GROWN, branch=1)
    (export,) = operator.publish("forked", branch)
    policy = operator.root / "alone.txt"
    policy.write_bytes(operator.alone.encode())
    assert verify(export, policy) == (0, "")
    code, fault = verify(export, policy, honest)
    assert code == 1
    assert fault.startswith("fork")


def test_honest_growth_is_cosigned(operator, honest, witness):
    asked = request(operator, entries(0, GROWN))
    assert operator.ask(HELD, asked.note, asked.proof).status == 200
    assert witness.store.latest(operator.signer.name).checkpoint.size == GROWN
    assert witness.alarms.open() == []
