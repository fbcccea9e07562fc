"""No training without agreement, decision, entry and charge, at the node of every owner."""

import json
import os
import shutil

import numpy as np
import pytest

from clients.node.files import store_array, store_json
from clients.node.home import Home
from clients.node.phases.closing import finish_ended
from clients.node.session import Session
from clients.node.spending import caps_of, open_ledger, reserve, scopes
from clients.office import node_office
from compliance.errors import NotPermittedError
from compliance.policy.actors import Organisation
from compliance.policy.decision import Decision
from compliance.policy.replay import replay
from compliance.spending import Tally, tally
from protocols.dp.events import Gaussian
from protocols.errors import OutOfTurnError
from protocols.phase import Status
from protocols.tlog.entry import Outcome, Verb
from protocols.vertical.budget import head_noise_multiplier, own_event

RUN = "spring"
SIZES = {"widths": {"police": 4, "telecom": 4}, "counts": {"trained": 90, "positives": 7}}


@pytest.fixture
def accepted(town):
    """The telecom's session of an accepted run."""
    assert town.offer("telecom", town.plan()).status is Status.DONE
    return Session.resume(Home(town.node("telecom")), RUN)


@pytest.fixture
def aligned(accepted):
    """The same after the partners' rows were aligned."""
    store_json(accepted.directory / "announced.json", {})
    store_json(accepted.directory / "alignment.json", {"total": 8})
    return accepted


def acts(town, name="telecom"):
    return [(entry.act, entry.outcome) for entry in town.entries(name)]


def part_of(town, name, index):
    """Return the private part of one entry."""
    commitment = town.entries(name)[index].commitment
    with node_office(Home(town.node(name))) as office:
        subject = f"run {town.plan().digest.hex()} offered"
        place = office.parts.find_subject(subject)[index]
        return office.parts.read(place, commitment)


def pay(town, session, steps):
    """Reserve the run and pay for its encoder and some of its steps."""
    plan, home = session.plan, session.home
    reserve(home, plan, town.agreed.agreement)
    with open_ledger(home) as ledger:
        charge = session.charger(ledger, 1)
        charge("encoder/means", own_event(plan, session.ours))
        for step in range(steps):
            charge(f"train/step/{step}", Gaussian(head_noise_multiplier(plan)))
        return ledger.charges(plan.run)


# ---- accepting and refusing -----------------------------------------------------------------


def test_acceptance_is_entered_once_for_each_plan(town):
    plan = town.plan()
    for _ in range(2):
        assert town.offer("telecom", plan).status is Status.DONE
    (entry,) = town.entries("telecom")
    assert (entry.act, entry.verb, entry.outcome) == ("accept_run", Verb.COMBINE, Outcome.DONE)
    assert entry.document == plan.digest
    assert entry.recipients == ("insurer", "police")
    assert entry.subject_matter == f"run/{RUN}"
    assert entry.agreement.digest == town.agreed.agreement.digest
    assert entry.basis == "tw/pdpa-20-4"


def test_plan_without_a_partner_is_decided_anew(town):
    whole = town.plan(on_refusal="continue")
    narrowed = whole.without("police")
    town.offer("telecom", whole)
    town.offer("telecom", narrowed)
    assert [entry.document for entry in town.entries("telecom")] == [whole.digest, narrowed.digest]
    assert town.entries("telecom")[1].recipients == ("insurer",)


def test_narrowed_plan_that_is_not_agreed_is_denied(town):
    town.agree_otherwise(compute=("insurer", "police", "telecom"))
    whole = town.plan(on_refusal="continue")
    assert town.offer("telecom", whole).status is Status.DONE
    reply = town.offer("telecom", whole.without("police"))
    assert (reply.status, reply.code) == (Status.REFUSED, "not_permitted")
    assert "hub may not compute" in reply.reason
    assert acts(town) == [("accept_run", Outcome.DONE), ("accept_run", Outcome.REFUSED)]


def test_refusal_by_the_standing_policy_is_entered_and_its_reason_sealed(town):
    town.allow("telecom", max_epsilon=0.5)
    town.offer("telecom", town.plan())
    (entry,) = town.entries("telecom")
    assert (entry.act, entry.outcome) == ("refuse_run", Outcome.DONE)
    part = part_of(town, "telecom", 0)
    assert part.reason == "epsilon: epsilon 1 is over this partner's 0.5 a run"


def without_agreement(town):
    shutil.rmtree(town.node("telecom") / "agreements")
    (town.node("telecom") / "agreements").mkdir()


