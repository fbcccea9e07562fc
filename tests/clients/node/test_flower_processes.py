"""The real thing: one SuperLink and three SuperNodes as processes, TLS and node keys.

The nodes run the installed launcher; only the table of phases is the test's. What a phase
does is chosen by the name of the run.
"""

import datetime
import hashlib
import http.client
import io
import ipaddress
import json
import os
import shutil
import signal
import ssl
import time
import zipfile
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from clients.node.supernode import SuperNode, SuperNodeSettings, make_key
from server.training.control import SuperLinkError
from server.training.plan import RunPlan
from server.training.superlink import SuperLink, SuperLinkSettings

NODES = ("insurer", "telecom", "police")

LAUNCHER = """
import os, sys, time
from pathlib import Path

from clients.node import launcher
from clients.node.app import dispatch
from protocols.phase import PHASES, done, refused

HOME = Path(os.environ["LIANFANG_NODE_HOME"])


def phase(request):
    with (HOME / "seen.txt").open("a") as seen:
        print(request.run, request.phase, request.attempt, os.getpid(), file=seen)
    if request.run == "declined" and HOME.name == "telecom":
        return refused("not_agreed", "The agreement has lapsed.")
    if request.run.startswith("hang") and HOME.name == "telecom" and request.attempt == 1:
        (HOME / "training.pid").write_text(str(os.getpid()))
        time.sleep(300)
    return done()


sys.exit(launcher.main(phase=dispatch(dict.fromkeys(PHASES, phase))))
"""

HOSTILE_PROJECT = """
[project]
name = "lianfang"
version = "1.0.0"
description = ""
license = { text = "x" }
[tool.flwr.app]
publisher = "lianfang"
[tool.flwr.app.components]
serverapp = "hostile.server:app"
clientapp = "hostile.client:app"
"""

HOSTILE_CLIENT = """
from pathlib import Path
Path({marker!r}).write_text("owned")
from flwr.clientapp import ClientApp
app = ClientApp()
"""

HOSTILE_SERVER = """
import json, os, time
from pathlib import Path
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import ServerApp
app = ServerApp()

@app.main()
def main(grid, context):
    request = dict(run="r1", phase="plan", attempt=1, deadline_s=60, body="{}")
    messages = [
        Message(RecordDict({"request": ConfigRecord(dict(request))}), node.node_id, "query.plan")
        for node in grid.get_nodes()
    ]
    names = {node.node_id: node.name for node in grid.get_nodes()}
    waiting, replies, end = set(grid.push_messages(messages)), {}, time.monotonic() + 40
    while waiting and time.monotonic() < end:
        for reply in grid.pull_messages(list(waiting)):
            waiting.discard(reply.metadata.reply_to_message_id)
            record = reply.content["reply"] if reply.has_content() else {}
            replies[names[reply.metadata.src_node_id]] = dict(record)
        time.sleep(0.1)
    Path(os.environ["LIANFANG_HUB_HOME"], "hostile.json").write_text(json.dumps(replies))
"""


