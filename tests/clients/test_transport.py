import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from clients.keys import certificate_request, create_keys, credentials, store_certificate
from clients.transport import Credentials, Link, TransportError
from protocols.link import ATTACH_METHOD, HELLO_METADATA_KEY, WINDOW_BYTES, Envelope, Kind
from protocols.seal import derive_pair
from server.identity import create_authority, issue_control, issue_node, issue_server
from server.link import Relay, Service, call_control

HUB = "hub.example"
PARTIES = ("hub", "insurer", "telecom", "police")

# A node of its own process: attaches, says so, sends one payload and waits for another.
NODE = """
import sys
from pathlib import Path
from clients.keys import credentials
from clients.transport import Link
link = Link(sys.argv[1], credentials(Path(sys.argv[2])), "run-1", "train", 60)
print("attached", flush=True)
link.send("insurer", b"from another process")
link.receive("insurer")
"""

# A hub of its own process, for tests that stop it or read its memory.
HUB_PROCESS = """
import sys, threading
from pathlib import Path
from server.link import Relay, Service
directory = Path(sys.argv[1])
relay = Relay()
relay.open_run("run-1", ("insurer", "telecom"))
service = Service(relay, hub="hub.example", on_control=dict)
port = service.start(
    "127.0.0.1:0",
    authority=directory / "ca.crt",
    certificate=directory / "server.pem",
    key=directory / "server.key",
)
print(port, flush=True)
threading.Event().wait()
"""


def build_site(directory, hub_directory="hub", parties=PARTIES[1:]):
    """Make a hub with its authority, and nodes that joined it."""
    now = int(time.time())
    authority = create_authority(directory / hub_directory, HUB, now)
    issue_server(authority, directory / hub_directory, ["127.0.0.1"], now)
    issue_control(authority, directory / hub_directory, now)
    root = (directory / hub_directory / "ca.crt").read_bytes()
    for name in parties:
        keys = create_keys(directory / name)
        certificate = issue_node(authority, certificate_request(keys, name), name, now)
        store_certificate(directory / name, certificate, root)
    return authority


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    directory = tmp_path_factory.mktemp("site")
    build_site(directory, parties=(*PARTIES[1:], "outsider"))
    return directory


@pytest.fixture
def relay():
    relay = Relay(queue_bytes=4 << 20)
    relay.open_run("run-1", PARTIES)
    return relay


@pytest.fixture
def address(site, relay):
    service = Service(relay, hub=HUB, on_control=lambda request: {"echo": request}, grace_s=1)
    port = start(service, site)
    yield f"127.0.0.1:{port}"
    service.stop()


def start(service, site, address="127.0.0.1:0"):
    hub = site / "hub"
    return service.start(
        address, authority=hub / "ca.crt", certificate=hub / "server.pem", key=hub / "server.key"
    )


@pytest.fixture
def attach(site, address):
    links = []

    def attach(party, *, run="run-1", phase="train", deadline_s=10.0, **change):
        link = Link(address, credentials(site / party), run, phase, deadline_s, **change)
        links.append(link)
        return link

    yield attach
    for link in links:
        link.abort()


@pytest.fixture
def processes():
    started = []
    yield started
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def spawn(processes, script, *arguments):
    process = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        text=True,
    )
    processes.append(process)
    return process, process.stdout.readline().strip()


def control(site, address, request, party="hub"):
    names = {"hub": ("hub.pem", "hub.key")}.get(party, ("tls.pem", "tls.key"))
    certificate, key = (site / party / name for name in names)
    return call_control(
        address,
        request,
        authority=site / "hub/ca.crt",
        certificate=certificate,
        key=key,
        timeout_s=10,
    )


