"""Forks, rollbacks and silence: caught, kept with what proves them, and closed when settled."""

import pytest

from clients.witness.alarms import RACE_S
from compliance.errors import LogCorruptError
from compliance.log.alarms import MAX_OPEN, AlarmKind, LogAlarms, UnknownAlarmError
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.merkle import hash_leaf
from protocols.tlog.note import KeyKind, Note, SignatureLine, Signer, verify_note
from protocols.tlog.witness import AddCheckpoint

STRANGER = Signer.from_seed("hub.example/audit/2026", KeyKind.ED25519, b"s" * 32)


def kinds(witness, *, only_open=True):
    found = witness.alarms.open() if only_open else witness.alarms.all()
    return [raised.alarm.kind for raised in found]


def evidence(witness, tmp_path, raised, ending):
    (name,) = [name for name in raised.evidence if name.endswith(ending)]
    return (tmp_path / "police" / "witness" / "evidence" / name).read_bytes()


def test_second_root_at_a_size_is_a_fork_with_proof(witness, trunk, make_history, tmp_path):
    branch = make_history("branch", parted=4)
    for old, size in [(0, 5), (5, 9), (9, 20)]:
        assert witness.add_checkpoint(trunk.request(old, size)).status == 200
    # At the latest size and at an earlier one, whatever the old size claims to be.
    assert witness.add_checkpoint(branch.request(20, 20)).status == 422
    assert witness.add_checkpoint(branch.request(5, 9)).status == 409
    assert kinds(witness) == [AlarmKind.FORK, AlarmKind.FORK]
    for raised, size in zip(witness.alarms.open(), [20, 9], strict=True):
        request = AddCheckpoint.decode(evidence(witness, tmp_path, raised, "request"))
        held = Note.decode(evidence(witness, tmp_path, raised, "held"))
        pair = [Checkpoint.parse(note.text) for note in (request.note, held)]
        assert [item.size for item in pair] == [size, size]
        assert pair[0].root != pair[1].root
        for note in (request.note, held):
            verify_note(note, [trunk.signer.key])


def test_branch_that_parted_earlier_is_caught_when_it_grows(witness, trunk, make_history):
    branch = make_history("branch", parted=4)
    witness.add_checkpoint(trunk.request(0, 9))
    assert witness.add_checkpoint(branch.request(9, 12)).status == 422
    assert kinds(witness) == [AlarmKind.INCONSISTENT]
    # What parted after the size that we hold is no contradiction to us.
    later = make_history("later", parted=9)
    assert witness.add_checkpoint(later.request(9, 12)).status == 200


def test_alarm_is_raised_once_however_often_it_is_repeated(witness, trunk, make_history):
    branch = make_history("branch", parted=4)
    witness.add_checkpoint(trunk.request(0, 9))
    for _ in range(3):
        witness.add_checkpoint(branch.request(9, 12))
    witness.alarms.close_alarm(1, at=1, reason="looked at")
    witness.add_checkpoint(branch.request(9, 12))
    assert kinds(witness) == []
    assert len(witness.alarms.all()) == 1


def test_unsigned_and_clumsy_requests_raise_no_alarm(witness, trunk):
    assert witness.add_checkpoint(trunk.request(0, 9, proof=[bytes(32)])).status == 422
    witness.add_checkpoint(trunk.request(0, 9))
    forged = trunk.request(9, 9, root=hash_leaf(b"x"), signer=STRANGER)
    assert witness.add_checkpoint(forged).status == 403
    assert witness.add_checkpoint(trunk.request(9, 9, proof=[bytes(32)])).status == 422
    assert witness.add_checkpoint(trunk.request(4, 12)).status == 409
    assert kinds(witness, only_open=False) == []


def test_checkpoint_cosigned_after_all_closes_its_alarm(witness, trunk):
    witness.add_checkpoint(trunk.request(0, 9))
    assert witness.add_checkpoint(trunk.request(9, 12, proof=[])).status == 422
    assert kinds(witness) == [AlarmKind.INCONSISTENT]
    assert witness.add_checkpoint(trunk.request(9, 12)).status == 200
    assert kinds(witness) == []
    assert witness.alarms.all()[0].reason == "cosigned after all"


