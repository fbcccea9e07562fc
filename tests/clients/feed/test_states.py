"""The life of a report, step by step, and how reports on one identifier become one record."""

from itertools import permutations, product

import pytest
from hypothesis import given as each
from hypothesis import strategies as st

from clients.feed.entries import Details, Entry, last_month
from clients.feed.merging import merge_reports
from clients.feed.register import Actor, Effect
from clients.feed.reports import Report
from clients.feed.states import check_step, state_name
from clients.feed.withdrawing import read_numbers, withdraw_reports
from protocols.errors import InvalidTableError, OutOfTurnError
from protocols.lookup.payload import Category, Slot, SourceClass, Status, Use

LEGAL = {
    (None, Status.REPORTED), (None, Status.CONFIRMED),
    (Status.REPORTED, Status.CONFIRMED), (Status.REPORTED, Status.WITHDRAWN),
    (Status.REPORTED, Status.EXPIRED), (Status.CONFIRMED, Status.WITHDRAWN),
    (Status.CONFIRMED, Status.EXPIRED),
}  # fmt: skip
MONTH = 322


@pytest.mark.parametrize(("before", "after"), list(product([None, *Status], Status)))
def test_only_the_steps_of_a_reports_life_are_legal(before, after):
    if (before, after) in LEGAL:
        check_step(before, after)
        return
    with pytest.raises(OutOfTurnError, match=f"{state_name(before)} -> {state_name(after)}"):
        check_step(before, after)


def report(status, **changes):
    fields = {
        "report_id": "R1", "canonical": b"synthetic", "slot": Slot.SUSPECT,
        "category": Category.LOAN, "source": SourceClass.POLICE, "status": status,
        "first": 320, "last": 321, "use": Use.COUNTER,
    } | changes  # fmt: skip
    return Report(**fields)


def reach(register, state, actor):
    """Bring a report into a state by legal steps."""
    path = {
        Status.REPORTED: [Status.REPORTED], Status.CONFIRMED: [Status.CONFIRMED],
        Status.WITHDRAWN: [Status.REPORTED, Status.WITHDRAWN],
        Status.EXPIRED: [Status.CONFIRMED, Status.EXPIRED],
    }[state]  # fmt: skip
    for step in path:
        register.enter(report(step), 345, actor)


@pytest.mark.parametrize(("before", "after"), list(product(Status, Status)))
def test_register_takes_legal_steps_and_refuses_the_others(town, before, after):
    register, actor = town.register(), town.actor("because")
    reach(register, before, actor)
    history = register.history("R1")
    if before is after:
        assert register.enter(report(after), 345, actor) is Effect.UNCHANGED
        assert register.history("R1") == history
    elif (before, after) in LEGAL:
        assert register.enter(report(after), 345, actor) is Effect.CHANGED
        assert register.history("R1") == [*history, (before, after, actor)]
    else:
        with pytest.raises(OutOfTurnError):
            register.enter(report(after), 345, actor)
        assert register.history("R1") == history


@pytest.mark.parametrize("state", Status)
def test_row_without_status_leaves_the_state(town, state):
    register, actor = town.register(), town.actor()
    reach(register, state, actor)
    assert register.enter(report(None), 345, actor) is Effect.UNCHANGED
    changed = register.enter(report(None, last=322), 346, actor)
    standing = state in {Status.REPORTED, Status.CONFIRMED}
    assert changed is (Effect.CHANGED if standing else Effect.UNCHANGED)
    assert register.history("R1")[-1][1] is state


def test_report_without_status_begins_as_reported(town):
    register = town.register()
    register.enter(report(None), 345, Actor("officer", 7, ""))
    assert register.history("R1") == [(None, Status.REPORTED, Actor("officer", 7, ""))]


