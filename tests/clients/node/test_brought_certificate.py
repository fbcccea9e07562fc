"""A node with a certificate of its company's own, and tokens: by the commands, at a real hub."""

import json
import ssl
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from typer.testing import CliRunner

from clients.cli import app
from clients.keys import credentials, load_keys
from clients.node.brought import is_brought
from clients.node.checks import examine
from clients.node.home import Home
from clients.node.renewing import renew_if_due
from clients.output import explain
from clients.tokens import TokenSource
from clients.transport import Link, TransportError
from compliance.clock import FixedClock, SystemClock
from protocols.enrolment.code import InvitationCode
from server.api.app import create_app
from server.api.running import ApiServer
from server.enrolment.invitations import Invitations
from server.enrolment.service import Enrolment
from server.epochs.holding import identities_of
from server.home import HubHome
from server.identity.authority import load_authority
from server.identity.trusted import TrustedAuthorities, parse_trust
from server.link import Relay, Service
from server.log.opening import open_log
from server.tokens.signing import TokenKey
from server.tokens.tokens import LIFETIME_S, Tokens
from tests.pki import Company

HUB = "hub.test"
TELECOM = f"spiffe://{HUB}/node/telecom"
DAY_S = 86_400


class Parts:
    """What the routes of enrolment and of tokens work with."""

    def __init__(self, home, log):
        self.hub = HUB
        self.enrolment = Enrolment(home, log.office, clock=SystemClock())
        self.identities = identities_of(home)
        self.tokens = Tokens(
            TokenKey(home.authority),
            issuer=home.settings().issuer,
            clock=SystemClock(),
            is_superseded=self.enrolment.admission.is_superseded,
        )


class Place:
    """A hub whose API and link are served."""

    def __init__(self, root):
        self.now = int(time.time())
        self.home = HubHome(root)
        self.home.create(
            name=HUB, host="127.0.0.1", link_port=0, fleet_port=0, api_port=0, now=self.now
        )
        self.log = open_log(self.home)
        parts = Parts(self.home, self.log)
        admission = parts.enrolment.admission
        names = {"authority": "ca.crt", "certificate": "server.pem", "key": "server.key"}
        files = {name: self.home.authority / file for name, file in names.items()}
        settings = self.home.settings()
        self.server = ApiServer(create_app(parts), hub=HUB, admission=admission)
        self.server.start("127.0.0.1", settings.api_port, **files)
        relay = Relay()
        relay.open_run("run-1", ("telecom", "insurer"))
        self.service = Service(
            relay, hub=HUB, on_control=dict, revocations=admission, admission=admission
        )
        self.service.start(f"127.0.0.1:{settings.link_port}", **files)

    def trust(self, company, partner="telecom"):
        found = parse_trust(partner, company.chain.read_bytes())
        TrustedAuthorities(self.home.root, HUB).keep(found, self.now)

    def code(self, name="telecom"):
        secret = bytes(range(16))
        Invitations(self.home.root).make(name, secret, now=self.now, lasts_s=3600)
        certificate = load_authority(self.home.authority).certificate
        address = f"127.0.0.1:{self.home.settings().api_port}"
        return InvitationCode(address, HUB, certificate.fingerprint(SHA256()), secret).format()

    def approve(self, name="telecom"):
        invitations = Invitations(self.home.root)
        number = invitations.waiting()[name]
        request = invitations.request(number)
        invitations.answer(number, self.home.approve(request, self.now))

    def close(self):
        self.service.stop(grace_s=1)
        self.server.stop()
        self.log.close()


@pytest.fixture
def place(tmp_path):
    made = Place(tmp_path / "hub")
    yield made
    made.close()


@pytest.fixture
def company(tmp_path, place):
    return Company(tmp_path / "company", place.now, "Carrier")


def said(*arguments):
    """Run a command of the node; returns its exit code, its JSON and what it said of an error."""
    result = CliRunner().invoke(app, ["node", *map(str, arguments), "--format", "json"])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return explain(result.exception), None, str(result.exception)
    return result.exit_code, json.loads(result.stdout.splitlines()[-1]), ""


def options(company, files):
    return ["--certificate", files[0], "--key", files[1], "--chain", company.chain]


@pytest.fixture
def joined(town, place, company):
    """The directory of a node that has come in with a certificate of its company's."""
    node = town.node("telecom")
    files = company.issue(TELECOM)
    code = place.code()
    assert said("join", node, code, "--wait", 0, *options(company, files))[0] == 1
    place.trust(company)
    place.approve()
    code, value, error = said("join", node, code, "--wait", 0)
    assert (code, value and value["hub"]) == (0, HUB), error
    return node


def ask(node):
    """Ask the hub's API with what lies in the node's directory."""
    home = Home(node)
    context = ssl.create_default_context(cafile=str(home.keys / "ca.crt"))
    context.load_cert_chain(home.keys / "tls.pem", home.keys / "tls.key")
    with httpx.Client(verify=context, trust_env=False) as client:
        return client.get(f"https://{home.config().api}/openapi.json").status_code


def attach(node, attempt=1):
    config = Home(node).config()
    link = Link(
        config.link, credentials(node / "keys"), "run-1", "train", 5, attempt=attempt, grace_s=0.1
    )
    link.abort()
    return link.party


def serial(node):
    data = (node / "keys" / "tls.pem").read_bytes()
    return x509.load_pem_x509_certificate(data).serial_number


def test_a_node_comes_in_with_its_companys_certificate(joined, company):
    assert is_brought(joined / "keys")
    assert ask(joined) == 200
    assert attach(joined) == "telecom"
    shown = x509.load_pem_x509_certificates((joined / "keys" / "tls.pem").read_bytes())
    assert [item.issuer for item in shown] == [
        company.signer.certificate.subject, company.root.certificate.subject,
    ]  # fmt: skip
    assert load_keys(joined / "keys").tls.public_key() == shown[0].public_key()


