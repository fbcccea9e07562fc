"""Requests that mean harm: each gets its refusal, nothing changes, and the hub goes on answering.

What is refused here never reaches a decision, so that not a byte of the hub's directory may be
another one afterwards. Slow and oversized heads of one connection are in `test_limits`.
"""

import contextlib
import gzip
import http.client
import json
import re
import socket
import threading
import time
from functools import cache
from hashlib import sha256
from urllib.parse import quote

import pytest

from server.api import tls
from server.api.bursts import Pace
from server.api.document import openapi_document

# Dripping requests take their time, which a server under attack has too.
pytestmark = pytest.mark.slow

GOOD = {
    "epoch": "5", "contributor": "police", "version": "1", "index": "0", "year": "2026",
    "path": "0/000", "digest": "a" * 64, "document": "a" * 64, "party": "insurer",
    "number": "a" * 32,
}  # fmt: skip
# Sent as they are, and with every byte escaped.
INJECTIONS = (
    "../../../hub.json", "..%2f..%2fhub.json", "%2e%2e/%2e%2e/identity.key", "..%5c..%5chub.json",
    "....//....//hub.json", "%c0%ae%c0%ae/hub.json", "/etc/passwd", "police%00.json", "%0d%0aX:1",
    "1'%20OR%20'1'='1", "1;DROP%20TABLE%20tlog_entry;--", "%27%20UNION%20SELECT%201--",
    "{{7*7}}", "${7*7}", "%25s%25n", "<script>", "-1", "1e9", "0x10", "%EF%BC%91", "9" * 400,
)  # fmt: skip
FORGED = {
    "X-Forwarded-For": "203.0.113.9", "X-Forwarded-Host": "evil.example", "X-Real-IP": "127.0.0.1",
    "X-Forwarded-Proto": "http", "Forwarded": "for=insurer;host=evil.example;proto=http",
    "X-Forwarded-Client-Cert": "URI=spiffe://lianfang/node/insurer",
    "X-SSL-Client-Verify": "SUCCESS",
    "X-SSL-Client-S-DN": "CN=insurer", "X-SSL-Client-Cert": "insurer",
    "X-Client-Verify": "SUCCESS", "X-HTTP-Method-Override": "DELETE", "X-Remote-User": "insurer",
    "X-Original-URL": "/v1/quota", "X-Rewrite-URL": "/v1/quota",
}  # fmt: skip
EVALUATE = "POST /v1/evaluations HTTP/1.1\r\nHost: hub\r\nIdempotency-Key: 00\r\n"
KIND = "Content-Type: application/vnd.lianfang.evaluation-request\r\n"
INNER = "GET /v1/quota HTTP/1.1\r\nHost: hub\r\n\r\n"
HEALTH = "GET /healthz HTTP/1.1\r\nHost: hub\r\n"

REFUSED = [
    (f"{EVALUATE}{KIND}Content-Length: 4\r\nContent-Length: 50\r\n\r\n", 400, "bad_request"),
    (f"{EVALUATE}{KIND}Content-Length: 4, 50\r\n\r\n", 400, "bad_request"),
    (f"{EVALUATE}{KIND}Content-Length: +4\r\n\r\n", 400, "bad_request"),
    (f"{EVALUATE}{KIND}Content-Length: -1\r\n\r\n", 400, "bad_request"),
    (f"{EVALUATE}{KIND}Content-Length: 0x4\r\n\r\n", 400, "bad_request"),
    (f"{EVALUATE}{KIND}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{INNER}",
     400, "two_lengths"),
    (f"{EVALUATE}{KIND}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{INNER}",
     400, "two_lengths"),
    (f"{EVALUATE}{KIND}Transfer-Encoding: gzip, chunked\r\n\r\n", 501, "transfer_coding"),
    (f"{EVALUATE}{KIND}Transfer-Encoding: xchunked\r\n\r\n", 501, "transfer_coding"),
    (f"{EVALUATE}{KIND}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
     501, "transfer_coding"),
    (f"{EVALUATE}{KIND}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{INNER}",
     400, "bad_request"),
    (f"{EVALUATE}{KIND}Transfer-Encoding: \x0bchunked\r\n\r\n", 400, "bad_request"),
    (f"{EVALUATE}{KIND}Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "bad_request"),
    (f"{EVALUATE}{KIND}Transfer-Encoding: chunked\r\n\r\n-1\r\n", 400, "bad_request"),
    (f"{HEALTH}Host: other\r\n\r\n", 400, "bad_request"),
    (f"{HEALTH}X: a\x00b\r\n\r\n", 400, "bad_request"),
    (f"{HEALTH}: nameless\r\n\r\n", 400, "bad_request"),
    ("GET /healthz HTTP/1.0\r\n\r\n", 505, "http_version"),
    ("GET /v1/quota HTTP/1.0\r\nHost: hub\r\nConnection: keep-alive\r\n\r\n",
     505, "http_version"),
    ("GET /healthz HTTP/3.7\r\nHost: hub\r\n\r\n", 505, "http_version"),
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "http_version"),
    ("GET /healthz\r\n\r\n", 400, "bad_request"),
    ("GET http://127.0.0.1/hub.json HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n",
     404, "not_found"),
    ("CONNECT evil.example:443 HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n",
     404, "not_found"),
    (f"{HEALTH}X: {'x' * 40_000}", 431, "head_too_large"),
    (HEALTH + "X: y\r\n" * 3000 + "\r\n", 431, "head_too_large"),
    (f"GET /{'x' * 40_000}", 414, "target_too_long"),
    (f"GET /{'x' * 3_000} HTTP/1.1\r\nHost: hub\r\n\r\n", 414, "target_too_long"),
]  # fmt: skip


