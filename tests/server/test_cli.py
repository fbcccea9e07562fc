"""`lianfang-hub`, run as operators run it: one JSON object, exit codes, and no traceback."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from typer.testing import CliRunner

from clients.keys import certificate_request, create_keys
from compliance.configuration import ConfigError
from server.cli import app
from server.output import EXIT_CONFIG, explain


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


@pytest.fixture
def hub(tmp_path):
    code, value, _ = said("init", tmp_path / "hub", "--link-port", 0, "--fleet-port", 0)
    assert (code, value["hub"]) == (0, "lianfang")
    return tmp_path / "hub"


@pytest.fixture
def requests(tmp_path, partners):
    """The join requests of three partners, with keys of their own."""
    paths = []
    for name, partner in partners.items():
        keys = create_keys(tmp_path / name)
        request = partner | {
            "tls_request": certificate_request(keys, name).decode(),
            "identity": keys.identity.public_key().public_bytes_raw().hex(),
            "flower_public": pem(keys.flower),
        }
        paths.append(tmp_path / f"{name}-request.json")
        paths[-1].write_text(json.dumps(request))
    return paths


def test_from_requests_to_a_proposed_run(hub, requests):
    for path in requests:
        code, value, _ = said("approve", hub, path)
        assert code == 0
        assert set(json.loads(Path(value["welcome"]).read_text())) >= {"certificate", "authority"}
    code, value, _ = said("propose", hub, "spring", "--label-holder", "insurer")
    assert code == 0
    assert value["plan"]["epsilon"] == 1.0
    assert len(value["plan_hash"]) == 64
    assert said("doctor", hub)[1]["ok"]
    for wrong, says in (
        (("--epsilon", "0"), "epsilon: must be greater than 0"),
        (("--steps", "0"), "steps: must be at least 1"),
        (("--partners", "insurer,bank"), "bank: no such partner"),
    ):
        code, _, error = said("propose", hub, "autumn", "--label-holder", "insurer", *wrong)
        assert (code, says in error) == (EXIT_CONFIG, True)
    assert not (hub / "runs" / "autumn").exists()


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
