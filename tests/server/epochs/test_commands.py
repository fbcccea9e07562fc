"""The commands of the hub's operator and of a holder's, over the control call and on disk."""

import json

import pytest
import typer
from typer.testing import CliRunner

from clients.holder.cli import app as holder_app
from compliance.agreement.vocabulary import Channel
from compliance.staff.passwords import Cost
from protocols.tlog.entry import Outcome
from server.cli_epoch import app as epoch_app
from server.cli_epoch import parse_purposes, parse_quotas
from server.cli_staff import app as staff_app

BY_TWO = ("--as", "olga", "--second", "amy")


@pytest.fixture(autouse=True)
def passwords(monkeypatch, tmp_path):
    """A directory with the passwords of the hub's staff, and nobody named."""
    for name in ("LIANFANG_AS", "LIANFANG_SECOND"):
        monkeypatch.delenv(name, raising=False)
    # Passwords are checked some dozens of times here; what it costs is tested elsewhere.
    monkeypatch.setattr("compliance.staff.staff.DEFAULT_COST", Cost(64, 1, 1))
    folder = tmp_path / "passwords"
    folder.mkdir()
    for name in ("olga", "amy", "carl"):
        (folder / name).write_text(f"a long enough secret of {name}\n")
        (folder / name).chmod(0o600)
    monkeypatch.setenv("LIANFANG_PASSWORDS", str(folder))


