"""Every pair of an actor and an act, as two tables that people wrote and can read.

matrix.csv has a line for each act with everything in order: `yes` or `no` for the program
of each kind of organisation, and for each role of staff the first letters of the
organisations at which it may. `on` says whose the thing is that is acted upon.
conditions.csv has what changes an answer: one thing is out of order, and nothing else.
"""

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from compliance.agreement.coverage import Coverage
from compliance.agreement.drafting import FRAUD
from compliance.agreement.vocabulary import Role
from compliance.policy.actors import Facts, Organisation, Person, Situation, StaffRole
from compliance.policy.policyset import shipped_policies

FOLDER = Path(__file__).parent
KINDS = tuple(Role)
LETTERS = {kind.value[0].upper(): kind for kind in KINDS}
POLICIES = shipped_policies()


def read(name):
    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


MATRIX, CONDITIONS = read("matrix.csv"), read("conditions.csv")
ON = {line["act"]: line["on"] for line in MATRIX}


def organisation(kind):
    return Organisation(str(kind), Role(kind))


def staff(roles, kind, number):
    """Return a person; `operator+approver` has two roles."""
    found = frozenset(StaffRole(role) for role in roles.split("+"))
    return Person(number.to_bytes(16, "big"), organisation(kind), found)


def actor(text):
    role, _, kind = text.rpartition(" at ")
    return staff(role, kind, 1) if role else organisation(kind)


def home(who):
    return who.organisation if isinstance(who, Person) else who


def in_order(who, act):
    """Return the situation in which everything is in order for an act."""
    person = isinstance(who, Person)
    channel = {"check": "counter" if person else "online", "screen": "screening"}.get(act, "")
    facts = Facts(
        hour=10, channel=channel, case_present=True, reason_given=True,
        second=staff("approver", home(who).kind, 2) if person else None,
    )  # fmt: skip
    return Situation(facts, True, Coverage(purpose=FRAUD, bases=("tw/pdpa-20-4",)))


def resource(who, on):
    return home(who) if on == "own" else organisation(on)


def decide(who, act, on, situation):
    return POLICIES.decide(who, act, resource(who, on), situation, at=1)


def cells():
    for line in MATRIX:
        for kind in KINDS:
            yield line["act"], organisation(kind), line[kind] == "yes"
        for role in StaffRole:
            for letter, kind in LETTERS.items():
                yield line["act"], staff(role, kind, 1), letter in line[role]


def test_every_act_stands_in_the_matrix_once():
    acts = [line["act"] for line in MATRIX]
    assert sorted(acts) == sorted(POLICIES.acts)
    for line in MATRIX:
        assert {line[kind] for kind in KINDS} <= {"yes", "no"}
        for role in StaffRole:
            assert line[role] == "-" or set(line[role]) <= set(LETTERS), line


def test_every_pair_is_decided_as_the_matrix_says():
    wrong = []
    for act, who, expected in cells():
        decision = decide(who, act, ON[act], in_order(who, act))
        if decision.allowed is not expected:
            wrong.append((act, who, decision.reason))
        if decision.errors:
            # An act that is not for this type of actor at all does not fit the schema.
            assert not expected
    assert not wrong


@pytest.mark.parametrize("line", CONDITIONS, ids=lambda line: " | ".join(line.values()))
def test_one_thing_out_of_order(line):
    who, act = actor(line["who"]), line["act"]
    situation, on = changed(who, line["change"], in_order(who, act), ON[act])
    if line["expected"] == "no":
        assert decide(who, act, ON[act], in_order(who, act)).allowed, "only the change denies"
    decision = decide(who, act, on, situation)
    assert decision.allowed is (line["expected"] == "yes"), decision.reason
    assert not decision.errors
    if not decision.allowed:
        assert decision.policies or "on " in line["change"], "a safeguard says why"


def changed(who, change, situation, on):
    """Return the situation and the resource after one change, by its words in the table."""
    facts, coverage = situation.facts, situation.coverage
    elsewhere = Role.TELECOM if home(who).kind is not Role.TELECOM else Role.POLICE
    match change.split():
        case ["no", "agreement"]:
            return Situation(facts, False, coverage), on
        case ["not", "covered"]:
            coverage = replace(coverage, rule="caps", reason="too much")
        case ["no", "basis"]:
            coverage = replace(coverage, bases=())
        case ["no", thing]:
            facts = replace(facts, **ABSENT[thing])
        case ["second", "is", "oneself"]:
            facts = replace(facts, second=who)
        case ["second", "is", "elsewhere"]:
            facts = replace(facts, second=staff("approver", elsewhere, 2))
        case ["second", "is", role]:
            facts = replace(facts, second=staff(role, home(who).kind, 2))
        case ["hour", hour, *emergency]:
            facts = replace(facts, hour=int(hour), glass_broken=bool(emergency))
        case ["channel", channel]:
            facts = replace(facts, channel=channel)
        case ["on", other]:
            on = other
    return Situation(facts, situation.agreement_in_force, coverage), on


ABSENT = {
    "case": {"case_present": False},
    "reason": {"reason_given": False},
    "second": {"second": None},
}


def test_every_change_changes_something():
    for line in CONDITIONS:
        who, act = actor(line["who"]), line["act"]
        before = in_order(who, act), ON[act]
        assert changed(who, line["change"], *before) != before, line


def test_every_safeguard_denies_something_in_the_tables():
    denied = set()
    for line in CONDITIONS:
        who = actor(line["who"])
        situation, on = changed(who, line["change"], in_order(who, line["act"]), ON[line["act"]])
        decision = decide(who, line["act"], on, situation)
        denied |= set(() if decision.allowed else decision.policies)
    safeguards = POLICIES.texts["safeguards.cedar"]
    missing = {name for name in POLICIES.titles if f'@id("{name}")' in safeguards} - denied
    assert not missing


def test_every_permit_permits_something_in_the_matrix():
    used = set()
    for act, who, _ in cells():
        used |= set(decide(who, act, ON[act], in_order(who, act)).policies)
    permits = {
        name for name in POLICIES.titles
        if f'@id("{name}")' not in POLICIES.texts["safeguards.cedar"]
    }  # fmt: skip
    assert permits <= used
