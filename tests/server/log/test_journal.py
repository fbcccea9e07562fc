"""What the hub enters: verbs, bases, charges, repetitions, years, keys that are lost."""

import os
import random
from collections import Counter
from dataclasses import replace

import pytest

from compliance.clock import FixedClock
from compliance.configuration import ConfigError
from compliance.log.second import FileCheckpoints
from compliance.log.sqlstore import SqlStorage
from compliance.spending import tally
from protocols.dp.events import Composed, Gaussian, event_fields
from protocols.epoch.grants import Grant
from protocols.epoch.manifest import NO_PREVIOUS, EpochManifest
from protocols.errors import MalformedMessageError, UnsupportedParameterError
from protocols.group.select import load_group
from protocols.lookup.request import Purpose
from protocols.oprf.keygen import generate_key
from protocols.oprf.setup import Setup
from protocols.oprf.suite import Mode, Suite
from protocols.program import run_together
from protocols.tlog.entry import Entry, Outcome, Verb
from server.home import HubHome
from server.log.keys import LogKeys
from server.log.opening import assemble, open_log
from server.log.rules import RULES_DIGEST

NOW = 1_795_305_600
HOLDERS = ("hub", "police", "telecom")


@pytest.fixture
def clock():
    return FixedClock(NOW)


@pytest.fixture
def reopen(tmp_path, clock):
    """Open the same log anew, as another process would."""
    keys, made = LogKeys.draw(os.urandom), []

    def opened():
        log = assemble(
            "hub.example/audit",
            SqlStorage.open(f"sqlite:///{tmp_path}/log.sqlite"),
            FileCheckpoints(tmp_path / "second"),
            keys,
            clock=clock,
            folder=tmp_path,
        )
        made.append(log)
        return log

    yield opened
    for log in made:
        log.close()


@pytest.fixture
def log(reopen):
    return reopen()


@pytest.fixture(scope="module")
def manifest():
    suite, source = Suite(load_group(), Mode.VOPRF), random.Random(1).randbytes
    setup = Setup(7, 2, HOLDERS, b"session-for-test")
    dealt = run_together({name: generate_key(suite, setup, name, source) for name in HOLDERS})
    return EpochManifest(
        hub="lianfang",
        record=dealt["hub"].record,
        not_before=NOW,
        not_after=NOW + 86_400,
        grace_s=3600,
        contributors={"police": 1},
        askers={"insurer": Grant(100, frozenset(Purpose))},
        previous=NO_PREVIOUS,
    )


def entries(log):
    found = []
    for origin in log.storage.origins():
        size = log.storage.edge(origin).size
        found += [Entry.decode(data) for data in log.storage.entries(origin, 0, size)]
    return found


def told(*events):
    return [{"label": f"train/{n}", "event": event_fields(e)} for n, e in enumerate(events)]


def test_acts_on_keys_are_entered_by_the_hub(log, manifest):
    log.journal.epoch_begun(manifest)
    log.journal.epoch_refreshed(manifest)
    log.journal.epoch_ended(manifest)
    found = entries(log)
    assert [e.policies for e in found] == [("epoch.begin",), ("epoch.refresh",), ("epoch.end",)]
    for entry in found:
        assert (entry.organisation, entry.verb) == ("hub", Verb.ALTER)
        assert entry.subject_matter == "epoch-7/key"
        assert entry.recipients == ("police", "telecom")
        assert entry.document == entry.agreement.digest == manifest.digest
        assert entry.policy_set == RULES_DIGEST


def test_repetition_adds_nothing_also_in_another_process(log, reopen, manifest):
    first = log.journal.epoch_begun(manifest)
    assert log.journal.epoch_begun(manifest) == first
    assert reopen().journal.epoch_begun(manifest) == first
    assert log.journal.epoch_ended(manifest) != first
    assert len(entries(log)) == 2


def test_partner_is_entered_every_time_it_is_taken_in(log):
    request = {"name": "insurer", "identity": "00" * 32, "contract": {"low": 0.5}}
    for _ in range(2):
        log.journal.partner_approved(request)
    one, two = entries(log)
    assert one.recipients == two.recipients == ("insurer",)
    assert one.agreement == two.agreement
    assert one.agreement.name == "join-request"


