"""A copy of the hub's log over its API: whole, growing, and never replaced by another history."""

import json
import os
import shutil
from dataclasses import replace

import pytest
import typer
from typer.testing import CliRunner

from clients.audit.cli_fetch import fetch
from clients.audit.cli_verify import verify
from clients.audit.fetching import LogCopy, LogSource
from clients.keys import credentials
from clients.lookup.alarms import ALARMS, AlarmKind, Alarms
from clients.lookup.https import Https, HubRefusedError
from clients.lookup.logged import LogPin
from clients.lookup.trust import Trust
from clients.output import explain
from compliance.log.memory import MemoryStorage
from compliance.log.second import FileCheckpoints
from compliance.office.keys import LogKeys
from compliance.office.opening import agreements_in, policies_in
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.note import Note
from protocols.tlog.policy import NONE, Group, Log, Policy, Witness
from server.log.opening import assemble

app = typer.Typer()
app.command()(fetch)
app.command()(verify)


def run(*words, code=0):
    """Run a command as `lianfang` does; returns its result, or the one line about its error."""
    done = CliRunner().invoke(app, [*map(str, words), "--format", "json"])
    ended, error = done.exit_code, done.exception
    if error is not None and not isinstance(error, SystemExit):
        ended = explain(error)
    assert ended == code, (done.output, error)
    return json.loads(done.stdout) if done.stdout else str(error)


def fill(town, count):
    for _ in range(count):
        town.put_on_record(publish=False, document=None)
    town.log.yearly.checkpoint()


def files(path):
    return {
        item.relative_to(path).as_posix(): item.read_bytes()
        for item in sorted(path.rglob("*"))
        if item.is_file()
    }


def alarms(home):
    found = Alarms(home.root / ALARMS)
    try:
        return [alarm.kind for alarm in found.all()]
    finally:
        found.close()


def other_log(town, name, keys=None):
    """Let the hub serve another log under its keys, or under others."""
    folder = town.directory / name
    folder.mkdir()
    log = assemble(
        "lianfang/audit", MemoryStorage(), FileCheckpoints(folder / "second"),
        keys or town.log.keys, clock=town.clock, folder=folder,
        agreements=agreements_in(folder, {}), policies=policies_in(folder),
    )  # fmt: skip
    object.__setattr__(town.parts, "log", log)


@pytest.fixture
def home(town):
    return town.home()


def test_copy_holds_and_grows(town, home, tmp_path):
    out = tmp_path / "copy"
    fill(town, 299)
    first = run("fetch", home.root, "--out", out)
    assert (first["size"], first["since"], first["entries"], first["files"]) == (300, 0, 300, 5)
    older = (out / "checkpoint").read_bytes()
    policy = run("verify", out, "--policy", first["policy"])
    assert (policy["holds"], policy["keys"]) == (True, "given")
    assert run("fetch", home.root, "--out", out)["files"] == 0
    fill(town, 300)
    second = run("fetch", home.root, "--out", out)
    assert (second["size"], second["since"]) == (600, 300)
    assert not list(out.glob("tile/*/001.p"))  # the full ones are there
    (tmp_path / "older").write_bytes(older)
    held = run("verify", out, "--policy", first["policy"], "--since", tmp_path / "older")
    assert (held["holds"], held["entries"], held["since"]) == (True, 600, 300)
    assert not list(tmp_path.glob(".copy*"))
    assert alarms(home) == []


def test_officers_policy_decides(town, home, tmp_path):
    fill(town, 3)
    key = os.urandom(32)
    witness = Witness("police", replace(town.log.key, name="police/witness", kind=4, public=key))
    group = Group("all", 1, ("police",))
    policy = Policy((Log(town.log.key),), (witness,), (group,), "all")
    (home.root / "log.policy").write_bytes(policy.encode())
    assert "no quorum" in run("fetch", home.root, "--out", tmp_path / "copy", code=4)
    assert not (tmp_path / "copy").exists()
    (home.root / "log.policy").write_bytes(replace(policy, quorum=NONE).encode())
    done = run("fetch", home.root, "--out", tmp_path / "copy")
    assert done["policy"] == str(home.root / "log.policy")


def test_shorter_log_is_refused_and_the_copy_stays(town, home, tmp_path):
    out = tmp_path / "copy"
    fill(town, 299)
    run("fetch", home.root, "--out", out)
    before = files(out)
    other_log(town, "back")
    fill(town, 200)
    for _ in range(2):
        assert "200 entries" in run("fetch", home.root, "--out", out, code=1)
    assert files(out) == before
    assert alarms(home) == [AlarmKind.SHORTER_LOG]
    (kept,) = (home.root / "lookup" / "log-evidence").iterdir()
    assert Checkpoint.parse(Note.decode(kept.read_bytes()).text).size == 200


@pytest.mark.parametrize("more", [0, 1, 300])
def test_forked_log_is_refused_and_the_copy_stays(town, home, tmp_path, more):
    out = tmp_path / "copy"
    fill(town, 299)
    run("fetch", home.root, "--out", out)
    before = files(out)
    other_log(town, "fork")
    fill(town, 300 + more)
    assert "another history of the first 300" in run("fetch", home.root, "--out", out, code=1)
    assert files(out) == before
    assert alarms(home) == [AlarmKind.FORKED_LOG]


