"""What a node tells of its holder, its budget and its log; nothing of a request is in it."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from clients.holder.home import HolderHome
from clients.holder.permitting import Permitting
from clients.holder.stream import RefusedError
from clients.node.files import load_json, store_json
from clients.node.joining import DEFAULT_POLICY
from clients.office import node_office
from clients.operation.checks import watching_checks
from clients.operation.state import NodeState
from clients.operation.watch import watch_node
from compliance.checkup import run_checks
from compliance.configuration import ConfigError
from compliance.evaluations.holder import KeyHolder
from compliance.operation.observing import Answering, Append
from compliance.operation.settings import OperationSettings
from protocols.epoch import orders
from protocols.errors import MalformedMessageError
from protocols.lookup.request import Purpose, sign_request
from protocols.oprf import client
from protocols.oprf.messages import EvaluationRequest

SOURCES = ("stream", "epoch", "agreements", "budget", "log", "disk", "certificates")
CASE = bytes(range(32))
PAGE = Path(__file__).resolve().parents[3] / "docs" / "operation" / "README.md"


def fetch(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return text


def read(port):
    """All values by name and the values of labels, in the order of the labels' names."""
    return {
        (
            sample.name.removeprefix("lianfang_node_"),
            *dict(sorted(sample.labels.items())).values(),
        ): sample.value
        for family in text_string_to_metric_families(fetch(port))
        for sample in family.samples
    }


@pytest.fixture
def home(town):
    """The police's node, with the epochs and the policy of a node that was set up."""
    made = HolderHome(town.home("police"))
    shutil.copytree(town.directory / "holders" / "police" / "epochs", made.root, dirs_exist_ok=True)
    store_json(made.node.root / "policy.json", DEFAULT_POLICY)
    return made


@pytest.fixture
def watch():
    with watch_node("police", OperationSettings(metrics="127.0.0.1:0")) as made:
        yield made


def sources(home, town, *, connected):
    """What is looked at, every time anew."""
    state = NodeState(home, town.clock, lambda: connected)
    return [replace(source, fresh_s=0) for source in state.sources()]


def request_of(town):
    blinds = client.random_blinds(town.suite, 2, os.urandom)
    blinded = client.blind(town.suite, [b"A123456789", b"0912345678"], blinds)
    manifest = town.manifest
    return sign_request(
        town.identities["insurer"], hub=manifest.hub, asker="insurer", purpose=Purpose.COUNTER,
        case=CASE, asked_at=town.clock.now(),
        evaluation=EvaluationRequest(
            manifest.epoch, manifest.record.key_id, os.urandom(16), blinded
        ),
    )  # fmt: skip


def test_the_nodes_state_and_work_are_told(town, home, watch):
    request = request_of(town)
    public = {name: key.public_key() for name, key in town.identities.items()}
    with node_office(home.node, clock=town.clock) as office:
        book = home.book()
        holder = KeyHolder(
            "police", town.suite, home.store(), book, public.get, town.clock, os.urandom,
            permit=Permitting(office).evaluation,
        )  # fmt: skip
        port = watch.serve(sources(home, town, connected=True))
        before = read(port)
        with watch.observer.during(Answering(orders.EVALUATE)), watch.observer.during(Append()):
            holder.answer(request.encode())
        for kind, error in ((orders.EVALUATE, MalformedMessageError("A123456789")),
                            ("A123456789", RefusedError("A123456789", "A123456789"))):  # fmt: skip
            with pytest.raises(type(error)), watch.observer.during(Answering(kind)):
                raise error
        book.close()
        found, text = read(port), fetch(port)
    assert {
        key[1]: value for key, value in found.items() if key[0] == "source_up"
    } == dict.fromkeys(SOURCES, 1)
    assert {key[1:]: value for key, value in found.items() if key[0] == "answers_total"} == {
        ("evaluate", "done"): 1, ("evaluate", "malformed_message"): 1, ("other", "refused"): 1,
    }  # fmt: skip
    assert before["quota_used_elements", "insurer"] == 0
    expected = {
        ("quota_used_elements", "insurer"): 2, ("stream_connected",): 1,
        ("agreements_in_force",): 1, ("log_entries",): 1, ("runs_open",): 0,
        ("epoch",): town.manifest.epoch, ("answer_seconds_count", "evaluate"): 1,
        ("epoch_left_seconds",): town.manifest.not_after - town.clock.now(),
        ("log_append_seconds_count",): 1,
    }  # fmt: skip
    assert {key: found[key] for key in expected} == expected
    assert found["budget_epsilon_left", "all"] == found["budget_epsilon", "all"] == 3.0
    assert found["certificate_left_seconds", "node"] > 0
    for secret in ("A123456789", "912345678", request.request_id.hex(), CASE.hex()):
        assert secret not in text


def test_no_agreement_and_no_budget_are_told(town, home, watch):
    shutil.rmtree(home.node.root / "agreements")
    found = read(watch.serve(sources(home, town, connected=False)))
    assert found["agreements_in_force",] == found["stream_connected",] == 0
    assert found["budget_epsilon_left", "all"] == 0


def test_the_page_describes_every_metric_and_no_other(town, home, watch):
    text = fetch(watch.serve(sources(home, town, connected=True)))
    described = set(re.findall(r"^\| `(lianfang_node_[a-z_]+)`", PAGE.read_text(), re.MULTILINE))
    assert set(re.findall(r"^# TYPE (lianfang_node_[a-z_]+)", text, re.MULTILINE)) == described


def test_looking_writes_nothing(town, home, watch):
    def files():
        return {
            path: path.stat().st_size
            for path in home.node.root.rglob("*") if path.is_file()
        }  # fmt: skip

    before = files()
    read(watch.serve(sources(home, town, connected=True)))
    assert files() == before


def test_doctor_knows_the_nodes_own_port(town, home, watch):
    path = home.node.root / "node.json"
    port = watch.serve(sources(home, town, connected=True))
    store_json(path, load_json(path) | {"metrics": f"127.0.0.1:{port}"})
    assert all(item["ok"] for item in run_checks(watching_checks(home.node), (ConfigError,)))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        store_json(path, load_json(path) | {"metrics": f"127.0.0.1:{taken.getsockname()[1]}"})
        found = run_checks(watching_checks(home.node), (ConfigError,))
    assert [item["ok"] for item in found] == [False, True, True]


def test_the_holders_process_logs_in_json(town):
    """It cannot reach a hub here: what it says of that is one object a line."""
    home = HolderHome(town.home("telecom"))
    path = home.node.root / "node.json"
    value = load_json(path)
    store_json(path, value | {"hub": value["hub"] | {"link": "127.0.0.1:9"}})
    process = subprocess.Popen(
        [sys.executable, "-m", "clients.holder", "start", str(home.node.root),
         "--log-format", "json"],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        lines = []
        while not any("standing link" in line for line in lines):
            lines.append(process.stderr.readline())
            assert lines[-1]
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    said = json.loads(lines[-1])
    assert (said["level"], said["logger"]) == ("warning", "lianfang.holder")
    assert "127.0.0.1:9" in said["event"]
