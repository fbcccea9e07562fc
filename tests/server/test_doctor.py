"""`lianfang-hub doctor`: each thing broken once, told in its line, with a command that exists."""

import json
import shlex
import socket
import time
from hashlib import sha256

import click
import pytest
import typer
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from typer.testing import CliRunner

from clients.cli import app as partner_app
from clients.keys import certificate_request, create_keys
from compliance.doctor.seen import DAY_S
from compliance.exits import Exit
from server.api.app import create_app
from server.api.running import ApiServer
from server.checks import examine
from server.cli import app
from server.home import HubHome
from server.log.opening import open_log

NOW = int(time.time())
PROGRAMS = {
    "lianfang": typer.main.get_command(partner_app),
    "lianfang-hub": typer.main.get_command(app),
}


@pytest.fixture
def hub(tmp_path):
    home = HubHome(tmp_path / "hub")
    home.create(name="hub", host="127.0.0.1", link_port=0, fleet_port=0, api_port=0, now=NOW)
    with open_log(home):
        pass
    return home


def found(home):
    return {finding["check"]: finding for finding in examine(home.root)}


def told(home, name):
    one = found(home)[name]
    return one["level"], one["found"]


def contents(root):
    """Return every file under a directory, but what SQLite keeps beside an open database."""
    return {
        str(path.relative_to(root)): (path.stat().st_mode, sha256(path.read_bytes()).hexdigest())
        for path in root.rglob("*")
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


def test_new_hub_warns_of_what_is_still_to_come(hub):
    levels = {name: finding["level"] for name, finding in found(hub).items()}
    assert levels.pop("at least two partners have joined") == "FAIL"
    warned = {name for name, level in levels.items() if level == "WARN"}
    assert warned - {"one gibibyte of disk is free"} == {
        "staff can decide, two at a time",
        "an agreement is in force",
        "an epoch is in force",
        "the partners are there",
    }


def test_doctor_changes_nothing(hub, tmp_path):
    before = contents(hub.root)
    examine(hub.root)
    assert contents(hub.root) == before
    (tmp_path / "empty").mkdir()
    examine(tmp_path / "empty")
    assert not list((tmp_path / "empty").iterdir())


def test_code_and_report_follow_the_worst(hub):
    result = CliRunner().invoke(app, ["doctor", str(hub.root)])
    assert result.exit_code == Exit.CONFIG
    lines = result.stdout.splitlines()
    (place,) = [n for n, line in enumerate(lines) if line.startswith("FAIL")]
    assert lines[place] == "FAIL  at least two partners have joined: nobody"
    assert lines[place + 1].startswith(f"      -> run lianfang-hub invite {hub.root} PARTNER")
    value = json.loads(
        CliRunner().invoke(app, ["doctor", str(hub.root), "--format", "json"]).stdout
    )
    assert value["ok"] is False
    assert {check["level"] for check in value["checks"]} == {"PASS", "WARN", "FAIL"}


def test_every_cure_names_commands_that_exist(hub):
    for finding in examine(hub.root):
        words = shlex.split(finding["cure"].replace("`", " ").replace(",", " ").replace(";", " "))
        for place, word in enumerate(words):
            if word not in PROGRAMS:
                continue
            command, rest = PROGRAMS[word], words[place + 1 :]
            while isinstance(command, click.Group) and rest:
                assert rest[0] in command.commands, finding["cure"]
                command, rest = command.commands[rest[0]], rest[1:]
            assert not isinstance(command, click.Group), finding["cure"]


def test_port_of_another_program_is_named(hub):
    port = hub.settings().api_port
    with socket.create_server(("127.0.0.1", port)):
        level, text = told(hub, "the ports are free or served by this hub")
    assert (level, f"API {port} is taken by " in text) == ("FAIL", True)
    assert told(hub, "the ports are free or served by this hub")[0] == "PASS"


def test_port_that_this_hub_serves_is_its_own(hub):
    server = ApiServer(create_app(None), hub="hub")
    names = {"authority": "ca.crt", "certificate": "server.pem", "key": "server.key"}
    paths = {name: hub.authority / file for name, file in names.items()}
    server.start("127.0.0.1", hub.settings().api_port, **paths)
    try:
        level, text = told(hub, "the ports are free or served by this hub")
    finally:
        server.stop()
    assert (level, text) == ("PASS", "served by this hub")


def test_partner_whose_certificate_ends_is_named(hub, request_of):
    for name, age in (("telecom", 390), ("police", 1)):
        hub.approve(request_of(name), NOW - age * DAY_S)
    level, text = told(hub, "partners' certificates last")
    assert (level, text) == ("WARN", "telecom 7 days left")
    assert told(hub, "at least two partners have joined") == ("PASS", "police, telecom")
    hub.approve(request_of("telecom"), NOW)
    assert told(hub, "partners' certificates last")[0] == "PASS"


@pytest.fixture
def request_of(tmp_path, partners):
    """Make the join request of a node, whose keys stay the same."""
    made = {}

    def request(name):
        if name not in made:
            keys = create_keys(tmp_path / name)
            pem = keys.flower.public_key().public_bytes(
                Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
            )
            made[name] = {
                "name": name,
                "tls_request": certificate_request(keys, name).decode(),
                "identity": keys.identity.public_key().public_bytes_raw().hex(),
                "flower_public": pem.decode(),
                "contract": partners[name]["contract"],
            }
        return made[name]

    return request


def test_log_key_that_is_gone_is_found(hub):
    (hub.root / "log" / "parts.key").unlink()
    level, text = told(hub, "the log's keys are readable")
    assert (level, "restore the directory log/" in text) == ("FAIL", True)


def test_restored_directory_is_told(hub):
    (hub.root / "restored.json").write_text("{}")
    assert told(hub, "the directory is not a restored one")[0] == "FAIL"


def test_full_disk_is_the_machines_and_not_the_settings(hub, monkeypatch):
    usage = type("Usage", (), {"free": 1 << 20})
    monkeypatch.setattr("compliance.doctor.machine.shutil.disk_usage", lambda _: usage)
    finding = found(hub)["one gibibyte of disk is free"]
    assert (finding["level"], finding["where"]) == ("FAIL", "elsewhere")
