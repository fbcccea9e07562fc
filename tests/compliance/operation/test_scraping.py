"""Metrics are told on one path of this machine; a broken source is left out and named."""

import http.client
import socket
import threading

import pytest
from prometheus_client import CollectorRegistry, Counter

from compliance.operation.scraping import MetricsServer
from compliance.operation.sources import Source, Sources, gauge
from protocols.link import TransportError


def fetch(port, path="/metrics", method="GET"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path)
    answer = connection.getresponse()
    found = answer.status, answer.read().decode()
    connection.close()
    return found


@pytest.fixture
def serve():
    servers = []

    def start(registry):
        servers.append(MetricsServer(registry, "127.0.0.1:0"))
        return servers[-1].start()

    yield start
    for server in servers:
        server.stop()


def test_two_registries_of_one_process_stay_apart(serve):
    ports = []
    for number in (1, 2):
        registry = CollectorRegistry()
        Counter("seen_total", "Seen.", registry=registry).inc(number)
        ports.append(serve(registry))
    assert ["seen_total 1.0\n" in fetch(port)[1] for port in ports] == [True, False]
    assert "seen_total 2.0\n" in fetch(ports[1])[1]
    assert "_created" not in fetch(ports[0])[1]


def test_nothing_else_is_served(serve):
    port = serve(CollectorRegistry())
    assert fetch(port, "/")[0] == fetch(port, "/metrics/../etc/passwd")[0] == 404
    assert fetch(port, method="POST")[0] == 405
    assert fetch(port)[0] == 200


def test_a_taken_address_is_told():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(TransportError, match="cannot listen"):
            MetricsServer(CollectorRegistry(), address).start()


def test_a_reader_that_hangs_up_stops_nothing(serve, capsys):
    port = serve(CollectorRegistry())
    for data in (b"", b"GET /met", b"\xff\xff\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(data)
    assert fetch(port)[0] == 200
    assert "Traceback" not in capsys.readouterr().err


def read(sources):
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in sources.collect()
        for sample in family.samples
    }


def test_a_broken_source_is_left_out_and_named(caplog):
    def broken():
        yield gauge("x_half", "Half.", 1)
        raise OSError("A123456789")

    sources = Sources("x", [Source("good", lambda: [gauge("x_good", "Good.", 1)], 0),
                            Source("bad", broken, 0)])  # fmt: skip
    for _ in range(3):
        assert read(sources) == {
            ("x_good",): 1, ("x_source_up", "good"): 1, ("x_source_up", "bad"): 0,
        }  # fmt: skip
    # Said once, and not what the error says.
    assert [record.getMessage() for record in caplog.records] == [
        "metrics of bad cannot be read: internal_error"
    ]


def test_what_is_fresh_is_not_read_again():
    reads = []

    def count():
        reads.append(1)
        return [gauge("x_reads", "Reads.", len(reads))]

    sources = Sources("x", [Source("counted", count, 60)])
    threads = [threading.Thread(target=read, args=(sources,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reads) == 1
    assert read(sources)[("x_reads",)] == 1
