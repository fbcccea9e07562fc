"""Break-glass as a whole: declared, sealed, opening what it opens, read and reviewed by others."""

import pytest

from compliance.agreement.coverage import Lookup
from compliance.agreement.vocabulary import Channel
from compliance.errors import NotPermittedError
from compliance.office.about import About
from compliance.staff.breaking import declare_emergency, read_emergency, review_emergency
from compliance.staff.emergencies import HOUR_S, OVERDUE_S
from compliance.staff.errors import StaffError
from protocols.errors import MalformedMessageError
from protocols.tlog.entry import Outcome, Verb

NIGHT = 16 * HOUR_S  # two in the morning where the staff works
CASE, REASON = "case-77", "a victim is at the counter of the night bank"


def declare(people, name="dora", **changes):
    given = {"case": CASE, "reason": REASON} | changes
    return declare_emergency(people.staff, people.office, people.who(name), **given)


def check(people, name="dora"):
    who = people.who(name)
    about = About(Verb.CONSULT, "epoch-1/counter", case=CASE)
    facts = who.facts(people.office, channel="counter", case=CASE)
    question = Lookup("insurer", Channel.COUNTER)
    return who.permit(people.office, "check", about, facts=facts, question=question)


def test_at_night_only_a_declared_emergency_opens(manned, hire):
    hire(emil="desk")
    manned.clock.advance(NIGHT)
    with pytest.raises(NotPermittedError, match="within-hours"):
        check(manned)
    declare(manned)
    assert check(manned).allowed
    with pytest.raises(NotPermittedError, match="within-hours"):
        check(manned, "emil")
    manned.clock.advance(4 * HOUR_S)
    with pytest.raises(NotPermittedError, match="within-hours"):
        check(manned)


def test_why_stands_in_the_private_part_alone(manned, tmp_path):
    found = declare(manned)
    (entry,) = manned.entries()
    part = manned.part(entry)
    assert (entry.act, entry.outcome, entry.subject_matter) == (
        "break_glass", Outcome.DONE, "staff",
    )  # fmt: skip
    assert (part.subject, part.case, part.reason) == (found.subject, CASE, REASON)
    for path in (tmp_path / "insurer").rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert CASE.encode() not in data, path.name
            assert REASON.encode() not in data, path.name


@pytest.mark.parametrize("missing", [{"case": ""}, {"reason": ""}, {"reason": "   "}], ids=str)
def test_without_case_or_reason_there_is_none(manned, missing):
    with pytest.raises(NotPermittedError):
        declare(manned, **missing)
    assert manned.staff.emergencies.all() == ()
    assert [entry.outcome for entry in manned.entries()] == [Outcome.REFUSED]


@pytest.mark.parametrize("name", ["amy", "otto", ""])
def test_only_desk_and_analysts_declare(manned, name):
    with pytest.raises(NotPermittedError):
        declare(manned, name)
    assert declare(manned, "anna").account == "anna"


def test_too_long_is_told_before_anything_is_entered(manned):
    with pytest.raises(MalformedMessageError, match="hours"):
        declare(manned, hours=100)
    assert manned.entries() == []


def review(people, number=1, by="otto", second="amy", finding="was right to do so"):
    who = people.who(by, second)
    return review_emergency(people.staff, people.office, who, number, finding=finding)


def test_two_others_review_it(manned):
    declare(manned)
    review(manned)
    entry = manned.entries()[-1]
    part = manned.part(entry)
    assert (entry.act, part.reason) == ("review_break_glass", "was right to do so")
    (found,) = manned.staff.emergencies.all()
    assert (found.reviewer, found.second) == ("otto", "amy")
    with pytest.raises(StaffError):
        review(manned)


@pytest.mark.parametrize(
    ("by", "second", "finding"),
    [("otto", "", "fine"), ("otto", "dora", "fine"), ("amy", "otto", "fine"), ("otto", "amy", "")],
)
def test_a_review_needs_an_officer_a_second_person_and_a_finding(manned, by, second, finding):
    declare(manned)
    with pytest.raises(NotPermittedError):
        review(manned, by=by, second=second, finding=finding)
    assert len(manned.staff.emergencies.unreviewed()) == 1


@pytest.mark.parametrize(("by", "second"), [("both", "amy"), ("otto", "both")])
def test_nobody_reviews_their_own(manned, hire, by, second):
    hire(both="desk compliance")
    declare(manned, "both")
    with pytest.raises(NotPermittedError, match="nobody reviews what they declared"):
        review(manned, by=by, second=second)
    assert len(manned.staff.emergencies.unreviewed()) == 1
    assert manned.entries()[-1].policies == ("staff.own-emergency",)


def test_a_review_waits_for_a_consent_like_any_act(manned):
    declare(manned)
    with pytest.raises(NotPermittedError, match="request 1 waits"):
        review(manned, second="")
    amy = manned.staff.accounts()["amy"]
    manned.staff.consents.agree(1, amy, now=manned.clock.now())
    assert review(manned, second="").second == "amy"


def test_an_officer_reads_why_and_that_is_entered(manned):
    declare(manned)
    sealed = read_emergency(manned.staff, manned.office, manned.who("otto"), 1)
    assert (sealed.case, sealed.reason) == (CASE, REASON)
    assert manned.entries()[-1].act == "read_log"
    with pytest.raises(NotPermittedError):
        read_emergency(manned.staff, manned.office, manned.who("dora"), 1)


def test_what_was_erased_is_said_to_be(manned):
    found = declare(manned)
    manned.office.parts.erase_subject(found.subject, manned.clock.now())
    assert read_emergency(manned.staff, manned.office, manned.who("otto"), 1).reason == "erased"


def test_unreviewed_ones_become_overdue(manned):
    declare(manned)
    manned.clock.advance(OVERDUE_S)
    (found,) = manned.staff.emergencies.unreviewed()
    assert found.is_overdue(manned.clock.now())
