"""Certificates of companies' own authorities, at the real API and the real link.

An authority that is trusted for one partner stands for this partner, and for nobody else: not by
whatever name it writes, and not on any way in.
"""

import socket
import ssl
from base64 import b64encode

import httpx
import pytest

from clients.transport import Credentials, Link, TransportError
from compliance.configuration import ConfigError
from server.addresses import parse_proxies
from server.api.app import create_app
from server.api.running import ApiServer
from server.identity.peer import node_uri, proxy_uri
from server.identity.proxies import give_certificate
from server.identity.public import PUBLIC, PUBLIC_KEY, keep_public, remove_public
from server.identity.trusted import TrustedAuthorities, parse_trust
from server.link import Relay, Service
from tests.pki import Company, make_authority

HUB = "lianfang"
INSURER, TELECOM = node_uri(HUB, "insurer"), node_uri(HUB, "telecom")
CLOSED = (httpx.ReadError, httpx.ConnectError, httpx.RemoteProtocolError)


class Site:
    """A hub whose API and link are served, and a company that is the insurer."""

    def __init__(self, world, directory):
        self.world, self.directory = world, directory
        self.company = Company(directory / "bank", world.clock.now())
        self.trusted = TrustedAuthorities(world.home.root, HUB)
        self.admission = world.parts.enrolment.admission
        self.paths = {}
        for name, file in {
            "authority": "ca.crt", "certificate": "server.pem", "key": "server.key",
        }.items():  # fmt: skip
            self.paths[name] = directory / file
            self.paths[name].write_bytes((world.shop.directory / file).read_bytes())
        self.server = ApiServer(
            create_app(world.parts), hub=HUB, admission=self.admission,
            proxies=parse_proxies("127.0.0.1"),
        )  # fmt: skip
        self.port = self.server.start("127.0.0.1", 0, **self.paths)
        self.relay = Relay()
        self.relay.open_run("run-1", ("insurer", "telecom"))
        self.service = Service(
            self.relay, hub=HUB, on_control=dict, revocations=self.admission,
            admission=self.admission,
        )  # fmt: skip
        self.link_port = self.service.start("127.0.0.1:0", **self.paths)

    def trust(self, partner="insurer", company=None, subject=""):
        found = parse_trust(partner, (company or self.company).chain.read_bytes(), subject)
        own = self.world.shop.authority.certificate
        self.trusted.check(found, own, self.world.clock.now())
        self.trusted.keep(found, self.world.clock.now())

    def get(self, credentials, path="/v1/quota"):
        """Ask on a connection of its own; None if TLS ended it."""
        with httpx.Client(
            base_url=f"https://127.0.0.1:{self.port}", trust_env=False,
            verify=self.world.shop.context(credentials),
        ) as client:  # fmt: skip
            try:
                return client.get(path)
            except CLOSED:
                return None

    def attach(self, credentials, attempt=1):
        """Open the link for a run; returns as whom."""
        files = Credentials(self.paths["authority"], *credentials)
        address = f"127.0.0.1:{self.link_port}"
        link = Link(address, files, "run-1", "train", 5.0, attempt=attempt, grace_s=0.1)
        party = link.party
        link.abort()
        return party

    def is_refused(self, credentials):
        """Whether API, forwarded header and link all refuse."""
        answer = self.get(credentials)
        assert answer is None or answer.status_code == 403, answer.text
        assert self.forwarded(credentials).status_code == 400
        with pytest.raises(TransportError):
            self.attach(credentials)
        return True

    def forwarded(self, credentials):
        proxy = self.directory / "proxy"
        if not proxy.exists():
            give_certificate(self.world.home.root, proxy, self.world.clock.now())
        der = ssl.PEM_cert_to_DER_cert(credentials[0].read_text())
        head = {"Client-Cert": f":{b64encode(der).decode()}:"}
        with httpx.Client(
            base_url=f"https://127.0.0.1:{self.port}", trust_env=False, headers=head,
            verify=self.world.shop.context((proxy / "proxy.pem", proxy / "proxy.key")),
        ) as client:  # fmt: skip
            return client.get("/v1/quota")

    def close(self):
        self.service.stop(grace_s=1)
        self.server.stop()