def raw_stream(site, address, frames, hello, party="telecom"):
    """Speak to the relay without `Link`, which would not send what a test wants sent."""
    node = credentials(site / party)
    channel = grpc.secure_channel(
        address,
        grpc.ssl_channel_credentials(
            node.authority.read_bytes(), node.key.read_bytes(), node.certificate.read_bytes()
        ),
    )
    metadata = () if hello is None else ((HELLO_METADATA_KEY, hello),)
    with channel, pytest.raises(grpc.RpcError) as caught:
        list(channel.stream_stream(ATTACH_METHOD)(iter(frames), metadata=metadata, timeout=10))
    return caught.value.code()


def hello(run="run-1", phase="train.1", kind=Kind.HELLO):
    return Envelope(run, phase, kind).encode()


def test_payloads_travel_both_ways_in_order(attach):
    insurer, telecom = attach("insurer"), attach("telecom")
    for number in range(20):
        insurer.send("telecom", b"i%d" % number)
        telecom.send("insurer", b"t%d" % number)
    assert [telecom.receive("insurer") for _ in range(20)] == [b"i%d" % i for i in range(20)]
    assert [insurer.receive("telecom") for _ in range(20)] == [b"t%d" % i for i in range(20)]
    assert insurer.party == "insurer"
    assert insurer.parties == frozenset(PARTIES)


def test_clean_leave_delivers_everything(attach):
    payloads = [bytes([i]) * 200_000 for i in range(10)]
    with attach("telecom") as telecom:
        for payload in payloads:
            telecom.send("insurer", payload)
    # Attached only after the sender has gone.
    insurer = attach("insurer")
    assert [insurer.receive("telecom") for _ in payloads] == payloads
    with pytest.raises(TransportError, match="telecom left"):
        insurer.receive("telecom")


def test_large_payload_arrives_whole(attach):
    insurer, telecom = attach("insurer"), attach("telecom")
    payload = os.urandom(1 << 20) * 64 + b"end"
    sender = threading.Thread(target=telecom.send, args=("insurer", payload))
    sender.start()
    assert insurer.receive("telecom") == payload
    sender.join()


def test_large_payloads_cross_without_deadlock(attach):
    # Each sends more than the relay and the network hold before it receives.
    links = {name: attach(name) for name in PARTIES[1:]}
    found = {}

    def exchange(name):
        others = [other for other in links if other != name]
        for other in others:
            links[name].send(other, name.encode() * 4_000_000)
        found[name] = [links[name].receive(other) for other in others]

    threads = [threading.Thread(target=exchange, args=(name,)) for name in links]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, payloads in found.items():
        others = [other for other in links if other != name]
        assert payloads == [other.encode() * 4_000_000 for other in others]


def test_program_of_the_hub_takes_part(attach, relay):
    insurer = attach("insurer")
    with relay.local("run-1", "train", deadline_s=10) as hub:
        insurer.send("hub", b"question")
        assert hub.receive("insurer") == b"question"
        hub.send("insurer", b"answer")
    assert insurer.receive("hub") == b"answer"


def test_counters_tell_payload_bytes_by_peer(attach, relay):
    insurer, telecom = attach("insurer"), attach("telecom")
    insurer.send("telecom", bytes(3_000_000))
    telecom.receive("insurer")
    assert insurer.bytes_sent == {"telecom": 3_000_000}
    assert telecom.bytes_received == {"insurer": 3_000_000}
    relayed = {(t.party, t.direction): t.size_bytes for t in relay.traffic("run-1")}
    # Three pieces, each with a header of 24 to 32 bytes.
    assert 3_000_000 < relayed["insurer", "sent"] < 3_000_100
    assert relayed["insurer", "sent"] == relayed["telecom", "received"]


def test_node_outside_the_run_is_refused(attach):
    with pytest.raises(TransportError, match="not open to outsider") as caught:
        attach("outsider")
    assert not caught.value.retryable


def test_unknown_run_is_refused(attach):
    with pytest.raises(TransportError, match="run-9 is not open to telecom"):
        attach("telecom", run="run-9")


