"""Certificates that are replaced while everything is served: nobody notices; the old one ends."""

import socket
import ssl
import threading
import time

import httpx
import pytest

from clients.lookup.https import Https
from clients.transport import Credentials, Link, TransportError
from server.api.app import create_app
from server.api.running import ApiServer
from server.identity import issue_server
from server.identity.admission import Admission
from server.identity.authority import load_authority
from server.identity.issued import Issued
from server.identity.peer import serial_number
from server.identity.superseded import GRACE_S
from server.link import Relay, Service

HUB = "lianfang"
FILES = {"authority": "ca.crt", "certificate": "server.pem", "key": "server.key"}


class Site:
    """A hub whose API and link are served from files of its own."""

    def __init__(self, world, directory):
        self.world, self.directory = world, directory
        for name in ("ca.crt", "ca.key", "server.pem", "server.key"):
            (directory / name).write_bytes((world.shop.directory / name).read_bytes())
        self.paths = {name: directory / file for name, file in FILES.items()}
        self.admission = world.parts.enrolment.admission
        self.server = ApiServer(create_app(world.parts), hub=HUB, admission=self.admission)
        self.port = self.server.start("127.0.0.1", 0, **self.paths)
        self.relay = Relay()
        self.relay.open_run("run-1", ("insurer", "telecom"))
        self.service = Service(
            self.relay, hub=HUB, on_control=dict, revocations=self.admission,
            admission=self.admission,
        )  # fmt: skip
        self.link_port = self.service.start("127.0.0.1:0", **self.paths)

    def renew(self):
        authority = load_authority(self.directory)
        issue_server(authority, self.directory, ["127.0.0.1", "localhost"], int(time.time()))

    def shown(self, port):
        context = ssl.create_default_context(cafile=str(self.paths["authority"]))
        context.load_cert_chain(*self.world.shop.credentials["insurer"])
        if port == self.link_port:
            context.set_alpn_protocols(["h2"])
        with (
            socket.create_connection(("127.0.0.1", port)) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
        ):
            return connection.getpeercert(binary_form=True)

    def file(self):
        return ssl.PEM_cert_to_DER_cert(self.paths["certificate"].read_text())

    def files_of(self, credentials):
        return Credentials(self.paths["authority"], *credentials)

    def attach(self, credentials, attempt):
        address = f"127.0.0.1:{self.link_port}"
        files = self.files_of(credentials)
        return Link(address, files, "run-1", "train", 5.0, attempt=attempt, grace_s=0.1)

    def client(self, credentials):
        return httpx.Client(
            base_url=f"https://127.0.0.1:{self.port}", trust_env=False,
            verify=self.world.shop.context(credentials),
        )  # fmt: skip

    def close(self):
        self.service.stop(grace_s=1)
        self.server.stop()


@pytest.fixture
def site(world, tmp_path):
    made = Site(world, tmp_path)
    yield made
    made.close()


@pytest.fixture
def pair(site, world):
    """The insurer's certificate, and the one that follows it, as renewal has noted them."""
    old, new = world.shop.issue("insurer"), world.shop.issue("insurer")
    issued, now = Issued(world.home.root), world.clock.now()
    issued.add("insurer", old[0].read_bytes(), now - 100)
    issued.add("insurer", new[0].read_bytes(), now)
    return old, new


def test_a_renewed_server_certificate_is_shown_at_once_on_both_doors(site):
    before = site.file()
    assert site.shown(site.port) == site.shown(site.link_port) == before
    site.renew()
    assert site.file() != before
    assert site.shown(site.port) == site.shown(site.link_port) == site.file()


def test_what_is_connected_stays_connected(site, world):
    insurer = world.shop.credentials["insurer"]
    with site.client(insurer) as client, site.attach(insurer, 1) as link:
        assert client.get("/v1/quota").status_code == 200
        site.renew()
        assert client.get("/v1/quota").status_code == 200
        with site.attach(world.shop.credentials["telecom"], 1) as other:
            other.send("insurer", b"still there")
            assert link.receive("telecom") == b"still there"