def run(app, *arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def in_json(app, *arguments):
    result = run(app, *arguments, "--format", "json")
    return json.loads(result.stdout)


def test_operator_begins_refreshes_and_ends_an_epoch(holders):
    hub = holders.hub.root
    result = run(
        epoch_app, "begin", hub, "--holders", "hub,police,telecom", "--threshold", "2",
        "--days", "31", "--quota", "insurer=100000",
        "--purposes", "insurer=counter,screening,alignment", *BY_TWO,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "Epoch 1 is begun; all holders have signed." in result.stdout
    assert f"Next: lianfang-hub epoch status {hub}" in result.stdout
    assert "epoch 1: 2 of 2 partners that put it in use" in result.stderr
    (epoch,) = in_json(epoch_app, "status", hub)["epochs"]
    assert epoch["askers"]["insurer"] == {
        "quota": 100000, "used": 0, "purposes": ["alignment", "counter", "screening"],
    }  # fmt: skip
    # What nobody narrows is as the agreement grants it.
    assert epoch["askers"]["police"]["quota"] == 120000
    assert epoch["askers"]["police"]["purposes"] == sorted(Channel)
    assert epoch["contributors"].keys() == {"police", "telecom"}
    assert in_json(epoch_app, "refresh", hub, "--as", "olga")["state"] == "done"
    text = run(epoch_app, "status", hub).stdout
    assert "Epoch 1, generation 1: in force" in text
    assert "Connected: police, telecom." in text
    ended = run(epoch_app, "end", hub, "1", "--yes", "--reason", "an exercise", *BY_TWO)
    assert "Ended epoch 1" in ended.stdout
    assert "Epoch 1, generation 1: ended" in run(epoch_app, "status", hub).stdout


def test_population_bounds_the_quotas(holders):
    hub = holders.hub.root
    run(epoch_app, "begin", hub, "--population", "50000", *BY_TWO)
    (epoch,) = in_json(epoch_app, "status", hub)["epochs"]
    assert {asker["quota"] for asker in epoch["askers"].values()} == {60000}
    run(epoch_app, "begin", hub, "--population", "150000", *BY_TWO)
    *_, epoch = in_json(epoch_app, "status", hub)["epochs"]
    assert {asker["quota"] for asker in epoch["askers"].values()} == {120000}


def test_refusal_is_told_with_who_and_why(holders):
    hub = holders.hub.root
    holders.set_policy("telecom", max_quota=1000)
    result = run(epoch_app, "begin", hub, *BY_TWO)
    assert result.exit_code == 1
    assert "Epoch 1 was not begun; nothing has changed." in result.stdout
    assert "telecom says: quota: 120000 for insurer is over this holder's 1000" in result.stdout
    assert "raise max_quota in its policy (not_permitted)" in result.stdout


def test_absent_holder_is_told_before_the_start(place):
    result = run(epoch_app, "begin", place.hub.root, *BY_TWO)
    assert result.exit_code != 0
    assert "police, telecom: not connected" in str(result.exception)


def test_end_asks_before_it_destroys(holders):
    hub = holders.hub.root
    run(epoch_app, "begin", hub, *BY_TWO)
    refused = CliRunner().invoke(epoch_app, ["end", str(hub), "1"], input="n\n")
    assert refused.exit_code != 0
    assert in_json(epoch_app, "status", hub)["epochs"][0]["state"] == "in force"


def test_second_person_agrees_to_a_wish_and_the_same_command_is_repeated(holders):
    hub = holders.hub.root
    words = ("begin", hub, "--days", "10", "--as", "olga")
    refused = run(epoch_app, *words)
    said = str(refused.exception)
    assert "four-eyes" in said
    assert f"lianfang-hub staff agree {hub} 1 --as NAME, then repeat this command" in said
    assert run(staff_app, "agree", hub, "1", "--as", "carl", "--yes").exit_code == 0
    # The consent is to this wish, and to no other; then it is used up.
    assert "four-eyes" in str(run(epoch_app, "begin", hub, "--as", "olga").exception)
    assert run(epoch_app, *words).exit_code == 0
    assert "four-eyes" in str(run(epoch_app, *words).exception)
    *refused, done, last = holders.entries()
    assert [entry.policies for entry in (*refused, last)] == [("four-eyes",)] * 3
    assert (done.outcome, done.actor) == (Outcome.DONE, holders.person("olga").pseudonym)
    (epoch,) = in_json(epoch_app, "status", hub)["epochs"]
    assert epoch["not_after"] - epoch["not_before"] == 10 * 86_400


def test_declined_wish_says_so(holders):
    hub = holders.hub.root
    run(epoch_app, "begin", hub, "--as", "olga")
    said = run(
        staff_app, "decline", hub, "1", "--as", "amy", "--reason", "not this month"
    )  # fmt: skip
    assert said.exit_code == 0, said.output
    again = run(epoch_app, "begin", hub, "--as", "olga")
    assert "request 1 was declined: not this month" in str(again.exception)


def test_program_of_the_hub_begins_no_epoch(holders):
    assert "begin_epoch: denied" in str(run(epoch_app, "begin", holders.hub.root).exception)
    (entry,) = holders.entries()
    assert (entry.act, entry.organisation, entry.outcome) == (
        "begin_epoch", "hub", Outcome.REFUSED,
    )  # fmt: skip


@pytest.mark.parametrize("text", ["insurer", "insurer=", "=5", "insurer=-5", "insurer=many"])
def test_quota_written_otherwise_is_refused(text):
    with pytest.raises(typer.BadParameter, match="PARTNER=ELEMENTS"):
        parse_quotas([text])


def test_choices_for_several_partners_are_read():
    assert parse_quotas(["insurer=5,police=6", "telecom=7"]) == {
        "insurer": 5, "police": 6, "telecom": 7,
    }  # fmt: skip
    assert parse_purposes(["insurer=counter,online", "police=publish"]) == {
        "insurer": ["counter", "online"],
        "police": ["publish"],
    }
    with pytest.raises(typer.BadParameter):
        parse_purposes(["insurer="])


def test_holder_status_shows_shares_quotas_and_connection(holders):
    node = holders.root / "telecom"
    holders.begin(quotas={"insurer": 500})
    signed, _ = holders.request((b"A800000014", b"A800000023"))
    holders.standing.ask("telecom", "evaluate", signed.encode(), 10)
    with holders.node("telecom").alone():
        found = in_json(holder_app, "status", node)
        text = run(holder_app, "status", node).stdout
    assert (found["running"], found["connected"]) == (True, True)
    (epoch,) = found["epochs"]
    assert (epoch["share"], epoch["state"], epoch["threshold"]) == (True, "in force", 2)
    assert epoch["askers"]["insurer"] == {"quota": 500, "used": 2}
    assert "telecom: connected to the hub." in text
    assert "insurer                     2 of 500 evaluations" in text
    holders.ask(action="end_epoch", epoch=1)
    assert in_json(holder_app, "status", node)["epochs"][0]["share"] is False


def test_status_of_a_holder_that_does_not_run_says_so(place):
    node = place.root / "police"
    result = run(holder_app, "status", node)
    assert "police: not running." in result.stdout
    assert f"Next: lianfang node start {node}" in result.stdout
    # What a process noted that has been killed since is not believed.
    place.node("police").note({"connected": True, "since": 0, "reason": ""})
    assert in_json(holder_app, "status", node)["connected"] is False
