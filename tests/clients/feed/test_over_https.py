"""The commands against a hub on loopback: certificates, holders, tables, and killed processes."""

import io
import json
import random
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from clients.feed.cli import app
from clients.keys import credentials
from clients.lookup.api import HubApi
from clients.output import explain
from protocols.lookup.derivation import derive_tags
from protocols.lookup.payload import Slot, Status, format_month, month_of
from protocols.lookup.record import open_record
from protocols.lookup.table import check_table, find

EPOCH, NUMBER = 5, 1


def said(*arguments, given=None):
    result = CliRunner().invoke(app, [*map(str, arguments), "--format", "json"], input=given)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return explain(result.exception), str(result.exception)
    return result.exit_code, json.loads(result.stdout.splitlines()[-1])


@pytest.fixture
def write(tmp_path, as_csv, given):
    """Write a file of reports that were seen last month."""
    last = format_month(month_of(int(time.time())) - 1)

    def make(numbers, **changes):
        path = tmp_path / "reports.csv"
        path.write_text(as_csv([given(n, **({"last": last} | changes)) for n in numbers]))
        return path

    return make


def fetch(town):
    """What any partner gets: the newest header and its table."""
    home = town.home("insurer")
    with HubApi(home.config().api, credentials(home.keys)) as api:
        entry = next(one for one in api.tables(EPOCH).entries if one.contributor == "police")
        sink = io.BytesIO()
        api.table(EPOCH, "police", entry.version, sink)
    check_table(entry.header.header, sink.getvalue())
    return entry, sink.getvalue()


def payload(town, table, value):
    root = town.root("tw_national_id", value)
    record = find(table, derive_tags(root, NUMBER)[Slot.SUSPECT])
    return None if record is None else open_record(root, EPOCH, NUMBER, Slot.SUSPECT, record)


def test_reports_go_out_and_are_taken_back(make_town, write, ids):
    town = make_town()
    node = town.home("police").root
    code, value = said("publish", node, write(range(12)))
    assert (code, value["state"], value["version"], value["records"]) == (0, "published", 1, 12)
    entry, table = fetch(town)
    assert (entry.version, entry.count) == (1, 12)
    assert payload(town, table, ids(3)).status is Status.REPORTED
    code, value = said("publish", node, write(range(12)))
    assert (code, value["state"], value["unchanged"]) == (0, "unchanged", 12)
    code, value = said("withdraw", node, "--reason", "wrong person", "--report-id-stdin",
                       given="R3\nR77\n")  # fmt: skip
    assert (code, value["withdrawn"], value["version"]) == (4, 1, 2)
    assert value["refusals"][0]["row"] == 2
    _, table = fetch(town)
    assert payload(town, table, ids(3)).status is Status.WITHDRAWN
    assert town.used(asker="police") == 12
    assert said("publish", node, "--epoch-change")[1]["state"] == "same epoch"
    code, value = said("status", node)
    assert (code, value["version"], value["waiting"]) == (0, 2, 0)
    assert "canary" not in json.dumps(value["reports"])


def test_spent_quota_has_its_exit_code(make_town, write):
    town = make_town(quota=10)
    node = town.home("police").root
    assert said("publish", node, write(range(8)))[0] == 0
    code, value = said("publish", node, write(range(8, 12)))
    assert (code, value["left"], value["records"]) == (3, 4, 8)
    assert "quota" in value["missed"]
    assert value["next"].startswith("lianfang feed publish")


def test_only_row_refused_has_its_exit_code(make_town, write):
    node = make_town().home("police").root
    code, value = said("publish", node, write([1], kind="x"))
    assert (code, value["refused"], value["version"]) == (4, 1, 1)


def test_lost_tables_are_taken_over_from_the_hub(make_town, write):
    town = make_town()
    node = town.home("police").root
    said("publish", node, write(range(5)))
    (node / "feed" / "tables" / "5-1.table").unlink()
    code, error = said("publish", node)
    assert code == 1
    assert "--resynchronise" in error
    code, value = said("publish", node, "--resynchronise")
    assert (code, value["state"], value["version"]) == (0, "unchanged", 1)
    assert said("publish", node, write(range(6)))[1]["records"] == 6


RUN = "from clients.feed.cli import app; app()"


@pytest.mark.slow
def test_killed_process_leaves_one_history(make_town, write, ids):
    town = make_town()
    node = town.home("police").root
    source = random.Random(11)
    kills = 0
    # How long it takes on this machine when nobody interferes.
    command = [sys.executable, "-c", RUN, "publish", str(node)]
    subprocess.run([*command, str(write(range(10)))], check=True, stdout=subprocess.DEVNULL)
    began = time.monotonic()  # of the second, which makes no log and no keys any more
    subprocess.run([*command, str(write(range(20)))], check=True, stdout=subprocess.DEVNULL)
    whole_s = time.monotonic() - began
    for round_number in range(16):
        path = write(range(40 * (round_number + 1)))
        began = time.monotonic()
        process = subprocess.Popen(
            [*command, str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            process.wait(timeout=source.uniform(0.4, 0.95) * whole_s)
            # Others interfered when it was measured: it takes no longer than this.
            whole_s = min(whole_s, time.monotonic() - began)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
    assert kills > 4
    code, value = said("publish", node, path)
    assert (code, value["records"]) == (0, 640)
    entry, table = fetch(town)
    assert entry.version == value["version"]
    assert {payload(town, table, ids(n)).status for n in range(0, 640, 37)} == {Status.REPORTED}
    assert town.used(asker="police") == 640
    assert said("publish", node)[1]["state"] == "unchanged"
