"""One run at a node: attempts are used once, what it was accepted for stays, secrets go."""

import json
import os
import threading

import numpy as np
import pytest

from clients.node.files import exclusive, load_json, store_array, store_json
from clients.node.home import Home
from clients.node.session import Session, _refuse_charge
from clients.node.spending import open_ledger, reserve, scopes
from protocols.dp.events import Gaussian
from protocols.errors import OutOfTurnError
from protocols.phase import PhaseRequest, Status
from protocols.vertical.budget import own_event

RUN = "spring"
SECRETS = {"ephemeral.key", "run.key", "announced.json"}


@pytest.fixture
def accepted(town):
    """The telecom's session of an accepted run, with the secrets that phases leave behind."""
    plan = town.plan()
    assert town.offer("telecom", plan).status is Status.DONE
    session = Session.resume(Home(town.node("telecom")), RUN)
    (session.directory / "run.key").write_bytes(os.urandom(32))
    store_json(session.directory / "announced.json", {"police": "ab"})
    (session.directory / "checkpoint-3.bin").write_bytes(b"state")
    return session


def request(phase, attempt):
    return PhaseRequest(RUN, phase, attempt, 30, "{}")


def test_attempts_are_never_used_twice(accepted):
    accepted.begin(request("train", 2))
    for used in (1, 2):
        with pytest.raises(OutOfTurnError, match=f"attempt {used} was used, the next is 3"):
            accepted.begin(request("train", used))
    accepted.begin(request("train", 3))
    accepted.begin(request("align", 1))  # every phase counts by itself
    later = Session.resume(accepted.home, RUN)
    with pytest.raises(OutOfTurnError):
        later.begin(request("train", 3))


def test_phase_of_an_unknown_run_leaves_no_trace(town):
    before = town.files("telecom")
    for phase in ("align", "prepare", "train", "validate", "score", "finish"):
        reply = town.ask("telecom", phase, {}, run="never-seen")
        assert (reply.status, reply.code) == (Status.FAILED, "out_of_turn")
    assert town.files("telecom") == before


def test_changed_plan_before_the_run_has_begun_takes_its_place(town):
    town.offer("telecom", town.plan())
    key = (town.node("telecom") / "runs" / RUN / "ephemeral.key").read_bytes()
    other = town.plan(steps=6)
    assert town.offer("telecom", other).status is Status.DONE
    session = Session.resume(Home(town.node("telecom")), RUN)
    assert session.plan == other
    assert session.ephemeral.private_bytes_raw() != key


def test_changed_plan_of_a_begun_run_is_refused_and_changes_nothing(town, accepted):
    accepted.begin(request("align", 1))
    before = town.files("telecom")
    reply = town.offer("telecom", town.plan(steps=6))
    assert (reply.status, reply.code) == (Status.FAILED, "out_of_turn")
    assert "another plan" in reply.reason
    assert town.files("telecom") == before


def test_finish_deletes_secrets_and_keeps_the_record(town, accepted):
    plan, home = accepted.plan, accepted.home
    reserve(home, plan, town.agreed.agreement)
    event = own_event(plan, "telecom")
    with open_ledger(home) as ledger:
        accepted.charger(ledger, 1)("encoder/means", event)
    store_json(accepted.directory / "sent.json", {"align.1": {"hub": 7}})
    reply = town.ask("telecom", "finish", {})
    assert reply.status is Status.DONE
    told = json.loads(reply.body)
    assert [release["label"] for release in told["releases"]] == ["encoder/means/attempt/1"]
    assert told["sent_bytes"] == {"align.1": {"hub": 7}}
    left = {path.name for path in accepted.directory.iterdir()}
    assert not left & SECRETS
    assert not any(name.startswith("checkpoint") for name in left)
    assert load_json(accepted.directory / "record.json")["plan_hash"] == plan.digest.hex()
    with open_ledger(home, town.agreed.agreement) as ledger:
        assert not ledger.open_runs()
        # What was not paid is free again; what was paid is not.
        (first, *_) = scopes(home, plan)
        assert 0 < ledger.committed(first) < 1


