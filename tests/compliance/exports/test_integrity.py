"""The integrity statement: it says what holds, what is missing, and how long it must be kept."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from compliance.clock import FixedClock
from compliance.exports.integrity import integrity, own_integrity
from compliance.exports.source import open_source
from compliance.log.draft import draft_entry
from compliance.office.about import About
from compliance.office.opening import open_office
from compliance.policy.actors import StaffRole
from protocols.tlog.entry import Verb
from protocols.tlog.note import KeyKind, Signer
from protocols.tlog.policy import Group, Witness

DAY = 86_400
YEAR_2032 = int(datetime(2032, 1, 1, tzinfo=UTC).timestamp())


def state(world, directory, **given):
    with open_source(directory) as source:
        return integrity(source, given.pop("policy", world.policy), **given)


@pytest.fixture
def export(world, tools):
    # A day between the 300th and the next: the longest silence.
    entries = [tools.make_entry(at if at < 300 else at + DAY) for at in range(600)]
    return world.publish(entries)


def test_whole_log_is_stated_with_its_witnesses(world, tools, export):
    found = state(world, export)
    assert (found.holds, found.size, found.entries, found.pruned, found.gaps) == (
        True, 600, 600, 0, (),
    )  # fmt: skip
    assert (found.first, found.last) == (tools.NOW, tools.NOW + DAY + 599)
    assert found.silence_s == DAY + 1
    assert set(found.cosigned) == {"insurer", "telecom", "police"}
    assert found.missing_witnesses == ()
    with open_source(export) as source:
        assert found.root == source.checkpoint().root.hex()


def test_witness_that_did_not_cosign_is_named(world, export):
    other = Signer.from_seed("nobody.example/witness", KeyKind.COSIGNATURE, b"n" * 32)
    witnesses = (*world.policy.witnesses, Witness("absent", other.key))
    group = Group("orgs", 2, tuple(item.name for item in witnesses))
    policy = replace(world.policy, witnesses=witnesses, groups=(group,))
    assert state(world, export, policy=policy).missing_witnesses == ("absent",)


def test_retention_runs_from_the_end_of_the_year(world, export):
    assert state(world, export).kept_until == YEAR_2032
    assert state(world, export, months=18).kept_until == int(
        datetime(2028, 7, 1, tzinfo=UTC).timestamp()
    )
    fields = state(world, export).fields(YEAR_2032 - 1)
    assert fields["may_be_deleted"] is False
    assert state(world, export).fields(YEAR_2032)["may_be_deleted"] is True


def test_pruned_beginning_is_no_gap_and_a_hole_is_one(world, export):
    bundles = export / "tile/entries"
    (bundles / "000").unlink()
    pruned = state(world, export, minimum=256)
    assert (pruned.holds, pruned.pruned, pruned.entries, pruned.gaps) == (True, 256, 344, ())
    hole = state(world, export)
    assert not hole.holds
    assert hole.gaps == ((0, 255),)
    (bundles / "001").unlink()
    two = state(world, export, minimum=256)
    assert (two.holds, two.gaps) == (False, ((256, 511),))


def test_damaged_log_says_where_and_states_nothing_of_its_entries(world, export):
    bundle = export / "tile/entries/001"
    data = bundle.read_bytes()
    bundle.write_bytes(data.replace(b'"count":1', b'"count":2', 1))
    found = state(world, export)
    assert "entry 256" in found.fault
    assert (found.entries, found.first, found.last) == (0, None, None)


@pytest.fixture
def office(tmp_path):
    clock = FixedClock(1_795_305_600)
    with open_office(tmp_path, "insurer", "insurer/audit", {}, clock=clock) as opened:
        yield opened


def act(office):
    officer = office.person("officer", [StaffRole.COMPLIANCE])
    office.perform("read_log", About(Verb.CONSULT, "log"), by=officer)


def test_own_log_is_stated_for_every_year(office, tmp_path):
    for _ in range(3):
        act(office)
    office.clock.advance(300 * DAY)
    act(office)
    first, second = own_integrity(office, tmp_path)
    assert (first.log, first.holds, first.size, first.entries) == ("insurer/audit/2026", True, 3, 3)
    assert (second.log, second.holds, second.size) == ("insurer/audit/2027", True, 1)
    assert first.kept_until == YEAR_2032 < second.kept_until
    assert dict(first.cosigned) == {}


def test_own_log_that_nobody_wrote_holds_and_is_empty(office, tmp_path):
    assert [(item.size, item.holds, item.gaps) for item in own_integrity(office, tmp_path)] == [
        (0, True, ())
    ]


def test_own_log_that_was_changed_deep_inside_says_where(office, tmp_path, tools):
    log = office.yearly.log(office.yearly.origin())
    log._commit([draft_entry(tools.make_entry(at), None) for at in range(300)])
    with closing(sqlite3.connect(tmp_path / "log" / "log.sqlite")) as database:
        ((data,),) = database.execute("select data from tlog_entry where place = 7").fetchall()
        changed = data.replace(b'"count":1', b'"count":2')
        database.execute("update tlog_entry set data = ? where place = 7", (changed,))
        database.commit()
    with open_office(tmp_path, "insurer", "insurer/audit", {}, clock=office.clock) as again:
        (found,) = own_integrity(again, tmp_path)
    assert not found.holds
    assert "entry 7" in found.fault
