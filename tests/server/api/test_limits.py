"""What a caller cannot do to the hub: too much, too slowly, too often, or not HTTP at all."""

import contextlib
import json
import logging
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from protocols.link import TransportError
from protocols.oprf.suite import MAX_BATCH
from server.api.running import ApiServer
from server.lookup.routes import MAX_REQUEST_SIZE

EVALUATE = "/v1/evaluations"
REQUEST = {"Content-Type": "application/vnd.lianfang.evaluation-request", "Idempotency-Key": "00"}
HEAD = (
    "POST /v1/evaluations HTTP/1.1\r\nHost: hub\r\nIdempotency-Key: 00\r\n"
    "Content-Type: application/vnd.lianfang.evaluation-request\r\n"
)


def read_all(connection):
    return b"".join(iter(lambda: connection.recv(65_536), b""))


def refused(answer, status, code):
    head, _, content = answer.partition(b"\r\n\r\n")
    assert head.split()[1] == str(status).encode(), head
    assert b"application/problem+json" in head
    assert json.loads(content)["code"] == code


def drip(connection, piece):
    """Send a piece now and then until the hub has closed the connection."""
    with contextlib.suppress(OSError):
        for _ in range(50):
            time.sleep(0.1)
            connection.sendall(piece)


def test_announced_oversize_is_refused_before_it_is_sent(world):
    with world.raw("insurer") as connection:
        head = f"{HEAD}Content-Length: {MAX_REQUEST_SIZE + 1}\r\n\r\n"
        connection.sendall(head.encode())
        refused(read_all(connection), 413, "body_too_large")


def test_chunked_oversize_is_cut_off(world, problem):
    sent = []

    def pieces():
        for _ in range(64):
            sent.append(1)
            yield bytes(1 << 20)

    with world.raw("insurer") as connection:
        connection.sendall(f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode())
        try:
            for piece in pieces():
                connection.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            read_all(connection)
        except OSError:
            pass  # the hub closed while we sent, which is the point
    # What is in flight in socket buffers comes on top of the limit.
    assert len(sent) * (1 << 20) < MAX_REQUEST_SIZE + (16 << 20)
    assert world.used() == 0


def test_largest_batch_fits(make_world):
    world = make_world(quota=10**6)
    query = world.query((b"x",))
    evaluation = replace(query.request, blinded=query.request.blinded * MAX_BATCH)
    assert len(world.sign(evaluation).encode()) < MAX_REQUEST_SIZE


def test_body_cut_short_charges_nobody(world):
    request = world.sign(world.query((b"x",)).request)
    data = request.encode()
    head = HEAD.replace(": 00", f": {request.request_id.hex()}")
    with world.raw("insurer") as connection:
        connection.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data[:-1])
        connection.unwrap()
    time.sleep(0.1)
    assert world.used() == 0
    assert world.post(request).status_code == 200


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/octet-stream"])
def test_other_media_types_are_415(world, problem, kind):
    client = world.client("insurer")
    answer = client.post(EVALUATE, content=b"{}", headers=REQUEST | {"Content-Type": kind})
    problem(answer, 415, "media_type")


def test_body_of_a_refused_request_is_not_read_as_the_next(world):
    """A request within the body of another, after a refusal that did not read it."""
    inner = b"GET /healthz HTTP/1.1\r\nHost: hub\r\n\r\n"
    head = f"{HEAD}Content-Length: {MAX_REQUEST_SIZE + 1}\r\n\r\n".encode()
    with world.raw("insurer") as connection:
        connection.sendall(head + inner)
        assert read_all(connection).count(b"HTTP/1.1 ") == 1


def test_head_that_does_not_arrive_is_cut_off(make_world):
    world = make_world(head_timeout_s=0.4)
    for first in (b"", b"GET /healthz HTTP/1.1\r\n"):
        with world.raw("insurer") as connection:
            connection.sendall(first)
            began = time.monotonic()
            drip(connection, b"X-Slow: 1\r\n" if first else b"\r\n")
            assert time.monotonic() - began < 3


def test_second_head_is_timed_too(make_world):
    world = make_world(head_timeout_s=0.4)
    with world.raw() as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: hub\r\n\r\n")
        time.sleep(0.6)  # idle between requests is no slow head
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: hub\r\n\r\n")
        answers = b""
        while answers.count(b'{"status":"alive"}') < 2:
            answers += connection.recv(65_536)
        connection.sendall(b"GET /heal")
        began = time.monotonic()
        drip(connection, b"t")
        assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    "garbage",
    [b"\x16\x03\x01 nonsense\r\n\r\n", b"GET /healthz HTTP/x\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"],
)
def test_what_is_not_http_is_a_problem_too(world, garbage):
    with world.raw() as connection:
        connection.sendall(garbage)
        refused(read_all(connection), 400, "bad_request")


def test_head_that_is_too_large_is_refused(world):
    with world.raw() as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: hub\r\nX: " + b"x" * 40_000)
        refused(read_all(connection), 431, "head_too_large")


def test_plain_text_on_the_port_gets_no_answer(world):
    with socket.create_connection(("127.0.0.1", world.port), timeout=5) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: hub\r\n\r\n")
        assert b"HTTP" not in connection.recv(1024)


