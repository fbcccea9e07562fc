"""The incident file: who may do what, what may stand there, and that nothing of it is lost."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from compliance.clock import FixedClock
from compliance.errors import LogCorruptError, NotPermittedError
from compliance.exports.own import own_entries
from compliance.incidents.book import Incidents
from compliance.incidents.clocks import ClockState
from compliance.incidents.errors import IncidentError
from compliance.incidents.incident import Affected, Kind, Span
from compliance.incidents.texts import check_text
from compliance.journal import Journal
from compliance.office.opening import open_office
from compliance.policy.actors import StaffRole
from protocols.errors import MalformedMessageError
from protocols.jcs import encode_jcs
from protocols.tlog.entry import Outcome

NOW, HOUR = 1_795_305_600, 3_600
WORKER = Path(__file__).with_name("incident_worker.py")


def entered(world):
    """What the own log says: act, matter, outcome and reason of every entry."""
    return [
        (item.entry.act, item.entry.subject_matter, item.entry.outcome, item.part.reason)
        for item in own_entries(world.office)
    ]


def test_incident_goes_its_way_and_every_event_has_its_entry(world, opening):
    desk = world.officer
    affected = Affected(flows=("report:police:insurer",), data_sets=("fraud-reports",))
    assert desk.open(opening(affected=affected)).number == 1
    world.clock.advance(HOUR)
    desk.note(1, "only one file was sent", Affected(records=120, alarms=("c0de-0000-1111",)))
    desk.tell(1, "by the form of the authority", told_at=NOW + HOUR // 2, deadline="authority-72h")
    desk.tell(1, "asked to delete the file", told_at=NOW, whom="the partner that received it")
    desk.tell(1, "by letter", told_at=NOW + HOUR, deadline="subjects-72h")
    incident = desk.close(1, finding="a wrong address in a list", reason="deleted, and confirmed")
    assert world.book.find(1) == incident
    assert [event.kind for event in incident.events] == [
        Kind.OPENED, Kind.NOTED, Kind.TOLD, Kind.TOLD, Kind.TOLD, Kind.CLOSED,
    ]  # fmt: skip
    assert incident.affected == replace(affected, records=120, alarms=("c0de-0000-1111",))
    assert {clock.state for clock in incident.clocks(NOW)} == {ClockState.TOLD}
    assert incident.closing.second == world.office.person("two", []).pseudonym
    found = entered(world)
    assert [item[0] for item in found] == ["open_incident"] * 5 + ["close_incident"]
    assert {item[1:3] for item in found} == {("incident/1", Outcome.DONE)}
    for event, item in zip(incident.events, own_entries(world.office), strict=True):
        assert (event.place.origin, event.place.index) == (item.log, item.entry.sequence)
        assert event.by == item.entry.actor
    verbs = [item.entry.verb.value for item in own_entries(world.office)]
    assert verbs == ["consult", "consult", "disclose", "disclose", "disclose", "consult"]


def test_clocks_run_from_the_notice_and_stop_when_told(world, opening):
    desk = world.officer
    incident = desk.open(opening(sector="telecom", noticed=NOW - 2 * HOUR))
    first, form, subjects = incident.clocks(NOW)
    assert (first.state, first.left_s) == (ClockState.OVERDUE, -HOUR)
    assert (form.state, form.left_s) == (ClockState.DUE, 70 * HOUR)
    told = desk.tell(1, "by telephone", told_at=NOW - HOUR, deadline="authority-1h")
    assert told.clocks(NOW)[0].state is ClockState.TOLD
    again = desk.tell(1, "once more", told_at=NOW, deadline="authority-1h")
    assert again.clocks(NOW)[0].told_at == NOW - HOUR  # the first word counts
    assert [clock.deadline.id for clock in again.untold(NOW)] == ["authority-72h", "subjects-72h"]
    assert subjects.deadline.standing.value == "to_be_confirmed"


def test_everybody_opens_and_only_officers_close_with_a_second_person(world, opening):
    world.desk(StaffRole.DESK).open(opening())
    world.desk(StaffRole.OPERATOR).note(1, "the sender was stopped")
    closing = {"finding": "a mistake", "reason": "mended", "untold": "nobody was at risk"}
    for desk in (
        world.desk(StaffRole.DESK, second=(StaffRole.APPROVER,)),
        world.desk(StaffRole.COMPLIANCE),
        world.desk(StaffRole.COMPLIANCE, second=(StaffRole.DESK,)),
    ):
        with pytest.raises(NotPermittedError):
            desk.close(1, **closing)
        assert world.book.find(1).is_open
        assert entered(world)[-1][:3] == ("close_incident", "incident/1", Outcome.REFUSED)
    with pytest.raises(NotPermittedError):
        world.desk().open(opening())  # the program itself
    assert len(world.book.all()) == 1
    world.officer.close(1, **closing)


def test_closing_needs_everybody_told_or_a_word_why_not(world, opening):
    desk = world.officer
    desk.open(opening())
    desk.tell(1, "by form", told_at=NOW, deadline="authority-72h")
    before = len(entered(world))
    with pytest.raises(IncidentError, match="subjects-72h not told"):
        desk.close(1, finding="a mistake", reason="mended")
    assert len(entered(world)) == before
    closed = desk.close(1, finding="a mistake", reason="mended", untold="no risk: sealed files")
    assert closed.clocks(NOW + 999 * HOUR)[1].state is ClockState.NOT_TOLD


def test_nothing_follows_a_closing(world, opening):
    desk = world.officer
    desk.open(opening())
    desk.close(1, finding="a mistake", reason="mended", untold="no risk")
    for act in (
        lambda: desk.note(1, "more"),
        lambda: desk.tell(1, "more", told_at=NOW, deadline="authority-72h"),
        lambda: desk.close(1, finding="x", reason="y", untold="z"),
        lambda: desk.note(2, "of another"),
        lambda: desk.export(7, reason="why"),
    ):
        with pytest.raises(IncidentError):
            act()
    assert desk.open(opening()).number == 2


@pytest.mark.parametrize(
    "text",
    [
        "A123456789 was sent", "ａ１２３４５６７８９ was sent", "of AC01234567",
        "call 0912-345-678", "call 0912345678", "call +886 912 345 678", "call (02) 2345-6789",
        "account 013-123456789012", "number 4444 3333 2222 1111", "number 123456789",
        "somebody@example.com wrote", "two\nlines", "", "x" * 1_501,
    ],
)  # fmt: skip
def test_text_with_an_identifier_is_refused_and_not_repeated(text):
    with pytest.raises(MalformedMessageError) as caught:
        check_text(text, "what")
    words = [word for word in text.split() if any(map(str.isdigit, word))]
    assert not any(word in str(caught.value) for word in words)


def test_refused_text_leaves_neither_entry_nor_incident(world, opening):
    desk = world.officer
    for wrong in ({"text": "A123456789 was sent"}, {"affected": Affected(flows=("A123456789",))}):
        with pytest.raises(MalformedMessageError):
            desk.open(opening(**wrong))
    assert world.book.all() == []
    assert entered(world) == []
    desk.open(opening())
    for act in (
        lambda: desk.note(1, "of A123456789"),
        lambda: desk.tell(1, "of A123456789", told_at=NOW, whom="others"),
        lambda: desk.tell(1, "by form", told_at=NOW, whom="A123456789"),
        lambda: desk.close(1, finding="of A123456789", reason="x", untold="y"),
        lambda: desk.close(1, finding="x", reason="of A123456789", untold="y"),
        lambda: desk.close(1, finding="x", reason="y", untold="of A123456789"),
    ):
        with pytest.raises(MalformedMessageError):
            act()
    assert len(world.book.find(1).events) == len(entered(world)) == 1


def test_text_with_dates_times_and_counts_is_taken():
    text = (
        "2026-11-22 08:15 +0800: 12,000 records of run-7, entries 40-61, version 1.2.3 (逾一百筆)"
    )
    assert check_text(text, "what") == text


def test_what_cannot_be_affected_is_refused(world, opening):
    own = "insurer/audit/2026"
    for affected in (
        Affected(data_sets=("two words",)), Affected(records=-1), Affected(persons=True),
        Affected(alarms=("x",) * 2), Affected(evidence=(Span(own, 0, 5),)),
        Affected(evidence=(Span("hub/audit/2026", 0, 0),)), Affected(evidence=(Span(own, 3, 1),)),
    ):  # fmt: skip
        with pytest.raises(MalformedMessageError):
            world.officer.open(opening(affected=affected))
    assert world.book.all() == []


def test_evidence_names_entries_that_are_there(world, opening):
    world.officer.open(opening())
    span = Span("insurer/audit/2026", 0, 0)
    assert world.officer.note(1, "see there", Affected(evidence=(span,))).affected.evidence == (
        span,
    )


def test_times_that_cannot_be_are_refused(world, opening):
    with pytest.raises(MalformedMessageError, match="future"):
        world.officer.open(opening(noticed=NOW + 1))
    world.officer.open(opening())
    for told_at in (NOW + 1, NOW - 2 * HOUR):
        with pytest.raises(MalformedMessageError):
            world.officer.tell(1, "by form", told_at=told_at, deadline="authority-72h")
    with pytest.raises(MalformedMessageError, match="take one of authority-72h, subjects-72h"):
        world.officer.tell(1, "by form", told_at=NOW, deadline="authority-1h")
    assert len(world.book.find(1).events) == 1


def test_looking_makes_no_file(tmp_path):
    book = Incidents(tmp_path)
    assert book.all() == []
    with pytest.raises(IncidentError):
        book.find(1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "guessed"}, {"number": 2}, {"at": -1}, {"by": "00"}, {"more": 1},
        {"affected": {}}, {"index": "0"},
    ],
)  # fmt: skip
def test_file_that_was_changed_stops(world, opening, change):
    world.officer.open(opening())
    journal = Journal(world.root / "incidents" / "incidents.journal")
    value = {"kind": "noted", "number": 1, "at": 1, "by": "00" * 16, "log": "a/2026", "index": 0,
             "text": "x", "affected": Affected().fields()}  # fmt: skip
    with journal.exclusive():
        journal.append(encode_jcs(value | change))
    journal.close()
    with pytest.raises(LogCorruptError, match=r"restore incidents/incidents\.journal"):
        world.book.all()


def kill_after(workers, told, wait_s):
    """Let processes work until each has told something, and a moment more."""
    try:
        ends_at = time.monotonic() + 60
        while not all(file.exists() and file.stat().st_size for file in told):
            assert time.monotonic() < ends_at, "the workers did not come so far"
            time.sleep(0.005)
        time.sleep(wait_s)
    finally:
        for worker in workers:
            os.kill(worker.pid, signal.SIGKILL)
            worker.wait()


def test_killed_processes_leave_whole_incidents_with_numbers_of_their_own(tmp_path):
    told = [tmp_path / f"told-{number}" for number in range(3)]
    root = tmp_path / "insurer"
    workers = [subprocess.Popen([sys.executable, WORKER, root, file]) for file in told]
    kill_after(workers, told, random.Random(11).uniform(0.1, 0.4))
    incidents = Incidents(root).all()
    lines = [
        line for file in told for line in file.read_text().splitlines(keepends=True)
        if line.endswith("\n")
    ]  # fmt: skip
    numbers = [int(line) for line in lines]
    assert len(set(numbers)) == len(numbers)
    assert [item.number for item in incidents] == list(range(1, len(incidents) + 1))
    # All that was told is there; each killed process may have written one more.
    assert set(numbers) <= {item.number for item in incidents}
    assert len(incidents) - len(numbers) <= len(workers)
    with open_office(root, "insurer", "insurer/audit", {}, clock=FixedClock(NOW)) as office:
        entries = {(item.log, item.entry.sequence): item.entry for item in own_entries(office)}
    for incident in incidents:
        (event,) = incident.events
        entry = entries[event.place.origin, event.place.index]
        assert entry.subject_matter == f"incident/{incident.number}"
    # An entry without an incident is at most what a kill left between the two.
    assert 0 <= len(entries) - len(incidents) <= len(workers)
