"""An office decides every act and enters it: once, with what it rests on, across processes."""

import sqlite3
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compliance.agreement.coverage import Lookup, Table
from compliance.agreement.drafting import FRAUD
from compliance.agreement.vocabulary import Channel, Role
from compliance.clock import FixedClock
from compliance.configuration import ConfigError
from compliance.errors import NotPermittedError
from compliance.log.errors import StorageError
from compliance.office.about import About
from compliance.office.opening import open_office
from compliance.policy.actors import Facts, Organisation, StaffRole, hour_at
from compliance.policy.decision import Decision
from compliance.policy.replay import replay
from protocols.tlog.entry import Decision as Answer
from protocols.tlog.entry import Entry, Outcome, Verb

NOW = 1_795_305_600  # 2026-11-22, 08:00 in Taipei
NAMES = ("hub", "insurer", "police", "telecom")
KEYS = {
    name: Ed25519PrivateKey.from_private_bytes(sha256(name.encode()).digest()) for name in NAMES
}
ROOT = Path(__file__).parents[3]
CHECK = About(Verb.CONSULT, "epoch-1/counter", subject="token", case="case 7", reason="at the desk")


@pytest.fixture(scope="module")
def agreed(agree):
    return agree(KEYS)


@pytest.fixture
def clock():
    return FixedClock(NOW)


@pytest.fixture
def reopen(tmp_path, clock, agreed):
    """Open the insurer's office anew, as another process would."""
    made = []

    def opened():
        made.append(
            open_office(tmp_path, "insurer", "insurer/audit", agreed.identities, clock=clock)
        )
        return made[-1]

    yield opened
    for office in made:
        office.close()


@pytest.fixture
def alone(reopen):
    """An office without an agreement."""
    return reopen()


@pytest.fixture
def office(tmp_path, agreed, reopen):
    agreed.keep(tmp_path)
    return reopen()


def entries(office):
    origin = office.yearly.origin()
    if origin not in office.storage.origins():
        return []
    size = office.storage.edge(origin).size
    return [Entry.decode(data) for data in office.storage.entries(origin, 0, size)]


def clerk(office, account="amy", role=StaffRole.DESK):
    return office.person(account, [role])


def check(office, about=CHECK, **changes):
    facts = Facts(hour=hour_at(NOW), channel="counter", case_present=bool(about.case))
    asked = {"by": clerk(office), "facts": facts, "question": Lookup("insurer", Channel.COUNTER)}
    return office.perform("check", about, **(asked | changes))


def test_permitted_act_is_entered_with_what_it_rests_on(office, agreed):
    decision = check(office)
    (entry,) = entries(office)
    assert (entry.organisation, entry.act, entry.verb) == ("insurer", "check", Verb.CONSULT)
    assert (entry.decision, entry.outcome) == (Answer.PERMIT, Outcome.DONE)
    assert (entry.policies, entry.policy_set) == (("desk-checks",), decision.policy_set)
    assert (entry.purpose, entry.basis) == (FRAUD, "tw/pdpa-20")
    assert (entry.agreement.name, entry.agreement.digest) == (
        agreed.agreement.name, agreed.agreement.digest,
    )  # fmt: skip
    assert entry.actor == clerk(office).pseudonym


def test_permission_is_returned_and_not_entered(office):
    decision = office.permit("refuse_run", About(Verb.ALTER, "runs"))
    assert decision.allowed
    assert entries(office) == []
    office.enter(decision, About(Verb.ALTER, "runs"))
    assert len(entries(office)) == 1


def test_denial_is_entered_before_it_is_raised(office):
    with pytest.raises(NotPermittedError, match="no-case-no-look"):
        check(office, replace(CHECK, case="", recipients=("police",), count=4))
    (entry,) = entries(office)
    assert (entry.decision, entry.outcome) == (Answer.DENY, Outcome.REFUSED)
    assert entry.policies == ("no-case-no-look",)
    assert (entry.recipients, entry.count, entry.charge) == ((), 0, None)


def test_denial_names_the_rule_of_the_agreement_that_was_asked(office):
    with pytest.raises(NotPermittedError, match="flows"):
        office.perform("fetch_table", CHECK, question=Table("hub", "insurer"))
    assert entries(office)[0].policies == (
        "no-agreement-no-act", "no-basis-no-flow", "agreement.flows",
    )  # fmt: skip


def test_act_that_nobody_permits_and_one_that_is_none_say_so(office):
    for act, by in (("read_log", clerk(office)), ("fly", None)):
        with pytest.raises(NotPermittedError):
            office.perform(act, About(Verb.ALTER, "partners"), by=by)
    assert [entry.policies for entry in entries(office)] == [("default-deny",), ("error.request",)]


def test_without_an_agreement_nothing_that_needs_one(alone, agreed):
    with pytest.raises(NotPermittedError, match="no agreement is in force"):
        check(alone)
    entry = entries(alone)[0]
    assert (entry.agreement, entry.basis) == (None, "none")
    assert entry.policies == ("no-agreement-no-act", "no-basis-no-flow", "agreement.agreement")
    assert alone.agreement() is None
    # What is kept later counts at once.
    alone.agreements.keep(agreed.signed)
    check(alone, by=clerk(alone, role=StaffRole.DESK))
    assert len(entries(alone)) == 2


