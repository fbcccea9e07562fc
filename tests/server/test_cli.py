"""`lianfang-hub`, run as operators run it: one JSON object, exit codes, and no traceback."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from typer.testing import CliRunner

from clients.keys import certificate_request, create_keys
from compliance.commands.output import EXIT_CONFIG, EXIT_REFUSED
from compliance.configuration import ConfigError
from compliance.staff.passwords import Cost
from protocols.tlog.entry import Entry
from protocols.vertical.contract import Contract
from server.cli import app
from server.home import HubHome
from server.log.opening import open_log
from server.output import explain


def said(*arguments):
    """Run a command; returns its exit code, its JSON and what it said of an error."""
    result = CliRunner().invoke(app, [*map(str, arguments), "--format", "json"])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return explain(result.exception), None, str(result.exception)
    (line,) = result.stdout.splitlines()
    value = json.loads(line)
    assert value["next"]
    return result.exit_code, value, ""


def pem(key):
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


BY_TWO = ("--as", "amy", "--second", "carl")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub with its staff; nobody is named by the environment."""
    for name in ("LIANFANG_AS", "LIANFANG_SECOND"):
        monkeypatch.delenv(name, raising=False)
    # Passwords are checked some dozens of times here; what it costs is tested elsewhere.
    monkeypatch.setattr("compliance.staff.staff.DEFAULT_COST", Cost(64, 1, 1))
    monkeypatch.setenv("LIANFANG_PASSWORDS", str(tmp_path))
    code, value, _ = said("init", tmp_path / "hub", "--link-port", 0, "--fleet-port", 0)
    assert (code, value["hub"]) == (0, "lianfang")
    named = ()
    for name, role in (("amy", "approver"), ("carl", "compliance"), ("olga", "operator")):
        (tmp_path / name).write_text(f"a long enough secret of {name}\n")
        (tmp_path / name).chmod(0o600)
        words = ("--display", name, "--role", role, "--reason", "set-up", *named)
        assert said("staff", "add", tmp_path / "hub", name, *words)[0] == 0
        named = BY_TWO if name == "carl" else ()
    return tmp_path / "hub"


@pytest.fixture
def keys(tmp_path, partners):
    """The keys of three partners."""
    return {name: create_keys(tmp_path / f"{name}-node") for name in partners}


@pytest.fixture
def requests(tmp_path, partners, keys):
    """The join requests of three partners, with keys of their own."""
    paths = []
    for name, partner in partners.items():
        request = partner | {
            "tls_request": certificate_request(keys[name], name).decode(),
            "identity": keys[name].identity.public_key().public_bytes_raw().hex(),
            "flower_public": pem(keys[name].flower),
        }
        paths.append(tmp_path / f"{name}-request.json")
        paths[-1].write_text(json.dumps(request))
    return paths


def entries(hub):
    with open_log(HubHome(hub)) as log:
        origin = log.yearly.origin()
        size = log.storage.edge(origin).size
        return [Entry.decode(data) for data in log.storage.entries(origin, 0, size)]


def test_from_requests_to_a_proposed_run(hub, requests, keys, partners, agree):
    for path in requests:
        code, value, _ = said("approve", hub, path, *BY_TWO)
        assert code == 0
        assert set(json.loads(Path(value["welcome"]).read_text())) >= {"certificate", "authority"}
    propose = ("propose", hub, "spring", "--label-holder", "insurer", "--as", "olga")
    assert said(*propose)[0] != 0
    signing = {name: kept.identity for name, kept in keys.items()}
    contracts = {name: Contract.parse(partner["contract"]) for name, partner in partners.items()}
    agree(signing | {"hub": HubHome(hub).identity_key()}, contracts=contracts).keep(hub)
    code, value, error = said(*propose)
    assert (code, error) == (0, "")
    assert value["plan"]["epsilon"] == 1.0
    assert len(value["plan_hash"]) == 64
    assert said("doctor", hub)[1]["ok"]
    for wrong, says in (
        (("--epsilon", "0"), "epsilon: must be greater than 0"),
        (("--steps", "0"), "steps: must be at least 1"),
        (("--partners", "insurer,bank"), "bank: no such partner"),
    ):
        code, _, error = said(
            "propose", hub, "autumn", "--label-holder", "insurer", "--as", "olga", *wrong
        )
        assert (code, says in error) == (EXIT_CONFIG, True)
    assert not (hub / "runs" / "autumn").exists()


def test_partner_is_taken_in_by_two_people_or_not_at_all(hub, requests):
    taken = ("approve", hub, requests[0])
    for who, policy in (
        ((), "error.request"),
        (("--as", "olga", "--second", "amy"), "default-deny"),
        (("--as", "amy"), "four-eyes"),
    ):
        code, _, error = said(*taken, *who)
        assert (code, "approve_partner: denied" in error) == (EXIT_REFUSED, True)
        assert entries(hub)[-1].policies == (policy,)
    assert f"lianfang-hub staff agree {hub} 1 --as NAME, then repeat" in error
    assert not (hub / "partners").exists()
    assert said("staff", "agree", hub, 1, "--as", "carl", "--yes")[0] == 0
    assert said(*taken, "--as", "amy", "--reason", "met them")[0] == EXIT_REFUSED
    assert said(*taken, "--as", "amy")[0] == 0
    entry = entries(hub)[-1]
    assert (entry.act, entry.policies, entry.recipients) == (
        "approve_partner", ("hub-approvers",), ("insurer",),
    )  # fmt: skip


@pytest.mark.parametrize("text", [None, "{", "[]", "{}", '{"name": "x"}'])
def test_wrong_request_gives_one_clear_line(hub, tmp_path, text):
    path = tmp_path / "request.json"
    if text is not None:
        path.write_text(text)
    before = sorted(hub.rglob("*"))
    code, _, error = said("approve", hub, path)
    assert code == EXIT_CONFIG
    assert error
    assert "\n" not in error
    assert sorted(hub.rglob("*")) == before


def test_run_that_was_never_proposed_is_told(hub):
    code, _, error = said("run", hub, "spring")
    assert code == EXIT_CONFIG
    assert "never proposed" in error


def test_unknown_errors_are_not_swallowed():
    with pytest.raises(ZeroDivisionError):
        explain(ZeroDivisionError("bug"))


@pytest.mark.parametrize(
    "command",
    [
        ["propose", "{}", "spring", "--label-holder", "insurer"],
        ["epoch", "evidence", "{}", "1", "--asker", "insurer", "--out", "evidence.json"],
        ["log", "status", "{}"],
    ],
)
def test_directory_that_is_no_hub_stays_as_it_is(tmp_path, command):
    place = tmp_path / "elsewhere"
    result = CliRunner().invoke(app, [part.replace("{}", str(place)) for part in command])
    assert isinstance(result.exception, ConfigError)
    assert not place.exists()