@cache
def operations():
    return [
        (method.upper(), path, operation)
        for path, methods in json.loads(openapi_document())["paths"].items()
        for method, operation in methods.items()
    ]


def filled(path):
    return re.sub(r"{([a-z]+)}", lambda found: GOOD[found[1]], path)


def snapshot(directory):
    """Hash every file of the hub; what SQLite shares between its readers is no state."""
    return {
        str(path.relative_to(directory)): sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and not path.name.endswith("-shm")
    }


@pytest.fixture
def unharmed(world):
    """A hub that must be the same, and answer, after whatever a test does to it."""
    world.publish(world.delta(world.records(3)))
    before, entries = snapshot(world.directory), len(world.entries())
    yield world
    assert world.client().get("/healthz").json() == {"status": "alive"}
    assert len(world.entries()) == entries
    assert snapshot(world.directory) == before
    assert world.used() == 0
    assert world.post(world.sign(world.query((b"x",)).request)).status_code == 200


def read_all(connection):
    found = b""
    with contextlib.suppress(OSError):
        while piece := connection.recv(65_536):
            found += piece
    return found


def told(answer):
    """Return status and code of the first answer of a connection."""
    head, _, content = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head, head
    return int(head.split()[1]), json.loads(content)["code"]


def test_ambiguous_or_oversized_http_is_refused_and_cut_off(unharmed):
    for sent, status, code in REFUSED:
        with unharmed.raw("insurer") as connection:
            connection.sendall(sent.encode("latin-1"))
            found = read_all(connection)
        assert told(found) == (status, code), sent
        assert len(re.findall(rb"HTTP/1.1 \d", found)) == 1, sent


def test_nonsense_behind_an_answered_request_ends_the_connection(unharmed, caplog):
    with unharmed.raw("insurer") as connection:
        connection.sendall(f"{HEALTH}Transfer-Encoding: chunked\r\n\r\n".encode())
        found = b""
        while b"alive" not in found:
            more = connection.recv(65_536)
            assert more, "ended"
            found += more
        connection.sendall(b"zz\r\n")
        assert read_all(connection) == b""
    assert not [record for record in caplog.records if record.exc_info]


def test_body_that_is_longer_than_declared_is_no_part_of_it(unharmed):
    data = unharmed.sign(unharmed.query((b"x",)).request).encode()
    with unharmed.raw("insurer") as connection:
        head = f"{EVALUATE}{KIND}Content-Length: {len(data) - 9}\r\n\r\n"
        connection.sendall(head.encode() + data + b"\r\n\r\n")
        found = read_all(connection)
    statuses = re.findall(rb"HTTP/1.1 (\d+)", found)
    assert statuses == [b"400", b"400"]
    assert found.count(b'"code":"malformed_message"') == 1


def send(port, context, method, path, headers):
    """Send a path as it is, which no client library does."""
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=20)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.headers.get("content-type"), answer.read()
    finally:
        connection.close()


