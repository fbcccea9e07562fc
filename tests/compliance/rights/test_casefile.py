"""The way of a request, what is entered of it, and who may do it."""

import re
import subprocess
import sys
import textwrap

import pytest

from compliance.configuration import ConfigError
from compliance.errors import LogCorruptError, NotPermittedError
from compliance.log.storage import Place
from compliance.rights.case import Texts, draw_number
from compliance.rights.casefile import CaseFile
from compliance.rights.errors import UnknownCaseError
from compliance.rights.kinds import Answer, Kind, State
from compliance.rights.tokens import canonical_token, subject_key, subject_token
from protocols.errors import OutOfTurnError, UnsupportedParameterError
from protocols.identifiers import IdentifierKind, canonicalize
from protocols.tlog.entry import Outcome

DAY = 86_400


def test_request_goes_its_way_and_every_step_is_entered(insurer):
    rights, who = insurer.rights, insurer.who()
    number = rights.open(Kind.ACCESS, "tw", insurer.texts(), who).number
    states = [
        insurer.file.case(number).state,
        *(
            step(number, who).state
            for step in (rights.verify_identity, rights.take_up, rights.extend)
        ),
        rights.answer(number, Answer.GRANTED, "", who).state,
        rights.close(number, who).state,
    ]
    assert states == list(State)
    assert [event.what for event in insurer.file.events(number)] == ["access", *list(State)[1:]]
    entries = insurer.entries()
    assert [entry.act for entry in entries] == ["answer_rights_request"] * 6
    assert {entry.subject_matter for entry in entries} == {"rights/access"}
    part = insurer.office.parts.read(
        Place(insurer.office.yearly.origin(), 1), entries[1].commitment
    )
    assert part.case == f"rights {number}"
    assert part.subject == insurer.file.tokens(number)[0]


def test_receipt_number_is_random_and_no_number_of_a_person(insurer):
    numbers = {insurer.file.draw() for _ in range(200)}
    assert len(numbers) == 200
    assert all(re.fullmatch(r"R-[2-9A-Z]{5}-[2-9A-Z]{5}", number) for number in numbers)


def test_letters_of_numbers_are_drawn_evenly():
    drawn = iter(range(256))
    # The bytes beyond a whole multiple of the alphabet are passed over.
    text = "".join(draw_number("R", lambda _n: bytes([next(drawn)]))[2:] for _ in range(23))
    letters = text.replace("-", "")
    assert {letters.count(letter) for letter in set(letters)} <= {7, 8}


@pytest.mark.parametrize("steps", [["extend"], ["take_up"], ["close"], ["verify_identity"] * 2])
def test_steps_out_of_turn_change_and_enter_nothing(insurer, steps):
    number = insurer.rights.open(Kind.ACCESS, "tw", insurer.texts(), insurer.who()).number
    for step in steps[:-1]:
        getattr(insurer.rights, step)(number, insurer.who())
    before = insurer.file.case(number), len(insurer.entries())
    with pytest.raises(OutOfTurnError):
        getattr(insurer.rights, steps[-1])(number, insurer.who())
    assert (insurer.file.case(number), len(insurer.entries())) == before


def test_extension_is_once_with_a_reason_and_in_time(insurer):
    number = insurer.take(Kind.ACCESS)
    due = insurer.file.case(number).due_at
    with pytest.raises(UnsupportedParameterError, match="reason"):
        insurer.rights.extend(number, insurer.who(reason=""))
    late = insurer.take(Kind.ACCESS)
    assert insurer.rights.extend(number, insurer.who()).due_at > due
    with pytest.raises(OutOfTurnError):
        insurer.rights.extend(number, insurer.who())
    insurer.clock.seconds = insurer.file.case(late).due_at
    with pytest.raises(OutOfTurnError, match="overdue"):
        insurer.rights.extend(late, insurer.who())


def test_overdue_is_told_to_the_second(insurer):
    number = insurer.take(Kind.ACCESS)
    case = insurer.file.case(number)
    assert not case.is_overdue(case.due_at - 1)
    assert case.is_overdue(case.due_at)
    answered = insurer.rights.answer(number, Answer.GRANTED, "", insurer.who())
    assert not answered.is_overdue(case.due_at)


def test_refusal_needs_a_ground_of_the_profile(insurer):
    number = insurer.take(Kind.ACCESS)
    for code in ("", "we_do_not_like_it", "legal_hold"):
        with pytest.raises(UnsupportedParameterError):
            insurer.rights.answer(number, Answer.REFUSED, code, insurer.who())
    with pytest.raises(UnsupportedParameterError, match="refusal"):
        insurer.rights.answer(number, Answer.GRANTED, "third_party", insurer.who())
    case = insurer.rights.answer(number, Answer.REFUSED, "third_party", insurer.who())
    assert (case.answer, case.code) == (Answer.REFUSED, "third_party")