def test_log_under_another_key_is_refused(town, home, tmp_path):
    out = tmp_path / "copy"
    fill(town, 3)
    run("fetch", home.root, "--out", out)
    other_log(town, "stranger", LogKeys.draw(os.urandom))
    fill(town, 9)
    assert "another key" in run("fetch", home.root, "--out", out, code=3)
    assert alarms(home) == [AlarmKind.LOG_KEY]


def test_other_directories_are_left_alone(town, home, tmp_path):
    fill(town, 3)
    out = tmp_path / "mine"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    assert "not empty" in run("fetch", home.root, "--out", out, code=4)
    assert files(out) == {"notes.txt": b"mine"}
    copy = tmp_path / "copy"
    run("fetch", home.root, "--out", copy)
    # A checkpoint that the log did not sign is no proof against it.
    text = (copy / "checkpoint").read_text()
    (copy / "checkpoint").write_text(text.replace("\n4\n", "\n5\n"))
    assert "fetch anew" in run("fetch", home.root, "--out", copy, code=4)
    assert alarms(home) == []


def test_unpublished_log_and_unknown_year_are_told(make_town, tmp_path):
    town = make_town(on_record=False)
    home = town.home()
    assert "nothing" in run("fetch", home.root, "--out", tmp_path / "copy", code=1)
    fill(town, 1)
    refused = run("fetch", home.root, "--out", tmp_path / "copy", "--year", "1999", code=3)
    assert "not_found" in refused
    assert not (tmp_path / "copy").exists()


class Way:
    """The way to a hub, on which answers can be changed and counted."""

    def __init__(self, town, home, out):
        self.town, self.home, self.out = town, home, out
        self.client = None
        self.asked = []
        self.changed = {}
        self.fails_after = None

    def fetch(self, path, limit):
        self.asked.append(path)
        if self.fails_after is not None and len(self.asked) > self.fails_after:
            raise HubRefusedError("busy", "busy", "")
        for ending, change in self.changed.items():
            if path.endswith(ending):
                return change(self.api.fetch(path, limit=limit))
        return self.api.fetch(path, limit=limit)

    def bring_on(self, minimum=0):
        pin = LogPin(self.home, Trust(self.home).hub_identity)
        copy = LogCopy(
            self.home, pin, LogSource(self.fetch), self.out, now=1, minimum=minimum
        )  # fmt: skip
        unseen = lambda *_: None  # noqa: E731 - one word for nobody who watches
        return copy.fetch(0, on_fetch=unseen, on_verify=unseen)


@pytest.fixture
def way(town, home, tmp_path):
    made = Way(town, home, tmp_path / "copy")
    made.api = Https(home.config().api, credentials(home.keys), 10, pauses_s=())
    yield made
    made.api.close()


@pytest.mark.parametrize(
    "ending", ["tile/entries/000", "tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1"]
)
def test_file_that_was_changed_on_the_way_is_not_kept(way, ending):
    fill(way.town, 299)
    way.changed[ending] = lambda data: data[:-1] + bytes([data[-1] ^ 1])
    with pytest.raises(Exception, match="does not hold"):
        way.bring_on()
    assert not way.out.exists()
    way.changed.clear()
    assert way.bring_on().report.is_whole


def test_broken_fetch_goes_on_where_it_ended(way):
    fill(way.town, 1100)
    way.fails_after = 7
    with pytest.raises(HubRefusedError):
        way.bring_on()
    assert not way.out.exists()
    way.fails_after = None
    done = way.bring_on()
    assert (done.report.size, done.since) == (1101, 0)
    assert 0 < done.files < 11


def test_hub_whose_tiles_do_not_fit_its_checkpoint_raises_no_fork(way, home):
    fill(way.town, 299)
    way.bring_on()
    fill(way.town, 10)
    way.changed["tile/0/001.p/54"] = lambda data: data[:-1] + bytes([data[-1] ^ 1])
    with pytest.raises(Exception, match="do not fit the checkpoint"):
        way.bring_on()
    assert alarms(home) == []


def test_entries_past_retention_may_be_missing_if_that_is_said(way):
    fill(way.town, 599)
    log = way.town.log
    log.storage.raise_minimum(log.yearly.origin(), 300)
    with pytest.raises(HubRefusedError):
        way.bring_on()
    done = way.bring_on(minimum=300)
    assert (done.report.pruned, done.report.entries) == (256, 344)


def test_damaged_copy_is_told_and_not_made_worse(way):
    fill(way.town, 299)
    way.bring_on()
    bundle = way.out / "tile" / "entries" / "000"
    bundle.write_bytes(bundle.read_bytes()[:-1])
    fill(way.town, 3)
    before = files(way.out)
    with pytest.raises(Exception, match="another directory"):
        way.bring_on()
    assert files(way.out) == before
    shutil.rmtree(way.out)
    assert way.bring_on().report.size == 303
