"""Alarms: each rule fires where its threshold is passed, and one step below it does not."""

import json
from dataclasses import replace

import pytest

from compliance.exports.alarms import find_alarms
from compliance.exports.rules import FORMAT, parse_rules, shipped_rules
from protocols.errors import MalformedMessageError
from protocols.tlog.entry import Outcome

HOUR, DAY = 3_600, 86_400


def rule(kind, /, **fields):
    common = {"id": f"a-{kind}", "kind": kind, "en": "a", "zh": "一", "among": {}, "by": "actor"}
    value = {"format": FORMAT, "rules": [common | fields]}
    return parse_rules(json.dumps(value).encode())


def numbered(entries):
    return [replace(entry, sequence=number) for number, entry in enumerate(entries)]


def test_rate_fires_above_its_threshold_only(tools):
    rules = rule("rate", measure="acts", window_s=100, most=5)
    burst = [tools.make_entry(10 * at) for at in range(6)]
    assert find_alarms(numbered(burst[:5]), rules) == []
    (found,) = find_alarms(numbered(burst), rules)
    assert (found.value, found.limit) == (6, 5)
    assert (found.first_entry, found.last_entry) == (0, 5)
    assert (found.organisation, found.actor) == ("insurer", "61" * 16)


def test_rate_looks_through_a_sliding_window(tools):
    rules = rule("rate", measure="acts", window_s=100, most=5)
    slow = [tools.make_entry(20 * at) for at in range(50)]  # never more than 5 in 100 s
    assert find_alarms(numbered(slow), rules) == []
    # Six around the edge of any fixed window.
    edge = [tools.make_entry(97 + at) for at in range(6)]
    assert len(find_alarms(numbered(edge), rules)) == 1
    two = [*edge, *(tools.make_entry(1_000 + at) for at in range(6))]
    assert [item.first_entry for item in find_alarms(numbered(two), rules)] == [0, 6]


def test_rate_is_counted_for_each_asker(tools):
    rules = rule("rate", measure="acts", window_s=100, most=5)
    spread = [tools.make_entry(at, actor=bytes([at % 2]) * 16) for at in range(10)]
    assert find_alarms(numbered(spread), rules) == []
    whole = rule("rate", measure="acts", window_s=100, most=5, by="organisation")
    (found,) = find_alarms(numbered(spread), whole)
    assert (found.actor, found.value) == ("", 10)


def test_rate_counts_items_where_it_says_so(tools):
    rules = rule("rate", measure="items", window_s=100, most=1_000)
    entries = [tools.make_entry(at, count=400) for at in range(3)]
    assert find_alarms(numbered(entries[:2]), rules) == []
    assert find_alarms(numbered(entries), rules)[0].value == 1_200


def test_clock_that_runs_back_opens_no_second_window(tools):
    rules = rule("rate", measure="acts", window_s=100, most=5)
    entries = [tools.make_entry(500), *(tools.make_entry(at) for at in range(5))]
    assert len(find_alarms(numbered(entries), rules)) == 1


def test_share_of_refusals_needs_enough_acts(tools):
    rules = rule("refused", window_s=DAY, least=20, share=0.2)

    def day(refused, done):
        made = [tools.refusal(at) for at in range(refused)]
        return numbered([*made, *(tools.make_entry(refused + at) for at in range(done))])

    assert find_alarms(day(19, 0), rules) == []
    assert find_alarms(day(4, 16), rules) == []
    (found,) = find_alarms(day(5, 15), rules)
    assert found.value == 0.25


@pytest.mark.parametrize(
    ("hour", "fires"), [(6, True), (7, False), (21, False), (22, True), (23, True), (0, True)]
)
def test_hours_are_local_ones(tools, hour, fires):
    rules = rule("hours", from_hour=7, until_hour=22, offset_s=8 * HOUR)
    entry = tools.make_entry(1, time=tools.NOW + (hour - 8) * HOUR)  # NOW is 8 o'clock in Taipei
    assert bool(find_alarms(numbered([entry]), rules)) is fires