@pytest.fixture
def site(world, tmp_path):
    made = Site(world, tmp_path)
    yield made
    made.close()


def test_a_companys_certificate_stands_for_its_partner(site):
    """From the moment on that its authority is added, in a hub that is being served."""
    mine = site.company.issue(INSURER)
    assert site.is_refused(mine)
    site.trust()
    assert site.get(mine).status_code == 200
    assert site.forwarded(mine).status_code == 200
    assert site.attach(mine) == "insurer"


def test_a_pinned_subject_stands_for_its_partner(site):
    site.trust(subject="CN=node 1")
    assert site.get(site.company.issue()).status_code == 200
    assert site.get(site.company.issue(dns=["node.bank.example"])).status_code == 200
    assert site.attach(site.company.issue()) == "insurer"
    assert site.is_refused(site.company.issue(subject="node 2"))
    assert site.is_refused(site.company.issue(INSURER, subject="node 2"))
    assert site.is_refused(site.company.issue(TELECOM))


def test_no_authority_stands_for_another(site):
    """Whatever its certificate says: another partner, the hub itself, a proxy, somebody unknown."""
    site.trust()
    names = [
        TELECOM, node_uri(HUB, "hub"), proxy_uri(HUB), node_uri("other", "insurer"), None,
        node_uri(HUB, "stranger"), f"{INSURER}/x", INSURER.upper(),
    ]  # fmt: skip
    for uri in names:
        assert site.is_refused(site.company.issue(uri))
    assert site.get(site.company.issue(INSURER)).status_code == 200


def test_a_proxy_is_nobody_on_the_link(site):
    proxy = site.directory / "proxy"
    give_certificate(site.world.home.root, proxy, site.world.clock.now())
    with pytest.raises(TransportError, match="names no node"):
        site.attach((proxy / "proxy.pem", proxy / "proxy.key"))


def test_two_companies_stay_apart(site, world, tmp_path):
    other = Company(tmp_path / "carrier", world.clock.now(), "Carrier")
    site.trust()
    site.trust("telecom", other)
    assert site.attach(other.issue(TELECOM)) == "telecom"
    assert site.is_refused(other.issue(INSURER))
    assert site.is_refused(site.company.issue(TELECOM))


def test_what_the_authority_did_not_mean_for_clients_is_refused(site, world, tmp_path):
    site.trust()
    now = world.clock.now()
    below = make_authority("Bank branch", now, above=site.company.signer)
    stranger = Company(tmp_path / "stranger", now)  # of the same names, with other keys
    wrong = [
        site.company.issue(INSURER, uses=("server",)),
        site.company.issue(INSURER, now=now - 100 * 86_400, days=90),
        site.company.issue(INSURER, now=now + 86_400),
        site.company.issue(INSURER, signer=below),
        stranger.issue(INSURER),
    ]
    for credentials in wrong:
        assert site.is_refused(credentials)


def test_an_expired_root_lets_nobody_in(site, world):
    site.trust()
    mine = site.company.issue(INSURER, days=5000)
    assert site.forwarded(mine).status_code == 200
    world.clock.advance(4000 * 86_400)
    assert site.forwarded(mine).status_code == 400


def test_revocation_counts_for_it_as_for_any(site, world, problem):
    site.trust()
    mine = site.company.issue(INSURER)
    assert site.attach(mine) == "insurer"
    world.home.revoke("insurer", world.clock.now())
    problem(site.get(mine), 403, "partner_revoked")
    problem(site.forwarded(mine), 403, "partner_revoked")
    with pytest.raises(TransportError, match="revoked"):
        site.attach(mine, attempt=2)


def test_a_removed_authority_ends_connections_that_are_open(site, world, problem):
    site.trust()
    mine = site.company.issue(INSURER)
    with httpx.Client(
        base_url=f"https://127.0.0.1:{site.port}", trust_env=False,
        verify=world.shop.context(mine),
    ) as client:  # fmt: skip
        assert client.get("/v1/quota").status_code == 200
        site.trusted.remove("insurer")
        world.clock.advance(1)
        problem(client.get("/v1/quota"), 403, "not_permitted")
    assert site.is_refused(mine)


