"""Acting: passwords, then the policies; a second person at once, or by a consent used once."""

import re
import subprocess
import sys
from dataclasses import replace

import pytest

from compliance.configuration import ConfigError
from compliance.errors import NotPermittedError
from compliance.office.about import About
from compliance.policy.actors import Organisation, StaffRole
from compliance.staff.accounts import State, changed
from compliance.staff.changes import suspend_account
from compliance.staff.consents import LASTS_S, Stage
from compliance.staff.errors import CredentialsError
from protocols.tlog.entry import Outcome, Verb

ACT = "grant_role"
ABOUT = About(Verb.ALTER, "staff", subject="account paul", reason="new colleague")


def perform(people, who, about=ABOUT, **more):
    return who.perform(people.office, ACT, about, what="add paul", **more)


def refused(people, name="amy", about=ABOUT):
    with pytest.raises(NotPermittedError) as told:
        perform(people, people.who(name), about)
    return str(told.value)


def agree(people, number, name="otto"):
    people.staff.consents.agree(number, people.staff.accounts()[name], now=people.clock.now())


def test_without_a_name_the_program_acts(manned):
    who = manned.who()
    assert who.by == manned.office.own
    assert isinstance(who.by, Organisation)
    assert (who.second, who.account) == (None, "")


def test_a_person_acts_under_a_pseudonym_with_its_roles(manned):
    who = manned.who("amy", "otto")
    assert who.by == manned.office.person("amy", [StaffRole.APPROVER])
    assert who.second == manned.office.person("otto", [StaffRole.COMPLIANCE])
    assert "amy" not in repr(who)


def test_a_wrong_password_of_either_ends_it(manned):
    for names in (("amy", "nobody"), ("nobody", "amy")):
        with pytest.raises(CredentialsError):
            manned.who(*names)
    with pytest.raises(ConfigError, match="--as"):
        manned.who("", "amy")


def test_without_a_second_person_a_request_waits_and_the_refusal_is_entered(manned):
    assert "request 1 waits for a second person: agree to 1" in refused(manned)
    (request,) = manned.staff.consents.open(manned.clock.now())
    assert (request.act, request.what, request.asker) == (ACT, "add paul", "amy")
    assert [entry.outcome for entry in manned.entries()] == [Outcome.REFUSED]


def test_a_consent_lets_the_same_act_through_once(manned):
    refused(manned)
    agree(manned, 1)
    decision = perform(manned, manned.who("amy"))
    assert decision.situation.facts.second == manned.who("otto").by
    assert "request 2 waits" in refused(manned)
    outcomes = [entry.outcome for entry in manned.entries()]
    assert outcomes == [Outcome.REFUSED, Outcome.DONE, Outcome.REFUSED]


@pytest.mark.parametrize(
    "changes", [{"reason": "another"}, {"subject": "account eve"}, {"document": bytes(32)}], ids=str
)
def test_a_consent_is_for_exactly_what_was_asked(manned, changes):
    refused(manned)
    agree(manned, 1)
    assert "request 2 waits" in refused(manned, about=replace(ABOUT, **changes))
    assert manned.staff.consents.open(manned.clock.now())[0].stage is Stage.AGREED


def test_a_consent_serves_nobody_else(manned, hire):
    hire(ben="approver")
    refused(manned)
    agree(manned, 1)
    assert "request 2 waits" in refused(manned, "ben")


def test_who_may_not_act_at_all_files_no_request(manned):
    said = refused(manned, "dora")
    assert "request" not in said
    assert manned.staff.consents.open(manned.clock.now()) == ()
    assert "request" not in refused(manned, about=About(Verb.ALTER, "staff"))
    assert manned.staff.consents.open(manned.clock.now()) == ()


def test_a_declined_request_says_why(manned):
    refused(manned)
    otto = manned.staff.accounts()["otto"]
    manned.staff.consents.decline(1, otto, "not before June", now=manned.clock.now())
    assert "request 1 was declined: not before June" in refused(manned)


def test_an_expired_consent_is_asked_for_again(manned):
    refused(manned)
    agree(manned, 1)
    manned.clock.advance(LASTS_S)
    assert "request 2 waits" in refused(manned)


def test_who_was_suspended_since_has_agreed_to_nothing(manned, hire):
    hire(ben="approver")
    refused(manned)
    agree(manned, 1)
    who = manned.who("amy", "ben")
    suspend_account(manned.staff, manned.office, who, "otto", reason="left")
    assert "may agree no longer" in refused(manned)
    assert manned.staff.consents.open(manned.clock.now())[0].stage is Stage.AGREED


def test_who_lost_the_role_since_has_agreed_to_nothing(manned, hire):
    hire(ben="approver")
    refused(manned)
    agree(manned, 1)
    with manned.staff.exclusive() as (accounts, store):
        desk = frozenset({StaffRole.DESK})
        store(changed(accounts, "otto", manned.clock.now(), roles=desk, state=State.ACTIVE))
    assert "may agree no longer" in refused(manned)


def test_a_message_names_no_account(manned):
    said = refused(manned)
    assert not re.search(r"\b(amy|otto|paul)\b", said.replace("add paul", ""))


WORKER = f"""
import sys
from pathlib import Path
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from compliance.clock import FixedClock
from compliance.errors import NotPermittedError
from compliance.office.about import About
from compliance.office.opening import open_office
from compliance.staff.acting import identify
from compliance.staff.passwords import Cost
from compliance.staff.staff import Staff
from protocols.tlog.entry import Verb

root, now = Path(sys.argv[1]), int(sys.argv[2])
keys = {{
    name: Ed25519PublicKey.from_public_bytes(bytes.fromhex(key))
    for name, key in (item.split("=") for item in sys.argv[3:])
}}
with open_office(root, "insurer", "insurer/audit", keys, clock=FixedClock(now)) as office:
    staff = Staff(root, cost=Cost(64, 1, 1))
    who = identify(staff, office, name="amy", ask="a long enough secret of {{}}".format)
    print("ready", flush=True)
    for line in sys.stdin:
        about = About(Verb.ALTER, "staff", subject=line.strip(), reason="new colleague")
        try:
            who.perform(office, "{ACT}", about, what="add paul")
            print("done", flush=True)
        except NotPermittedError:
            print("refused", flush=True)
"""


def test_two_processes_do_what_was_consented_to_once(manned, tmp_path, identities):
    subjects = [f"account a{number}" for number in range(12)]
    for number, subject in enumerate(subjects, 1):
        refused(manned, about=replace(ABOUT, subject=subject))
        agree(manned, number)
    command = [sys.executable, "-c", WORKER, tmp_path / "insurer", manned.clock.now()]
    workers = [
        subprocess.Popen(
            [str(word) for word in (*command, *identities)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for subject in subjects:
        for worker in workers:
            worker.stdin.write(subject + "\n")
            worker.stdin.flush()
        said = sorted(worker.stdout.readline() for worker in workers)
        assert said == ["done\n", "refused\n"]
    for worker in workers:
        worker.communicate(timeout=60)
        assert worker.returncode == 0
    done = [entry for entry in manned.entries() if entry.outcome is Outcome.DONE]
    assert sorted(manned.part(entry).subject for entry in done) == sorted(subjects)
