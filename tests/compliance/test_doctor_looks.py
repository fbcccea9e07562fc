"""What the doctors of hub and node look at alike: each thing whole, and broken."""

import os
import socket
import sqlite3
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compliance.checkup import Examined, Look, report_text, run_checks, worst
from compliance.clock import FixedClock
from compliance.configuration import ConfigError
from compliance.doctor import machine
from compliance.doctor.certificates import certificate_lasts
from compliance.doctor.organisation import agreement_in_force, policies_hold, staff_can_decide
from compliance.doctor.records import (
    clock_is_not_behind,
    is_published,
    keys_are_readable,
    newest_of,
    second_place_agrees,
    sqlite_is_current,
)
from compliance.doctor.seen import DAY_S, FAIL, PASS, WARN, Seen, aged, lasting, worse
from compliance.exits import Exit
from compliance.office.about import About
from compliance.office.opening import agreements_in, open_office
from compliance.policy.actors import StaffRole
from compliance.policy.policyset import PolicySet, shipped_policies
from compliance.staff.accounts import Account, State
from compliance.staff.passwords import Cost
from compliance.staff.staff import Staff
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.cosignature import sign_checkpoint
from protocols.tlog.entry import Verb
from protocols.tlog.note import KeyKind, Note, Signer
from server.identity import create_authority

NOW = int(time.time())
ACTIVE = State.ACTIVE
CHEAP = Cost(memory_kib=64, passes=1, lanes=1)


def finding(look, **more):
    (found,) = run_checks([Look("it holds", look, "mend it", **more)], (ConfigError,))
    return found


def test_every_end_of_a_check_is_told():
    assert finding(lambda: True)["level"] == "PASS"
    assert finding(lambda: False)["level"] == "FAIL"
    warned = finding(lambda: Seen(WARN, "soon"))
    assert (warned["ok"], warned["level"], warned["found"]) == (True, "WARN", "soon")

    def wrong():
        raise ConfigError("hub.json: no name")

    def secret():
        raise ValueError("A123456789")

    assert finding(wrong)["found"] == "hub.json: no name"
    # The text of an error that is not ours may hold a value.
    assert finding(secret)["found"] == "could not be looked at (ValueError)"


def test_code_says_where_to_mend():
    here, there = finding(lambda: False), finding(lambda: False, elsewhere=True)
    fine, warned = finding(lambda: True), finding(lambda: Seen(WARN, "soon"))
    assert worst([fine, warned]) is Exit.DONE
    assert worst([fine, there]) is Exit.FAILED
    assert worst([there, here]) is Exit.CONFIG
    assert Examined.of([fine, there]).fields()["ok"] is False


def test_report_tells_the_cure_of_what_does_not_pass():
    text = report_text([finding(lambda: Seen(PASS, "3 GiB")), finding(lambda: Seen(FAIL, "full"))])
    assert text.splitlines() == [
        "PASS  it holds: 3 GiB",
        "FAIL  it holds: full",
        "      -> mend it",
    ]


@pytest.mark.parametrize(
    ("left", "level", "told"),
    [(40 * DAY_S, PASS, "40 days left"), (29 * DAY_S, WARN, "29 days left"),
     (13 * DAY_S, FAIL, "13 days left"), (-2 * DAY_S, FAIL, "over since 2 days")],
)  # fmt: skip
def test_what_ends_is_told_in_days(left, level, told):
    assert lasting(left, warn_s=30 * DAY_S, fail_s=14 * DAY_S) == Seen(level, told)


def test_what_is_old_is_told_in_its_unit():
    assert aged(59, warn_s=100).found == "59 seconds ago"
    assert aged(7200, warn_s=100) == Seen(WARN, "2 hours ago")
    assert aged(3 * DAY_S, warn_s=1, fail_s=DAY_S) == Seen(FAIL, "3 days ago")
    assert worse(Seen(PASS, "a"), Seen(WARN, "b"), Seen(PASS)) == Seen(WARN, "a; b")


def test_other_python_is_found(monkeypatch):
    assert machine.python_fits().level is PASS
    monkeypatch.setattr(sys, "version_info", (3, 10, 1))
    assert machine.python_fits() == Seen(FAIL, "3.10.1")


def test_packages_are_those_that_were_installed(monkeypatch):
    assert machine.packages_fit().level is PASS
    assert machine.packages_fit("no-such-program").level is WARN
    monkeypatch.setattr(
        machine, "requires", lambda _: ["numpy<1", "no-such-thing>2", "x; extra == 'y'"]
    )
    seen = machine.packages_fit()
    assert seen.level is FAIL
    assert "is not <1" in seen.found
    assert "no-such-thing is missing" in seen.found


