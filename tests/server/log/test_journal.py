"""What the hub enters: who, by which policies, on which basis, what it cost; once; for years."""

import os
import random
from collections import Counter
from dataclasses import replace
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compliance.agreement.drafting import FRAUD
from compliance.clock import FixedClock
from compliance.configuration import ConfigError
from compliance.errors import NotPermittedError
from compliance.log.second import FileCheckpoints
from compliance.log.sqlstore import SqlStorage
from compliance.office.keys import LogKeys
from compliance.office.opening import agreements_in, policies_in
from compliance.policy.actors import StaffRole
from compliance.spending import tally
from protocols.dp.events import Composed, Gaussian, event_fields
from protocols.epoch.grants import Grant
from protocols.epoch.manifest import NO_PREVIOUS, EpochManifest
from protocols.epoch.setup import KeygenTerms
from protocols.errors import MalformedMessageError, UnsupportedParameterError
from protocols.group.select import load_group
from protocols.lookup.request import Purpose
from protocols.oprf.keygen import generate_key
from protocols.oprf.setup import Setup
from protocols.oprf.suite import Mode, Suite
from protocols.program import run_together
from protocols.tlog.entry import Entry, Outcome, Verb
from protocols.vertical.contract import Contract
from server.home import HubHome
from server.log.opening import assemble, open_log
from server.training.proposal import propose

NOW = 1_795_305_600
YEAR_S = 366 * 86_400
HOLDERS = ("hub", "police", "telecom")
SESSION = b"session-for-test"


@pytest.fixture
def clock():
    return FixedClock(NOW)


@pytest.fixture
def agreed(agree, partners):
    """An agreement with the contracts that the partners handed in, under keys of their own."""
    keys = {
        name: Ed25519PrivateKey.from_private_bytes(sha256(name.encode()).digest())
        for name in ("hub", *partners)
    }
    for name, partner in partners.items():
        partner["identity"] = keys[name].public_key().public_bytes_raw().hex()
    contracts = {name: Contract.parse(partner["contract"]) for name, partner in partners.items()}
    return agree(keys, contracts=contracts)


@pytest.fixture
def plan(choices, partners, agreed):
    """A plan that the agreement covers."""
    assert agreed
    return propose(choices(purpose=FRAUD), partners)