DENIED = {
    "none": (without_agreement, "agreement: no agreement is in force"),
    "revoked": (lambda town: town.revoke("police"), "agreement: no agreement is in force"),
    "epsilon": (lambda town: town.agree_otherwise(epsilon=0.5), "epsilon 1 is over 0.5 a run"),
    "rows": (lambda town: town.agree_otherwise(min_rows=101), "at least 101 rows"),
    "pseudonyms": (
        lambda town: town.agree_otherwise(pseudonyms=("oblivious",)),
        "keyed pseudonyms are not agreed",
    ),
    "contracts": (
        lambda town: town.agree_otherwise(contracts={}, compute=("insurer", "police", "telecom")),
        "not in its contract",
    ),
    "over": (lambda town: town.agree_otherwise(ends=1_600_000_000), "no agreement is in force"),
}


@pytest.mark.parametrize("case", DENIED.values(), ids=DENIED)
def test_plan_that_is_not_agreed_is_denied_entered_and_leaves_nothing(town, case):
    change, says = case
    change(town)
    before = town.files("telecom")
    reply = town.offer("telecom", town.plan())
    assert (reply.status, reply.code) == (Status.REFUSED, "not_permitted")
    assert says in reply.reason
    (entry,) = town.entries("telecom")
    assert (entry.act, entry.outcome, entry.recipients) == ("accept_run", Outcome.REFUSED, ())
    assert "no-agreement-no-act" in entry.policies
    assert town.files("telecom") == before


def test_nothing_is_accepted_that_the_log_cannot_take(town):
    town.offer("telecom", town.plan(run="earlier"))
    (town.node("telecom") / "log" / "log.key").unlink()
    reply = town.offer("telecom", town.plan())
    assert reply.status is Status.FAILED
    assert not (town.node("telecom") / "runs" / RUN).exists()


def test_name_that_no_entry_can_hold_is_told(town):
    reply = town.offer("telecom", town.plan(run="spring-123456789"))
    assert (reply.status, reply.code) == (Status.FAILED, "unsupported_parameter")
    assert "nine digits in a row" in reply.reason
    assert town.entries("telecom") == []


def test_decision_can_be_made_again_from_its_record(town):
    plan = town.plan()
    town.offer("telecom", plan)
    record = Decision.decode(part_of(town, "telecom", 0).decision.encode())
    assert record.principal == Organisation("telecom", record.principal.kind)
    with node_office(Home(town.node("telecom"))) as office:
        kept = {plan.digest: (town.node("telecom") / "runs" / RUN / "plan.json").read_bytes()}
        assert replay(record, office.policies, office.agreements, kept.get) == ()


# ---- budget ---------------------------------------------------------------------------------


def test_stricter_cap_of_agreement_and_policy_counts(town):
    home = Home(town.node("telecom"))
    town.allow("telecom", cap_epsilon=2.0, max_delta=1e-5)
    town.agree_otherwise(epsilon=1.5, delta=1e-6)
    caps = caps_of(home, town.agreed.agreement)
    assert {cap.epsilon for cap in caps.values()} == {1.5}
    assert {cap.delta for cap in caps.values()} == {1e-6}
    assert {scope.recipient for scope in caps} == {"hub", "insurer", "police", "*"}
    town.allow("telecom", cap_epsilon=1.25)
    assert {cap.epsilon for cap in caps_of(home, town.agreed.agreement).values()} == {1.25}


def test_nothing_is_reserved_without_an_agreement(town):
    home, plan = Home(town.node("telecom")), town.plan()
    with pytest.raises(NotPermittedError, match="names no cap"):
        reserve(home, plan, None)
    with open_ledger(home, town.agreed.agreement) as ledger:
        assert ledger.open_runs() == {}
        assert ledger.committed(scopes(home, plan)[0]) == 0


def test_prepare_reserves_nothing_once_the_agreement_is_revoked(town, aligned):
    store_array(aligned.directory / "taken.npy", np.arange(3))
    store_array(aligned.directory / "rows.npy", np.arange(3))
    town.revoke("insurer")
    ledger = aligned.home.ledger.read_bytes()
    reply = town.ask("telecom", "prepare", {})
    assert (reply.status, reply.code) == (Status.REFUSED, "not_permitted")
    assert aligned.home.ledger.read_bytes() == ledger
    assert not (aligned.directory / "features.npy").exists()


# ---- training and scores --------------------------------------------------------------------


def test_training_begins_by_a_decision_that_is_entered_once(town, aligned):
    for attempt in (1, 2):
        # Nobody listens at the node's link: what comes after the decision fails.
        assert town.ask("telecom", "train", SIZES, attempt=attempt).status is Status.FAILED
    assert acts(town) == [("accept_run", Outcome.DONE), ("compute", Outcome.DONE)]


def test_training_does_not_begin_once_the_agreement_is_revoked(town, aligned):
    town.revoke("police")
    reply = town.ask("telecom", "train", SIZES)
    assert (reply.status, reply.code) == (Status.REFUSED, "not_permitted")
    assert acts(town)[1:] == [("compute", Outcome.REFUSED)]


