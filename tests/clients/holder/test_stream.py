"""Standing links over real gRPC with real certificates."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from clients.holder.stream import RefusedError, StandingLink
from clients.keys import certificate_request, create_keys, credentials, store_certificate
from clients.transport import TransportError, open_channel
from protocols.errors import MalformedMessageError
from protocols.standing import STAND_METHOD, Answer, Greeting
from server.identity import create_authority, issue_control, issue_node, issue_server
from server.link import Relay, Service
from server.standing import HolderRefusedError, Standing

HUB = "hub.example"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A hub's authority and two nodes; and a stranger with an authority of its own."""
    directory = tmp_path_factory.mktemp("site")
    now = int(time.time())
    authority = create_authority(directory / "hub", HUB, now)
    issue_server(authority, directory / "hub", ["127.0.0.1"], now)
    issue_control(authority, directory / "hub", now)
    other = create_authority(directory / "elsewhere", HUB, now)
    for name, issuer in {"telecom": authority, "police": authority, "stranger": other}.items():
        keys = create_keys(directory / name)
        folder = "elsewhere" if issuer is other else "hub"
        root = (directory / folder / "ca.crt").read_bytes()
        certificate = issue_node(issuer, certificate_request(keys, name), name, now)
        store_certificate(directory / name, certificate, root)
    (directory / "stranger/ca.crt").write_bytes((directory / "hub/ca.crt").read_bytes())
    return directory


@pytest.fixture
def standing():
    return Standing()


@pytest.fixture
def service(site, standing):
    service = Service(Relay(), hub=HUB, on_control=dict, standing=standing)
    yield service
    service.stop(grace_s=1)


@pytest.fixture
def address(site, service):
    hub = site / "hub"
    port = service.start(
        "127.0.0.1:0",
        authority=hub / "ca.crt",
        certificate=hub / "server.pem",
        key=hub / "server.key",
    )
    return f"127.0.0.1:{port}"


@pytest.fixture
def stand(site, address):
    """Let a node stand by; returns its link, and how it ended once it has."""
    links, threads = [], []
    pool = ThreadPoolExecutor(8)

    def stand(party, answer, *, name=None):
        greeted, ended = threading.Event(), []
        link = StandingLink(
            address, credentials(site / party), name=name or party, answer=answer, pool=pool,
            on_greeted=greeted.set,
        )  # fmt: skip

        def serve():
            try:
                link.serve()
            except (TransportError, MalformedMessageError) as error:
                ended.append(error)
            else:
                ended.append(None)
            greeted.set()

        thread = threading.Thread(target=serve)
        thread.start()
        links.append(link)
        threads.append(thread)
        assert greeted.wait(10)
        return link, ended, thread

    yield stand
    for link in links:
        link.close()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    pool.shutdown()


def echo(kind, body):
    return kind.encode() + b":" + body


def until(condition, timeout_s=10.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.01)


def test_hub_asks_and_node_answers(standing, stand):
    stand("telecom", echo)
    stand("police", lambda kind, body: b"police")
    assert standing.connected() == {"telecom", "police"}
    assert standing.ask("telecom", "evaluate", b"x" * (2 << 20), 10) == b"evaluate:" + b"x" * (
        2 << 20
    )
    assert standing.ask("police", "evaluate", b"", 10) == b"police"


def test_slow_question_keeps_no_other_waiting(standing, stand):
    release = threading.Event()

    def answer(kind, body):
        if kind == "slow":
            assert release.wait(10)
        return body

    stand("telecom", answer)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(standing.ask, "telecom", "slow", b"slow", 10)
        assert standing.ask("telecom", "quick", b"quick", 5) == b"quick"
        assert not slow.done()
        release.set()
        assert slow.result() == b"slow"


def test_refusal_reaches_the_hub_with_its_reason(standing, stand):
    def refuse(kind, body):
        raise RefusedError("not_permitted", "threshold: 2 is below\nthis holder's 3")

    stand("telecom", refuse)
    with pytest.raises(HolderRefusedError) as caught:
        standing.ask("telecom", "keygen.announce", b"", 5)
    found = caught.value
    assert (found.holder, found.code) == ("telecom", "not_permitted")
    assert found.text == "threshold: 2 is below this holder's 3"


def test_closed_node_is_gone_at_once(standing, stand):
    started, release = threading.Event(), threading.Event()

    def hang(kind, body):
        started.set()
        release.wait(10)
        return b""

    link, ended, thread = stand("telecom", hang)
    with ThreadPoolExecutor(1) as pool:
        wait = pool.submit(standing.ask, "telecom", "evaluate", b"", 60)
        assert started.wait(5)
        link.close()
        with pytest.raises(TransportError) as caught:
            wait.result(10)
        assert (caught.value.retryable, caught.value.party) == (True, "telecom")
        release.set()
    thread.join(5)
    assert ended == [None]
    until(lambda: standing.connected() == frozenset())


def test_second_stream_of_a_node_replaces_the_first(standing, stand):
    _, ended, thread = stand("telecom", lambda kind, body: b"first")
    stand("telecom", lambda kind, body: b"second")
    thread.join(10)
    assert "ended the stream" in str(ended[0])
    assert standing.ask("telecom", "evaluate", b"", 5) == b"second"
    assert standing.connected() == {"telecom"}


def test_stopped_hub_ends_the_stream(service, standing, stand):
    _, ended, thread = stand("telecom", echo)
    service.stop(grace_s=1)
    thread.join(10)
    assert isinstance(ended[0], TransportError)
    assert ended[0].retryable


def test_stranger_is_not_let_in(standing, stand):
    _, ended, _ = stand("stranger", echo)
    assert isinstance(ended[0], TransportError)
    assert standing.connected() == frozenset()


def test_name_is_the_certificates_and_no_other(standing, stand):
    _, ended, _ = stand("telecom", echo, name="police")
    assert isinstance(ended[0], MalformedMessageError)
    until(lambda: standing.connected() == frozenset())


def test_node_that_sends_nonsense_is_cut_off(site, address, standing):
    for nonsense in (b"\x00", Greeting("police").encode(), Answer(5, b"").encode()):
        with (
            open_channel(address, credentials(site / "telecom")) as channel,
            pytest.raises(grpc.RpcError) as caught,
        ):
            list(channel.stream_stream(STAND_METHOD)(iter([nonsense]), timeout=10))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    until(lambda: standing.connected() == frozenset())


def test_node_that_says_no_more_is_gone(site, address, standing):
    with open_channel(address, credentials(site / "telecom")) as channel:
        # It ends its side only, and goes on listening until the hub ends the other; whether the
        # hub's greeting still comes depends on which of the two is quicker.
        assert len(list(channel.stream_stream(STAND_METHOD)(iter([]), timeout=10))) <= 1
    until(lambda: standing.connected() == frozenset())


def test_hub_without_standing_links_lets_nobody_in(site):
    hub = site / "hub"
    service = Service(Relay(), hub=HUB, on_control=dict)
    port = service.start(
        "127.0.0.1:0",
        authority=hub / "ca.crt",
        certificate=hub / "server.pem",
        key=hub / "server.key",
    )
    with ThreadPoolExecutor(1) as pool:
        link = StandingLink(
            f"127.0.0.1:{port}", credentials(site / "telecom"), name="telecom", answer=echo,
            pool=pool, on_greeted=lambda: None,
        )  # fmt: skip
        with pytest.raises(TransportError):
            link.serve()
    service.stop(grace_s=1)
