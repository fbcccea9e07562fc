"""The file of accounts: strict, durable, private; and the rules that need no policy."""

import json
import threading
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compliance.configuration import ConfigError
from compliance.policy.actors import StaffRole
from compliance.staff.accounts import (
    State,
    added,
    can_govern,
    changed,
    check_name,
    decode_accounts,
    encode_accounts,
)
from compliance.staff.errors import StaffError
from compliance.staff.staff import Staff
from protocols.errors import MalformedMessageError


@pytest.mark.parametrize("name", ["a", "a1", "7", "amy-lin", "x" * 32, "0912-345-678"])
def test_names_that_accounts_may_have(name):
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "A", "amy lin", "-amy", "amy-", "a--b", "x" * 33, "../x", "a\n", "é", "0912345678",
             7, None],
)  # fmt: skip
def test_names_that_they_may_not(name):
    with pytest.raises(MalformedMessageError, match="account name: must be"):
        check_name(name)


def test_what_is_written_is_read(account):
    accounts = {name: account(name, "desk", "approver") for name in ("amy", "bob")}
    assert decode_accounts(encode_accounts(accounts)) == accounts


def test_the_file_is_private_and_has_no_password(staff, hire, tmp_path):
    hire(amy="approver")
    path = tmp_path / "insurer" / "staff" / "accounts.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert b"a long enough secret" not in path.read_bytes()


def test_an_account_prints_neither_its_person_nor_its_hash(account):
    text = repr(replace(account("amy", "desk"), display="Amy Lin"))
    assert "Lin" not in text
    assert "tag" not in text


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_fails_in_one_way(account, data):
    good = encode_accounts({"amy": account("amy", "desk")})
    at = data.draw(st.integers(0, len(good) - 1))
    bad = good[:at] + data.draw(st.binary(max_size=3)) + good[at + data.draw(st.integers(0, 2)) :]
    said = ""
    try:
        decode_accounts(bad)
    except MalformedMessageError as error:
        said = str(error)
    assert "amy" not in said


def test_a_damaged_file_lets_nobody_in(staff, hire, tmp_path):
    hire(amy="approver")
    path = tmp_path / "insurer" / "staff" / "accounts.json"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ConfigError, match=r"restore staff/accounts\.json"):
        staff.accounts()


def test_unknown_fields_are_refused(account):
    value = json.loads(encode_accounts({"amy": account("amy", "desk")}))
    value["accounts"]["amy"]["admin"] = True
    with pytest.raises(MalformedMessageError, match="unknown field admin"):
        decode_accounts(json.dumps(value).encode())


def test_reading_makes_nothing_on_disk(staff, tmp_path):
    assert staff.accounts() == {}
    assert staff.consents.open(1) == ()
    assert staff.emergencies.unreviewed() == ()
    assert not (tmp_path / "insurer").exists()


def test_the_set_up_must_lead_somewhere(account):
    with pytest.raises(StaffError, match="first account must be an approver"):
        added({}, account("dora", "desk"))
    first = added({}, account("amy", "approver"))
    with pytest.raises(StaffError, match="second account must be"):
        added(first, account("dora", "desk", "operator"))
    assert can_govern(added(first, account("otto", "compliance")))


def test_a_name_is_given_once(account):
    accounts = {"amy": account("amy", "approver")}
    with pytest.raises(StaffError, match="taken"):
        added(accounts, account("amy", "desk"))


@pytest.mark.parametrize(
    "changes", [{"state": State.SUSPENDED}, {"roles": frozenset({StaffRole.DESK})}], ids=str
)
def test_nobody_is_left_without_somebody_to_decide(account, changes):
    accounts = {"amy": account("amy", "approver"), "otto": account("otto", "compliance")}
    for name in accounts:
        with pytest.raises(StaffError, match="no approver with a second person"):
            changed(accounts, name, 1, **changes)
    more = accounts | {"ben": account("ben", "approver", "compliance")}
    assert changed(more, "amy", 1, **changes)["amy"].changed == 1


def test_changes_by_many_threads_are_all_kept(staff, account, tmp_path, cheap):
    def add(number):
        own = Staff(tmp_path / "insurer", cost=cheap)
        with own.exclusive() as (accounts, store):
            name = f"a{number}"
            store({**accounts, name: account(name, "desk")})

    threads = [threading.Thread(target=add, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(staff.accounts()) == 12