def test_certificate_of_another_authority_is_refused(site, address, tmp_path):
    build_site(tmp_path, parties=("telecom",))
    rogue = replace(credentials(tmp_path / "telecom"), authority=site / "hub/ca.crt")
    with pytest.raises(TransportError, match="cannot be reached"):
        Link(address, rogue, "run-1", "train", 10)


def test_stream_without_a_certificate_is_refused(site, address):
    root = grpc.ssl_channel_credentials((site / "hub/ca.crt").read_bytes())
    with grpc.secure_channel(address, root) as channel:
        call = channel.stream_stream(ATTACH_METHOD)
        with pytest.raises(grpc.RpcError) as caught:
            list(call(iter(()), metadata=((HELLO_METADATA_KEY, hello()),), timeout=10))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_hub_with_a_foreign_certificate_is_not_trusted(site, relay, tmp_path):
    build_site(tmp_path, parties=())
    service = Service(relay, hub=HUB, on_control=dict)
    port = start(service, tmp_path)
    try:
        with pytest.raises(TransportError, match="cannot be reached"):
            Link(f"127.0.0.1:{port}", credentials(site / "telecom"), "run-1", "train", 10)
    finally:
        service.stop()


def test_node_cannot_pose_as_the_hub(site, relay):
    # Same authority, but a certificate for clients and without a host name.
    service = Service(relay, hub=HUB, on_control=dict)
    node = site / "police"
    port = service.start(
        "127.0.0.1:0",
        authority=node / "ca.crt",
        certificate=node / "tls.pem",
        key=node / "tls.key",
    )
    try:
        with pytest.raises(TransportError, match="cannot be reached"):
            Link(f"127.0.0.1:{port}", credentials(site / "telecom"), "run-1", "train", 10)
    finally:
        service.stop()


def test_sender_comes_from_the_certificate(site, address, attach):
    # Telecom writes the name of the police wherever there is a name to write.
    insurer = attach("insurer")
    frames = [
        Envelope("run-1", "train.1", Kind.DATA, "insurer", b"police").encode(),
        Envelope("run-1", "train.1", Kind.LEAVE).encode(),
    ]
    node = credentials(site / "telecom")
    trusted = grpc.ssl_channel_credentials(
        node.authority.read_bytes(), node.key.read_bytes(), node.certificate.read_bytes()
    )
    with grpc.secure_channel(address, trusted) as channel:
        call = channel.stream_stream(ATTACH_METHOD)
        metadata = ((HELLO_METADATA_KEY, hello()), ("party", "police"))
        list(call(iter(frames), metadata=metadata, timeout=10))
    assert insurer.receive("telecom") == b"police"
    assert insurer.bytes_received == {"telecom": 6}


@pytest.mark.parametrize(
    "first", [None, b"", b"noise", hello(kind=Kind.LEAVE), hello() + b"x", hello(run="run-1")[:-1]]
)
def test_stream_without_a_proper_hello_is_refused(site, address, first):
    assert raw_stream(site, address, [], first) is grpc.StatusCode.INVALID_ARGUMENT


def test_malformed_frame_breaks_the_phase(site, address, attach):
    insurer = attach("insurer")
    code = raw_stream(site, address, [b"noise"], hello())
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(TransportError, match=r"telecom broke off.*malformed"):
        insurer.receive("telecom")


def test_frame_for_another_run_breaks_the_phase(site, address, relay, attach):
    relay.open_run("run-2", ("telecom", "police"))
    frame = Envelope("run-2", "train.1", Kind.DATA, "police", b"x").encode()
    assert raw_stream(site, address, [frame], hello()) is grpc.StatusCode.INVALID_ARGUMENT
    assert relay.status("run-2")["queued_bytes"] == 0


def test_second_attachment_of_a_party_is_refused(attach):
    attach("telecom")
    with pytest.raises(TransportError, match="telecom is attached") as caught:
        attach("telecom")
    assert caught.value.retryable


