"""Deciding by hand, and what the operator is told about what left the site."""

import json
import threading
import time

import pytest

from clients.node import deciding
from clients.node.deciding import MAX_REASON, account, pending
from clients.node.files import exclusive, load_json, store_json
from clients.node.home import Home
from clients.node.session import Session
from clients.node.spending import open_ledger, reserve
from clients.office import node_office
from compliance.configuration import ConfigError
from compliance.errors import NotPermittedError
from compliance.policy.actors import StaffRole
from protocols.dp.events import Gaussian
from protocols.errors import MalformedMessageError
from protocols.phase import Status
from protocols.vertical.budget import head_noise_multiplier, own_event

RUN = "spring"


def decide(node, run, *, accept, reason, roles=(StaffRole.APPROVER,), account="lin"):
    """Decide as one of the node's staff; nobody if there are no roles."""
    with node_office(Home(node)) as office:
        by = office.person(account, roles) if roles else office.own
        return deciding.decide(node, run, accept=accept, reason=reason, by=by, office=office)


def offered(town, plan, deadline_s=30):
    """Offer a plan in the background; returns how to wait for the reply."""
    replies = []
    asking = threading.Thread(
        target=lambda: replies.append(town.offer("telecom", plan, deadline_s=deadline_s))
    )
    asking.start()
    path = town.node("telecom") / "inbox" / f"{RUN}.json"
    ends_at = time.monotonic() + 10
    while not (path.exists() and load_json(path)["plan_hash"] == plan.digest.hex()):
        assert time.monotonic() < ends_at, "the run never reached the inbox"
        time.sleep(0.01)

    def reply():
        asking.join()
        return replies[0]

    return reply


@pytest.fixture
def by_hand(town):
    town.allow("telecom", decide="hand")
    return town


def test_approved_run_is_accepted(by_hand):
    node, plan = by_hand.node("telecom"), by_hand.plan()
    reply = offered(by_hand, plan)
    (item,) = pending(node)
    assert (item["run"], item["state"]) == (RUN, "waiting for you")
    assert "insurer, police, telecom; epsilon 1, 5 steps" in item["summary"]
    assert decide(node, RUN, accept=True, reason="") == plan.digest.hex()
    assert reply().status is Status.DONE
    assert pending(node)[0]["state"] == "accepted"


def test_refused_run_tells_the_reason_and_leaves_the_rest_alone(by_hand):
    node = by_hand.node("telecom")
    reply = offered(by_hand, by_hand.plan())
    before = by_hand.files("telecom")
    decide(node, RUN, accept=False, reason=" not in the audit week ")
    told = reply()
    assert (told.status, told.code, told.reason) == (
        Status.REFUSED, "by_hand", "not in the audit week",
    )  # fmt: skip
    after = by_hand.files("telecom")
    assert after.keys() == before.keys()
    assert {name for name in after if after[name] != before[name]} == {f"inbox/{RUN}.json"}


def test_silence_is_a_refusal_and_a_late_decision_is_told_so(by_hand):
    node = by_hand.node("telecom")
    reply = by_hand.offer("telecom", by_hand.plan(), deadline_s=2)
    assert (reply.status, reply.code) == (Status.REFUSED, "no_decision")
    before = by_hand.files("telecom")
    assert pending(node)[0]["state"] == "too late"
    with pytest.raises(ConfigError, match="waited too long and is over; ask the hub for a new run"):
        decide(node, RUN, accept=True, reason="")
    assert by_hand.files("telecom") == before


def test_decision_on_one_plan_is_not_taken_for_another(by_hand):
    node = by_hand.node("telecom")
    reply = offered(by_hand, by_hand.plan())
    decide(node, RUN, accept=True, reason="")
    assert reply().status is Status.DONE
    # The hub comes back under the same name with something else: the person is asked anew.
    other = offered(by_hand, by_hand.plan(steps=400))
    assert pending(node)[0]["state"] == "waiting for you"
    decide(node, RUN, accept=False, reason="too many steps")
    assert other().code == "by_hand"


def test_decision_is_not_changed_afterwards(by_hand):
    node = by_hand.node("telecom")
    reply = offered(by_hand, by_hand.plan())
    decide(node, RUN, accept=True, reason="")
    with pytest.raises(ConfigError, match="has been decided already"):
        decide(node, RUN, accept=False, reason="second thoughts")
    assert reply().status is Status.DONE


def test_run_that_breaks_a_rule_does_not_reach_the_inbox(by_hand):
    before = by_hand.files("telecom")
    assert by_hand.offer("telecom", by_hand.plan(epsilon=2.0)).code == "epsilon"
    assert by_hand.files("telecom") == before


@pytest.mark.parametrize("reason", ["", "   ", "x" * (MAX_REASON + 1)])
def test_refusal_needs_a_reason(by_hand, reason):
    with pytest.raises(ConfigError, match="reason: needs 1 to 500 characters"):
        decide(by_hand.node("telecom"), RUN, accept=False, reason=reason)


