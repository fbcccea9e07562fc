"""`lianfang audit witness` as an officer uses it: key, add-log, serve, status, close."""

import json
import re
import signal
import subprocess
import sys
import time

import httpx
import pytest
from typer.testing import CliRunner

from clients.audit.cli_witness import app
from clients.node.files import store_json
from compliance.commands.output import EXIT_REFUSED
from compliance.configuration import ConfigError
from compliance.log.errors import StorageError
from protocols.tlog.note import KeyKind, VerifierKey


@pytest.fixture
def node(tmp_path):
    root = tmp_path / "police"
    hub = {"link": "", "flower": "", "api": "", "identity": ""}
    fields = {"table": "t.csv", "contract": "c.json", "peers": {}, "held_out_column": None}
    store_json(root / "node.json", {"name": "police", "hub": hub, **fields})
    return root


def run(*arguments, code=0):
    done = CliRunner().invoke(app, [*map(str, arguments), "--format", "json"])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def test_officer_pins_serves_and_is_alarmed(node, trunk, make_history, log_signer):
    keys = [VerifierKey.parse(text) for text in run("key", node)["keys"]]
    assert [key.kind for key in keys] == [KeyKind.COSIGNATURE, KeyKind.SUBTREE]
    assert {key.name for key in keys} == {"police/witness"}
    assert run("key", node)["keys"] == [key.format() for key in keys]
    pinned = run("add-log", node, log_signer.key.format())
    assert pinned.pop("next")
    assert pinned == {"log": "hub.example/audit", "every_year": True, "new": True}
    assert run("add-log", node, log_signer.key.format())["new"] is False

    program = "from clients.audit.cli_witness import app; app()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, node, "--listen", "127.0.0.1:0"],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    line = next(line for line in process.stderr if "listens on" in line)
    url = f"http://127.0.0.1:{re.search(r':([0-9]+);', line)[1]}/add-checkpoint"
    assert httpx.post(url, content=trunk.request(0, 9), trust_env=False).status_code == 200
    found = run("status", node)
    (log,) = found["logs"]
    (cosigned,) = log["cosigned"]
    assert (cosigned["size"], abs(cosigned["at"] - time.time()) < 60) == (9, True)
    branch = make_history("branch", parted=4)
    assert httpx.post(url, content=branch.request(9, 9), trust_env=False).status_code == 422
    found = run("status", node, code=EXIT_REFUSED)
    (alarm,) = found["alarms"]
    assert (alarm["kind"], alarm["open"], len(alarm["evidence"])) == ("fork", True, 2)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=20)
    assert (process.returncode, out.splitlines()[0]) == (0, "Stopped.")

    text = CliRunner().invoke(app, ["status", str(node)]).stdout
    assert "alarm 1: fork" in text
    assert "OPEN" in text
    assert run("close", node, 1, "--reason", "told the regulator")["closed"] == 1
    assert run("status", node)["alarms"][0]["reason"] == "told the regulator"
    assert "told the regulator" in CliRunner().invoke(app, ["status", str(node)]).stdout


def test_silence_is_told_where_no_witness_runs(node, log_signer):
    run("key", node)
    run("add-log", node, log_signer.key.format(), "--silence-hours", 1, "--one-year")
    path = node / "witness" / "logs.json"
    path.write_text(re.sub(r'"pinned_at": [0-9]+', '"pinned_at": 5', path.read_text()))
    found = run("status", node, code=EXIT_REFUSED)
    assert [(item["kind"], item["open"]) for item in found["alarms"]] == [("silence", True)]


def test_name_of_the_key_is_chosen_once(node):
    assert run("key", node, "--name", "witness.police.example")["name"] == "witness.police.example"
    with pytest.raises(ConfigError, match="keys exist"):
        run("key", node, "--name", "other")


@pytest.mark.parametrize("name", ["a b", "a+b", "\x07"])
def test_name_that_no_key_can_have_is_told(node, name):
    with pytest.raises(ConfigError, match="name"):
        run("key", node, "--name", name)
    assert not (node / "keys" / "witness.key").exists()


def test_damaged_alarms_are_told(node):
    run("key", node)
    (node / "witness").mkdir()
    (node / "witness" / "alarms.journal").write_bytes(b"no journal at all")
    with pytest.raises(StorageError):
        run("status", node)


def test_wrong_key_of_a_log_is_told(node):
    with pytest.raises(ConfigError, match="copy the whole line"):
        run("add-log", node, "hub.example+00000000+AAAA")
