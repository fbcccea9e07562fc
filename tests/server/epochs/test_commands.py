"""The commands of the hub's operator and of a holder's, over the control call and on disk."""

import json

import pytest
import typer
from typer.testing import CliRunner

from clients.holder.cli import app as holder_app
from server.cli_epoch import app as epoch_app
from server.cli_epoch import parse_purposes, parse_quotas


def run(app, *arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def in_json(app, *arguments):
    result = run(app, *arguments, "--format", "json")
    return json.loads(result.stdout)


def test_operator_begins_refreshes_and_ends_an_epoch(holders):
    hub = holders.hub.root
    result = run(
        epoch_app, "begin", hub, "--holders", "hub,police,telecom", "--threshold", "2",
        "--days", "31", "--quota", "insurer=120000",
        "--purposes", "insurer=counter,screening,alignment",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "Epoch 1 is begun; all holders have signed." in result.stdout
    assert f"Next: lianfang-hub epoch status {hub}" in result.stdout
    assert "epoch 1: 2 of 2 partners that put it in use" in result.stderr
    (epoch,) = in_json(epoch_app, "status", hub)["epochs"]
    assert epoch["askers"]["insurer"] == {
        "quota": 120000, "used": 0, "purposes": ["alignment", "counter", "screening"],
    }  # fmt: skip
    assert epoch["askers"]["police"]["quota"] == 100000
    assert epoch["askers"]["police"]["purposes"] == ["alignment", "publish"]
    assert epoch["contributors"].keys() == {"police", "telecom"}
    assert in_json(epoch_app, "refresh", hub)["state"] == "done"
    text = run(epoch_app, "status", hub).stdout
    assert "Epoch 1, generation 1: in force" in text
    assert "Connected: police, telecom." in text
    ended = run(epoch_app, "end", hub, "1", "--yes")
    assert "Ended epoch 1" in ended.stdout
    assert "Epoch 1, generation 1: ended" in run(epoch_app, "status", hub).stdout


def test_population_sets_the_quotas(holders):
    hub = holders.hub.root
    run(epoch_app, "begin", hub, "--population", "150000")
    (epoch,) = in_json(epoch_app, "status", hub)["epochs"]
    assert {asker["quota"] for asker in epoch["askers"].values()} == {180000}


def test_refusal_is_told_with_who_and_why(holders):
    hub = holders.hub.root
    result = run(epoch_app, "begin", hub, "--quota", "insurer=9000000")
    assert result.exit_code == 1
    assert "Epoch 1 was not begun; nothing has changed." in result.stdout
    assert "telecom says: quota: 9000000 for insurer is over this holder's 200000" in result.stdout
    assert "raise max_quota in its policy (not_permitted)" in result.stdout


def test_absent_holder_is_told_before_the_start(place):
    result = run(epoch_app, "begin", place.hub.root)
    assert result.exit_code != 0
    assert "police, telecom: not connected" in str(result.exception)


def test_end_asks_before_it_destroys(holders):
    hub = holders.hub.root
    run(epoch_app, "begin", hub)
    refused = CliRunner().invoke(epoch_app, ["end", str(hub), "1"], input="n\n")
    assert refused.exit_code != 0
    assert in_json(epoch_app, "status", hub)["epochs"][0]["state"] == "in force"


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