def test_unknown_run_is_told(town):
    node = town.node("telecom")
    with pytest.raises(ConfigError, match="autumn is not in the inbox"):
        decide(node, "autumn", accept=True, reason="")
    with pytest.raises(ConfigError, match="autumn was never accepted here"):
        account(node, "autumn")
    for act in (account, lambda home, run: decide(home, run, accept=True, reason="")):
        with pytest.raises(MalformedMessageError):
            act(node, "../keys")


def test_who_decided_stands_in_the_log(by_hand):
    node, plan = by_hand.node("telecom"), by_hand.plan()
    reply = offered(by_hand, plan)
    decide(node, RUN, accept=True, reason="")
    assert reply().status is Status.DONE
    other = offered(by_hand, by_hand.plan(steps=6))
    decide(node, RUN, accept=False, reason="too many", roles=(StaffRole.OPERATOR,), account="wu")
    assert other().code == "by_hand"
    taken, refused = by_hand.entries("telecom")
    assert (taken.act, refused.act) == ("accept_run", "refuse_run")
    with node_office(Home(node)) as office:
        people = [office.person(name, ()).pseudonym for name in ("lin", "wu")]
    assert [taken.actor, refused.actor] == people


@pytest.mark.parametrize("roles", [(StaffRole.DESK,), (StaffRole.OPERATOR,)])
def test_who_may_not_accept_is_denied_and_the_run_still_waits(by_hand, roles):
    node = by_hand.node("telecom")
    reply = offered(by_hand, by_hand.plan(), deadline_s=5)
    for _ in range(2):
        with pytest.raises(NotPermittedError, match="accept_run"):
            decide(node, RUN, accept=True, reason="", roles=roles)
    assert pending(node)[0]["state"] == "waiting for you"
    assert [(e.act, e.outcome) for e in by_hand.entries("telecom")] == [
        ("accept_run", "refused")
    ] * 2
    decide(node, RUN, accept=True, reason="")
    assert reply().status is Status.DONE


def test_program_does_not_decide_by_hand(by_hand):
    node = by_hand.node("telecom")
    reply = offered(by_hand, by_hand.plan(), deadline_s=5)
    with pytest.raises(ConfigError, match="waits for a person; name your account with --as"):
        decide(node, RUN, accept=True, reason="", roles=())
    decide(node, RUN, accept=False, reason="no")
    assert reply().code == "by_hand"


def test_approval_counts_for_nothing_once_the_agreement_is_revoked(by_hand):
    node = by_hand.node("telecom")
    reply = offered(by_hand, by_hand.plan())
    with exclusive(Home(node).inbox):  # the node reads the decision only after this
        path = Home(node).inbox / f"{RUN}.json"
        with node_office(Home(node)) as office:
            by = office.person("lin", (StaffRole.APPROVER,)).fields()
        by_hand.revoke("police")
        decision = {"accept": True, "reason": "", "by": by}
        store_json(path, load_json(path) | {"decision": decision})
    told = reply()
    assert (told.status, told.code) == (Status.REFUSED, "not_permitted")
    assert not (node / "runs" / RUN).exists()


def test_person_is_not_asked_about_what_is_not_agreed(by_hand):
    by_hand.revoke("police")
    assert by_hand.offer("telecom", by_hand.plan()).code == "not_permitted"
    assert pending(by_hand.node("telecom")) == []


def test_damaged_inbox_is_named(town):
    (Home(town.node("telecom")).inbox / "x.json").write_text("{")
    with pytest.raises(ConfigError, match=r"x\.json: not valid JSON"):
        pending(town.node("telecom"))


def test_account_of_a_run_that_broke_off_tells_all_that_was_paid(town):
    plan, home = town.plan(), Home(town.node("telecom"))
    town.offer("telecom", plan)
    assert account(home.root, RUN)["epsilon"] == 0
    session = Session.resume(home, RUN)
    reserve(home, plan, town.agreed.agreement)
    with open_ledger(home) as ledger:
        charge = session.charger(ledger, 1)
        charge("encoder/means", own_event(plan, "telecom"))
        means_alone = account(home.root, RUN)["epsilon"]
        for step in range(plan.steps):
            charge(f"train/step/{step}", Gaussian(head_noise_multiplier(plan)))
    store_json(session.directory / "sent.json", {"train.1": {"police": 40, "insurer": 2}})
    found = account(home.root, RUN)
    assert found["state"] == "not ended here"
    assert found["sent_bytes"] == {"train.1": {"police": 40, "insurer": 2}}
    assert len(found["releases"]) == 1 + plan.steps
    assert 0 < means_alone < found["epsilon"] < 1
    town.ask("telecom", "finish", {})
    ended = account(home.root, RUN)
    assert ended["state"] == "ended"
    assert (ended["releases"], ended["epsilon"]) == (found["releases"], found["epsilon"])
    json.dumps(ended)  # it is what `--format json` writes