@pytest.fixture
def reopen(tmp_path, clock, agreed):
    """Open the same log anew, as another process would."""
    keys, made = LogKeys.draw(os.urandom), []
    agreed.keep(tmp_path)

    def opened():
        log = assemble(
            "hub.example/audit",
            SqlStorage.open(f"sqlite:///{tmp_path}/log.sqlite"),
            FileCheckpoints(tmp_path / "second"),
            keys,
            clock=clock,
            folder=tmp_path / "log",
            agreements=agreements_in(tmp_path, agreed.identities),
            policies=policies_in(tmp_path),
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
    setup = Setup(7, 2, HOLDERS, SESSION)
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


@pytest.fixture(scope="module")
def terms(manifest):
    return KeygenTerms(
        hub="lianfang", epoch=7, threshold=2, holders=HOLDERS, session=SESSION,
        not_before=NOW, not_after=NOW + 86_400, grace_s=3600,
        contributors=manifest.contributors, askers=manifest.askers, previous=NO_PREVIOUS,
    )  # fmt: skip


def operator(log):
    return log.office.person("olga", [StaffRole.OPERATOR])


def change(log, manifest, terms=None, *, act="begin_epoch", reason="as planned"):
    """Decide on an act by the operator and her colleague, and enter it as done."""
    second = log.office.person("amy", [StaffRole.APPROVER])
    decision = log.journal.permit_epoch(
        act, terms, epoch=manifest.epoch, by=operator(log), second=second, reason=reason
    )
    return log.journal.epoch_changed(decision, manifest, reason=reason)


def entries(log):
    found = []
    for origin in log.storage.origins():
        size = log.storage.edge(origin).size
        found += [Entry.decode(data) for data in log.storage.entries(origin, 0, size)]
    return found


def told(*events):
    return [{"label": f"train/{n}", "event": event_fields(e)} for n, e in enumerate(events)]


def test_acts_on_keys_are_entered_with_the_person_and_the_policy(log, manifest, terms, agreed):
    change(log, manifest, terms)
    change(log, manifest, terms, act="refresh_epoch")
    change(log, manifest, act="end_epoch")
    found = entries(log)
    assert [e.act for e in found] == ["begin_epoch", "refresh_epoch", "end_epoch"]
    for entry in found:
        assert (entry.organisation, entry.verb) == ("hub", Verb.ALTER)
        assert entry.actor == operator(log).pseudonym
        assert (entry.policies, entry.basis) == (("hub-operators",), "none")
        assert entry.subject_matter == "epoch-7/key"
        assert entry.recipients == ("police", "telecom")
        assert entry.document == manifest.digest
        assert entry.agreement.digest == agreed.agreement.digest
        assert entry.policy_set == log.office.policies.current().digest


def test_permission_alone_is_no_entry_and_a_denial_is_one(log, manifest, terms):
    log.journal.permit_epoch("refresh_epoch", terms, epoch=7, by=operator(log), second=None)
    assert entries(log) == []
    with pytest.raises(NotPermittedError, match="four-eyes"):
        log.journal.permit_epoch("begin_epoch", terms, epoch=7, by=operator(log), second=None)
    (entry,) = entries(log)
    assert (entry.outcome, entry.policies) == (Outcome.REFUSED, ("four-eyes",))
    assert (entry.recipients, entry.document) == ((), None)


def test_reason_stands_in_the_private_part_alone(log, manifest, terms):
    place = change(log, manifest, terms, reason="the old key is a year old")
    (entry,) = entries(log)
    assert b"year old" not in entry.encode()
    part = log.office.parts.read(place, entry.commitment)
    assert part.reason == "the old key is a year old"


def test_repetition_adds_nothing_also_in_another_process(log, reopen, manifest, terms):
    first = change(log, manifest, terms)
    assert change(log, manifest, terms) == first
    assert change(reopen(), manifest, terms) == first
    assert change(log, manifest, act="end_epoch") != first
    assert len(entries(log)) == 2


def test_partner_is_entered_every_time_it_is_taken_in(log, approvers):
    request = {"name": "insurer", "identity": "00" * 32, "contract": {"low": 0.5}}
    for _ in range(2):
        log.journal.partner_approved(request, approvers(log.office))
    one, two = entries(log)
    assert one.recipients == two.recipients == ("insurer",)
    assert one.document == two.document
    assert one.policies == ("hub-approvers",)


@pytest.mark.parametrize("name", ["a--b", "branch-123456789"])
def test_name_that_no_entry_holds_is_told_before_anything_is_done(log, plan, approvers, name):
    with pytest.raises(UnsupportedParameterError, match="choose another"):
        log.journal.partner_approved({"name": name}, approvers(log.office))
    with pytest.raises(UnsupportedParameterError, match="choose another"):
        log.journal.run_proposed(replace(plan, run=name), by=operator(log))
    assert entries(log) == []


def test_run_is_proposed_by_a_person_and_started_by_the_hub(log, plan, agreed):
    log.journal.run_proposed(plan, by=operator(log))
    log.journal.run_started(plan)
    proposed, started = entries(log)
    assert (proposed.act, proposed.policies) == ("propose_run", ("hub-operators",))
    assert (started.act, started.policies) == ("compute", ("holders-and-computers",))
    for entry in (proposed, started):
        assert (entry.purpose, entry.document) == (plan.purpose, plan.digest)
        assert entry.agreement.digest == agreed.agreement.digest
        assert entry.basis in {flow.basis for flow in agreed.agreement.flows}


def test_run_beyond_the_agreement_is_refused_and_entered(log, choices, partners, agreed):
    assert agreed
    other = propose(choices(purpose="https://example.org/curiosity"), partners)
    with pytest.raises(NotPermittedError, match="purposes"):
        log.journal.run_proposed(other, by=operator(log))
    with pytest.raises(NotPermittedError, match="purposes"):
        log.journal.run_started(other)
    assert [(entry.outcome, entry.policies[-1]) for entry in entries(log)] == [
        (Outcome.REFUSED, "agreement.purposes"), (Outcome.REFUSED, "agreement.purposes"),
    ]  # fmt: skip


def end(log, plan, outcome=Outcome.DONE, **details):
    usual = {"decision": log.office.decide("compute"), "releases": {}, "spending": True}
    return log.journal.run_ended(plan, outcome, **(usual | {"record": b"record"} | details))


def test_charges_of_a_run_add_up_to_what_partners_released(log, plan, agreed):
    mean, step = Gaussian(20.0, 3), Gaussian(4.5)
    releases = {"police": told(mean, *[step] * 60), "telecom": told(Composed((mean, step)))}
    decision = log.journal.run_started(plan)
    for _ in range(2):
        end(log, plan, decision=decision, releases=releases)
    _, insurer, police, telecom, ended = entries(log)
    assert (insurer.outcome, insurer.policies[-1]) == (Outcome.FAILED, "run.unreported")
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
    assert (ended.outcome, ended.charge) == (Outcome.DONE, None)
    assert ended.document == sha256(b"record").digest()
    assert {e.agreement.digest for e in (police, ended)} == {agreed.agreement.digest}


def test_what_was_released_counts_though_the_agreement_ended_meanwhile(log, plan, agreed, clock):
    decision = log.journal.run_started(plan)
    word = agreed.revocation("police", now=clock.now())
    log.office.agreements.keep_revocation(word, now=clock.now())
    end(log, plan, decision=decision, releases={"police": told(Gaussian(20.0))})
    _, _, police, _, ended = entries(log)
    assert (police.outcome, police.policies[-1]) == (Outcome.FAILED, "run.agreement_ended")
    assert tally(police.charge.event) == Counter({Gaussian(20.0): 1})
    assert ended.outcome is Outcome.DONE


def test_more_kinds_of_releases_than_an_entry_holds_are_refused(log, plan):
    many = told(*[Gaussian(1.0 + n / 1000) for n in range(401)])
    with pytest.raises(MalformedMessageError, match="police"):
        end(log, plan, releases={"police": many})
    end(log, plan, releases={"police": told(*[Gaussian(1.0 + n / 997) for n in range(400)])})


def test_refused_run_is_entered_as_refused(log, plan):
    decision = log.journal.run_started(plan)
    end(log, plan, Outcome.REFUSED, decision=decision, spending=False)
    end(log, replace(plan, run="later"), Outcome.FAILED, decision=decision, spending=False)
    assert [(entry.outcome, entry.policies[-1]) for entry in entries(log)[1:]] == [
        (Outcome.REFUSED, "run.refused"), (Outcome.FAILED, "run.failed"),
    ]  # fmt: skip


def test_every_year_has_a_log_of_its_own(log, clock, manifest, terms):
    first = change(log, manifest, terms)
    clock.advance(YEAR_S)
    second = change(log, manifest, act="end_epoch")
    assert (first.origin, second.origin) == ("hub.example/audit/2026", "hub.example/audit/2027")
    assert [note.text.splitlines()[:2] for note in log.yearly.checkpoint()] == [
        ["hub.example/audit/2026", "1"], ["hub.example/audit/2027", "1"],
    ]  # fmt: skip
    # What was entered last year is found again.
    assert change(log, manifest, terms) == first


@pytest.fixture
def home(tmp_path):
    made = HubHome(tmp_path / "hub")
    made.create(name="fraud-hub", host="127.0.0.1", link_port=0, fleet_port=0, api_port=0, now=NOW)
    return made


def test_log_of_a_hub_goes_on_under_its_own_key(home, clock, approvers):
    with open_log(home, clock=clock) as first, open_log(home, clock=clock) as second:
        assert first.key == second.key
        assert first.key.name == "fraud-hub/audit/2026"
        assert first.key.public != home.identity_key().public_key().public_bytes_raw()
        for log, name in ((first, "insurer"), (second, "police")):
            log.journal.partner_approved({"name": name}, approvers(log.office))
        assert len(entries(first)) == 2
    for name in ("log.key", "parts.key"):
        assert (home.root / "log" / name).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["log.key", "parts.key"])
def test_lost_key_is_told_and_not_made_anew(home, clock, name):
    open_log(home, clock=clock).close()
    (home.root / "log" / name).unlink()
    with pytest.raises(ConfigError, match="restore"):
        open_log(home, clock=clock)
