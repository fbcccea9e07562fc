"""Which runs a restored node may have spent in, by the hub's log."""

from dataclasses import replace

from clients.settling import runs_of
from compliance.agreement.drafting import FRAUD
from compliance.entries import Scope
from protocols.dp.events import Gaussian
from protocols.tlog.entry import Charge, Decision, Entry, Outcome, Verb

PLAN, RECORD = b"p" * 32, b"r" * 32
BASE = Entry(
    sequence=0, time=1_780_000_000, organisation="hub", actor=b"a" * 16, verb=Verb.COMBINE,
    act="propose_run", purpose=FRAUD, basis="none", agreement=None, policy_set=b"s" * 32,
    policies=("runs",), decision=Decision.PERMIT, outcome=Outcome.DONE,
    subject_matter="run/spring", recipients=("insurer", "police", "telecom"), count=0,
    document=PLAN, charge=None, commitment=b"c" * 32,
)  # fmt: skip
STARTED = replace(BASE, act="compute", recipients=())
ENDED = replace(STARTED, document=RECORD)
RELEASED = replace(
    STARTED,
    organisation="insurer",
    charge=Charge("spring", "run", (("people", "insurer", "police"),), Gaussian(10.0, 6)),
)
UNREPORTED = replace(STARTED, organisation="insurer", outcome=Outcome.FAILED)


def run_after(*entries):
    return runs_of({"hub/audit/2026": [BASE, *entries]}, "insurer")["spring"]


def test_released_run_has_its_charge_and_scopes():
    found = run_after(STARTED, RELEASED, ENDED)
    assert found.events == [Gaussian(10.0, 6)]
    assert found.scopes == {Scope("people", "insurer", "police")}


def test_run_under_way_is_not_over():
    found = run_after(STARTED)
    assert (found.plan, found.events, found.is_over) == (PLAN, [], False)


def test_run_that_ended_before_it_cost_anything_is_over():
    assert run_after(replace(ENDED, outcome=Outcome.REFUSED, decision=Decision.DENY)).is_over


def test_run_whose_releases_nobody_reported_is_not_over():
    assert not run_after(STARTED, UNREPORTED, ENDED).is_over


def test_charge_of_another_partner_is_not_ours():
    other = replace(
        RELEASED,
        organisation="telecom",
        charge=Charge("spring", "run", (("people", "telecom", "police"),), Gaussian(10.0, 6)),
    )
    found = run_after(STARTED, other, ENDED)
    assert (found.events, found.is_over) == ([], True)


def test_run_of_others_is_none_of_ours():
    others = replace(BASE, recipients=("police", "telecom"))
    assert runs_of({"hub/audit/2026": [others]}, "insurer") == {}
