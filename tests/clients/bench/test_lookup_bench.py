"""The benches of lookups: their figures hold together, and what they measure is really done.

No figure's size is judged here: a test machine is as busy as it is.
"""

import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from clients.bench.meters import Wire, cpu_seconds, measured, peak_rss_mb, percentiles
from clients.bench.people import made_up_numbers
from clients.bench.rates import measure_rates
from protocols.identifiers import IdentifierKind, canonicalize

ENVIRONMENT = {**os.environ, "OMP_WAIT_POLICY": "passive"}


def bench(tmp_path, *arguments):
    """Run a command of the bench, and return what it wrote to its file."""
    path = tmp_path / "figures.json"
    line = [sys.executable, "-m", "clients.cli", "bench", *arguments, "--json", str(path)]
    done = subprocess.run(line, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Next: lianfang bench" in done.stdout
    return json.loads(path.read_text())


def dialled(port):
    return socket.create_connection(("127.0.0.1", port))


@pytest.fixture
def echo():
    """Start servers on the loopback that send back what they get; returns their ports."""
    listeners = []

    def serve(listener):
        with listener.accept()[0] as connection:
            while data := connection.recv(1 << 16):
                connection.sendall(data)

    def start():
        listeners.append(socket.create_server(("127.0.0.1", 0)))
        threading.Thread(target=serve, args=(listeners[-1],), daemon=True).start()
        return listeners[-1].getsockname()[1]

    yield start
    for listener in listeners:
        listener.close()


def test_made_up_people_are_valid_and_different():
    people = made_up_numbers(5000, seed=3)
    assert people.n_unique() == 5000
    for value in people.to_list():
        canonicalize(IdentifierKind.TW_NATIONAL_ID, value)


def test_rates_name_every_library_and_the_bare_call():
    rates = measure_rates(elements=64, rounds=3)
    assert rates["bare_per_s"] > 0
    evaluate = rates["libsodium"]["evaluate"]
    assert evaluate["per_s"] > rates["libsodium"]["evaluate_and_prove"]["per_s"]


def test_processor_time_of_children_is_counted():
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    parent = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {burn!r}])\ninput()"
    process = subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE)
    try:
        ends_at = time.monotonic() + 20
        while cpu_seconds(process.pid) < 0.3 and time.monotonic() < ends_at:
            time.sleep(0.05)
        assert cpu_seconds(process.pid) >= 0.3
        assert peak_rss_mb(process.pid) > 1
    finally:
        process.communicate()


def test_wire_counts_one_port_alone(echo):
    port, other = echo(), echo()
    with Wire(port) as wire, dialled(port) as ours, dialled(other) as theirs:
        for size, connection in ((1000, ours), (7000, theirs)):
            connection.sendall(bytes(size))
            assert len(connection.recv(size, socket.MSG_WAITALL)) == size
        time.sleep(0.3)  # several samples, while the connections stand
    assert wire.counts() == {"up": 1000, "down": 1000}


def test_measured_block_tells_whose_work_it_was():
    with measured({}, "desk", port=1) as usage:
        began = time.process_time()
        while time.process_time() - began < 0.05:
            pass
    assert usage.fields()["cpu_s"]["desk"] == usage.fields()["cpu_s"]["total"] >= 0.05


def test_percentiles_are_in_milliseconds():
    assert percentiles([0.001] * 98 + [0.5] * 2) == {"p50": 1.0, "p95": 1.0, "p99": 500.0}


@pytest.mark.slow
def test_lookup_bench_finds_every_report(tmp_path):
    figures = bench(tmp_path, "lookup", "--records", "60", "--lookups", "40")
    assert (figures["records"], figures["red"], figures["correct"]) == (60, 4, True)
    size = figures["bytes_per_lookup"]
    assert 300 < size["up"] < size["down"] < 5000
    used = figures["quota_used"]
    assert used["hub"]["insurer"] == used["police"]["insurer"] == 110
    assert used["telecom"]["insurer"] == 0
    assert set(figures["cpu_ms_per_lookup"]) == {"desk", "hub", "holder"}


@pytest.mark.slow
@pytest.mark.parametrize("library", ["chosen", "libsodium"])
def test_screen_bench_finds_every_report_and_charges_once(tmp_path, library):
    figures = bench(
        tmp_path, "screen", "--customers", "400", "--records", "300", "--library", library
    )
    assert figures["correct"]
    assert figures["hits"] == {"screen": 4, "rescreen": 5}
    assert figures["evaluated"] == {"screen": 400, "rescreen": 0}
    assert figures["quota_used"]["hub"]["insurer"] == 400
    if library == "libsodium":
        assert "kernel" not in figures["backend"]
    phases = figures["phases"]
    assert set(phases) == {"publish", "screen", "delta", "rescreen"}
    # 32 bytes a customer go up once, and nothing like it the second time.
    assert phases["screen"]["bytes"]["up"] > 400 * 32 > phases["rescreen"]["bytes"]["up"]


@pytest.mark.slow
def test_serve_bench_publishes_in_several_versions(tmp_path):
    figures = bench(tmp_path, "serve", "--records", "3000")
    assert (figures["records"], figures["versions"]) == (3030, 2)
    assert figures["phases"]["whole"]["bytes"]["down"] > 1.5 * figures["bytes"]
    assert figures["hub_peak_rss_mb"] > 20
