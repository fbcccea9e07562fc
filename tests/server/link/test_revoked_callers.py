"""Whoever is revoked is off the link within a second, and comes in no more."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from clients.holder.stream import StandingLink
from clients.keys import certificate_request, create_keys, credentials, store_certificate
from clients.transport import Link, TransportError
from compliance.configuration import ConfigError
from server.identity import create_authority, issue_control, issue_node, issue_server
from server.link import Relay, Service
from server.standing import Standing

HUB = "hub.example"
PARTIES = ("hub", "insurer", "telecom")


class Barred:
    """Names that are revoked; or files that cannot be read."""

    def __init__(self):
        self.names = set()
        self.serials = set()
        self.broken = False

    def bars(self, name, serial):
        if self.broken:
            raise ConfigError("revoked.crl: not a revocation list")
        self.serials.add(serial)
        return name in self.names


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    directory = tmp_path_factory.mktemp("site")
    now = int(time.time())
    authority = create_authority(directory / "hub", HUB, now)
    issue_server(authority, directory / "hub", ["127.0.0.1"], now)
    issue_control(authority, directory / "hub", now)
    for name in PARTIES[1:]:
        keys = create_keys(directory / name)
        certificate = issue_node(authority, certificate_request(keys, name), name, now)
        store_certificate(directory / name, certificate, (directory / "hub/ca.crt").read_bytes())
    return directory


@pytest.fixture
def barred():
    return Barred()


@pytest.fixture
def standing():
    return Standing()


@pytest.fixture
def address(site, barred, standing):
    relay = Relay()
    relay.open_run("run-1", PARTIES)
    service = Service(relay, hub=HUB, on_control=dict, standing=standing, revocations=barred)
    hub = site / "hub"
    names = {"authority": "ca.crt", "certificate": "server.pem", "key": "server.key"}
    port = service.start("127.0.0.1:0", **{name: hub / file for name, file in names.items()})
    yield f"127.0.0.1:{port}"
    service.stop(grace_s=1)


def attach(site, address, party, attempt=1):
    return Link(address, credentials(site / party), "run-1", "train", 10.0, attempt=attempt)


@pytest.fixture
def stand(site, address):
    """Let a node stand by; returns how its stream ended once it has."""
    with ThreadPoolExecutor(2) as pool:
        links = []

        def stand(party):
            greeted, ended = threading.Event(), []
            link = StandingLink(
                address, credentials(site / party), name=party, answer=lambda kind, body: body,
                pool=pool, on_greeted=greeted.set,
            )  # fmt: skip
            links.append(link)

            def serve():
                try:
                    link.serve()
                except TransportError as error:
                    ended.append(error)
                greeted.set()

            pool.submit(serve)
            assert greeted.wait(10)
            return ended

        yield stand
        for link in links:
            link.close()


def within_a_second(condition):
    end = time.monotonic() + 1.0
    while not condition():
        assert time.monotonic() < end, "not within a second"
        time.sleep(0.01)


def test_open_stream_of_a_run_is_closed_and_no_new_one_opened(site, address, barred):
    insurer, telecom = (attach(site, address, name) for name in PARTIES[1:])
    telecom.send("insurer", b"before")
    assert insurer.receive("telecom") == b"before"
    barred.names.add("telecom")
    began = time.monotonic()
    with pytest.raises(TransportError, match="was revoked"):
        telecom.receive("insurer")
    # The others hear of it at once, and who it was.
    with pytest.raises(TransportError, match="telecom broke off"):
        insurer.receive("telecom")
    assert time.monotonic() - began < 1
    for link in (insurer, telecom):
        link.abort()
    with pytest.raises(TransportError, match="was revoked") as caught:
        attach(site, address, "telecom", attempt=2)
    assert not caught.value.retryable
    attach(site, address, "insurer", attempt=2).abort()
    assert len(barred.serials) == 2


def test_standing_stream_is_closed_and_no_new_one_opened(address, barred, standing, stand):
    telecom, insurer = stand("telecom"), stand("insurer")
    assert standing.connected() == {"telecom", "insurer"}
    barred.names.add("telecom")
    within_a_second(lambda: telecom)
    assert "was revoked" in str(telecom[0])
    assert not telecom[0].retryable
    assert standing.connected() == {"insurer"}
    assert standing.ask("insurer", "echo", b"x", 5) == b"x"
    assert "was revoked" in str(stand("telecom")[0])
    assert not insurer


def test_nobody_comes_in_while_revocations_cannot_be_read(site, address, barred, caplog):
    barred.broken = True
    with pytest.raises(TransportError, match="was revoked"):
        attach(site, address, "insurer")
    assert "nobody is let in" in caplog.text
    barred.broken = False
    attach(site, address, "insurer").abort()
