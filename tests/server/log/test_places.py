"""Where witnesses are asked: over HTTP to a real witness, and which URLs are taken."""

import socket
import threading
import time
from contextlib import closing

import pytest

from clients.witness.app import WitnessServer
from compliance.configuration import ConfigError
from compliance.log.tree import StoredTree
from protocols.errors import MalformedMessageError
from protocols.link import TransportError
from protocols.tlog.witness import SIZE_TYPE
from server.log.places import HttpPlace, check_url
from server.log.witnesses import Listed
from server.log.witnessing import AskedWitness, Witnessing


@pytest.fixture
def answering():
    """Serve the given bytes to every connection; pieces come with a pause between them."""
    opened = []

    def serve(*pieces, pause_s=0.0):
        listener = socket.create_server(("127.0.0.1", 0))
        opened.append(listener)

        def run():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(1 << 16)
                    try:
                        for piece in pieces:
                            connection.sendall(piece)
                            time.sleep(pause_s)
                    except OSError:
                        pass

        threading.Thread(target=run, daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}/prefix/"

    yield serve
    for listener in opened:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def ask(url, timeout_s=5.0):
    with closing(HttpPlace(url)) as place:
        return place.ask(b"old 0\n", timeout_s)


def test_witness_elsewhere_cosigns_over_http(hub, town):
    hub.append(9)
    witness = town.witnesses["police"]
    server = WitnessServer(witness)
    port = server.start("127.0.0.1", 0)
    listed = Listed("police", tuple(witness.keys), f"http://127.0.0.1:{port}")
    place = listed.place(None, None)
    asked = Witnessing(
        [AskedWitness("police", listed.keys, place)],
        policy_of=lambda _: town.policy,
        alarms=hub.alarms,
        size_of=lambda origin: 9,
        clock=town.clock,
    )
    note, _ = hub.log._sign()
    hub.append(30)
    later, _ = hub.log._sign()
    assert len(asked.cosign(note, lambda old: [])) == 2
    # Another process asks for a later one; ours, made before, is told the size it does not know.
    tree_proof = prove(hub, 39)
    assert len(asked.cosign(later, tree_proof)) == 2
    assert len(asked.cosign(later, tree_proof)) == 2
    server.stop()
    assert asked.cosign(later, tree_proof) == []
    assert [str(state.standing) for state in asked.states()] == ["away"]
    asked.close()


def prove(hub, size):
    return StoredTree(hub.storage, hub.log.origin, size).prove_consistency


def test_status_type_and_body_are_carried_as_they_are(answering):
    url = answering(
        b"HTTP/1.1 409 Conflict\r\nContent-Type: text/x.tlog.size\r\nContent-Length: 2\r\n\r\n7\n"
    )
    answer = ask(url)
    assert (answer.status, answer.content_type, answer.body) == (409, SIZE_TYPE, b"7\n")
    redirect = answering(b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n")
    assert ask(redirect).status == 302


def test_endless_answer_is_cut_off(answering):
    url = answering(b"HTTP/1.1 200 OK\r\n\r\n", *[bytes(1 << 16)] * 40)
    with pytest.raises(MalformedMessageError, match="more than"):
        ask(url)


def test_dripping_answer_ends_with_the_time(answering):
    url = answering(b"HTTP/1.1 200 OK\r\n\r\n", *[b"x"] * 100, pause_s=0.05)
    began = time.monotonic()
    with pytest.raises(TransportError, match="too slow"):
        ask(url, 0.3)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("sent", [b"", b"no http\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Le"])
def test_broken_answer_is_no_answer(answering, sent):
    with pytest.raises(TransportError, match="cannot be reached"):
        ask(answering(sent))


def test_silent_witness_is_away(answering):
    with pytest.raises(TransportError):
        ask(answering(b"", pause_s=3), 0.2)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "police",
        "https://",
        "ftp://witness.example",
        "http://witness.example",
        "http://192.0.2.1:80",
        "https://u:p@witness.example",
        "https://witness.example/?x=1",
        "https://witness.example/#x",
        "https://witness.example:port",
        "https://[::1",
    ],
)
def test_url_that_others_could_change_is_refused(url):
    with pytest.raises(ConfigError, match="url"):
        check_url(url)


@pytest.mark.parametrize(
    "url",
    ["https://witness.example/w1", "http://127.0.0.1:8460", "http://[::1]:1", "http://localhost"],
)
def test_urls_are_taken(url):
    assert check_url(url) == url


def test_missing_authority_is_told(tmp_path):
    with pytest.raises(ConfigError, match="authority"):
        HttpPlace("https://witness.example", tmp_path / "none.pem")
