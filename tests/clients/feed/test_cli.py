"""`lianfang feed` as officers run it: one result, the next command, exit codes, no values."""

import json
import threading
import time

import pytest
from typer.testing import CliRunner

from clients.feed.cli import app
from clients.feed.sealing import load_feed_key
from clients.keys import KeyStoreError
from clients.output import explain
from compliance.configuration import ConfigError
from protocols.lookup.payload import format_month, month_of


def said(*arguments, given=None):
    """Run a command; returns its exit code, its JSON and what it said of an error."""
    result = CliRunner().invoke(app, [*map(str, arguments), "--format", "json"], input=given)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return explain(result.exception), None, str(result.exception)
    value = json.loads(result.stdout.splitlines()[-1]) if result.stdout else None
    return result.exit_code, value, result.stderr


@pytest.fixture
def file(town, given, as_csv):
    path = town.path / "reports.csv"
    # Commands read the clock of the machine.
    last = format_month(month_of(int(time.time())) - 2)
    rows = [given(1, last=last), given(2, last=last), given(3, last=last, kind="x")]
    path.write_text(as_csv(rows))
    return path


def test_dry_run_tells_what_would_happen(town, file):
    report = town.path / "refused.csv"
    code, value, _ = said("publish", town.node.root, file, "--dry-run", "--report", report)
    assert (code, value["accepted"], value["new"], value["refused"]) == (0, 2, 2, 1)
    assert value["next"].startswith("lianfang feed publish")
    lines = report.read_text("utf-8-sig").splitlines()
    assert lines[0] == "row,field,rule,cure"
    assert lines[1].startswith("3,kind,")
    assert report.stat().st_mode & 0o077 == 0
    assert said("status", town.node.root)[1]["reports"] == []


def test_strict_run_stops_at_any_refusal(town, file):
    code, value, _ = said("publish", town.node.root, file, "--strict")
    assert (code, value["stopped"]) == (4, True)
    assert said("status", town.node.root)[1]["reports"] == []


def test_unreachable_hub_keeps_what_was_entered(town, file):
    code, value, _ = said("publish", town.node.root, file)
    assert (code, value) == (1, None)
    code, value, _ = said("status", town.node.root)
    assert code == 0
    assert value["reports"] == [{"state": "reported", "category": "loan", "count": 2}]
    assert (value["waiting"], value["unevaluated"], value["version"]) == (2, 2, 0)
    assert value["last_input"]["refused"] == 1
    assert value["refusals"][0]["row"] == 3


def test_text_names_what_was_refused_and_no_value(town, file, ids):
    result = CliRunner().invoke(app, ["publish", str(town.node.root), str(file), "--dry-run"])
    assert result.exit_code == 0
    assert "3    kind" in result.stdout
    assert "Next: lianfang feed publish" in result.stdout
    assert ids(1) not in result.output
    shown = CliRunner().invoke(app, ["status", str(town.node.root)]).stdout
    assert "no reports yet" in shown


def test_canaries_are_added_and_counted(town):
    code, value, _ = said("canaries", town.node.root, "--count", "5")
    assert (code, value["canaries"]) == (0, 5)
    assert said("canaries", town.node.root, "--count", "2")[1]["canaries"] == 7
    assert said("status", town.node.root)[1]["canaries"] == 7
    assert said("canaries", town.node.root, "--count", "0")[0] == 2


def test_withdrawal_wants_numbers_from_one_place(town):
    assert said("withdraw", town.node.root, "--reason", "x")[0] == 2
    path = town.path / "numbers.txt"
    path.write_text("R1\n")
    both = ("--report-id", path, "--report-id-stdin")
    assert said("withdraw", town.node.root, "--reason", "x", *both)[0] == 2
    code, _, error = said(
        "withdraw", town.node.root, "--reason", "x", "--report-id-stdin", given="\n"
    )
    assert code == 4
    assert "none given" in error


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("{", "JSON"), ("{}", "missing"), ('{"source": "x"}', "missing"),
        ('{"source": "x", "use": "care", "retention_months": {"default": 1}, '
         '"renew_after_hours": 1}', "source"),
        ('{"source": "police", "use": "care", "retention_months": {"default": 0}, '
         '"renew_after_hours": 1}', "retention_months"),
        ('{"source": "police", "use": "care", "retention_months": {"loan": 9}, '
         '"renew_after_hours": 1}', "default"),
        ('{"source": "police", "use": "", "retention_months": {"default": 9}, '
         '"renew_after_hours": 1}', "use"),
        ('{"source": "police", "use": "care", "retention_months": {"default": 9}, '
         '"renew_after_hours": 0}', "renew_after_hours"),
    ],
)  # fmt: skip
def test_wrong_settings_are_told_by_field(town, text, field):
    (town.home.root / "feed.json").write_text(text)
    with pytest.raises(ConfigError, match=field):
        town.home.settings()
    assert said("status", town.node.root)[0] == 4


def test_retention_of_a_category_goes_before_the_default(town):
    town.home.settings()
    value = json.loads((town.home.root / "feed.json").read_text())
    value["retention_months"] = {"default": 24, "mule_account": 60}
    (town.home.root / "feed.json").write_text(json.dumps(value))
    retention = town.home.settings().retention
    assert {one.name: months for one, months in retention.items() if months != 24} == {
        "MULE_ACCOUNT": 60
    }


def test_lost_key_is_told_and_never_made_anew(town, given):
    town.take_in([given(1)])
    key = town.node.keys / "feed.key"
    assert key.stat().st_mode & 0o777 == 0o600
    key.rename(town.path / "away")
    with pytest.raises(KeyStoreError, match="restore"):
        town.register()
    assert not key.exists()
    (town.path / "away").chmod(0o644)
    with pytest.raises(KeyStoreError, match="others"):
        load_feed_key(town.path / "away", create=False)


def test_directory_that_is_no_node_is_left_alone(tmp_path):
    assert said("status", tmp_path)[0] == 4
    assert list(tmp_path.iterdir()) == []


def test_two_publishers_wait_for_each_other(town, given):
    town.take_in([given(n) for n in range(20)])
    found = []

    def run():
        register = town.home.register()
        try:
            found.append(town.publish(register))
        finally:
            register.close()

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.is_new for one in found) == [False, False, True]
    assert (town.hub.version(), town.hub.used()) == (1, 20)
