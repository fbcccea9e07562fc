"""The witness over HTTP and TLS: exact answers, limits, and nothing but add-checkpoint."""

import http.client
import socket
import ssl
import threading
import time
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from clients.witness.app import PATH, WitnessServer, parse_address, tls_context
from compliance.configuration import ConfigError
from protocols.link import TransportError
from protocols.tlog.witness import MAX_REQUEST_SIZE, SIZE_TYPE, read_answer


@pytest.fixture
def served(witness):
    server = WitnessServer(witness)
    port = server.start("127.0.0.1", 0)
    yield witness, port
    server.stop()


@pytest.fixture
def client(served):
    with httpx.Client(base_url=f"http://127.0.0.1:{served[1]}", trust_env=False) as client:
        yield client


def test_checkpoint_is_cosigned_over_http(served, client, trunk):
    answer = client.post(PATH, content=trunk.request(0, 9))
    assert answer.status_code == 200
    kind = answer.headers["content-type"]
    note = trunk.note(9)
    assert len(read_answer(200, kind, answer.content, note=note, keys=served[0].keys)) == 2
    assert len(answer.content.splitlines()) == 2


@pytest.mark.parametrize(
    ("old", "size", "fields", "status"),
    [
        (0, 9, {}, 409),
        (9, 5, {}, 400),
        (9, 12, {"proof": []}, 422),
        (9, 12, {"origin": "x.example"}, 404),
    ],
)
def test_refusals_have_their_status_and_type(client, trunk, *, old, size, fields, status):
    client.post(PATH, content=trunk.request(0, 9))
    answer = client.post(PATH, content=trunk.request(old, size, **fields))
    assert answer.status_code == status
    if status == 409:
        assert answer.headers["content-type"] == SIZE_TYPE
        assert answer.content == b"9\n"
    else:
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"


def test_nothing_but_add_checkpoint_is_served(client, trunk):
    assert client.get(PATH).status_code == 405
    assert client.get(PATH).headers["allow"] == "POST"
    for path in ("/", "/add-checkpoint/", "/checkpoint", "//add-checkpoint", "/openapi.json"):
        assert client.post(path, content=trunk.request(0, 9)).status_code == 404


def test_too_long_body_is_malformed_and_not_read_on(client):
    answer = client.post(PATH, content=b"x" * (MAX_REQUEST_SIZE + 2))
    assert answer.status_code == 400
    assert client.post(PATH, content=b"").status_code == 400


def test_connection_is_kept_between_requests(served, trunk):
    with closing(http.client.HTTPConnection("127.0.0.1", served[1], timeout=5)) as connection:
        ends = set()
        for old, size in [(0, 3), (3, 9), (9, 9)]:
            connection.request("POST", PATH, trunk.request(old, size))
            answer = connection.getresponse()
            assert (answer.status, len(answer.read()) > 100) == (200, True)
            ends.add(connection.sock.getsockname())
        assert len(ends) == 1


@pytest.mark.parametrize("sent", [b"", b"POST /add-checkpoint HTTP/1.1\r\nHost"])
def test_head_that_does_not_come_ends_the_connection(witness, sent):
    server = WitnessServer(witness, head_timeout_s=0.2)
    port = server.start("127.0.0.1", 0)
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(sent)
        began = time.monotonic()
        with suppress(ConnectionError):  # it may be cut off rather than closed
            assert connection.recv(100) == b""
        assert time.monotonic() - began < 3
    server.stop()


def test_body_that_does_not_come_is_answered_408(witness):
    server = WitnessServer(witness, body_timeout_s=0.2)
    port = server.start("127.0.0.1", 0)
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(
            b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: 9\r\n\r\nold"
        )
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 408")
    server.stop()


def test_many_logs_may_ask_at_once(served, trunk):
    port, statuses = served[1], []

    def ask():
        answer = httpx.post(
            f"http://127.0.0.1:{port}{PATH}", content=trunk.request(0, 9), trust_env=False
        )
        statuses.append(answer.status_code)

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200, *[409] * 11]


def test_plain_http_stays_on_this_machine(witness):
    server = WitnessServer(witness)
    for host in ("0.0.0.0", "192.0.2.1", "witness.example", "::"):
        with pytest.raises(ConfigError, match="without TLS"):
            server.start(host, 0)


def test_taken_address_is_told(served, witness):
    with pytest.raises(TransportError, match="cannot listen"):
        WitnessServer(witness).start("127.0.0.1", served[1])


def test_checkpoint_is_cosigned_over_tls(witness, trunk, tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, SHA256())
    )
    (tmp_path / "w.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (tmp_path / "w.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    server = WitnessServer(witness)
    context = tls_context(tmp_path / "w.pem", tmp_path / "w.key")
    port = server.start("localhost", 0, context)
    trusted = ssl.create_default_context(cafile=tmp_path / "w.pem")
    with httpx.Client(verify=trusted, trust_env=False) as client:
        answer = client.post(f"https://localhost:{port}{PATH}", content=trunk.request(0, 9))
    assert answer.status_code == 200
    with pytest.raises(httpx.TransportError):
        httpx.post(f"http://127.0.0.1:{port}{PATH}", content=b"", trust_env=False)
    server.stop()
    with pytest.raises(ConfigError, match="certificate and key"):
        tls_context(tmp_path / "w.pem", tmp_path / "w.pem")


@pytest.mark.parametrize("text", ["", "x", "x:", ":1", "x:70000", "x:-1", "x:１", "x:000000"])
def test_wrong_address_is_told(text):
    with pytest.raises(ConfigError, match="listen"):
        parse_address(text)


def test_addresses_are_read():
    assert parse_address("127.0.0.1:8460") == ("127.0.0.1", 8460)
    assert parse_address("[::1]:0") == ("::1", 0)
