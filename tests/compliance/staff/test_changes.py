"""Changes of accounts: the set-up, then an approver and a second person; entered before made."""

import sqlite3

import pytest

from compliance.configuration import ConfigError
from compliance.errors import NotPermittedError
from compliance.log.errors import StorageError
from compliance.policy.actors import StaffRole
from compliance.policy.decision import Decision
from compliance.policy.replay import replay
from compliance.staff.accounts import State
from compliance.staff.attempts import FREE
from compliance.staff.changes import (
    change_own_password,
    grant_roles,
    reset_password,
    suspend_account,
)
from compliance.staff.errors import CredentialsError, StaffError
from protocols.errors import MalformedMessageError
from protocols.tlog.entry import Decision as Answer
from protocols.tlog.entry import Outcome

ROLES = {StaffRole.DESK, StaffRole.ANALYST}
FRESH = "another secret altogether"


def test_two_accounts_are_set_up_by_nobody_and_entered_as_such(people):
    people.add("amy", "approver", reason="set-up of the office")
    people.add("otto", "compliance", reason="set-up of the office")
    with pytest.raises(NotPermittedError, match="only people may: name your account with --as"):
        people.add("dora", "desk")
    assert sorted(people.staff.accounts()) == ["amy", "otto"]
    done, refused = people.entries()[:2], people.entries()[2]
    assert [entry.policies for entry in done] == [("staff.set-up",)] * 2
    assert [entry.outcome for entry in done] == [Outcome.DONE] * 2
    assert [people.part(entry).reason for entry in done] == ["set-up of the office"] * 2
    assert (refused.decision, refused.outcome) == (Answer.DENY, Outcome.REFUSED)


def test_a_set_up_says_why(people):
    with pytest.raises(ConfigError, match="--reason"):
        people.add("amy", "approver", reason="")
    assert people.staff.accounts() == {}
    assert people.entries() == []


def test_an_approver_with_a_second_person_adds_an_account(manned):
    manned.add("paul", "operator", by="amy", second="otto")
    (entry,) = manned.entries()
    assert (entry.act, entry.subject_matter, entry.outcome) == ("grant_role", "staff", Outcome.DONE)
    assert entry.policies == ("approvers-commit",)
    assert entry.actor == manned.who("amy").by.pseudonym
    assert manned.part(entry).subject == "account paul"
    assert manned.who("paul").by.roles == {StaffRole.OPERATOR}


def test_no_account_stands_in_the_public_entry(manned):
    manned.add("paul", "operator", by="amy", second="otto")
    text = manned.entries()[0].encode().decode()
    assert not any(name in text for name in ("paul", "Paul", "amy", "otto"))


@pytest.mark.parametrize(
    ("by", "second"),
    [("otto", "amy"), ("dora", "amy"), ("amy", "dora"), ("amy", "amy")],
)
def test_others_grant_nothing_and_the_refusal_is_entered(manned, by, second):
    with pytest.raises(NotPermittedError):
        manned.add("paul", "operator", by=by, second=second)
    assert "paul" not in manned.staff.accounts()
    (entry,) = manned.entries()
    assert (entry.decision, entry.outcome) == (Answer.DENY, Outcome.REFUSED)


def test_decisions_can_be_made_again_from_the_private_part(manned):
    manned.add("paul", "operator", by="amy", second="otto")
    record = Decision.decode(manned.part(manned.entries()[0]).decision.encode())
    assert replay(record, manned.office.policies, manned.office.agreements) == ()


def test_what_cannot_be_entered_is_not_done(manned, tmp_path):
    before = manned.staff.accounts()
    who = manned.who("amy", "otto")
    # The disk that the log is on fails: its database refuses every new entry.
    with sqlite3.connect(tmp_path / "insurer" / "log" / "log.sqlite") as database:
        tables = [row[0] for row in database.execute(
            "select name from sqlite_master where type = 'table'"
        )]  # fmt: skip
        for table in tables:
            database.execute(
                f"create trigger stop_{table} before insert on {table} "
                "begin select raise(abort, 'full'); end"
            )
    database.close()
    with pytest.raises(StorageError):
        grant_roles(manned.staff, manned.office, who, "dora", ROLES, reason="moves")
    assert manned.staff.accounts() == before


def test_roles_are_replaced(manned):
    who = manned.who("amy", "otto")
    grant_roles(manned.staff, manned.office, who, "dora", ROLES, reason="moves")
    assert manned.staff.accounts()["dora"].roles == ROLES
    assert manned.who("dora").by.roles == ROLES


def test_a_suspended_account_opens_nothing_until_it_may_again(manned):
    who = manned.who("amy", "otto")
    suspend_account(manned.staff, manned.office, who, "dora", reason="left")
    with pytest.raises(CredentialsError):
        manned.who("dora")
    suspend_account(manned.staff, manned.office, who, "dora", reason="is back", lift=True)
    assert manned.who("dora").account == "dora"


def test_a_change_that_would_end_all_changes_is_refused_before_it_is_asked(manned):
    who = manned.who("amy", "otto")
    with pytest.raises(StaffError, match="no approver"):
        suspend_account(manned.staff, manned.office, who, "amy", reason="left")
    assert manned.staff.accounts()["amy"].state is State.ACTIVE


def test_a_reset_password_opens_the_account_at_once(manned):
    for _ in range(FREE):
        with pytest.raises(CredentialsError):
            manned.staff.verify("dora", "wrong", now=manned.clock.now())
    who = manned.who("amy", "otto")
    reset_password(manned.staff, manned.office, who, "dora", FRESH, reason="forgot it")
    assert manned.staff.verify("dora", FRESH, now=manned.clock.now())


def test_ones_own_password_is_changed_without_an_entry(manned):
    change_own_password(manned.staff, manned.who("dora"), FRESH, now=manned.clock.now())
    assert manned.staff.verify("dora", FRESH, now=manned.clock.now())
    assert manned.entries() == []
    with pytest.raises(MalformedMessageError):
        change_own_password(manned.staff, manned.who("amy"), "short", now=manned.clock.now())


def test_an_unknown_account_changes_nothing(manned):
    with pytest.raises(StaffError, match="none of this name"):
        grant_roles(
            manned.staff, manned.office, manned.who("amy", "otto"), "nobody", ROLES, reason="x"
        )
    assert manned.entries() == []
