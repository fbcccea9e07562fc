"""Rounds at one member's node: each once and in order, paid before, and masked when it leaves."""

import json

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from clients.node.files import store_array, store_json
from clients.node.home import Home
from clients.node.session import Session
from clients.node.spending import open_ledger, reserve
from clients.node.table import load_table
from clients.office import node_office
from protocols.phase import Status
from protocols.program import drive
from protocols.seal import derive_mask_key
from protocols.vertical.averaging import average, decode_masked, encode_reals, mask_update
from protocols.vertical.encoding import Encoder, fit_encoder
from protocols.vertical.neural_training import untrained_expert

RUN = "spring"
OTHER = "police"
ROUNDS = 4


@pytest.fixture
def member(town):
    """The telecom after phase prepare of a run in which it learns with one other of its kind."""
    town.requests[OTHER]["contract"] = town.requests["telecom"]["contract"]
    town.allow("telecom", cap_epsilon=64.0)
    plan = town.plan(
        epsilon=8.0,
        roles={"telecom": "line", OTHER: "line"},
        neural={"telecom": 0.3, OTHER: 0.3},
    )
    home = Home(town.node("telecom"))
    session = Session.create(home, plan)
    other = X25519PrivateKey.generate()
    public = other.public_key().public_bytes_raw().hex()
    store_json(session.directory / "announced.json", {OTHER: public, "insurer": public})
    table = load_table(home.config().table, home.contract())
    rows = np.arange(table.rows)
    store_array(session.directory / "taken.npy", rows)
    store_array(session.directory / "rows.npy", rows.astype(np.int32))
    store_json(session.directory / "alignment.json", {"total": table.rows + 8})
    contract = home.contract()
    alone = town.plan()  # a plan without an expert gives the columns' codes
    encoder = drive(
        fit_encoder(alone, "telecom", contract, table.columns, np.random.default_rng(1).bytes),
        lambda _: None,
    )
    terms = plan.partner("telecom").encoder.neural
    inputs = 5
    centring = (np.full(inputs, 0.5), np.full(inputs, 0.5))
    expert = untrained_expert(terms, centring, seed=plan.digest)
    (session.directory / "encoder.json").write_bytes(encoder.with_expert(expert).store())
    with node_office(home) as office:
        reserve(home, plan, office.agreement())
    return town, session, other


def ask(town, number, *, attempt=None, moved=None, phase="learn"):
    body = {"round": number, "moved": encode_reals(np.zeros(0) if moved is None else moved)}
    return town.ask("telecom", phase, body, attempt=attempt or number, deadline_s=60)


def paid(session):
    with open_ledger(session.home) as ledger:
        return [(charge.label, charge.event) for charge in ledger.charges(RUN)]


def key_of(session, other, attempt):
    """Return the key of a round as the other member derives it."""
    return derive_mask_key(
        other,
        session.ephemeral.public_key().public_bytes_raw(),
        run=RUN,
        plan_hash=session.plan.digest,
        ours=OTHER,
        theirs="telecom",
        phase="learn",
        attempt=attempt,
    )


def test_update_is_masked_and_the_other_member_takes_the_mask_off(member):
    town, session, other = member
    reply = ask(town, 1)
    assert reply.status is Status.DONE, reply.reason
    body = json.loads(reply.body)
    words, rows = decode_masked(body["update"]), body["rows"]
    assert rows == 200
    assert np.abs(words.view(np.int64)).astype(np.float64).mean() > 2**60
    theirs = mask_update(np.zeros(len(words)), 1, OTHER, {"telecom": key_of(session, other, 1)})
    update = average([(words, rows), (theirs, 1)]) * (rows + 1) / rows
    assert 0 < np.linalg.norm(update) < 8
    wrong = mask_update(np.zeros(len(words)), 1, OTHER, {"telecom": key_of(session, other, 2)})
    assert np.linalg.norm(average([(words, rows), (wrong, 1)])) > 1e6


def test_rounds_are_paid_one_by_one_and_lead_to_a_new_encoder(member):
    town, session, _ = member
    before = Encoder.load(
        (session.directory / "encoder.json").read_bytes(), session.home.contract()
    )
    event = session.plan.partner("telecom").encoder.neural.round_event
    for number in range(1, ROUNDS + 1):
        assert ask(town, number).status is Status.DONE
        assert paid(session) == [
            (f"encoder/neural/round/{each}/attempt/{each}", event) for each in range(1, number + 1)
        ]
    weights = before.expert.layer.size + before.expert.bias.size
    size = weights + before.expert.layer.size + before.expert.layer.shape[1]
    reply = ask(town, 0, attempt=1, moved=np.full(size, 0.25), phase="encode")
    assert reply.status is Status.DONE, reply.reason
    assert json.loads(reply.body) == {"width": before.width}
    after = Encoder.load((session.directory / "encoder.json").read_bytes(), session.home.contract())
    assert np.allclose(after.expert.layer, before.expert.layer + 0.25)
    features = np.load(session.directory / "features.npy")
    assert features.shape == (before.width, 208)


@pytest.mark.parametrize("number", [0, 2, -1, "1", None, 1.5])
def test_round_out_of_turn_is_refused_unpaid(member, number):
    town, session, _ = member
    reply = ask(town, number, attempt=1)
    assert (reply.status, reply.code) == (Status.FAILED, "out_of_turn")
    assert "the next round here is 1 of 4" in reply.reason
    assert paid(session) == []


def test_no_round_is_done_twice_or_beyond_the_plan(member):
    town, session, _ = member
    for number in range(1, ROUNDS + 1):
        ask(town, number)
    for number in (1, ROUNDS, ROUNDS + 1):
        reply = ask(town, number, attempt=10 + number)
        assert (reply.status, reply.code) == (Status.FAILED, "out_of_turn")
    assert len(paid(session)) == ROUNDS


def test_attempt_is_used_once_since_its_mask_is(member):
    town, session, _ = member
    ask(town, 1, attempt=3)
    reply = ask(town, 2, attempt=3)
    assert (reply.status, reply.code) == (Status.FAILED, "out_of_turn")
    assert len(paid(session)) == 1


def test_encoding_waits_for_all_rounds(member):
    town, _, _ = member
    ask(town, 1)
    reply = ask(town, 0, attempt=1, moved=np.zeros(0), phase="encode")
    assert (reply.status, reply.code) == (Status.FAILED, "out_of_turn")
    assert "not all rounds were done here" in reply.reason


@pytest.mark.parametrize("moved", ["zz", "00", None, 7, "00" * 8 * 3])
def test_weights_of_another_form_are_malformed(member, moved):
    town, _, _ = member
    reply = town.ask("telecom", "learn", {"round": 1, "moved": moved}, deadline_s=60)
    assert (reply.status, reply.code) == (Status.FAILED, "malformed_message")


def test_partner_that_learns_with_nobody_is_done_at_once(town):
    Session.create(Home(town.node("police")), town.plan())
    reply = town.ask("police", "learn", {})
    assert (reply.status, reply.body) == (Status.DONE, "{}")
