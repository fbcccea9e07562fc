"""Alarms over private parts, and settling them: what the owner of a log alone can see."""

import json
from dataclasses import replace

import pytest

from compliance.clock import FixedClock
from compliance.errors import NotPermittedError
from compliance.exports.alarms import find_alarms
from compliance.exports.finding import Seen
from compliance.exports.own import own_entries
from compliance.exports.rules import FORMAT, parse_rules, shipped_rules
from compliance.exports.settled import settle, settlement
from compliance.office.about import About
from compliance.office.opening import open_office
from compliance.policy.actors import StaffRole
from compliance.staff.acting import Acting
from protocols.errors import MalformedMessageError
from protocols.tlog.entry import Outcome, Verb
from protocols.tlog.private import PrivatePart

HOUR, DAY = 3_600, 86_400


def rule(kind, /, **fields):
    common = {"id": f"a-{kind}", "kind": kind, "en": "a", "zh": "一", "among": {}, "by": "actor"}
    value = {"format": FORMAT, "rules": [common | fields]}
    return parse_rules(json.dumps(value).encode())


@pytest.fixture
def look(tools):
    """A look at somebody, with its private part."""

    def make(at, subject="somebody", case="C-1", actor=b"a", **changes):
        given = {"act": "check", "actor": actor * 16, "outcome": Outcome.MISS} | changes
        entry = tools.make_entry(at, **given)
        return Seen(entry, "insurer/audit/2026", lambda: PrivatePart(subject, case, ""))

    return make


def search(seen, rules, now=None):
    for number, item in enumerate(seen):
        item.entry = replace(item.entry, sequence=number)
    return find_alarms(seen, rules, now=now)


def test_many_analysts_at_one_subject_are_found_above_the_threshold_only(look):
    rules = rule("spread", window_s=100, most=3, by="organisation")
    four = [look(at, actor=bytes([65 + at])) for at in range(4)]
    assert search(four[:3], rules) == []
    (found,) = search(four, rules)
    assert (found.value, found.limit, found.actor) == (4, 3, "")
    assert (found.first_entry, found.last_entry, found.log) == (0, 3, "insurer/audit/2026")
    assert (
        search([look(at, f"person {at}", actor=bytes([65 + at])) for at in range(4)], rules) == []
    )
    assert search([look(at) for at in range(9)], rules) == []  # the same one again and again
    assert search([look(40 * at, actor=bytes([65 + at])) for at in range(9)], rules) == []


def test_many_subjects_of_one_analyst_are_found_within_the_window(look):
    rules = rule("reach", window_s=100, most=5)
    six = [look(at, f"person {at}") for at in range(6)]
    assert search(six[:5], rules) == []
    (found,) = search(six, rules)
    assert (found.value, found.limit, found.actor) == (6, 5, "61" * 16)
    assert search([look(20 * at, f"person {at}") for at in range(30)], rules) == []
    spread = [look(at, f"person {at}", actor=bytes([65 + at % 2])) for at in range(10)]
    assert search(spread, rules) == []
    assert len(search(spread, rule("reach", window_s=100, most=5, by="organisation"))) == 1
    again = [*six, look(7, "person 0"), *(look(2_000 + at, f"person {at}") for at in range(6))]
    assert [item.first_entry for item in search(again, rules)] == [0, 7]


def test_look_without_a_case_is_found_by_day(look):
    rules = rule("caseless", among={"acts": ["check"]})
    seen = [look(0), look(1, case=""), look(2, case=" "), look(2 * DAY, case="")]
    assert [(item.first_entry, item.value) for item in search(seen, rules)] == [(1, 2), (3, 1)]
    assert search([look(0, case="", act="screen")], rules) == []


def test_act_that_nothing_follows_is_found_when_its_time_is_over(look):
    rules = rule(
        "unfollowed", among={"acts": ["break_glass"]}, then={"acts": ["review_break_glass"]},
        link="subject", within_s=100,
    )  # fmt: skip
    glass = look(0, "emergency 1", act="break_glass")
    start = glass.entry.time
    assert search([glass], rules, now=start + 100) == []
    (found,) = search([glass], rules, now=start + 101)
    assert (found.value, found.first_entry) == (1, 0)
    review = look(50, "emergency 1", act="review_break_glass")
    other = look(50, "emergency 2", act="review_break_glass")
    assert search([glass, review], rules, now=start + 999) == []
    assert len(search([glass, other], rules, now=start + 999)) == 1
    late = look(150, "emergency 1", act="review_break_glass")
    assert len(search([glass, late], rules, now=start + 999)) == 1  # it was late, and stays so
    foreign = look(50, "emergency 1", act="review_break_glass", organisation="telecom")
    assert len(search([glass, foreign], rules, now=start + 999)) == 1


def test_cases_link_a_hit_to_what_came_of_it(look):
    rules = rule(
        "unfollowed", among={"outcomes": ["hit"]}, then={"acts": ["enter_report"]},
        link="case", within_s=100,
    )  # fmt: skip
    hits = [look(at, f"p{at}", f"C-{at}", outcome=Outcome.HIT) for at in range(3)]
    report = look(9, "other", "C-1", act="enter_report", outcome=Outcome.DONE)
    (found,) = search([*hits, report], rules, now=hits[0].entry.time + 500)
    assert (found.value, found.first_entry, found.last_entry) == (2, 0, 2)
    nameless = [look(0, case="", outcome=Outcome.HIT), look(1, case="", act="enter_report")]
    assert len(search(nameless, rules, now=hits[0].entry.time + 500)) == 1


