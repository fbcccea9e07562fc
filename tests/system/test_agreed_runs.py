"""Runs under an agreement, over the link: what both sides decide, and what their logs say."""

import shutil

import pytest

from clients.demo.bringing_up import CommandError, run_command
from clients.node.home import Home
from clients.node.spending import open_ledger
from compliance.spending import Tally, tally
from protocols.tlog.entry import Outcome

PARTNERS = ("insurer", "telecom", "police")
RUN = "agreed"


@pytest.fixture(scope="session")
def done(make_place, agree):
    """A run that ended well; the telecom had to fetch the agreement from the hub."""
    place = make_place("agreed")
    shutil.rmtree(place.node("telecom") / "agreements")
    place.propose(RUN, deadline_s=60)
    ended = place.run_directly(RUN)
    assert ended == dict.fromkeys(("hub", *PARTNERS), 0), place.log("hub")
    return place


def test_every_owner_has_decided_everything_before_it_was_done(done):
    for name in PARTNERS:
        found = [
            (entry.act, entry.outcome)
            for entry in done.entries(name)
            if entry.subject_matter == f"run/{RUN}"
        ]
        assert found == [
            ("accept_run", Outcome.DONE),
            ("compute", Outcome.DONE),
            ("release_score", Outcome.DONE),
            ("release_score", Outcome.DONE),
            ("compute", Outcome.DONE),
        ]


def test_hub_has_entered_who_proposed_and_what_was_released(done):
    found = [entry for entry in done.entries("hub") if entry.subject_matter == f"run/{RUN}"]
    assert [entry.act for entry in found] == ["propose_run", *["compute"] * 5]
    assert [entry.organisation for entry in found] == ["hub", "hub", *sorted(PARTNERS), "hub"]
    assert len({entry.agreement.digest for entry in found}) == 1
    assert found[0].actor != found[1].actor  # a person, and the hub's own program


def test_ledger_own_log_and_hub_say_the_same_to_the_last_release(done):
    released = {
        entry.organisation: entry.charge
        for entry in done.entries("hub")
        if entry.charge is not None
    }
    for name in PARTNERS:
        (own,) = (entry.charge for entry in done.entries(name) if entry.charge is not None)
        assert own == released[name]
        spent = Tally()
        with open_ledger(Home(done.node(name))) as ledger:
            for charge in ledger.charges(RUN):
                spent += tally(charge.event)
        assert tally(own.event) == spent


def test_label_holder_alone_enters_how_many_scores_there_are(done):
    counts = {
        name: [entry.count for entry in done.entries(name) if entry.act == "release_score"]
        for name in PARTNERS
    }
    held_out, everybody = counts["insurer"]
    assert 0 < held_out < everybody == 900
    assert counts["telecom"] == counts["police"] == [0, 0]


def test_run_outside_the_agreement_cannot_be_proposed(place, agree):
    place.agree(agree, epsilon=0.5)
    with pytest.raises(CommandError, match=r"epsilon 1 is over 0\.5 a run"):
        place.propose("much", epsilon=1.0)
    assert not place.hub_run("much").exists()
    entry = place.entries("hub")[-1]
    assert (entry.act, entry.outcome) == ("propose_run", Outcome.REFUSED)
    # Left to itself the command stays within what is agreed.
    assert place.propose("enough")["plan"]["epsilon"] == 0.5


def test_program_cannot_propose(place):
    with pytest.raises(CommandError, match="propose_run"):
        run_command(
            "lianfang-hub", "propose", str(place.hub), "unattended", "--label-holder", "insurer",
            "--min-rows", "100", unattended=True,
        )  # fmt: skip
    assert not place.hub_run("unattended").exists()


@pytest.mark.slow
def test_run_ends_as_the_hubs_own_trouble_once_the_agreement_is_revoked(place):
    place.propose(RUN, deadline_s=30)
    run_command("lianfang-hub", "agreement", "revoke", str(place.hub), "--reason", "over", "--yes")
    ended = place.run_directly(RUN, names=())
    assert ended["hub"] == 1
    (trouble,) = place.state(RUN)["trouble"]
    assert (trouble["party"], trouble["code"]) == ("hub", "not_permitted")
    assert "no agreement is in force" in trouble["reason"]
    assert place.state(RUN)["steps"] == []  # nobody was asked
    assert place.record(RUN)["privacy"]["epsilon_spent"] == 0


@pytest.mark.slow
def test_one_partner_that_has_revoked_ends_the_run_and_nobody_pays(place):
    place.propose(RUN, deadline_s=30)
    run_command(
        "lianfang", "audit", "agreement", "revoke", str(place.node("police")),
        "--reason", "over", "--yes", "--offline",
    )  # fmt: skip
    place.run_directly(RUN)
    state = place.state(RUN)
    assert state["state"] == "refused"
    trouble = {item["party"]: item["code"] for item in state["trouble"]}
    assert trouble["police"] == "not_permitted"
    for name in PARTNERS:
        assert place.charges(name, RUN) == []
        assert not place.reserves(name, RUN)
    assert any(
        (entry.act, entry.outcome) == ("accept_run", Outcome.REFUSED)
        for entry in place.entries("police")
    )
