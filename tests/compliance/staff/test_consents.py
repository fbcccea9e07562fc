"""Consents: given by another, used once by whichever process comes first, gone with a crash."""

import json
import subprocess
import sys

import pytest

from compliance.errors import LogCorruptError, NotPermittedError
from compliance.staff.accounts import State
from compliance.staff.consents import LASTS_S, Consents, Stage, digest_of
from compliance.staff.errors import StaffError
from protocols.errors import MalformedMessageError

NOW = 1_800_064_800
DIGEST = digest_of("pin_key", "pin the key of telecom", {"key": "ab"})


@pytest.fixture
def consents(tmp_path):
    return Consents(tmp_path / "staff" / "consents.journal")


def ask(consents, digest=DIGEST, asker="dora", now=NOW):
    return consents.file("pin_key", "pin the key of telecom", digest, asker, now=now)


def test_a_consent_is_used_once(consents, account):
    request = ask(consents)
    consents.agree(request.number, account("amy", "approver"), now=NOW)
    used = consents.consume(request.number, now=NOW)
    assert (used.stage, used.by, used.asker) == (Stage.USED, "amy", "dora")
    assert consents.consume(request.number, now=NOW) is None
    assert consents.find("pin_key", DIGEST, "dora", now=NOW) is None


def test_the_same_request_waits_once(consents):
    assert ask(consents) == ask(consents)
    assert len(consents.open(NOW)) == 1


@pytest.mark.parametrize(
    "other", [{"digest": bytes(32)}, {"asker": "anna"}], ids=["another matter", "another asker"]
)
def test_a_consent_is_for_nothing_and_nobody_else(consents, account, other):
    consents.agree(ask(consents).number, account("amy", "approver"), now=NOW)
    assert ask(consents, **other).stage is Stage.WAITING
    assert consents.find("end_epoch", DIGEST, "dora", now=NOW) is None


def test_what_is_shown_is_what_is_consented_to():
    assert digest_of("a", "pin the key", {}) != digest_of("a", "end the epoch", {})
    assert digest_of("a", "b", {}) != digest_of("b", "b", {})
    assert digest_of("a", "b", {"reason": "x"}) != digest_of("a", "b", {"reason": "y"})


def test_nobody_agrees_to_their_own(consents, account):
    request = ask(consents, asker="amy")
    for decide in (consents.agree, lambda *a, now: consents.decline(*a, "no", now=now)):
        with pytest.raises(NotPermittedError, match="nobody agrees to what they asked for"):
            decide(request.number, account("amy", "approver", "compliance"), now=NOW)
    assert consents.consume(request.number, now=NOW) is None


@pytest.mark.parametrize("roles", [("desk",), ("analyst", "operator")])
def test_only_approvers_and_officers_agree(consents, account, roles):
    request = ask(consents)
    with pytest.raises(NotPermittedError, match="approver or a compliance officer"):
        consents.agree(request.number, account("ole", *roles), now=NOW)
    suspended = account("amy", "approver", state=State.SUSPENDED)
    with pytest.raises(NotPermittedError):
        consents.agree(request.number, suspended, now=NOW)
    assert consents.agree(request.number, account("otto", "compliance"), now=NOW)


def test_declined_is_declined_until_it_expires(consents, account):
    request = ask(consents)
    consents.decline(request.number, account("amy", "approver"), "not today", now=NOW)
    again = ask(consents)
    assert (again.number, again.stage, again.reason) == (1, Stage.DECLINED, "not today")
    with pytest.raises(StaffError, match="does not wait"):
        consents.agree(1, account("otto", "compliance"), now=NOW)
    assert consents.consume(1, now=NOW) is None
    assert ask(consents, now=NOW + LASTS_S).number == 2


@pytest.mark.parametrize("reason", ["", "x" * 501, "a\nb"])
def test_a_refusal_says_why(consents, account, reason):
    with pytest.raises(MalformedMessageError):
        consents.decline(ask(consents).number, account("amy", "approver"), reason, now=NOW)
    assert consents.open(NOW)[0].stage is Stage.WAITING


def test_a_day_after_it_was_asked_it_counts_for_nothing(consents, account):
    request = ask(consents)
    with pytest.raises(StaffError):
        consents.agree(request.number, account("amy", "approver"), now=NOW + LASTS_S)
    consents.agree(request.number, account("amy", "approver"), now=NOW + LASTS_S - 1)
    assert consents.consume(request.number, now=NOW + LASTS_S) is None
    assert consents.open(NOW + LASTS_S) == ()


@pytest.mark.parametrize("number", [0, 2, -1])
def test_what_nobody_asked_is_not_agreed_to(consents, account, number):
    ask(consents)
    with pytest.raises(StaffError):
        consents.agree(number, account("amy", "approver"), now=NOW)
    assert consents.consume(number, now=NOW) is None


def test_the_file_is_private(consents, tmp_path):
    ask(consents)
    assert (tmp_path / "staff").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "staff" / "consents.journal").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "event",
    [
        {"kind": "used", "number": 1, "at": 1},
        {"kind": "used", "number": 2, "at": 1},
        {"kind": "waiting", "number": 1, "by": "amy", "reason": "", "at": 1},
        {"kind": "agreed", "number": 1, "by": "amy", "reason": "", "at": 1, "more": 1},
        {"kind": 7, "number": 1, "at": 1},
        {},
    ],
    ids=str,
)
def test_events_that_make_no_sense_stop_everything(consents, event):
    ask(consents)
    with consents._events.exclusive() as (_, append):
        append(event)
    with pytest.raises(LogCorruptError, match="restore"):
        ask(consents)
    with pytest.raises(LogCorruptError):
        consents.consume(1, now=NOW)


TAKER = f"""
import sys
from pathlib import Path
from compliance.staff.consents import Consents
consents = Consents(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
got = [n for n in range(1, 31) if consents.consume(n, now={NOW})]
print(got)
"""


def test_two_processes_never_use_the_same_consent(consents, account, tmp_path):
    for number in range(30):
        consents.agree(
            ask(consents, digest=bytes([number]) * 32).number, account("amy", "approver"), now=NOW
        )
    command = [sys.executable, "-c", TAKER, str(tmp_path / "staff" / "consents.journal")]
    takers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for taker in takers:
        assert taker.stdout.readline() == "ready\n"
    for taker in takers:
        taker.stdin.write("go\n")
        taker.stdin.flush()
    got = [json.loads(taker.communicate(timeout=60)[0]) for taker in takers]
    assert sorted(got[0] + got[1]) == list(range(1, 31))


def test_a_consent_used_by_a_process_that_was_killed_is_gone(consents, account, tmp_path):
    consents.agree(ask(consents).number, account("amy", "approver"), now=NOW)
    code = f"""
import os, signal, sys
from pathlib import Path
from compliance.staff.consents import Consents
assert Consents(Path(sys.argv[1])).consume(1, now={NOW})
os.kill(os.getpid(), signal.SIGKILL)
"""
    path = tmp_path / "staff" / "consents.journal"
    done = subprocess.run([sys.executable, "-c", code, path], check=False)
    assert done.returncode == -9
    assert consents.consume(1, now=NOW) is None
    again = ask(consents)
    assert (again.number, again.stage) == (2, Stage.WAITING)