def test_an_authority_that_nobody_added_comes_in_by_no_approval(town, place, company, tmp_path):
    node = town.node("telecom")
    said("join", node, place.code(), "--wait", 0, *options(company, company.issue(TELECOM)))
    with pytest.raises(Exception, match="authority add"):
        place.approve()
    # Trusted for another partner, it brings this one in no more.
    place.trust(company, "insurer")
    with pytest.raises(Exception, match="not trusted"):
        place.approve()
    assert place.home.partners() == {}


def test_the_next_certificate_is_brought_by_hand_and_what_is_open_stays(joined, company):
    first = serial(joined)
    before = (joined / "keys" / "tls.pem").read_bytes()
    code, _, error = said("renew", joined)
    assert (code, "company's own" in error) == (1, True)
    stranger = Company(company.directory / "x", company.now)
    for files, chain, match in (
        (company.issue(f"spiffe://{HUB}/node/insurer"), company, "not_permitted"),
        (stranger.issue(TELECOM), stranger, "cannot be reached"),
        (company.issue(TELECOM, uses=("server",)), company, "not made for clients"),
        (company.issue(TELECOM, now=company.now - 900 * DAY_S), company, "not valid now"),
        ((company.issue(TELECOM)[0], company.issue(TELECOM)[1]), company, "another key"),
    ):
        code, _, error = said("renew", joined, *options(chain, files))
        assert code != 0
        assert match in error
        assert (joined / "keys" / "tls.pem").read_bytes() == before
        assert not list((joined / "keys").glob("*brought*"))
    config, keys = Home(joined).config(), credentials(joined / "keys")
    with Link(config.link, keys, "run-1", "train", 5, grace_s=0.1) as link:
        code, value, error = said("renew", joined, *options(company, company.issue(TELECOM)))
        assert code == 0, error
        assert serial(joined) == int(value["serial"], 16) != first
        assert link.party == "telecom"
    assert (ask(joined), attach(joined, 2)) == (200, "telecom")


def test_revocation_ends_it_as_any(joined, place):
    place.home.revoke("telecom", place.now)
    assert ask(joined) == 403
    with pytest.raises(TransportError, match="revoked"):
        attach(joined, 2)


def test_its_end_is_told_and_nothing_renews_it(joined, company, caplog):
    said("renew", joined, *options(company, company.issue(TELECOM, days=10)))
    before = serial(joined)
    assert renew_if_due(joined, company.now + 8 * DAY_S) is False
    assert "bring the next one" in caplog.text
    assert serial(joined) == before
    told = {item["check"]: item for item in examine(joined)}
    (found,) = (item for name, item in told.items() if "certificate lasts" in name)
    assert not found["ok"]


def test_keys_that_cannot_be_used_are_refused_before_anything_is_asked(town, company, tmp_path):
    node, before = town.node("telecom"), town.files("telecom")
    edwards = ed25519.Ed25519PrivateKey.generate()
    path = tmp_path / "ed25519.key"
    path.write_bytes(edwards.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    good = company.issue(TELECOM)
    for given, match in (
        (["--certificate", good[0]], "together"),
        (["--certificate", good[0], "--key", path], "P-256"),
        (["--certificate", good[1], "--key", good[1]], "no certificate"),
        (["--certificate", good[0], "--key", good[0]], "no private key"),
        ([*options(company, good)[:4], "--chain", good[0]], "in order"),
    ):
        code, _, error = said("join", node, "LFH-CODE", *given)
        assert code != 0
        assert match in error
    assert town.files("telecom") == before


def test_a_token_is_written_for_a_program_and_serves_beside_the_certificate(joined, tmp_path):
    code, value, error = said("token", joined, "--scope", "certificate", "--scope", "log")
    assert code == 0, error
    path = Path(value["file"])
    assert (path.stat().st_mode & 0o777, value["scope"]) == (0o600, "certificate log")
    text = path.read_text().strip()
    assert text not in json.dumps(value)
    home = Home(joined)
    header = tmp_path / "header"
    assert said("token", joined, "--scope", "log", "--out", header, "--header")[0] == 0
    assert header.read_text().startswith("Authorization: Bearer ")
    keys = home.keys
    found = subprocess.run(
        ["curl", "-sS", "-w", "%{http_code}", "-o", str(tmp_path / "out"),
         "--cert", keys / "tls.pem", "--key", keys / "tls.key", "--cacert", keys / "ca.crt",
         "-H", f"@{header}", f"https://{home.config().api}/openapi.json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout == "200"
    code, _, error = said("token", joined, "--scope", "everything")
    assert (code, "invalid_scope" in error) == (3, True)


def test_a_pipe_gets_the_token_and_nothing_else(joined):
    command = [sys.executable, "-m", "clients.cli", "node", "token", str(joined)]
    done = subprocess.run(
        [*command, "--scope", "lookup", "--out", "-"], capture_output=True, text=True, check=True
    )
    assert done.stdout.count(".") == 2
    assert done.stdout.count("\n") == 1
    assert not done.stderr


def test_a_token_is_replaced_before_it_runs_out(joined):
    home, clock = Home(joined), FixedClock(int(time.time()))
    config = home.config()
    source = TokenSource(config.api, credentials(home.keys), config.name, ["lookup"], clock=clock)
    first = source.token()
    clock.advance(LIFETIME_S * 2 // 3 - 1)
    assert source.token() is first
    clock.advance(1)
    second = source.token()
    assert second.text != first.text
    clock.advance(-LIFETIME_S)
    assert source.token() is not second
    assert first.text not in repr(first)