class Cluster:
    def __init__(self, root: Path) -> None:
        self.root = root
        write_certificates(root)
        (root / "launcher.py").write_text(LAUNCHER)
        self.superlink = self.new_superlink()
        self.nodes: dict[str, SuperNode] = {}

    def new_superlink(self, port: int = 0) -> SuperLink:
        files = (self.root / name for name in ("ca.pem", "hub.pem", "hub.key"))
        return SuperLink(SuperLinkSettings(self.root / "hub", *files, fleet_port=port))

    def node(self, name: str, *, launcher: tuple[str, ...] | None = None) -> SuperNode:
        home = self.root / name
        return SuperNode(
            SuperNodeSettings(
                home,
                f"127.0.0.1:{self.superlink.fleet_port}",
                self.root / "ca.pem",
                home / "node.key",
                launcher=launcher or (str(self.root / "launcher.py"),),
            )
        )

    def start(self) -> None:
        self.superlink.start()
        for name in NODES:
            (self.root / name).mkdir()
            public_key = make_key(self.root / name / "node.key")
            self.superlink.control.register(name, public_key)
            self.nodes[name] = self.node(name)
            self.nodes[name].launch()
        for node in self.nodes.values():
            node.wait_until_ready()
        self.wait_online()

    def wait_online(self) -> None:
        wait_for(lambda: all(n.is_online for n in self.superlink.control.nodes().values()))

    def stop(self) -> None:
        for node in self.nodes.values():
            node.stop()
        self.superlink.stop()

    def run(self, plan: RunPlan, *, timeout_s: float = 120) -> dict:
        flower_run = self.superlink.begin(plan)
        return self.wait_end(plan, flower_run, timeout_s)

    def wait_end(self, plan: RunPlan, flower_run: int, timeout_s: float) -> dict:
        control = self.superlink.control
        wait_for(lambda: control.run_status(flower_run).status == "finished", timeout_s)
        return self.superlink.state_of(plan.run)

    def seen(self, name: str, run: str) -> list[tuple[str, ...]]:
        lines = (self.root / name / "seen.txt").read_text().splitlines()
        return [tuple(line.split()[1:]) for line in lines if line.split()[0] == run]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("flower"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def wait_for(condition, timeout_s: float = 120) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.1)


def test_phases_reach_every_partner_once(cluster):
    phases = ("plan", "train")
    state = cluster.run(RunPlan("quiet", "check", NODES, phases=phases))
    assert state["state"] == "done"
    assert [step["phase"] for step in state["steps"]] == list(phases)
    for step in state["steps"]:
        assert {name: reply["status"] for name, reply in step["nodes"].items()} == dict.fromkeys(
            NODES, "done"
        )
    for name in NODES:
        seen = cluster.seen(name, "quiet")
        assert [entry[:2] for entry in seen] == [(phase, "1") for phase in phases]
        assert len({entry[2] for entry in seen}) == 2  # a process for each message


@pytest.mark.slow
def test_run_goes_on_without_the_partner_that_declines(cluster):
    plan = RunPlan("declined", "check", NODES, phases=("plan", "finish"), on_refusal="continue")
    state = cluster.run(plan)
    assert state["state"] == "done"
    assert state["nodes"] == ["insurer", "police"]
    (trouble,) = state["trouble"]
    assert (trouble["party"], trouble["phase"]) == ("telecom", "plan")
    assert (trouble["code"], trouble["reason"]) == ("not_agreed", "The agreement has lapsed.")
    assert [entry[0] for entry in cluster.seen("telecom", "declined")] == ["plan"]


def test_hostile_bundle_is_refused_by_every_partner(cluster):
    marker = cluster.root / "owned.txt"
    bundle = hostile_bundle(marker)
    control = cluster.superlink.control
    flower_run = control.start_run(bundle, {})
    wait_for(lambda: control.run_status(flower_run).status == "finished", 120)
    replies = json.loads((cluster.root / "hub" / "hostile.json").read_text())
    assert set(replies) == set(NODES)
    for reply in replies.values():
        assert reply.get("code") == "bundle_not_approved"
        assert reply["status"] == "refused"
        assert reply["reason"]
    assert not marker.exists()
    for name in NODES:
        # The bundle was not even unpacked.
        assert not (cluster.root / name / "flower" / "apps").exists()


def test_doors_keep_partners_from_control(cluster):
    inner_port = cluster.superlink.control._port
    token = (cluster.root / "hub" / "flower" / "control.token").read_text()
    for port, path, sent, expected in (
        (cluster.superlink.fleet_port, "/v1/control/list-nodes", token, 404),
        (cluster.superlink.fleet_port, "/v1/runtime/acquire-task", token, 404),
        (cluster.superlink.fleet_port, "/v1/fleet/pull-messages", token, 401),
        (inner_port, "/v1/control/list-nodes", "wrong", 404),
        (inner_port, "/v1/control/list-nodes", token, 200),
    ):
        assert post(cluster, port, path, sent) == expected, path