def test_revocation_ends_it_at_once(office, agreed, clock):
    check(office)
    office.agreements.keep_revocation(agreed.revocation("police", now=clock.now()), now=clock.now())
    with pytest.raises(NotPermittedError, match="no agreement is in force"):
        check(office)


def test_kinds_are_those_of_the_agreement(office, alone, agreed, clock):
    assert office.own == Organisation("insurer", Role.INSURER)
    assert [office.party(name).kind for name in ("police", "hub", "bank")] == [
        Role.POLICE, Role.HUB, None,
    ]  # fmt: skip
    # After its end the newest one still says who is what: the end is no reason to forget.
    office.agreements.keep_revocation(agreed.revocation("police", now=clock.now()), now=clock.now())
    assert office.party("telecom").kind is Role.TELECOM


def test_stranger_is_of_no_kind(alone):
    assert alone.own == Organisation("insurer", None)
    assert alone.party("hub").kind is Role.HUB


def test_refusal_by_another_rule_has_its_code_and_a_failure_both(office):
    decision = office.permit("refuse_run", CHECK)
    about = replace(CHECK, count=3, recipients=("police",))
    office.enter_refusal(decision, about, "quota_exhausted")
    office.enter_failure(decision, about, "too_few_holders")
    refused, failed = entries(office)
    assert (refused.decision, refused.outcome) == (Answer.DENY, Outcome.REFUSED)
    assert (refused.policies, refused.count) == (("quota_exhausted",), 0)
    assert (failed.decision, failed.outcome) == (Answer.PERMIT, Outcome.FAILED)
    assert (failed.policies[-1], failed.count) == ("too_few_holders", 3)


def test_private_part_has_who_why_and_a_decision_that_replays(office):
    check(office)
    with pytest.raises(NotPermittedError):
        check(office, by=clerk(office, "carl", StaffRole.COMPLIANCE))
    found = entries(office)
    for place, entry in zip(office.parts.find_subject("token"), found, strict=True):
        part = office.parts.read(place, entry.commitment)
        assert (part.case, part.reason) == ("case 7", "at the desk")
        record = Decision.decode(part.decision.encode())
        assert record.allowed is (entry.decision is Answer.PERMIT)
        assert replay(record, office.policies, office.agreements) == ()
        for secret in (b"token", b"case 7", b"desk"):
            assert secret not in entry.encode().replace(b"desk-checks", b"")


def test_people_have_pseudonyms_that_only_this_office_gives(office, tmp_path, agreed, clock):
    assert clerk(office) == clerk(office)
    assert clerk(office).pseudonym != clerk(office, "bob").pseudonym
    with open_office(
        tmp_path / "other", "insurer", "insurer/audit", agreed.identities, clock=clock
    ) as other:
        assert clerk(other).pseudonym != clerk(office).pseudonym


def test_repeated_act_of_once_has_one_entry_each_outcome(office, reopen):
    about = replace(CHECK, once=True)
    decision = office.permit("refuse_run", about)
    first = office.enter(decision, about)
    assert office.enter(decision, about) == reopen().enter(decision, about) == first
    assert office.enter_failure(decision, about, "late") != first
    assert office.enter(decision, replace(about, subject="another")) != first
    office.enter(office.decide("accept_run"), about)
    assert [(e.act, e.outcome) for e in entries(office)] == [
        ("refuse_run", Outcome.DONE), ("refuse_run", Outcome.FAILED), ("refuse_run", Outcome.DONE),
        ("accept_run", Outcome.DONE),
    ]  # fmt: skip


def test_act_without_once_is_entered_every_time(office):
    for _ in range(3):
        office.perform("refuse_run", CHECK)
    assert len(entries(office)) == 3


def test_erased_subject_leaves_the_entry(office):
    check(office)
    before = entries(office)
    office.parts.erase_subject("token", now=NOW)
    assert entries(office) == before
    assert office.parts.find_subject("token") == []


def test_where_nothing_can_be_entered_nothing_is_permitted_to_happen(office, tmp_path):
    connection = sqlite3.connect(tmp_path / "log" / "log.sqlite")
    connection.execute("ALTER TABLE tlog_entry RENAME TO gone")
    connection.commit()
    connection.close()
    with pytest.raises(StorageError):
        office.perform("refuse_run", CHECK)
    with pytest.raises(StorageError):
        office.perform("remove_partner", CHECK)


def test_lost_key_is_told_and_not_made_anew(tmp_path, reopen):
    reopen().close()
    (tmp_path / "log" / "parts.key").unlink()
    with pytest.raises(ConfigError, match="restore"):
        reopen()


def test_two_processes_enter_every_act_into_one_log(tmp_path, office):
    script, acts = Path(__file__).with_name("office_worker.py"), 15
    words = [sys.executable, script, tmp_path, str(NOW), str(acts)]
    running = [subprocess.Popen(words, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}) for _ in range(2)]
    assert [process.wait(60) for process in running] == [0, 0]
    found = entries(office)
    assert [entry.sequence for entry in found] == list(range(len(found)))
    once = [office.parts.find_subject(f"run {number}") for number in range(acts)]
    # Two processes that do the same act in the same moment may both enter it, never neither.
    assert all(1 <= len(places) <= 2 for places in once)
    assert len(found) == 2 * acts + sum(len(places) for places in once)
    about = About(Verb.ALTER, "runs", subject="run 0", once=True)
    assert office.enter(office.permit("refuse_run", about), about) in once[0]
    assert len(entries(office)) == len(found)
