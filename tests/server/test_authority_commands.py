"""`lianfang-hub authority`, as operators run it: two people, one entry, nothing on a refusal."""

import json
import time

import pytest
from cryptography import x509
from typer.testing import CliRunner

from compliance.commands.output import EXIT_CONFIG, EXIT_REFUSED
from protocols.tlog.entry import Entry, Outcome
from server.cli import app
from server.home import HubHome
from server.identity.issued import Revocations
from server.identity.trusted import TrustedAuthorities
from server.log.opening import open_log
from server.output import explain
from tests.pki import Company

HUB = "lianfang"


def said(*arguments):
    result = CliRunner().invoke(app, ["authority", *map(str, arguments), "--format", "json"])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return explain(result.exception), None, str(result.exception)
    return result.exit_code, json.loads(result.stdout), result.stderr


@pytest.fixture
def hub(tmp_path, staffed):
    root = tmp_path / "hub"
    HubHome(root).create(
        name=HUB, host="127.0.0.1", link_port=0, fleet_port=0, api_port=0, now=int(time.time())
    )
    staffed(root)
    return root


@pytest.fixture
def company(tmp_path):
    return Company(tmp_path / "company", int(time.time()))


def entries(hub):
    with open_log(HubHome(hub)) as log:
        origin = log.yearly.origin()
        if origin not in log.storage.origins():
            return []
        size = log.storage.edge(origin).size
        return [Entry.decode(data) for data in log.storage.entries(origin, 0, size)]


def trusted(hub):
    return [trust.partner for trust in TrustedAuthorities(hub, HUB).all()]


def test_two_people_add_and_remove_an_authority_and_both_are_entered(hub, company):
    code, value, error = said("add", hub, "bank", company.chain, "--reason", "their own")
    assert code == 0, error
    assert [item["subject"] for item in value["certificates"]] == [
        "CN=Bank machines", "CN=Bank root",
    ]  # fmt: skip
    assert trusted(hub) == ["bank"]
    assert [item["partner"] for item in said("list", hub)[1]["authorities"]] == ["bank"]
    assert said("remove", hub, "bank")[0] == EXIT_REFUSED  # for want of a reason
    assert said("remove", hub, "bank", "--reason", "it has none any more")[0] == 0
    assert trusted(hub) == []
    found = [entry for entry in entries(hub) if entry.outcome is Outcome.DONE]
    assert [entry.verb for entry in found[-2:]] == [found[-1].verb] * 2
    assert len(found) == 2
    assert said("remove", hub, "bank")[0] == EXIT_CONFIG


def test_one_person_alone_adds_nothing_and_that_is_entered(hub, company, monkeypatch):
    monkeypatch.delenv("LIANFANG_SECOND")
    code, _, _ = said("add", hub, "bank", company.chain)
    assert code == EXIT_REFUSED
    assert trusted(hub) == []
    assert [entry.outcome for entry in entries(hub)] == [Outcome.REFUSED]


def test_what_cannot_be_trusted_is_told_before_anybody_decides(hub, company, tmp_path):
    own = hub / "authority" / "ca.crt"
    for arguments in (
        ("bank", own),
        ("hub", company.chain),
        ("bank", tmp_path / "nowhere"),
        ("bank", company.chain, "--subject", "node 1"),
    ):
        assert said("add", hub, *arguments)[0] == EXIT_CONFIG
    assert (trusted(hub), entries(hub)) == ([], [])


def test_a_proxy_is_given_a_certificate_that_can_be_revoked(hub, tmp_path):
    assert said("proxy", hub, tmp_path / "proxy")[0] == 0
    names = sorted(path.name for path in (tmp_path / "proxy").iterdir())
    assert names == ["ca.crt", "proxy.key", "proxy.pem"]
    assert (tmp_path / "proxy" / "proxy.key").stat().st_mode & 0o777 == 0o600
    made = x509.load_pem_x509_certificate((tmp_path / "proxy" / "proxy.pem").read_bytes())
    assert said("proxy", hub, "--revoke")[1]["revoked"] == 1
    assert made.serial_number in Revocations(hub).serials()


def test_all_that_may_sign_is_written_for_a_proxy(hub, company, tmp_path):
    said("add", hub, "bank", company.chain)
    out = tmp_path / "clients.crt"
    assert said("list", hub, "--out", out)[0] == 0
    found = x509.load_pem_x509_certificates(out.read_bytes())
    own = x509.load_pem_x509_certificate((hub / "authority" / "ca.crt").read_bytes())
    assert found == [own, company.signer.certificate, company.root.certificate]


def test_a_certificate_for_public_names_is_kept_and_taken_away(hub, company):
    files = company.issue(dns=["api.example.org"], uses=("server",))
    code, value, error = said("public", hub, "--certificate", files[0], "--key", files[1])
    assert (code, value and value["names"]) == (0, ["api.example.org"]), error
    assert (hub / "authority" / "public.key").stat().st_mode & 0o777 == 0o600
    assert said("public", hub, "--remove")[0] == 0
    assert not list((hub / "authority").glob("public.*"))
    assert said("public", hub)[0] == EXIT_CONFIG