def test_half_a_renewal_and_a_damaged_file_change_nothing(site):
    """The key is replaced before the certificate; what does not fit is not served."""
    before, good = site.file(), site.paths["certificate"].read_bytes()
    site.renew()
    new = site.paths["certificate"].read_bytes()
    site.paths["certificate"].write_bytes(good)
    assert site.shown(site.port) == site.shown(site.link_port) == before
    site.paths["certificate"].write_bytes(b"damaged")
    assert site.shown(site.port) == site.shown(site.link_port) == before
    site.paths["certificate"].write_bytes(new)
    assert site.shown(site.port) == site.shown(site.link_port) == site.file()


def test_no_request_fails_while_certificates_are_replaced_again_and_again(site, world):
    stop, answers = threading.Event(), []

    def ask():
        while not stop.is_set():
            with site.client(world.shop.credentials["insurer"]) as client:
                answers.append(client.get("/v1/quota").status_code)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        site.renew()
        time.sleep(0.05)
    stop.set()
    for thread in threads:
        thread.join()
    assert len(answers) > 10
    assert set(answers) == {200}


def test_a_certificate_ends_some_time_after_its_successor_was_shown(site, pair, world, problem):
    old, new = pair
    with site.client(old) as before, site.client(new) as after:
        world.clock.advance(2 * GRACE_S)
        # However long ago it was issued: nobody has shown it, so it may never have arrived.
        assert before.get("/openapi.json").status_code == 200
        assert after.get("/openapi.json").status_code == 200
        world.clock.advance(GRACE_S - 1)
        assert before.get("/openapi.json").status_code == 200
        with site.attach(old, 1):
            world.clock.advance(1)
            answer = before.get("/openapi.json")
            problem(answer, 403, "certificate_superseded")
            assert answer.headers["connection"] == "close"
            with pytest.raises(TransportError, match="renewed"):
                site.attach(old, 2)
        assert after.get("/openapi.json").status_code == 200
        site.attach(new, 3).abort()


def test_the_link_notices_a_successor_too(site, pair, world):
    old, new = pair
    site.attach(new, 1).abort()
    assert site.admission.is_superseded("insurer", serial_number(old[0].read_bytes()))
    assert not site.admission.is_superseded("insurer", serial_number(new[0].read_bytes()))


def test_tokens_end_with_the_first_sight_of_a_successor(site, pair, world, problem):
    old, new = pair
    form = {"grant_type": "client_credentials", "scope": "lookup"}
    with site.client(old) as before, site.client(new) as after:
        given = before.post("/v1/token", data=form).json()["access_token"]
        head = {"Authorization": f"Bearer {given}"}
        assert before.get("/v1/quota", headers=head).status_code == 200
        assert after.get("/healthz").status_code == 200
        problem(before.get("/v1/quota", headers=head), 401, "invalid_token")
        problem(before.post("/v1/token", data=form), 401, "invalid_client")
        assert before.get("/v1/quota").status_code == 200


def test_every_process_of_the_hub_knows(site, pair, world):
    """Also one that has seen neither, and after a restart."""
    old, new = pair
    with site.client(new) as after:
        assert after.get("/healthz").status_code == 200
    another = Admission(world.home.root, HUB, clock=world.clock)
    world.clock.advance(GRACE_S)
    assert another.has_ended("insurer", serial_number(old[0].read_bytes()))
    assert not another.has_ended("insurer", serial_number(new[0].read_bytes()))
    assert not another.has_ended("telecom", serial_number(old[0].read_bytes()))


def test_a_program_that_stays_connected_shows_the_new_one(site, pair, world, tmp_path):
    old, new = pair
    used = tmp_path / "tls.pem", tmp_path / "tls.key"
    for target, file in zip(used, old, strict=True):
        target.write_bytes(file.read_bytes())
    https = Https(f"127.0.0.1:{site.port}", site.files_of(used), 5.0)
    try:
        assert https.fetch("/v1/quota")
        for target, file in zip(reversed(used), reversed(new), strict=True):
            target.unlink()
            target.write_bytes(file.read_bytes())
        assert https.fetch("/v1/quota")
        assert site.admission.is_superseded("insurer", serial_number(old[0].read_bytes()))
    finally:
        https.close()