def paths_with(injection):
    for method, path, _ in operations():
        for name in re.findall(r"{(\w+)}", path):
            for text in {injection, quote(injection, safe="%"), quote(injection, safe="")}:
                yield method, filled(path.replace(f"{{{name}}}", text))


def test_no_path_leads_anywhere_else(unharmed):
    client = unharmed.client("insurer")
    context = unharmed.shop.context(unharmed.shop.credentials["insurer"])
    paths = [item for injection in INJECTIONS for item in paths_with(injection)]
    assert len(paths) > 1000
    for number, (method, path) in enumerate(paths):
        answer = client.request(method, path)
        assert answer.status_code in {404, 405, 422}, (method, path, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        for secret in ("PRIVATE KEY", "link_port", "root:", "49"):
            assert secret not in answer.text.replace("4949", "")
        if number % 16 == 0:
            # As it is: the client above would have put its dots in order.
            with contextlib.suppress(http.client.InvalidURL):
                status, kind, _ = send(unharmed.port, context, method, path, {})
                assert (status in {400, 404, 405, 422}, kind) == (True, "application/problem+json")


@pytest.mark.parametrize("injection", [*INJECTIONS[::4], "A123456789"])
def test_no_header_or_query_is_more_than_its_value(unharmed, injection):
    client = unharmed.client("insurer")
    table = "/v1/epochs/5/tables/police/1"
    kind = {"Content-Type": "application/vnd.lianfang.evaluation-request"}
    answers = [
        client.get(f"{table}/delta?since={quote(injection)}"),
        client.get(f"/v1/agreements?cursor={quote(injection)}"),
        client.get(f"/v1/enrolment/{'a' * 32}", headers={"Lianfang-Proof": injection}),
        client.post("/v1/evaluations", content=b"x", headers=kind | {"Idempotency-Key": injection}),
        client.post("/v1/evaluations", content=b"x", headers={"Content-Type": injection}),
    ]
    assert [answer.status_code for answer in answers] == [422, 422, 422, 400, 415]
    assert not any(injection in answer.text for answer in answers if len(injection) > 2)
    unchanged = client.get(
        f"{table}/header", headers={"If-None-Match": injection, "Range": injection}
    )
    assert unchanged.status_code == 200


@pytest.mark.parametrize("name", [None, "outsider"])
def test_no_header_makes_a_caller_somebody_else(unharmed, name):
    client = unharmed.client(name)
    for method, path, operation in operations():
        if operation["operationId"] in {"authority", "join", "welcome", "ready"}:
            continue  # counted, or with a time in it
        plain = client.request(method, filled(path))
        forged = client.request(method, filled(path), headers=FORGED | {"Host": "evil.example"})
        assert (forged.status_code, forged.content) == (plain.status_code, plain.content), path
        assert "evil.example" not in str(forged.headers)


@pytest.mark.parametrize("name", [None, "outsider"])
def test_certificate_in_a_header_is_refused_by_every_operation(unharmed, problem, name):
    client = unharmed.client(name)
    for method, path, _ in operations():
        forged = client.request(method, filled(path), headers={"Client-Cert": ":aW5z:"})
        problem(forged, 400, "forwarded_certificate")


def test_forged_addresses_are_no_new_callers(make_world):
    world = make_world(stranger=Pace(3, 0.001))
    for number, status in enumerate((200, 200, 200, 429, 429)):
        forged = {"X-Forwarded-For": f"203.0.113.{number}", "Forwarded": f"for=203.0.113.{number}"}
        assert world.client().get("/healthz", headers=forged).status_code == status


def test_compressed_bodies_are_refused_by_every_operation(unharmed, problem):
    bomb = gzip.compress(bytes(10 << 20))
    for method, path, operation in operations():
        for kind in operation.get("requestBody", {}).get("content", ()):
            headers = {"Content-Type": kind, "Content-Encoding": "gzip"}
            answer = unharmed.client("police").request(
                method, filled(path), content=bomb, headers=headers
            )
            problem(answer, 415, "content_encoding")


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000, b'{"a":' * 20_000, b"1" * 100_000, b"NaN", b'{"a":1,"a":2}', b"\xff\xfe",
        b'{"signature":"\\ud800"}', b"null", b"",
    ],
    ids=["nested", "objects", "number", "nan", "twice", "no-utf8", "surrogate", "null", "empty"],
)  # fmt: skip
def test_hostile_json_is_refused_by_every_operation(unharmed, body):
    statuses = set()
    for method, path, operation in operations():
        for kind in operation.get("requestBody", {}).get("content", ()):
            if kind == "application/json" and operation["operationId"] != "join":
                answer = unharmed.client("insurer").request(
                    method, filled(path), content=body, headers={"Content-Type": kind}
                )
                assert answer.headers["content-type"] == "application/problem+json"
                statuses.add(answer.status_code)
    assert statuses <= {400, 413, 422}
    assert 400 in statuses


