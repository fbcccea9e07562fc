"""Certificates in a header: believed from a configured proxy that shows its own, else refused."""

import json
from base64 import b64encode
from urllib.parse import quote

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from compliance.configuration import ConfigError
from server.addresses import parse_proxies
from server.api.app import create_app
from server.api.bursts import Pace
from server.api.forwarding import parse_certificate
from server.api.running import ApiServer
from server.identity import create_authority
from server.identity.authority import issue_proxy
from server.identity.proxies import give_certificate, revoke_certificates

HUB = "lianfang"


class Front:
    """A hub that is served to proxies too, and one of them."""

    def __init__(self, world, directory, proxies="127.0.0.1", **limits):
        self.world = world
        give_certificate(world.home.root, directory, world.clock.now())
        self.credentials = directory / "proxy.pem", directory / "proxy.key"
        self.server = ApiServer(
            create_app(world.parts, **limits),
            hub=HUB,
            admission=world.parts.enrolment.admission,
            proxies=parse_proxies(proxies),
        )
        names = {"authority": "ca.crt", "certificate": "server.pem", "key": "server.key"}
        paths = {name: world.shop.directory / file for name, file in names.items()}
        self.port = self.server.start("127.0.0.1", 0, **paths)
        self.clients = []

    def client(self, credentials=None):
        made = httpx.Client(
            base_url=f"https://127.0.0.1:{self.port}",
            verify=self.world.shop.context(credentials),
            trust_env=False,
        )
        self.clients.append(made)
        return made

    def proxy(self):
        return self.client(self.credentials)

    def close(self):
        for client in self.clients:
            client.close()
        self.server.stop()


@pytest.fixture
def make_front(world, tmp_path):
    made = []

    def make(**settings):
        made.append(Front(world, tmp_path / f"proxy-{len(made)}", **settings))
        return made[-1]

    yield make
    for front in made:
        front.close()


@pytest.fixture
def front(make_front):
    return make_front()


def pem_of(world, name="insurer"):
    return world.shop.credentials[name][0].read_bytes()


def der_of(pem):
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


def standard(pem):
    """As RFC 9440 has it."""
    return {"Client-Cert": f":{b64encode(der_of(pem)).decode()}:"}


def escaped(pem):
    """As nginx has it."""
    return {"Client-Cert": quote(pem.decode(), safe="")}


@pytest.mark.parametrize("write", [standard, escaped])
def test_a_proxy_hands_a_certificate_on(front, world, write):
    sent = write(pem_of(world))
    answer = front.proxy().get("/v1/quota", headers=sent)
    assert answer.status_code == 200
    assert answer.json() == world.client("insurer").get("/v1/quota").json()


def test_a_lookup_through_a_proxy_is_charged_to_its_caller(front, world):
    request = world.sign(world.query((b"x",)).request)
    head = {
        "Content-Type": "application/vnd.lianfang.evaluation-request",
        "Idempotency-Key": request.request_id.hex(),
    }
    headers = head | escaped(pem_of(world))
    answer = front.proxy().post("/v1/evaluations", content=request.encode(), headers=headers)
    assert (answer.status_code, world.used()) == (200, 1)


def test_without_a_certificate_a_proxy_is_nobody(front, problem):
    client = front.proxy()
    assert client.get("/healthz").status_code == 200
    problem(client.get("/v1/quota"), 403, "certificate_required")


@pytest.mark.parametrize("caller", ["nobody", "partner", "other"])
def test_a_forged_header_is_refused_changes_nothing_and_is_logged(
    front, world, problem, caplog, caller
):
    """From the proxy's own address, and from partners that would like to be another."""
    name = {"nobody": None, "partner": "telecom", "other": "insurer"}[caller]
    client = front.client(world.shop.credentials[name] if name else None)
    request = world.sign(world.query((b"x",)).request)
    head = {
        "Content-Type": "application/vnd.lianfang.evaluation-request",
        "Idempotency-Key": request.request_id.hex(),
    }
    before = world.used(), len(world.entries())
    caplog.set_level("INFO")
    for write in (standard, escaped):
        answer = client.post(
            "/v1/evaluations", content=request.encode(), headers=head | write(pem_of(world))
        )
        problem(answer, 400, "forwarded_certificate")
    problem(client.get("/healthz", headers={"Client-Cert": "x"}), 400, "forwarded_certificate")
    problem(
        client.get("/healthz", headers={"Client-Cert-Chain": "x"}), 400, "forwarded_certificate"
    )
    assert (world.used(), len(world.entries())) == before
    lines = [json.loads(record.message) for record in caplog.records if "{" in record.message]
    refused = [line for line in lines if line["event"] == "refused"]
    assert [line["partner"] for line in refused] == [name or "-"] * 4


def test_the_servers_own_certificate_is_no_proxys(front, world, problem):
    """Neither is one with a proxy's name by another authority, nor any from another address."""
    other = create_authority(front.credentials[0].parent / "other", HUB, world.clock.now())
    foreign = world.shop.keep(*issue_proxy(other, world.clock.now()))
    with pytest.raises((httpx.ReadError, httpx.ConnectError, httpx.RemoteProtocolError)):
        front.client(foreign).get("/v1/quota", headers=standard(pem_of(world)))