def test_only_a_request_in_work_is_granted(insurer):
    number = insurer.rights.open(Kind.ACCESS, "tw", insurer.texts(), insurer.who()).number
    with pytest.raises(OutOfTurnError, match="into work"):
        insurer.rights.answer(number, Answer.GRANTED, "", insurer.who())
    refused = insurer.rights.answer(
        number, Answer.REFUSED, "identity_not_shown", insurer.who(reason="did not come")
    )
    assert refused.state is State.ANSWERED


@pytest.mark.parametrize("role", ["desk", "analyst", "operator", "approver"])
def test_others_than_officers_may_not_and_the_refusal_is_entered(insurer, role):
    with pytest.raises(NotPermittedError):
        insurer.rights.open(Kind.ACCESS, "tw", insurer.texts(), insurer.who(role))
    assert insurer.file.cases() == []
    assert [entry.outcome for entry in insurer.entries()] == [Outcome.REFUSED]


def test_reason_that_repeats_the_identifier_is_refused(insurer):
    number = insurer.take(Kind.ACCESS)
    with pytest.raises(UnsupportedParameterError, match="repeats"):
        insurer.rights.extend(number, insurer.who(reason="holder of +886 912-345-678 is away"))


def test_texts_of_a_person_stand_nowhere_readably(insurer, numbers, sealed_phone):
    number = insurer.take(Kind.ACCESS)
    assert insurer.rights.show(number, insurer.who()).contact == "1 Example Road"
    data = insurer.bytes()
    for text in (b"912345678", b"Example Road", b"off the list", sealed_phone):
        assert text not in data


def test_open_requests_come_first_by_their_day(insurer):
    slow = insurer.take(Kind.ERASURE)  # thirty days
    fast = insurer.take(Kind.ACCESS)  # fifteen
    done = insurer.take(Kind.ACCESS)
    insurer.rights.answer(done, Answer.GRANTED, "", insurer.who())
    assert [case.number for case in insurer.file.cases()] == [fast, slow, done]


def test_unknown_number_is_told(insurer):
    with pytest.raises(UnknownCaseError, match="list"):
        insurer.file.case("R-AAAAA-BBBBB")


def test_second_process_sees_and_continues(insurer):
    number = insurer.take(Kind.ACCESS)
    other = insurer.again()
    assert other.file.case(number) == insurer.file.case(number)
    other.answer(number, Answer.GRANTED, "", insurer.who())
    with pytest.raises(OutOfTurnError):
        insurer.rights.answer(number, Answer.GRANTED, "", insurer.who())


def test_person_is_one_token_however_the_identifier_is_written(tmp_path):
    key = subject_key(tmp_path, lambda size: bytes(range(size)))
    assert key == subject_key(tmp_path, bytes)
    one = subject_token(key, IdentifierKind.PHONE, "0912-345-678")
    assert one == subject_token(key, IdentifierKind.PHONE, "+886 912 345 678")
    canonical = canonicalize(IdentifierKind.PHONE, "0912345678")
    assert one == canonical_token(key, canonical)
    assert one != subject_token(key, IdentifierKind.OPAQUE, "+886912345678")
    assert one != canonical_token(bytes(32), canonical)
    person = subject_token(key, IdentifierKind.TW_PERSON_ID, "A123456789")
    assert person == subject_token(key, IdentifierKind.TW_NATIONAL_ID, "a123456789")


def test_key_that_others_can_read_is_refused(tmp_path):
    subject_key(tmp_path, bytes)
    (tmp_path / "rights" / "subject.key").chmod(0o640)
    with pytest.raises(ConfigError, match="chmod"):
        subject_key(tmp_path, bytes)


def test_nobody_named_is_no_request(insurer):
    with pytest.raises(UnsupportedParameterError, match="nobody"):
        insurer.rights.open(Kind.ACCESS, "tw", Texts(()), insurer.who())
    assert insurer.entries() == []


def test_file_that_is_no_database_is_told(tmp_path):
    (tmp_path / "rights").mkdir()
    (tmp_path / "rights" / "requests.sqlite").write_bytes(b"something else, long enough" * 9)
    with pytest.raises(LogCorruptError, match="restore"):
        CaseFile(tmp_path, bytes)


DYING = textwrap.dedent("""
    import os, sys
    from pathlib import Path
    from compliance.rights.casefile import CaseFile
    from compliance.rights.kinds import State
    file = CaseFile(Path(sys.argv[1]), os.urandom)
    with file.database.transaction():
        file.database.run("UPDATE requests SET state = 'closed'")
        os.kill(os.getpid(), 9)
""")


def test_killed_process_leaves_a_request_as_it_was(insurer):
    number = insurer.take(Kind.ACCESS)
    found = subprocess.run([sys.executable, "-c", DYING, str(insurer.root)], check=False)
    assert found.returncode == -9
    assert insurer.file.case(number).state is State.IN_WORK
    insurer.rights.answer(number, Answer.GRANTED, "", insurer.who())