def test_erased_part_gives_no_alarm(look):
    def erased(at):
        item = look(at)
        item.read = lambda: None
        return item

    kinds = [
        rule("spread", window_s=100, most=0, by="organisation"),
        rule("reach", window_s=100, most=0),
        rule("caseless"),
        rule("unfollowed", then={"acts": ["x"]}, link="case", within_s=1),
    ]  # fmt: skip
    for rules in kinds:
        assert search([erased(at) for at in range(9)], rules, now=9**12) == []
        assert search([look(at, case="") for at in range(9)], rules, now=9**12) != []


def test_parts_are_read_only_where_a_rule_looks(look):
    def forbidden():
        raise AssertionError("was read")

    item = look(0, act="screen")
    item.read = forbidden
    search([item], shipped_rules())
    item.entry = replace(item.entry, act="check")
    with pytest.raises(AssertionError):
        search([item], shipped_rules())


def test_shipped_rules_find_what_the_owner_alone_sees(look):
    def found(seen, now=None):
        return {item.rule for item in search(seen, shipped_rules(), now)}

    def quiet(at):
        return look(at, f"p{at}", act="check")

    assert found([quiet(100 * at) for at in range(30)]) == set()
    assert found([quiet(20 * at) for at in range(21)]) == {"analyst-many-subjects"}
    assert found([look(at * HOUR // 2, actor=bytes([65 + at])) for at in range(4)]) == {
        "subject-many-analysts"
    }
    assert found([look(0, case="")]) == {"look-without-case"}
    start = quiet(0).entry.time
    glass = look(0, act="break_glass", outcome=Outcome.DONE, policies=("desk-emergency",))
    assert found([glass], start + 4 * DAY) == {"emergency-unreviewed"}
    assert found([look(0, outcome=Outcome.HIT)], start + 31 * DAY) == {"hit-without-outcome"}
    assert found([look(0, outcome=Outcome.HIT)], start + 29 * DAY) == set()


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("spread", {"by": "actor"}),
        ("spread", {"window_s": 0}),
        ("reach", {"most": -1}),
        ("reach", {"measure": "acts"}),
        ("caseless", {"most": 1}),
        ("unfollowed", {"link": "name"}),
        ("unfollowed", {"then": {"subject": ["x"]}}),
        ("unfollowed", {"within_s": 0}),
    ],
)
def test_rules_over_parts_are_read_strictly(kind, change):
    fields = {
        "spread": {"window_s": 1, "most": 1, "by": "organisation"},
        "reach": {"window_s": 1, "most": 1},
        "caseless": {},
        "unfollowed": {"then": {}, "link": "case", "within_s": 1},
    }[kind]
    rule(kind, **fields)
    with pytest.raises(MalformedMessageError):
        rule(kind, **(fields | change))


def test_ids_tell_findings_apart_and_have_no_number_of_nine_digits(look):
    rules = rule("caseless")
    found = search([look(at * DAY, case="") for at in range(40)], rules)
    assert len({item.id for item in found}) == 40
    assert all(len(item.id) == 14 and item.id[4] == item.id[9] == "-" for item in found)
    again = search([look(at * DAY, case="") for at in range(41)], rules)
    assert [item.id for item in again[:40]] == [item.id for item in found]


@pytest.fixture
def office(tmp_path):
    with open_office(
        tmp_path, "insurer", "insurer/audit", {}, clock=FixedClock(1_795_305_600)
    ) as it:
        yield it


def enter(office, subject, case=""):
    """Enter a refused look; who may look is for the policies."""
    about = About(Verb.CONSULT, "fraud-reports", subject=subject, case=case)
    with pytest.raises(NotPermittedError):
        office.permit("check", about, by=office.person("desk-1", [StaffRole.DESK]))


CASELESS = rule("caseless", among={"acts": ["check"], "outcomes": ["refused"]})


def test_settled_finding_stays_settled_until_it_grows(office, tmp_path):
    officer = Acting(office.person("officer", [StaffRole.COMPLIANCE]), None)
    enter(office, "p1")
    (alarm,) = find_alarms(own_entries(office), CASELESS)
    assert settlement(office, alarm) is None
    place = settle(office, officer, alarm, finding="a training exercise")
    (again,) = find_alarms(own_entries(office), CASELESS)
    known = settlement(office, again)
    assert (known.place, known.finding) == (place, "a training exercise")
    assert settle(office, officer, again, finding="twice") == place
    with open_office(tmp_path, "insurer", "insurer/audit", {}, clock=office.clock) as other:
        assert settlement(other, again) == known
    enter(office, "p2")
    (grown,) = find_alarms(own_entries(office), CASELESS)
    assert grown.id == alarm.id
    assert settlement(office, grown) is None


def test_settling_needs_an_officer_and_a_reason(office):
    enter(office, "p1")
    (alarm,) = find_alarms(own_entries(office), CASELESS)
    person = office.person("someone", [StaffRole.COMPLIANCE])
    for who, finding in (
        (Acting(person, None), " "),
        (Acting(office.person("desk-1", [StaffRole.DESK]), None), "nothing"),
        (Acting(office.own, None), "nothing"),
    ):
        with pytest.raises(NotPermittedError):
            settle(office, who, alarm, finding=finding)
        assert settlement(office, alarm) is None
    last = list(own_entries(office))[-1]
    assert (last.entry.act, last.entry.outcome) == ("settle_alarm", Outcome.REFUSED)


def test_own_log_is_read_with_its_parts_over_the_years(office):
    enter(office, "p1", "C-1")
    office.clock.advance(400 * DAY)
    enter(office, "p2", "C-2")
    seen = list(own_entries(office))
    assert [item.log for item in seen] == ["insurer/audit/2026", "insurer/audit/2027"]
    assert [(item.part.subject, item.part.case) for item in seen] == [("p1", "C-1"), ("p2", "C-2")]
    office.parts.erase_subject("p1", 1)
    assert [item.part is None for item in own_entries(office)] == [True, False]