def test_withdrawal_takes_all_that_a_report_names_and_no_other(town, given):
    phone = {"kind": "phone", "value": "0912-345-678"}
    town.take_in([given(1), given(1, **phone), given(2), given(3, status="confirmed")])
    register = town.register()
    found = withdraw_reports(
        register,
        ["R1", "R3", "R9", "x" * 200],
        town.actor("wrong person"),
        enter=lambda _count: None,
    )
    assert (found.withdrawn, found.unchanged) == (2, 0)
    assert [(one.row, one.field) for one in found.refusals] == [(3, "report_id"), (4, "report_id")]
    states = {state: count for state, _, count in register.counts()}
    assert states == {Status.REPORTED: 1, Status.WITHDRAWN: 3}
    again = withdraw_reports(register, ["R1"], town.actor(), enter=lambda _count: None)
    assert (again.withdrawn, again.unchanged, again.refusals) == (0, 1, [])
    assert register.history("R3")[-1][2].reason == "wrong person"


def test_expired_report_cannot_be_withdrawn(town, given):
    town.take_in([given(1)])
    town.take_in([given(1, status="expired")])
    found = withdraw_reports(town.register(), ["R1"], town.actor(), enter=lambda _count: None)
    assert "expired -> withdrawn" in found.refusals[0].rule


def test_numbers_of_reports_come_one_a_line():
    assert read_numbers("\ufeffR1\r\n\r\n R2 \n".encode()) == ["R1", "R2"]
    with pytest.raises(InvalidTableError):
        read_numbers(b"\n \n")


def entry(token, state, *, expires=340, **changes):
    fields = {
        "report_id": token, "category": Category.LOAN, "source": SourceClass.POLICE,
        "use": Use.COUNTER, "first": 310, "last": 316, "until": None, "canary": False,
    } | changes  # fmt: skip
    return Entry(token.encode(), state, expires, Details(**fields))


def merged(entries, slot=Slot.SUSPECT):
    return merge_reports(entries, slot=slot, contributor=7, reference=bytes(12), month=MONTH)


def test_strongest_status_decides_the_record():
    entries = [
        entry("a", Status.REPORTED, category=Category.JOB, last=321, use=Use.COUNTER),
        entry("b", Status.CONFIRMED, first=305, last=318, use=Use.SCREENING, expires=342),
        entry("c", Status.CONFIRMED, first=309, last=320, use=Use.CARE, category=Category.ROMANCE,
              source=SourceClass.BANK, expires=341),
        entry("d", Status.WITHDRAWN, last=322),
        entry("e", Status.CONFIRMED, last=322, expires=MONTH - 1),
    ]  # fmt: skip
    for order in permutations(entries):
        found = merged(list(order))
        assert (found.status, found.category, found.source) == (
            Status.CONFIRMED, Category.ROMANCE, SourceClass.BANK
        )  # fmt: skip
        assert (found.first, found.last, found.expires) == (305, 320, 342)
        # The unconfirmed report's permission for the counter is not lent to the confirmed ones.
        assert found.use == Use.SCREENING | Use.CARE


def test_withdrawn_alone_is_a_correction_and_nothing_is_nothing():
    assert merged([entry("a", Status.WITHDRAWN)]).status is Status.WITHDRAWN
    both = [entry("a", Status.WITHDRAWN), entry("b", Status.REPORTED)]
    assert merged(both).status is Status.REPORTED
    assert merged([entry("a", Status.WITHDRAWN, expires=MONTH - 1)]) is None
    assert merged([]) is None


def test_real_report_on_a_canary_makes_a_real_record():
    assert merged([entry("a", Status.REPORTED, canary=True)]).canary
    two = [entry("a", Status.REPORTED, canary=True, last=322), entry("b", Status.REPORTED)]
    assert not merged(two).canary


def test_record_stands_through_its_last_month():
    assert merged([entry("a", Status.REPORTED, expires=MONTH)]) is not None


@pytest.mark.parametrize(("until", "expected"), [(None, 345), (330, 330), (400, 345), (300, 321)])
def test_last_month_is_retention_or_what_the_report_says(until, expected):
    assert last_month(321, 24, until) == expected


@each(
    st.builds(
        Details,
        report_id=st.text(st.characters(codec="utf-8"), max_size=40),
        category=st.sampled_from(Category),
        source=st.sampled_from(SourceClass),
        use=st.integers(1, 7).map(Use),
        first=st.integers(0, 400),
        last=st.integers(0, 400),
        until=st.none() | st.integers(0, 400),
        canary=st.booleans(),
    )
)
def test_details_read_back_as_written(details):
    assert Details.decode(details.encode()) == details