def test_slow_heads_keep_nobody_out(make_world):
    world = make_world(head_timeout_s=0.8)
    slow = [world.raw("telecom") for _ in range(40)]
    for connection in slow:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nX-Slow: ")
    began = time.monotonic()
    assert world.client("insurer").get("/v1/quota").status_code == 200
    assert time.monotonic() - began < 0.7
    for connection in slow:
        assert read_all(connection) == b""
        connection.close()
    assert time.monotonic() - began < 5


def test_rest_of_a_body_that_nobody_reads_is_not_awaited_for_ever(make_world):
    world = make_world(head_timeout_s=0.4)
    with world.raw("insurer") as connection:
        connection.sendall(f"{HEALTH}Content-Length: 1000000\r\n\r\n".encode())
        began = time.monotonic()
        with contextlib.suppress(OSError):
            for _ in range(60):
                time.sleep(0.05)
                connection.sendall(b"x")
        assert time.monotonic() - began < 2.5


def test_answers_that_nobody_fetches_are_given_up(make_world):
    world = make_world(reading_timeout_s=0.4)
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plain.settimeout(20)
    plain.connect(("127.0.0.1", world.port))
    context = world.shop.context(world.shop.credentials["insurer"])
    asked = 150
    with context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
        connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: hub\r\n\r\n" * asked)
        time.sleep(1.5)
        assert read_all(connection).count(b"HTTP/1.1 200") < asked
    assert world.client("insurer").get("/healthz").status_code == 200


def is_open(connection):
    with contextlib.suppress(OSError):
        connection.sendall(f"{HEALTH}\r\n".encode())
        return connection.recv(1) != b""
    return False


def test_one_caller_has_so_many_connections(make_world):
    world = make_world(connections_each=4)
    for name in ("telecom", None):
        held = [world.raw(name) for _ in range(6)]
        assert [is_open(connection) for connection in held] == [True] * 4 + [False] * 2
        # The certificate counts and not the address, which is the same for all of them.
        assert world.client("insurer").get("/v1/quota").status_code == 200
        for connection in held:
            connection.close()
        deadline = time.monotonic() + 5
        again = False
        while not again and time.monotonic() < deadline:
            with world.raw(name) as connection:
                again = is_open(connection)
        assert again


def test_all_callers_have_so_many_connections(make_world, monkeypatch):
    monkeypatch.setattr(tls, "MAX_CONNECTIONS", 5)
    world = make_world(head_timeout_s=10.0)
    held = [world.raw("telecom" if number % 2 else "police") for number in range(8)]
    assert sum(map(is_open, held)) == 5
    for connection in held:
        connection.close()


def test_connections_that_never_begin_tls_keep_nobody_out(unharmed):
    silent = [socket.create_connection(("127.0.0.1", unharmed.port)) for _ in range(150)]
    began = time.monotonic()
    assert unharmed.client("police").get("/healthz").status_code == 200
    assert time.monotonic() - began < 2
    for connection in silent:
        connection.close()


@pytest.mark.slow
def test_body_that_drips_is_given_up(unharmed):
    with unharmed.raw("insurer") as connection:
        connection.sendall(f"{EVALUATE}{KIND}Content-Length: 5000\r\n\r\n".encode())
        stop = threading.Event()

        def drip():
            with contextlib.suppress(OSError):
                while not stop.wait(0.2):
                    connection.sendall(b"x")

        dripping = threading.Thread(target=drip)
        dripping.start()
        began = time.monotonic()
        found = read_all(connection)
        stop.set()
        dripping.join()
    assert told(found) == (408, "body_too_slow")
    assert 9 < time.monotonic() - began < 13