def test_name_keeps_its_key(cluster):
    control = cluster.superlink.control
    known = control.nodes()["telecom"]
    assert control.register("telecom", known.public_key) == known.node_id
    other = make_key(cluster.root / "other.key")
    with pytest.raises(SuperLinkError, match="another key"):
        control.register("telecom", other)


@pytest.mark.slow
def test_stopped_run_says_so(cluster):
    plan = RunPlan("hang-stopped", "check", NODES, phases=("train",), deadlines_s={"train": 60})
    flower_run = cluster.superlink.begin(plan)
    wait_for(lambda: cluster.superlink.state_of("hang-stopped")["steps"])
    assert cluster.superlink.control.stop_run(flower_run)
    wait_for(lambda: cluster.superlink.state_of("hang-stopped")["state"] == "failed")
    assert cluster.superlink.state_of("hang-stopped")["trouble"][0]["party"] == "hub"
    assert not cluster.superlink.control.stop_run(flower_run)


@pytest.mark.slow
def test_run_of_an_unknown_kind_fails_instead_of_waiting(cluster):
    state = cluster.run(RunPlan("odd", "guess", NODES))
    assert (state["state"], state["trouble"][0]["code"]) == ("failed", "coordinator_lost")


@pytest.mark.slow
def test_killed_phase_is_not_begun_again_unasked(cluster):
    cluster.wait_online()
    plan = RunPlan(
        "hang-again", "check", NODES, phases=("train",), attempts=2, deadlines_s={"train": 100}
    )
    pid_file = cluster.root / "telecom" / "training.pid"
    pid_file.unlink(missing_ok=True)
    flower_run = cluster.superlink.begin(plan)
    wait_for(pid_file.exists)
    os.kill(int(pid_file.read_text()), signal.SIGKILL)
    state = cluster.wait_end(plan, flower_run, 200)
    first, second = state["steps"]
    assert first["nodes"]["telecom"]["code"] == "client_app_crashed"
    assert second["nodes"]["telecom"]["status"] == "done"
    assert state["state"] == "done"
    assert [entry[1] for entry in cluster.seen("telecom", "hang-again")] == ["1", "2"]


@pytest.mark.slow
def test_partners_come_back_to_a_restarted_superlink(cluster):
    port = cluster.superlink.fleet_port
    before = {name: node.node_id for name, node in cluster.superlink.control.nodes().items()}
    os.kill(cluster.superlink.pid, signal.SIGKILL)
    wait_for(lambda: cluster.superlink.pid is None)
    cluster.superlink.stop()
    cluster.superlink = cluster.new_superlink(port)
    cluster.superlink.start()
    after = {name: node.node_id for name, node in cluster.superlink.control.nodes().items()}
    assert after == before
    cluster.wait_online()
    assert cluster.run(RunPlan("after", "check", NODES, phases=("plan",)))["state"] == "done"


@pytest.mark.slow
def test_node_whose_launching_program_was_killed_is_started_anew(cluster):
    node = cluster.nodes["telecom"]
    (starts,) = [pid for pid in children(node.pid) if "superexec_process" in command_of(pid)]
    os.kill(starts, signal.SIGKILL)
    wait_for(lambda: node.pid is None)
    # Flower holds the node that was killed for connected until it misses its heartbeats.
    wait_for(lambda: not cluster.superlink.control.nodes()["telecom"].is_online)
    wait_for(node.revive)
    node.wait_until_ready()
    cluster.wait_online()
    state = cluster.run(RunPlan("revived", "check", NODES, phases=("plan",)))
    assert state["state"] == "done", state


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command_of(pid):
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode()


@pytest.mark.slow
def test_unregistered_node_is_not_let_in(cluster):
    stranger = cluster.root / "stranger"
    stranger.mkdir()
    make_key(stranger / "node.key")
    node = cluster.node("stranger")
    try:
        node.start()
        wait_for(lambda: node.pid is None)
        assert set(cluster.superlink.control.nodes()) == set(NODES)
    finally:
        node.stop()


