"""A node whose connection is lost in a phase: over a line that a test can cut, on this machine."""

import logging
import random
import socket
import threading
import time
from contextlib import suppress

import pytest

from clients.keys import certificate_request, create_keys, credentials, store_certificate
from clients.transport import Link, TransportError
from compliance.backoff import Backoff
from protocols.link import RESUME_METADATA_KEY, WINDOW_BYTES
from server.identity import create_authority, issue_control, issue_node, issue_server
from server.link import Relay, Service

HUB = "hub.example"
PARTIES = ("hub", "insurer", "telecom")


class Line:
    """Forwards connections to the hub; can be cut and restored."""

    def __init__(self, port):
        self.port = port
        self.open = True
        self.pairs = []
        self.dialled = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self):
        return f"127.0.0.1:{self.listener.getsockname()[1]}"

    def cut(self):
        """Close what is connected, as a device does that is started anew; let nobody in."""
        self.open = False
        self.sever()

    def sever(self):
        pairs, self.pairs = self.pairs, []
        for pair in pairs:
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            self.dialled += 1
            if not self.open:
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self.port))
            self.pairs.append((near, far))
            threading.Thread(target=self._forward, args=(near, far), daemon=True).start()

    def _forward(self, near, far):
        back = threading.Thread(target=_pump, args=(far, near), daemon=True)
        back.start()
        _pump(near, far)
        back.join()
        near.close()
        far.close()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.sever()


def _pump(source, target):
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


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
def relay():
    relay = Relay(queue_bytes=1 << 20)
    relay.open_run("run-1", PARTIES)
    return relay


@pytest.fixture
def port(site, relay):
    service = Service(relay, hub=HUB, on_control=dict, grace_s=60)
    hub = site / "hub"
    names = {"authority": "ca.crt", "certificate": "server.pem", "key": "server.key"}
    yield service.start("127.0.0.1:0", **{name: hub / file for name, file in names.items()})
    service.stop(grace_s=1)


@pytest.fixture
def line(port):
    line = Line(port)
    yield line
    line.close()


@pytest.fixture
def attach(site, port, line):
    """Attach a party: the telecom over the line, the others directly."""
    links = []

    def attach(party, **change):
        address = line.address if party == "telecom" else f"127.0.0.1:{port}"
        link = Link(address, credentials(site / party), "run-1", "train", 30.0, **change)
        links.append(link)
        return link

    yield attach
    for link in links:
        link.abort()


def until(condition, timeout_s=10.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.01)


def test_frames_arrive_once_and_in_order_over_many_losses(attach, line):
    insurer, telecom = attach("insurer"), attach("telecom")
    chance = random.Random(5)
    sizes = [chance.choice((1, 100, 70_000, 1_500_000)) for _ in range(150)]
    payloads = [number.to_bytes(4, "big") + bytes(size) for number, size in enumerate(sizes)]
    found, done = {}, threading.Event()

    def exchange(link, other):
        sender = threading.Thread(target=lambda: [link.send(other, p) for p in payloads])
        sender.start()
        found[other] = [link.receive(other) for _ in payloads]
        sender.join()

    threads = [
        threading.Thread(target=exchange, args=(insurer, "telecom")),
        threading.Thread(target=exchange, args=(telecom, "insurer")),
    ]

    def disturb():
        while not done.wait(chance.uniform(0.05, 0.4)):
            line.sever()

    disturber = threading.Thread(target=disturb)
    disturber.start()
    for thread in threads:
        thread.start()
    time.sleep(3)
    done.set()
    for thread in threads:
        thread.join(30)
    disturber.join()
    assert line.dialled > 3
    assert found == {"insurer": payloads, "telecom": payloads}
    telecom.close()
    insurer.close()


def test_everything_sent_before_leaving_arrives_over_a_loss(attach, line):
    insurer, telecom = attach("insurer"), attach("telecom")
    line.cut()
    for number in range(20):
        telecom.send("insurer", bytes([number]) * 100_000)
    threading.Timer(1.0, setattr, (line, "open", True)).start()
    telecom.close()
    assert [insurer.receive("telecom")[0] for _ in range(20)] == list(range(20))
    with pytest.raises(TransportError, match="telecom left"):
        insurer.receive("telecom")


def test_party_that_does_not_come_back_breaks_the_phase(attach, line, monkeypatch):
    monkeypatch.setattr("protocols.link.CLOSED_GRACE_S", 1.0)
    insurer, telecom = attach("insurer"), attach("telecom")
    line.cut()
    began = time.monotonic()
    with pytest.raises(
        TransportError, match=r"telecom broke off.*not restored within 1 s"
    ) as caught:
        insurer.receive("telecom")
    assert caught.value.party == "telecom"
    with pytest.raises(TransportError, match="cannot be reached"):
        telecom.receive("insurer")
    assert 0.9 < time.monotonic() - began < 10


def test_what_the_others_did_meanwhile_is_told_on_return(attach, line, relay):
    telecom = attach("telecom")
    line.cut()
    until(lambda: relay.status("run-1")["phases"]["train.1"]["away"] == ["telecom"])
    relay.break_phase("run-1", "train", 1, "insurer", "it failed")
    line.open = True
    with pytest.raises(TransportError, match="broken off by insurer") as caught:
        telecom.receive("insurer")
    assert caught.value.party == "insurer"


def test_lost_line_is_logged_once(attach, line, caplog, relay):
    caplog.set_level(logging.INFO)
    telecom = attach("telecom")
    line.cut()
    time.sleep(2.0)
    line.open = True
    until(lambda: relay.status("run-1")["phases"]["train.1"]["away"] == [])
    telecom.send("insurer", b"again")
    assert attach("insurer").receive("telecom") == b"again"
    assert line.dialled > 2
    said = [record.getMessage() for record in caplog.records if record.name == "lianfang.link"]
    assert len(said) == 3, said


def test_node_of_the_version_before_breaks_off_at_once(attach, line, monkeypatch):
    monkeypatch.setattr("clients.streaming.RESUME_METADATA_KEY", f"x-{RESUME_METADATA_KEY}")
    insurer, telecom = attach("insurer"), attach("telecom")
    telecom.send("insurer", bytes(3 * WINDOW_BYTES))
    assert len(insurer.receive("telecom")) == 3 * WINDOW_BYTES
    line.cut()
    with pytest.raises(TransportError, match="telecom broke off"):
        insurer.receive("telecom")
    with pytest.raises(TransportError, match="cannot be reached"):
        telecom.receive("insurer")
    assert line.dialled == 1


def test_waits_grow_to_a_bound_and_half_of_each_is_chance():
    for chance, share in ((0.0, 0.5), (1.0, 1.0)):
        backoff = Backoff(1.0, 30.0, lambda chance=chance: chance)
        waits = [backoff.wait_s() for _ in range(8)]
        assert waits == [share * wait for wait in (1, 2, 4, 8, 16, 30, 30, 30)]
        backoff.reset()
        assert backoff.wait_s() == share