def test_tokens_are_bound_to_it_as_to_any(site, world, problem):
    site.trust()
    first, second = site.company.issue(INSURER), site.company.issue(INSURER)
    form = {"grant_type": "client_credentials", "scope": "lookup"}

    def client(credentials):
        return httpx.Client(
            base_url=f"https://127.0.0.1:{site.port}", trust_env=False,
            verify=world.shop.context(credentials),
        )  # fmt: skip

    with client(first) as mine, client(second) as other:
        given = mine.post("/v1/token", data=form).json()["access_token"]
        head = {"Authorization": f"Bearer {given}"}
        assert mine.get("/v1/quota", headers=head).status_code == 200
        problem(other.get("/v1/quota", headers=head), 401, "invalid_token")


def refused(site, data, match, partner="insurer", subject=""):
    own = site.world.shop.authority.certificate
    with pytest.raises(ConfigError, match=match):
        site.trusted.check(parse_trust(partner, data, subject), own, site.world.clock.now())


def test_an_authority_that_could_stand_for_more_is_not_added(site, world, tmp_path):
    company, now = site.company, world.clock.now()
    own = (world.shop.directory / "ca.crt").read_bytes()
    namesake = make_authority("x", now)
    refused(site, own, "the hub's own")
    refused(site, b"nothing", "not certificates")
    refused(site, company.signer.pem, "up to its root")
    refused(site, company.issue(INSURER)[0].read_bytes() + company.chain.read_bytes(), "no auth")
    refused(site, Company(tmp_path / "old", now - 9000 * 86_400).chain.read_bytes(), "not valid")
    refused(site, namesake.pem, "name of a partner", partner="hub")
    refused(site, namesake.pem, "name of a partner", partner="../x")
    refused(site, namesake.pem, "RFC 4514", subject="node 1")
    site.trust()
    refused(site, company.chain.read_bytes(), "another partner", partner="telecom")
    site.trust()  # for the same one it may be replaced


def shown_to(site, name):
    """The certificate that the API shows to whoever dials it by this name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", site.port)) as plain,
        context.wrap_socket(plain, server_hostname=name) as connection,
    ):
        return ssl.DER_cert_to_PEM_cert(connection.getpeercert(binary_form=True)).encode()


def test_a_public_certificate_is_shown_under_its_names_alone(site, world, tmp_path):
    own = site.paths["certificate"].read_bytes()
    company = Company(tmp_path / "public", world.clock.now())
    files = company.issue(dns=["api.example.org", "*.hub.example"], uses=("server",))
    keep_public(tmp_path, "hub.internal", *files, world.clock.now())
    public = files[0].read_bytes()
    for name, expected in {
        "api.example.org": public, "API.example.org": public, "a.hub.example": public,
        "a.b.hub.example": own, "localhost": own, "127.0.0.1": own, None: own,
    }.items():  # fmt: skip
        assert shown_to(site, name) == expected, name
    # Clients are verified as everywhere.
    context = ssl.create_default_context(cadata=company.root.pem.decode())
    context.load_verify_locations(cadata=company.signer.pem.decode())
    context.load_cert_chain(*world.shop.credentials["insurer"])
    with httpx.Client(verify=context, trust_env=False) as client:
        answer = client.get(
            f"https://127.0.0.1:{site.port}/v1/quota",
            extensions={"sni_hostname": "api.example.org"},
        )
        assert answer.status_code == 200
    remove_public(tmp_path)
    assert shown_to(site, "api.example.org") == own


def test_a_public_certificate_must_fit(site, world, tmp_path):
    company, now = Company(tmp_path / "public", world.clock.now()), world.clock.now()
    good = company.issue(dns=["api.example.org"], uses=("server",))
    other = company.issue(dns=["hub.internal"], uses=("server",))
    for files, match in (
        ((good[0], other[1]), "another key"),
        (other, "nodes dial"),
        (company.issue(dns=["*.internal"]), "nodes dial"),
        (company.issue(INSURER), "names no host"),
        (company.issue(dns=["a.example"], now=now - 900 * 86_400), "not valid"),
        ((good[1], good[1]), "no certificate"),
        ((None, None), "--certificate"),
    ):
        with pytest.raises(ConfigError, match=match):
            keep_public(tmp_path, "hub.internal", *files, now)
    assert not (tmp_path / PUBLIC).exists()
    assert not (tmp_path / PUBLIC_KEY).exists()