def test_disk_that_fills_up_is_found(tmp_path, monkeypatch):
    def free(gibibytes):
        usage = SimpleNamespace(free=gibibytes * 2**30)
        monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: usage)
        return machine.has_space(tmp_path)

    assert free(9).level is PASS
    assert free(3) == Seen(WARN, "3.0 GiB free")
    assert free(0.5) == Seen(FAIL, "0.5 GiB free")


def test_torch_computes_in_the_ring():
    seen = machine.torch_works()
    assert seen.level is PASS
    assert "torch 2." in seen.found


def test_file_that_others_may_read_is_named(tmp_path):
    (tmp_path / "a.key").touch(0o600)
    assert machine.closed_to_others(tmp_path.glob("*.key")) == Seen(PASS, "1 files")
    (tmp_path / "b.key").touch()
    (tmp_path / "b.key").chmod(0o640)
    assert machine.closed_to_others(tmp_path.glob("*.key")) == Seen(FAIL, "1 of 2 are not: b.key")
    assert machine.closed_to_others([]).level is FAIL


def test_port_that_is_taken_is_told_with_its_holder():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        told = machine.holder_of(port)
        assert f"(process {os.getpid()})" in told
        seen = machine.ports_are_ours("127.0.0.1", {"API": port}, served=False)
        assert seen.level is FAIL
        assert seen.found == f"API {port} is taken by {told}"
        assert machine.ports_are_ours("127.0.0.1", {"API": port}, served=True).level is PASS
    assert machine.ports_are_ours("127.0.0.1", {"API": port}, served=False).level is PASS
    assert machine.holder_of(port) == ""


def test_certificate_is_judged_by_both_of_its_ends(tmp_path):
    create_authority(tmp_path, "hub.example", NOW)
    path = tmp_path / "ca.crt"
    assert certificate_lasts(path, NOW + 60).level is PASS
    early = certificate_lasts(path, NOW - 400 * DAY_S)
    assert early.level is FAIL
    assert "set the clock" in early.found
    late = certificate_lasts(path, NOW + 90 * 365 * DAY_S)
    assert (late.level, late.found.startswith("over since")) == (FAIL, True)


def test_staff_needs_an_officer_an_approver_and_two_who_agree(tmp_path):
    def staffed(**roles):
        staff = Staff(tmp_path, cost=CHEAP)
        hashed = staff.hash_of("a long enough secret")
        with staff.exclusive() as (_, store):
            store({
                name: Account(name, name, frozenset(map(StaffRole, has)), ACTIVE, hashed, 1, 1)
                for name, has in roles.items()
            })  # fmt: skip
        return staff_can_decide(tmp_path)

    assert staff_can_decide(tmp_path).level is WARN
    assert not list(tmp_path.iterdir())
    lone = staffed(amy=["approver"])
    assert (lone.level, lone.found) == (FAIL, "1 accounts, without an officer (compliance)")
    one = staffed(amy=["approver", "compliance"])
    assert (one.level, "one pair of eyes" in one.found) == (FAIL, True)
    assert staffed(amy=["approver"], carl=["compliance"]).level is PASS


@pytest.fixture
def office(tmp_path):
    clock = FixedClock(NOW)
    with open_office(tmp_path / "node", "insurer", "insurer/audit", {}, clock=clock) as made:
        yield made


def entered(office, count=3):
    for number in range(count):
        about = About(Verb.CONSULT, f"log/{number}", subject=f"{number}")
        office.enter(office.decide("accept_run"), about)
    return newest_of(office.storage, "insurer/audit")


def test_log_that_was_put_back_is_found_by_its_second_place(tmp_path, office):
    origin = entered(office)
    office.yearly.checkpoint()
    second = tmp_path / "node" / "log-second"
    seen = second_place_agrees(office.storage, second, origin)
    assert seen.level is PASS
    assert second_place_agrees(office.storage, tmp_path / "gone", origin).level is FAIL

    shorter = SimpleNamespace(edge=lambda _: SimpleNamespace(size=1))
    assert second_place_agrees(shorter, second, origin).level is FAIL
    assert not (tmp_path / "gone").exists()


def test_clock_that_was_set_back_is_found_by_the_log(office):
    origin = entered(office)
    assert clock_is_not_behind(office.storage, origin, (), NOW).level is PASS
    seen = clock_is_not_behind(office.storage, origin, (), NOW - DAY_S)
    assert seen.level is FAIL
    assert "behind the last entry: it was set back" in seen.found