def test_one_night_is_one_finding(tools):
    rules = rule("hours", from_hour=7, until_hour=22, offset_s=8 * HOUR)
    night = [tools.make_entry(hour * HOUR) for hour in (14, 15, 17, 22, 38)]
    assert [item.value for item in find_alarms(numbered(night), rules)] == [4, 1]


def test_backdated_entry_is_found(tools):
    rules = rule("backdated", most_s=600)
    entries = [tools.make_entry(at) for at in (0, 1_000, 400, 399)]
    (found,) = find_alarms(numbered(entries), rules)
    assert (found.first_entry, found.value) == (3, 601)


def test_rules_look_at_what_they_name(tools):
    rules = rule("rate", measure="acts", window_s=100, most=0,
                 among={"outcomes": ["failed"], "policies": ["x", "desk-checks"]})  # fmt: skip
    failed = tools.make_entry(1, outcome=Outcome.FAILED)
    assert find_alarms(numbered([tools.make_entry(0)]), rules) == []
    assert find_alarms(numbered([replace(failed, policies=("y",))]), rules) == []
    assert len(find_alarms(numbered([failed]), rules)) == 1


def test_shipped_rules_find_the_cases_that_they_are_for(tools):
    def found(entries):
        return {item.rule for item in find_alarms(numbered(entries), shipped_rules())}

    quiet = [tools.make_entry(60 * at) for at in range(200)]
    assert found(quiet) == set()
    assert found([tools.make_entry(at) for at in range(61)]) == {"enumeration-by-person"}
    assert found([tools.make_entry(61 * at) for at in range(251)]) == {"enumeration-by-person-day"}
    items = [tools.make_entry(at, policies=("insurers-look-up",), count=10**6) for at in range(2)]
    assert found(items) == {"enumeration-by-organisation"}
    assert found([tools.refusal(1, policies=("no-case-no-look",))]) == {"no-case"}
    assert found([tools.refusal(20 * HOUR, policies=("within-hours",))]) == {"out-of-hours"}
    assert found([tools.refusal(1, policies=("own-organisation-person",))]) == {"foreign-act"}
    assert found([tools.refusal(at, policies=("say-why",)) for at in range(20)]) == {"many-refused"}
    glass = [tools.make_entry(at * DAY, policies=("desk-emergency",)) for at in range(4)]
    assert found(glass) == {"emergencies"}
    program = {"policies": ("partners-take-part",), "outcome": Outcome.FAILED}
    assert found([tools.make_entry(at, **program) for at in range(21)]) == {"failing"}
    assert found([tools.make_entry(at) for at in (9_000, 0)]) == {"backdated"}


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "guess"},
        {"by": "subject"},
        {"measure": "people"},
        {"window_s": 0},
        {"most": -1},
        {"most": True},
        {"among": {"subject": ["x"]}},
        {"among": {"verbs": ["steal"]}},
        {"among": []},
        {"id": "A b"},
        {"en": ""},
        {"more": 1},
    ],
)
def test_rules_are_read_strictly(change):
    with pytest.raises(MalformedMessageError):
        rule("rate", **({"measure": "acts", "window_s": 1, "most": 1} | change))


def test_rules_with_wrong_hours_or_one_name_are_refused():
    for hours in ({"from_hour": 22, "until_hour": 7}, {"from_hour": 0, "until_hour": 25}):
        with pytest.raises(MalformedMessageError):
            rule("hours", offset_s=0, **hours)
    with pytest.raises(MalformedMessageError):
        rule("hours", from_hour=7, until_hour=22, offset_s=99_999)
    value = json.loads(json.dumps({"format": FORMAT, "rules": []}))
    one = {"id": "a", "kind": "backdated", "en": "a", "zh": "a", "among": {}, "by": "actor",
           "most_s": 1}  # fmt: skip
    for rules in ([], [one, one]):
        with pytest.raises(MalformedMessageError):
            parse_rules(json.dumps(value | {"rules": rules}).encode())