@pytest.mark.parametrize("phase", ["validate", "score"])
def test_scores_are_opened_by_a_decision_that_is_entered(town, aligned, phase):
    store_array(aligned.directory / "features.npy", np.zeros((4, 8), dtype=np.float32))
    store_array(aligned.directory / "weights.npy", np.zeros(4))
    assert town.ask("telecom", phase, SIZES).status is Status.FAILED
    entry = town.entries("telecom")[-1]
    assert (entry.act, entry.verb, entry.outcome) == (
        "release_score", Verb.DISCLOSE, Outcome.DONE,
    )  # fmt: skip
    assert (entry.recipients, entry.count) == (("insurer",), 0)


def test_label_holder_enters_how_many_scores_it_has_opened(town):
    assert town.offer("insurer", town.plan()).status is Status.DONE
    session = Session.resume(Home(town.node("insurer")), RUN)
    store_json(session.directory / "alignment.json", {"total": 8})
    store_json(session.directory / "announced.json", {})
    store_array(session.directory / "held_out.npy", np.array([True, False, False]))
    for name in ("held_out_mask", "own_mask"):
        store_array(session.directory / f"{name}.npy", np.ones(8))
    for phase, count in (("validate", 1), ("score", 3)):
        town.ask("insurer", phase, SIZES)
        assert town.entries("insurer")[-1].count == count


def test_scores_are_not_opened_where_only_training_is_agreed(town, aligned):
    flows = tuple(flow for flow in town.agreed.agreement.flows if flow.what != "score")
    town.agree_otherwise(flows=flows)
    reply = town.ask("telecom", "score", SIZES)
    assert (reply.status, reply.code) == (Status.REFUSED, "not_permitted")
    assert "no legal basis for score" in reply.reason
    assert acts(town)[1:] == [("release_score", Outcome.REFUSED)]


# ---- the end --------------------------------------------------------------------------------


def test_log_says_to_the_last_release_what_the_ledger_says(town, accepted):
    charges = pay(town, accepted, 4)
    assert town.ask("telecom", "finish", {}).status is Status.DONE
    entry = town.entries("telecom")[-1]
    assert (entry.act, entry.outcome, entry.count) == ("compute", Outcome.DONE, 5)
    spent = Tally()
    for charge in charges:
        spent += tally(charge.event)
    assert tally(entry.charge.event) == spent
    wanted = [(scope.cohort, scope.dataset, scope.recipient)
              for scope in scopes(accepted.home, accepted.plan)]  # fmt: skip
    assert list(entry.charge.scopes) == wanted


def test_run_that_released_nothing_ends_without_a_charge(town, accepted):
    town.ask("telecom", "finish", {})
    entry = town.entries("telecom")[-1]
    assert (entry.act, entry.charge, entry.count) == ("compute", None, 0)


def test_what_was_released_is_entered_though_the_agreement_has_ended(town, accepted):
    pay(town, accepted, 1)
    town.revoke("insurer")
    assert town.ask("telecom", "finish", {}).status is Status.DONE
    entry = town.entries("telecom")[-1]
    assert entry.outcome is Outcome.FAILED
    assert "run.agreement_ended" in entry.policies
    assert entry.charge is not None


def test_end_that_a_crash_broke_off_is_finished_at_the_next_start(town, accepted):
    pay(town, accepted, 1)
    assert finish_ended(accepted.home) == []  # it may still go on
    with open_ledger(accepted.home) as ledger:
        ledger.close_run(RUN, 1)
    assert finish_ended(accepted.home) == [RUN]
    assert town.entries("telecom")[-1].charge is not None
    assert (accepted.directory / "record.json").exists()
    assert not (accepted.directory / "ephemeral.key").exists()
    with pytest.raises(OutOfTurnError):
        Session.resume(accepted.home, RUN)
    assert finish_ended(accepted.home) == []


def test_end_after_its_entry_adds_no_second_one(town, accepted):
    pay(town, accepted, 1)
    key = (accepted.directory / "ephemeral.key").read_bytes()
    town.ask("telecom", "finish", {})
    size = len(town.entries("telecom"))
    # As if the process had been killed just before it deleted the last secret.
    (accepted.directory / "ephemeral.key").write_bytes(key)
    assert finish_ended(accepted.home) == [RUN]
    assert len(town.entries("telecom")) == size


def test_nothing_secret_stands_in_an_entry(town, accepted):
    pay(town, accepted, 1)
    town.ask("telecom", "finish", {})
    text = json.dumps([entry.encode().decode() for entry in town.entries("telecom")])
    assert os.fspath(town.root) not in text
    assert "p17" not in text