def test_failing_program_is_noticed_by_the_others(attach):
    insurer = attach("insurer", deadline_s=30)
    start = time.monotonic()
    with pytest.raises(ZeroDivisionError), attach("telecom"):
        raise ZeroDivisionError
    with pytest.raises(TransportError, match="telecom broke off") as caught:
        insurer.receive("police")
    assert caught.value.party == "telecom"
    assert caught.value.retryable
    with pytest.raises(TransportError, match="telecom broke off"):
        insurer.send("police", b"x")
    assert time.monotonic() - start < 5


def test_killed_process_is_noticed_by_the_others(site, address, attach, processes, monkeypatch):
    monkeypatch.setattr("protocols.link.CLOSED_GRACE_S", 1.0)
    insurer = attach("insurer", deadline_s=30)
    node, said = spawn(processes, NODE, address, site / "telecom")
    assert said == "attached"
    assert insurer.receive("telecom") == b"from another process"
    node.send_signal(signal.SIGKILL)
    start = time.monotonic()
    # The killed process could have been a line that comes back; that is waited for a moment.
    with pytest.raises(TransportError, match=r"telecom broke off.*within 1 s"):
        insurer.receive("telecom")
    assert time.monotonic() - start < 5


def test_broken_phase_runs_again_as_a_new_attempt(attach):
    attach("telecom").abort()
    deadline = time.monotonic() + 5
    message = ""
    while "new attempt" not in message and time.monotonic() < deadline:
        # Until the hub has seen the break, the refusal is "attached", which is retryable.
        with pytest.raises(TransportError) as caught:
            attach("telecom")
        message = str(caught.value)
    assert "broken off by telecom" in message
    telecom, insurer = attach("telecom", attempt=2), attach("insurer", attempt=2)
    telecom.send("insurer", b"again")
    assert insurer.receive("telecom") == b"again"


def test_deadline_ends_a_receive(attach):
    insurer = attach("insurer", deadline_s=0.2)
    with pytest.raises(TransportError, match=r"nothing from telecom within 0\.2 s") as caught:
        insurer.receive("telecom")
    assert caught.value.retryable


def test_back_pressure_reaches_the_sender(attach, relay):
    # Nobody reads: the relay keeps its bound and `send` fails at its deadline.
    insurer = attach("insurer", deadline_s=1.0)
    with pytest.raises(TransportError, match="took no frame for telecom") as caught:
        [insurer.send("telecom", bytes(1 << 20)) for _ in range(200)]
    assert caught.value.retryable
    # Its own bound, and one window more from the one sender.
    assert (3 << 20) < relay.status("run-1")["queued_bytes"] <= (4 << 20) + WINDOW_BYTES + (2 << 20)
    # What is on its way in the network's own buffers depends on the machine's load.
    assert sum(insurer.bytes_sent.values()) < 120 << 20


def test_full_mailbox_does_not_block_the_awaited_party(attach, monkeypatch):
    # The police fills the insurer's mailbox while the insurer waits for telecom.
    monkeypatch.setattr("clients.transport.INCOMING_BYTES", 1_000)
    insurer, police, telecom = attach("insurer"), attach("police"), attach("telecom")
    for _ in range(20):
        police.send("insurer", bytes(10_000))
    time.sleep(0.1)
    telecom.send("insurer", b"awaited")
    assert insurer.receive("telecom") == b"awaited"
    assert [len(insurer.receive("police")) for _ in range(20)] == [10_000] * 20


def test_unread_payloads_are_left_to_the_relay(attach, relay, monkeypatch):
    monkeypatch.setattr("clients.transport.INCOMING_BYTES", 1 << 20)
    insurer, telecom = attach("insurer"), attach("telecom", deadline_s=1.0)
    with pytest.raises(TransportError, match="took no frame for insurer"):
        [telecom.send("insurer", bytes(1 << 20)) for _ in range(200)]
    assert insurer._mailbox.buffered_bytes <= 2 << 20
    assert relay.status("run-1")["queued_bytes"] <= (4 << 20) + WINDOW_BYTES + (2 << 20)


