"""`lianfang-hub log`: listing witnesses, what it says of the log, an export that verifies."""

import json
import os

import pytest
from typer.testing import CliRunner

from compliance.configuration import ConfigError
from compliance.log.verify import verify_export
from protocols.tlog.note import KeyKind, Signer
from protocols.tlog.policy import Policy
from server.cli_log import app
from server.home import HubHome
from server.log.opening import open_log
from server.log.witnesses import Witnesses

NOW = 1_795_305_600


@pytest.fixture
def home(tmp_path):
    made = HubHome(tmp_path / "hub")
    made.create(name="hub", host="127.0.0.1", link_port=0, fleet_port=0, api_port=0, now=NOW)
    return made


def key(name):
    return Signer.from_seed(name, KeyKind.COSIGNATURE, os.urandom(32)).key.format()


def said(*words):
    done = CliRunner().invoke(app, [*map(str, words), "--format", "json"])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, json.loads(done.stdout) if done.stdout else None


WHY = ("--reason", "its office joined")


def test_witnesses_are_listed_with_a_majority_unless_told_otherwise(home, staffed):
    staffed(home.root)
    assert said("witness", "list", home.root)[1]["witnesses"] == []
    keys = {name: key(f"{name}/witness") for name in ("insurer", "police", "telecom")}
    for name, text in keys.items():
        assert said("witness", "add", home.root, name, text, *WHY)[0] == 0
    found = said("witness", "list", home.root)[1]
    assert found["quorum"] == 2
    assert {item["name"]: item["keys"] for item in found["witnesses"]} == {
        name: [text] for name, text in keys.items()
    }
    other = key("police/witness")
    said("witness", "add", home.root, "police", other, "--quorum", "3", *WHY)
    loaded = Witnesses.load(home.root / "log" / "witnesses.json")
    assert loaded.quorum == len(loaded.listed) == 3
    assert [k.format() for item in loaded.listed for k in item.keys].count(other) == 1


@pytest.mark.parametrize(
    ("name", "text", "more"),
    [
        ("police", "no key", ()),
        ("Police", "", ()),
        ("police", "", ("--quorum", "2")),
        ("police", "", ("--url", "http://example.org")),
    ],
)
def test_wrong_witness_is_refused_and_nothing_is_written(home, staffed, name, text, more):
    staffed(home.root)
    with pytest.raises(ConfigError):
        said("witness", "add", home.root, name, text or key("police/witness"), *WHY, *more)
    assert not (home.root / "log" / "witnesses.json").exists()


def test_status_and_export_of_what_is_published(home, tmp_path, approvers):
    assert said("export", home.root, tmp_path / "out")[0] == 1
    with open_log(home) as log:
        log.journal.partner_approved({"name": "insurer"}, approvers(log.office))
        log.yearly.checkpoint()
        log.journal.partner_approved({"name": "police"}, approvers(log.office))
    (year,) = said("status", home.root)[1]["years"]
    assert (year["entries"], year["published"], year["cosigned"]) == (2, 1, [])
    code, found = said("export", home.root, tmp_path / "out")
    assert (code, found["size"]) == (0, 1)
    policy = Policy.decode((tmp_path / "out.policy").read_bytes())
    report = verify_export(tmp_path / "out", policy)
    assert (report.is_whole, report.entries) == (True, 1), report.fault