def test_ended_run_cannot_be_begun_again(town, accepted):
    town.ask("telecom", "finish", {})
    before = town.files("telecom")
    for reply in (town.offer("telecom", accepted.plan), town.offer("telecom", town.plan(steps=9))):
        assert (reply.status, reply.code) == (Status.FAILED, "out_of_turn")
        assert "has ended here" in reply.reason
    assert town.ask("telecom", "finish", {}, attempt=2).code == "out_of_turn"
    assert town.files("telecom") == before


def test_prepare_with_a_broken_table_charges_nothing(town, accepted):
    store_array(accepted.directory / "taken.npy", np.arange(3))
    store_array(accepted.directory / "rows.npy", np.arange(3))
    store_json(accepted.directory / "alignment.json", {"total": 8})
    contract = town.root / "telecom.json"
    contract.write_text(contract.read_text().replace("1000", "150"))
    reserve(accepted.home, town.plan(run="other"), town.agreed.agreement)
    ledger = accepted.home.ledger.read_bytes()
    reply = town.ask("telecom", "prepare", {})
    assert (reply.status, reply.code) == (Status.FAILED, "invalid_table")
    assert "column calls" in reply.reason
    assert "clip it" in reply.reason
    assert accepted.home.ledger.read_bytes() == ledger
    assert not (accepted.directory / "features.npy").exists()


def test_labels_of_one_kind_are_refused_before_anything_is_set_aside(town):
    home = Home(town.node("insurer"))
    town.offer("insurer", town.plan())
    directory = home.run(RUN)
    taken = np.array([1, 2, 3, 5, 6, 7])  # none of them is a case
    store_array(directory / "taken.npy", taken)
    store_array(directory / "rows.npy", np.arange(6))
    store_array(directory / "held_out.npy", np.zeros(6, dtype=bool))
    store_json(directory / "alignment.json", {"total": 8})
    ledger = home.ledger.read_bytes()
    reply = town.ask("insurer", "prepare", {})
    assert (reply.status, reply.code) == (Status.FAILED, "invalid_table")
    assert "column y: the rows to train on do not hold both 0 and 1" in reply.reason
    assert home.ledger.read_bytes() == ledger


def test_charge_in_a_phase_that_releases_nothing_is_refused(accepted):
    with pytest.raises(OutOfTurnError, match="encoder/means: this phase releases nothing"):
        _refuse_charge("encoder/means", Gaussian(1.0))


def test_kept_states_are_the_last_two(accepted):
    for step in (1, 2, 3, 4):
        accepted._keep(step, b"%d" % step)
    assert accepted.checkpoints() == {3: b"3", 4: b"4"}
    accepted._keep(2, b"again")  # an attempt that went back: later states are void
    assert set(accepted.checkpoints()) == {2}


def test_sent_bytes_of_every_phase_stay(accepted):
    accepted._record_sent("align.1", {"hub": 5})
    accepted._record_sent("train.1", {"police": 7, "insurer": 9})
    sent = load_json(accepted.directory / "sent.json")
    assert sent == {"align.1": {"hub": 5}, "train.1": {"police": 7, "insurer": 9}}


def test_wrong_setup_is_told_to_the_operator_and_not_to_the_hub(town, caplog):
    (town.node("telecom") / "policy.json").write_text("{")
    reply = town.offer("telecom", town.plan())
    assert (reply.status, reply.code) == (Status.FAILED, "config_error")
    assert "policy.json" not in reply.reason
    assert "policy.json" in caplog.text
    (town.node("police") / "keys" / "tls.key").chmod(0o644)
    reply = town.offer("police", town.plan())
    assert (reply.status, reply.code) == (Status.FAILED, "key_store")
    assert str(town.root) not in reply.reason


def test_two_processes_do_not_lose_a_change_of_the_inbox(town):
    inbox = Home(town.node("telecom")).inbox
    path = inbox / "count.json"
    store_json(path, {"count": 0})

    def add():
        for _ in range(20):
            with exclusive(inbox):
                store_json(path, {"count": load_json(path)["count"] + 1})

    threads = [threading.Thread(target=add) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert load_json(path)["count"] == 40