@pytest.mark.slow
def test_stock_launcher_would_have_run_the_hostile_code(cluster):
    # Shows that the test of the hostile bundle can fail: the same bundle, Flower's launcher.
    cluster.nodes["police"].stop()
    stock = "from flwr.supernode.cli import flwr_clientapp as main; main()"
    node = cluster.node("police", launcher=("-c", stock))
    node.start()
    cluster.wait_online()
    try:
        with pytest.raises(AssertionError):
            test_hostile_bundle_is_refused_by_every_partner(cluster)
        assert (cluster.root / "owned.txt").exists()
    finally:
        node.stop()
        shutil.rmtree(cluster.root / "police" / "flower" / "apps", ignore_errors=True)
        (cluster.root / "owned.txt").unlink(missing_ok=True)
        cluster.nodes["police"].start()


def hostile_bundle(marker: Path) -> bytes:
    files = {
        "pyproject.toml": HOSTILE_PROJECT,
        "hostile/__init__.py": "",
        "hostile/server.py": HOSTILE_SERVER,
        "hostile/client.py": HOSTILE_CLIENT.format(marker=str(marker)),
    }
    content = (
        f"{name},{hashlib.sha256(text.encode()).hexdigest()},{len(text.encode()) * 8}"
        for name, text in files.items()
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in {**files, ".info/CONTENT": "\n".join(content)}.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def post(cluster, port, path, token):
    tls = ssl.create_default_context(cafile=str(cluster.root / "ca.pem"))
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=tls, timeout=10)
    headers = {"authorization": f"Bearer {token}", "content-type": "application/protobuf"}
    try:
        connection.request("POST", path, b"", headers)
        return connection.getresponse().status
    finally:
        connection.close()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def write_certificates(root: Path) -> None:
    authority, hub = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hub")])
    today = datetime.datetime.now(datetime.UTC)

    def draft(name, key):
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(today - datetime.timedelta(hours=1))
            .not_valid_after(today + datetime.timedelta(days=1))
        )

    ca = draft(issuer, authority).add_extension(x509.BasicConstraints(True, None), critical=True)
    loopback = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    leaf = draft(subject, hub).add_extension(loopback, critical=False)
    for name, certificate in (("ca.pem", ca), ("hub.pem", leaf)):
        signed = certificate.sign(authority, hashes.SHA256())
        (root / name).write_bytes(signed.public_bytes(Encoding.PEM))
    key = hub.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (root / "hub.key").write_bytes(key)


@pytest.mark.slow
def test_killed_supernode_ends_the_phase_within_its_deadline(cluster):
    plan = RunPlan("hang-killed", "check", NODES, phases=("train",), deadlines_s={"train": 40})
    # The last of this module: the others need every node as it was.
    pid_file = cluster.root / "telecom" / "training.pid"
    pid_file.unlink(missing_ok=True)
    flower_run = cluster.superlink.begin(plan)
    wait_for(pid_file.exists)
    os.kill(cluster.nodes["telecom"].pid, signal.SIGKILL)
    try:
        state = cluster.wait_end(plan, flower_run, 120)
        assert state["state"] == "failed"
        (trouble,) = state["trouble"]
        assert (trouble["party"], trouble["phase"]) == ("telecom", "train")
        # Whether Flower or our deadline notices first depends on the load of the machine.
        assert trouble["code"] in {"silent", "message_unavailable", "node_unavailable"}
        (step,) = state["steps"]
        assert step["ended"] - step["started"] <= 41
        assert step["nodes"]["police"]["status"] == "done"
        # Nothing of the dead node is left running.
        assert cluster.nodes["telecom"].pid is None
        # Flower gives its own processes five seconds to end before it forces them.
        wait_for(lambda: not is_alive(int(pid_file.read_text())), 60)
    finally:
        cluster.nodes["telecom"].stop()