def test_closed_run_reaches_a_waiting_node(attach, relay):
    insurer = attach("insurer", deadline_s=30)
    threading.Timer(0.1, relay.close_run, ["run-1", "partner withdrew"]).start()
    with pytest.raises(TransportError, match="partner withdrew") as caught:
        insurer.receive("telecom")
    assert not caught.value.retryable


def test_stopping_hub_says_so_and_frees_its_threads(site, relay):
    before = threading.active_count()
    service = Service(relay, hub=HUB, on_control=dict)
    address = f"127.0.0.1:{start(service, site)}"
    insurer = Link(address, credentials(site / "insurer"), "run-1", "train", 30)
    service.stop("maintenance")
    with pytest.raises(TransportError, match="maintenance"):
        insurer.receive("telecom")
    insurer.abort()
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert threading.active_count() <= before


def test_unreachable_hub_is_said_at_once(site):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    start = time.monotonic()
    with pytest.raises(TransportError, match="cannot be reached") as caught:
        Link(f"127.0.0.1:{port}", credentials(site / "insurer"), "run-1", "train", 30)
    assert caught.value.retryable
    assert time.monotonic() - start < 5


def test_silent_address_ends_at_the_deadline(site):
    # Accepts connections and never answers.
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        start = time.monotonic()
        with pytest.raises(TransportError) as caught:
            Link(address, credentials(site / "insurer"), "run-1", "train", 0.5)
    assert caught.value.retryable
    assert time.monotonic() - start < 3


def test_missing_credentials_name_the_file(tmp_path):
    paths = Credentials(*(tmp_path / name for name in ("ca.crt", "tls.pem", "tls.key")))
    with pytest.raises(TransportError, match=r"ca\.crt cannot be read") as caught:
        Link("127.0.0.1:1", paths, "run-1", "train", 1)
    assert not caught.value.retryable


def test_taken_port_is_said(site, relay, address):
    with pytest.raises(TransportError, match="cannot listen"):
        start(Service(relay, hub=HUB, on_control=dict), site, address)


def test_unknown_recipient_is_refused_locally(attach):
    insurer = attach("insurer")
    for name in ("insurer", "nobody"):
        with pytest.raises(TransportError, match="no other party"):
            insurer.send(name, b"x")
        with pytest.raises(TransportError, match="no other party"):
            insurer.receive(name)


def test_closed_link_is_of_no_use(attach):
    insurer = attach("insurer")
    insurer.close()
    insurer.close()
    with pytest.raises(TransportError):
        insurer.send("telecom", b"x")
    with pytest.raises(TransportError):
        insurer.receive("telecom")


def test_hub_controls_runs_from_another_process(site, address):
    opened = control(
        site,
        address,
        {"action": "open_run", "run": "run-5", "parties": ["insurer", "telecom"]},
    )
    assert opened == {"run": "run-5"}
    with Link(address, credentials(site / "telecom"), "run-5", "train", 10) as telecom:
        telecom.send("insurer", b"12345")
    status = control(site, address, {"action": "run_status", "run": "run-5"})["status"]
    assert status["phases"]["train.1"]["left"] == ["telecom"]
    assert [t["party"] for t in status["traffic"]] == ["telecom"]
    control(site, address, {"action": "close_run", "run": "run-5", "reason": "done"})
    with pytest.raises(TransportError, match="done"):
        Link(address, credentials(site / "insurer"), "run-5", "train", 10)
    assert control(site, address, {"action": "run_status", "run": "run-6"})["status"] is None


def test_other_control_requests_reach_the_hub_program(site, address):
    request = {"action": "start_program", "run": "run-1"}
    assert control(site, address, request) == {"echo": request}


def test_control_is_for_the_hub_alone(site, address):
    for party in ("telecom", "outsider"):
        with pytest.raises(TransportError, match="for the hub itself"):
            control(site, address, {"action": "close_run", "run": "run-1", "reason": "x"}, party)