def test_a_proxy_from_an_address_that_is_not_configured_is_nobody(make_front, world, problem):
    front = make_front(proxies="192.0.2.7, 2001:db8::/64")
    client = front.proxy()
    answer = client.get("/v1/quota", headers=standard(pem_of(world)))
    problem(answer, 400, "forwarded_certificate")
    problem(client.get("/v1/quota"), 403, "not_permitted")


def test_a_revoked_proxy_hands_nothing_on(front, world, problem):
    client = front.proxy()
    assert client.get("/v1/quota", headers=standard(pem_of(world))).status_code == 200
    assert revoke_certificates(world.home.root, world.clock.now()) == 1
    answer = client.get("/v1/quota", headers=standard(pem_of(world)))
    problem(answer, 400, "forwarded_certificate")


def wrong_certificates(world, directory):
    now = world.clock.now()
    foreign = create_authority(directory / "foreign", HUB, now)
    yield world.shop.issue("insurer", authority=foreign)[0].read_bytes()
    yield world.shop.issue("insurer", now=now - 398 * 86_400)[0].read_bytes()
    yield world.shop.issue("insurer", now=now + 86_400)[0].read_bytes()
    yield (world.shop.directory / "server.pem").read_bytes()
    yield (world.shop.directory / "ca.crt").read_bytes()
    yield issue_proxy(world.shop.authority, now)[0]
    elsewhere = type(world.shop.authority)(
        "other-hub", world.shop.authority.certificate, world.shop.authority.key
    )
    yield world.shop.issue("insurer", authority=elsewhere)[0].read_bytes()


def test_what_a_proxy_hands_on_is_verified_here(front, world, tmp_path, problem):
    client = front.proxy()
    for pem in wrong_certificates(world, tmp_path):
        for write in (standard, escaped):
            answer = client.get("/v1/quota", headers=write(pem))
            problem(answer, 400, "forwarded_certificate")


def test_what_is_no_certificate_is_refused(front, world, problem):
    client, good = front.proxy(), standard(pem_of(world))["Client-Cert"]
    for value in ("", ":", "::", ":AAAA:", good[:-1], good[1:], "%2D%2D", "insurer", good + good):
        answer = client.get("/v1/quota", headers={"Client-Cert": value})
        problem(answer, 400, "forwarded_certificate")
    twice = [("Client-Cert", good), ("Client-Cert", good)]
    problem(client.get("/v1/quota", headers=twice), 400, "forwarded_certificate")


def test_who_is_revoked_is_revoked_behind_a_proxy_too(front, world, problem):
    client = front.proxy()
    world.home.revoke("insurer", world.clock.now())
    answer = client.get("/v1/quota", headers=escaped(pem_of(world)))
    problem(answer, 403, "partner_revoked")


def test_a_token_is_bound_to_the_certificate_that_is_handed_on(front, world, problem):
    client = front.proxy()
    form = {"grant_type": "client_credentials", "scope": "lookup"}
    given = client.post("/v1/token", data=form, headers=escaped(pem_of(world))).json()
    head = {"Authorization": f"Bearer {given['access_token']}"}
    assert client.get("/v1/quota", headers=head | standard(pem_of(world))).status_code == 200
    for stolen in (head | standard(pem_of(world, "telecom")), head):
        problem(client.get("/v1/quota", headers=stolen), 401, "invalid_token")


def test_addresses_behind_a_proxy_are_counted_one_by_one(make_front, problem):
    front = make_front(stranger=Pace(burst=2, per_s=0.001))
    client = front.proxy()

    def status(*addresses, by=client):
        head = [("X-Forwarded-For", address) for address in addresses]
        return by.get("/healthz", headers=head).status_code

    assert [status("192.0.2.1") for _ in range(3)] == [200, 200, 429]
    # The last that is no proxy's counts; what stands before it a client may have written.
    assert status("192.0.2.9, 192.0.2.1") == 429
    assert status("192.0.2.2, 127.0.0.1") == 200
    # From anybody else the header says nothing.
    stranger = front.client()
    found = [status(f"192.0.2.{number}", by=stranger) for number in range(10, 13)]
    assert found == [200, 200, 429]


def test_proxies_are_addresses_and_networks():
    assert [str(network) for network in parse_proxies("127.0.0.1, 192.0.2.0/24,::1")] == [
        "127.0.0.1/32", "192.0.2.0/24", "::1/128",
    ]  # fmt: skip
    assert parse_proxies(" ") == ()
    for text in ("proxy.example", "127.0.0.1,", "0.0.0.0/0", "::/0", "192.0.2.1/24"):
        with pytest.raises(ConfigError, match="proxies"):
            parse_proxies(text)


def test_both_forms_give_the_same_certificate(world):
    pem = pem_of(world)
    forms = [write(pem)["Client-Cert"] for write in (standard, escaped)]
    assert {parse_certificate(form) for form in forms} == {der_of(pem)}