def test_entries_that_nobody_published_are_found(office):
    origin = entered(office)
    office.yearly.checkpoint()
    published = office.storage.checkpoint(origin)
    assert is_published(office.storage, origin, (), NOW).level is PASS
    entered(office, 2)
    behind = SimpleNamespace(
        edge=office.storage.edge, entries=office.storage.entries, checkpoint=lambda _: published
    )
    seen = is_published(behind, origin, (), NOW + 60)
    assert (seen.level, seen.found.startswith("3 of 5 entries")) == (WARN, True)
    assert is_published(behind, origin, (), NOW + 2 * DAY_S).level is FAIL


def test_witness_that_does_not_cosign_is_named(office):
    origin = entered(office)
    office.yearly.checkpoint()
    drawn = Ed25519PrivateKey.generate()
    signer = Signer("police", KeyKind.COSIGNATURE, drawn)
    listed = [("police", signer.key)]
    seen = is_published(office.storage, origin, listed, NOW)
    assert (seen.level, "not cosigned by police" in seen.found) == (WARN, True)
    note = Note.decode(office.storage.checkpoint(origin))
    line = sign_checkpoint(Checkpoint.parse(note.text), signer, NOW + 600)
    cosigned = replace(note, signatures=(*note.signatures, line)).encode()
    storage = SimpleNamespace(
        edge=office.storage.edge, entries=office.storage.entries, checkpoint=lambda _: cosigned
    )
    assert is_published(storage, origin, listed, NOW + 601).level is PASS
    assert is_published(storage, origin, listed, NOW + 9 * DAY_S).level is WARN
    # A witness is in the future: our clock is the one that is behind.
    late = clock_is_not_behind(storage, origin, listed, NOW)
    assert (late.level, late.found.startswith("600 s behind witness police")) == (FAIL, True)


def test_keys_of_a_log_that_are_gone_are_found(tmp_path, office):
    folder = tmp_path / "node" / "log"
    assert keys_are_readable(tmp_path / "none").level is PASS
    assert keys_are_readable(folder).level is PASS
    (folder / "log.key").unlink()
    with pytest.raises(ConfigError, match="restore"):
        keys_are_readable(folder)


def test_database_of_another_version_is_found(tmp_path, office):
    path = tmp_path / "node" / "log" / "log.sqlite"
    assert sqlite_is_current(path).level is PASS
    assert sqlite_is_current(tmp_path / "none.sqlite").level is PASS
    assert not (tmp_path / "none.sqlite").exists()
    for revision, level in (("0001", WARN), ("9999", FAIL)):
        copy = tmp_path / f"{revision}.sqlite"
        with sqlite3.connect(copy) as connection:
            connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
            connection.execute("INSERT INTO alembic_version VALUES (?)", (revision,))
        connection.close()
        assert sqlite_is_current(copy).level is level
    (tmp_path / "torn.sqlite").write_bytes(b"no database" * 100)
    assert sqlite_is_current(tmp_path / "torn.sqlite").level is FAIL


def test_other_policies_are_told_and_none_are_written(office):
    assert policies_hold(office.policies).level is PASS
    assert not office.policies.digests()
    texts = dict(shipped_policies().texts)
    name = next(iter(texts))
    office.policies.adopt(PolicySet(texts | {name: texts[name] + "\n"}))
    assert policies_hold(office.policies).level is WARN


def test_agreement_that_ends_or_waits_is_told(tmp_path, agree):
    keys = {name: Ed25519PrivateKey.generate() for name in ("hub", "insurer", "telecom", "police")}
    public = {name: key.public_key() for name, key in keys.items()}
    store = agreements_in(tmp_path, public)
    assert agreement_in_force(store, NOW).level is WARN
    whole = agree(keys)
    whole.keep(tmp_path)
    ends = whole.agreement.not_after
    assert agreement_in_force(store, ends - 60 * DAY_S).level is PASS
    soon = agreement_in_force(store, ends - 9 * DAY_S)
    assert (soon.level, "9 days left" in soon.found) == (WARN, True)
    over = agreement_in_force(store, ends + 1)
    assert (over.level, "every act is refused" in over.found) == (FAIL, True)
    draft = agree(keys, signed_by=["hub", "police"], former=whole.agreement)
    draft.keep(tmp_path)
    waits = agreement_in_force(store, ends - 60 * DAY_S)
    assert waits.level is WARN
    assert "waits for insurer, telecom" in waits.found