def test_too_many_requests_at_a_time_are_503(make_world, problem):
    world = make_world(most_each=2)
    gate = threading.Event()
    police = world.others.holders["police"]

    class Slow:
        def answer(self, data):
            gate.wait(10)
            return police.answer(data)

    world.others.holders = {"police": Slow()}
    requests = [world.sign(world.query((b"x",)).request) for _ in range(2)]
    world.client("insurer")
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(world.post, request) for request in requests]
        deadline = time.monotonic() + 5
        while len(world.others.asked) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        answer = world.client("insurer").get("/v1/quota")
        problem(answer, 503, "busy")
        assert int(answer.headers["retry-after"]) > 0
        # Another partner is not in the way of the first.
        assert world.client("police").get("/v1/quota").status_code == 200
        gate.set()
        assert [future.result().status_code for future in running] == [200, 200]
    assert world.client("insurer").get("/v1/quota").status_code == 200


def test_method_that_is_not_there_is_405(world, problem):
    answer = world.client("insurer").delete("/v1/quota")
    problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"


def test_parameter_out_of_range_is_422_without_its_value(world, problem):
    value = problem(world.client("insurer").get("/v1/epochs/0"), 422, "invalid_parameter")
    assert value["detail"] == "path.epoch: greater_than_equal"
    answer = world.client("insurer").get("/v1/epochs/A123456789/tables")
    assert "A123456789" not in problem(answer, 422, "invalid_parameter")["detail"]


def test_every_answer_has_security_headers(world):
    client = world.client("insurer")
    manifest = client.get("/v1/epochs/current")
    answers = [
        manifest,
        client.get("/v1/epochs/current", headers={"If-None-Match": manifest.headers["etag"]}),
        client.get("/none"),
        world.client().get("/v1/quota"),
        client.get("/healthz"),
    ]
    assert [a.status_code for a in answers] == [200, 304, 404, 403, 200]
    for answer in answers:
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert answer.headers["cache-control"]
        assert len(answer.headers["x-request-id"]) == 16
        assert "server" not in answer.headers


def test_unknown_exception_is_an_internal_error_without_its_text(world, problem, caplog):
    def broken(name):
        raise RuntimeError("A123456789 stood in a value")

    world.served.app.state.parts = replace(world.parts, identities=broken)
    answer = world.client("insurer").get("/v1/quota")
    assert problem(answer, 500, "internal_error").keys() == {"type", "title", "status", "code"}
    (line,) = [json.loads(r.message) for r in caplog.records if r.levelno == logging.ERROR]
    assert line == {
        "event": "internal_error", "id": answer.headers["x-request-id"], "type": "RuntimeError",
    }  # fmt: skip
    assert "A123456789" not in caplog.text


def test_log_has_the_template_and_never_the_path(world, caplog):
    caplog.set_level(logging.INFO)
    answer = world.client("insurer").get("/v1/epochs/5/tables/police/44?since=A123456789")
    world.client().get("/v1/A123456789", headers={"X-Person": "A123456789"})
    # The line is written after the answer has left.
    deadline = time.monotonic() + 5
    lines = []
    while len(lines) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
        lines = [json.loads(r.message) for r in caplog.records if r.name == "lianfang.api"]
    first, second = lines
    ours = [r.getMessage() for r in caplog.records if not r.name.startswith("http")]
    assert first.pop("ms") >= 0
    assert first == {
        "event": "request",
        "id": answer.headers["x-request-id"],
        "method": "GET",
        "route": "/v1/epochs/{epoch}/tables/{contributor}/{version}",
        "status": 404,
        "partner": "insurer",
    }
    assert (second["route"], second["partner"]) == ("-", "-")
    assert not any("A123456789" in line for line in ours)
    assert not any("/police/" in line for line in ours)


def test_partner_that_left_is_refused_on_an_open_connection(world, problem):
    client = world.client("insurer")
    assert client.get("/v1/quota").status_code == 200
    without = {n: i.public_key() for n, i in world.identities.items() if n != "insurer"}
    world.served.app.state.parts = replace(world.parts, identities=without.get)
    problem(client.get("/v1/quota"), 403, "not_permitted")


def test_taken_port_is_told_at_once(world, shop):
    server = ApiServer(world.served.app, hub="lianfang")
    paths = {"authority": "ca.crt", "certificate": "server.pem", "key": "server.key"}
    with pytest.raises(TransportError, match="cannot listen"):
        server.start("127.0.0.1", world.port, **{n: shop.directory / f for n, f in paths.items()})
    server.stop()


def test_stop_does_not_wait_for_idle_clients(world, shop):
    server = ApiServer(world.served.app, hub="lianfang")
    paths = {"authority": "ca.crt", "certificate": "server.pem", "key": "server.key"}
    port = server.start("127.0.0.1", 0, **{n: shop.directory / f for n, f in paths.items()})
    plain = socket.create_connection(("127.0.0.1", port), timeout=20)
    with shop.context().wrap_socket(plain, server_hostname="127.0.0.1") as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: hub\r\n\r\n")
        connection.recv(1)
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < 4
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_answers_do_not_wait_for_acknowledgements(world):
    """Nagle's algorithm against delayed acknowledgements costs 40 ms an answer."""
    client = world.client("insurer")
    client.get("/healthz")
    took = []
    for _ in range(15):
        began = time.monotonic()
        client.get("/healthz")
        took.append(time.monotonic() - began)
    assert sorted(took)[7] < 0.02