@pytest.mark.parametrize("name", ["a--b", "branch-123456789"])
def test_name_that_no_entry_holds_is_told_before_anything_is_done(log, plan, name):
    with pytest.raises(UnsupportedParameterError, match="choose another"):
        log.journal.partner_approved({"name": name})
    with pytest.raises(UnsupportedParameterError, match="choose another"):
        log.journal.run_proposed(replace(plan, run=name))
    assert entries(log) == []


def test_charges_of_a_run_add_up_to_what_partners_released(log, plan):
    mean, step = Gaussian(20.0, 3), Gaussian(4.5)
    releases = {"police": told(mean, *[step] * 60), "telecom": told(Composed((mean, step)))}
    record = b"record"
    for _ in range(2):
        log.journal.run_ended(plan, Outcome.DONE, releases=releases, spending=True, record=record)
    insurer, police, telecom, end = entries(log)
    assert (insurer.outcome, insurer.policies) == (Outcome.FAILED, ("run.unreported",))
    assert insurer.charge is None
    assert (police.organisation, police.count, police.recipients) == (
        "police", 61, ("insurer", "telecom"),
    )  # fmt: skip
    expected = Counter({Gaussian(20.0): 3, Gaussian(4.5): 60})
    assert tally(police.charge.event) == expected
    assert set(police.charge.scopes) == {
        ("people", "police", "insurer"), ("people", "police", "telecom"),
    }  # fmt: skip
    assert tally(telecom.charge.event) == Counter({Gaussian(20.0): 3, Gaussian(4.5): 1})
    assert (end.outcome, end.policies, end.charge) == (Outcome.DONE, ("run.end",), None)
    assert {e.agreement.digest for e in (police, end)} == {plan.digest}


def test_more_kinds_of_releases_than_an_entry_holds_are_refused(log, plan):
    many = told(*[Gaussian(1.0 + n / 1000) for n in range(401)])
    with pytest.raises(MalformedMessageError, match="police"):
        log.journal.run_ended(
            plan, Outcome.DONE, releases={"police": many}, spending=True, record=b""
        )
    few = told(*[Gaussian(1.0 + n / 997) for n in range(400)])
    log.journal.run_ended(plan, Outcome.DONE, releases={"police": few}, spending=True, record=b"")


def test_refused_run_is_entered_as_refused(log, plan):
    log.journal.run_started(plan)
    log.journal.run_ended(plan, Outcome.REFUSED, releases={}, spending=False, record=b"r")
    assert [entry.outcome for entry in entries(log)] == [Outcome.DONE, Outcome.REFUSED]


def test_every_year_has_a_log_of_its_own(log, clock, manifest):
    first = log.journal.epoch_begun(manifest)
    clock.advance(366 * 86_400)
    second = log.journal.epoch_ended(manifest)
    assert (first.origin, second.origin) == ("hub.example/audit/2026", "hub.example/audit/2027")
    assert [note.text.splitlines()[:2] for note in log.yearly.checkpoint()] == [
        ["hub.example/audit/2026", "1"], ["hub.example/audit/2027", "1"],
    ]  # fmt: skip
    # What was entered last year is found again.
    assert log.journal.epoch_begun(manifest) == first


@pytest.fixture
def home(tmp_path):
    made = HubHome(tmp_path / "hub")
    made.create(name="fraud-hub", host="127.0.0.1", link_port=0, fleet_port=0, api_port=0, now=NOW)
    return made


def test_log_of_a_hub_goes_on_under_its_own_key(home, clock):
    with open_log(home, clock=clock) as first, open_log(home, clock=clock) as second:
        assert first.key == second.key
        assert first.key.name == "fraud-hub/audit/2026"
        assert first.key.public != home.identity_key().public_key().public_bytes_raw()
        first.journal.partner_approved({"name": "insurer"})
        second.journal.partner_approved({"name": "police"})
        assert len(entries(first)) == 2
    for name in ("log.key", "parts.key"):
        assert (home.root / "log" / name).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["log.key", "parts.key"])
def test_lost_key_is_told_and_not_made_anew(home, clock, name):
    open_log(home, clock=clock).close()
    (home.root / "log" / name).unlink()
    with pytest.raises(ConfigError, match="restore"):
        open_log(home, clock=clock)