@pytest.mark.parametrize(
    "request_",
    [
        {"action": "open_run"},
        {"action": "open_run", "run": "run-7", "parties": "all"},
        {"action": "open_run", "run": "../x", "parties": ["insurer", "telecom"]},
        {"action": "close_run", "run": 1, "reason": "x"},
    ],
)
def test_malformed_control_request_is_refused(site, address, request_):
    with pytest.raises(TransportError) as caught:
        control(site, address, request_)
    assert not caught.value.retryable


def memory_of(process):
    """Every readable byte of another process; Linux only."""
    with (
        Path(f"/proc/{process.pid}/maps").open() as maps,
        Path(f"/proc/{process.pid}/mem").open("rb", 0) as memory,
    ):
        for line in maps:
            region, mode = line.split()[:2]
            if "r" not in mode or line.rstrip().endswith(("[vvar]", "[vsyscall]")):
                continue
            start, end = (int(edge, 16) for edge in region.split("-"))
            try:
                memory.seek(start)
                yield memory.read(end - start)
            except (OSError, ValueError, OverflowError):
                continue


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="reads /proc")
def test_sealed_payload_is_nowhere_in_the_hub(site, processes):
    hub, port = spawn(processes, HUB_PROCESS, site / "hub")
    keys = {name: X25519PrivateKey.generate() for name in ("insurer", "telecom")}

    def pair(ours, theirs):
        public = keys[theirs].public_key().public_bytes_raw()
        fixed = {"run": "run-1", "plan_hash": bytes(32), "phase": "train", "attempt": 1}
        return derive_pair(keys[ours], public, ours=ours, theirs=theirs, **fixed)

    secret, public = os.urandom(24), os.urandom(24)
    address = f"127.0.0.1:{port}"
    with Link(address, credentials(site / "telecom"), "run-1", "train", 10) as telecom:
        telecom.send("insurer", pair("telecom", "insurer").sealer.seal(secret * 100))
        # The same path without a seal, to show that the search would find it.
        telecom.send("insurer", public * 100)
    memory = list(memory_of(hub))
    assert any(public in region for region in memory)
    assert not any(secret in region for region in memory)
    with Link(address, credentials(site / "insurer"), "run-1", "train", 10) as insurer:
        opener = pair("insurer", "telecom").opener
        assert opener.open(insurer.receive("telecom")) == secret * 100
    assert not any(secret in region for region in memory_of(hub))


@pytest.mark.slow
def test_frozen_hub_is_noticed_by_keepalive(site, processes):
    hub, port = spawn(processes, HUB_PROCESS, site / "hub")
    address = f"127.0.0.1:{port}"
    insurer = Link(address, credentials(site / "insurer"), "run-1", "train", 60, grace_s=1)
    hub.send_signal(signal.SIGSTOP)
    start = time.monotonic()
    with pytest.raises(TransportError, match="cannot be reached") as caught:
        insurer.receive("telecom")
    hub.send_signal(signal.SIGCONT)
    insurer.abort()
    assert caught.value.retryable
    # Silence is noticed within 20 s, and one try to dial again takes a while more.
    assert time.monotonic() - start < 45


@pytest.mark.slow
def test_frozen_node_is_noticed_by_keepalive(site, address, attach, processes):
    insurer = attach("insurer", deadline_s=60)
    node, said = spawn(processes, NODE, address, site / "telecom")
    assert said == "attached"
    assert insurer.receive("telecom") == b"from another process"
    node.send_signal(signal.SIGSTOP)
    start = time.monotonic()
    with pytest.raises(TransportError, match="telecom broke off"):
        insurer.receive("telecom")
    assert time.monotonic() - start < 25


def test_late_node_is_told_whose_failure_ended_the_phase(attach, relay):
    relay.break_phase("run-1", "train", 1, "telecom", "it failed in the phase")
    with pytest.raises(TransportError, match="broken off by telecom") as caught:
        attach("insurer")
    assert caught.value.party == "telecom"