def test_log_put_back_is_a_rollback_unless_it_is_a_race(witness, trunk, clock):
    witness.add_checkpoint(trunk.request(0, 20))
    assert witness.add_checkpoint(trunk.request(12, 14)).status == 409
    assert kinds(witness) == []
    clock.advance(RACE_S + 1)
    assert witness.add_checkpoint(trunk.request(12, 14)).status == 409
    assert witness.add_checkpoint(trunk.request(20, 14)).status == 400
    assert kinds(witness) == [AlarmKind.ROLLBACK]
    assert witness.store.latest(trunk.signer.name).checkpoint.size == 20


def test_silence_is_raised_and_ends_with_the_next_checkpoint(witness, trunk, clock):
    witness.watch()
    clock.advance(3601)
    witness.watch()
    witness.watch()
    assert kinds(witness) == [AlarmKind.SILENCE]
    witness.add_checkpoint(trunk.request(0, 3))
    assert kinds(witness) == []
    clock.advance(3600)
    witness.watch()
    assert kinds(witness) == []
    # The same checkpoint shown again is a sign of life.
    witness.add_checkpoint(trunk.request(3, 3))
    clock.advance(3600)
    witness.watch()
    assert kinds(witness) == []
    clock.advance(1)
    witness.watch()
    assert kinds(witness) == [AlarmKind.SILENCE]
    assert len(witness.alarms.all()) == 2


def test_log_of_a_new_year_ends_the_silence_of_the_old(witness, trunk, log_signer, clock):
    witness.add_checkpoint(trunk.request(0, 3))
    clock.advance(3601)
    following = Signer("hub.example/audit/2027", log_signer.kind, log_signer.private)
    witness.add_checkpoint(trunk.request(0, 1, origin=following.name, signer=following))
    witness.watch()
    assert kinds(witness) == []


def test_evidence_leaves_out_what_strangers_append(witness, trunk, make_history, tmp_path):
    branch = make_history("branch", parted=4)
    witness.add_checkpoint(trunk.request(0, 9))
    request = AddCheckpoint.decode(branch.request(9, 12))
    padding = [SignatureLine(f"s{at}.example", b"1234", bytes(5000)) for at in range(99)]
    padded = AddCheckpoint(9, request.proof, request.note.with_signatures(padding))
    assert witness.add_checkpoint(padded.encode()).status == 422
    (raised,) = witness.alarms.open()
    assert evidence(witness, tmp_path, raised, "request") == request.encode()


def test_flood_of_doubts_fills_no_disk(witness, trunk):
    witness.add_checkpoint(trunk.request(0, 9))
    for size in range(10, 10 + MAX_OPEN + 5):
        assert witness.add_checkpoint(trunk.request(9, size, proof=[])).status == 422
    assert len(witness.alarms.all()) == MAX_OPEN


def test_alarms_survive_and_are_shared_between_processes(open_at, trunk, make_history, tmp_path):
    branch = make_history("branch", parted=4)
    first, second = open_at(), open_at()
    first.add_checkpoint(trunk.request(0, 9))
    second.add_checkpoint(branch.request(9, 9))
    first.add_checkpoint(branch.request(9, 9))
    assert kinds(first) == kinds(second) == [AlarmKind.FORK]
    first.alarms.close_alarm(1, at=5, reason="told the regulator")
    with pytest.raises(UnknownAlarmError):
        second.alarms.close_alarm(1, at=6, reason="again")
    third = LogAlarms(tmp_path / "police" / "witness")
    (raised,) = third.all()
    third.close()
    assert (raised.closed_at, raised.reason) == (5, "told the regulator")


def test_foreign_record_among_the_alarms_is_told(tmp_path):
    alarms = LogAlarms(tmp_path)
    with alarms._journal.exclusive():
        alarms._journal.append(b'{"close":3,"at":1,"reason":""}')
    with pytest.raises(LogCorruptError):
        LogAlarms(tmp_path).all()
    alarms.close()
