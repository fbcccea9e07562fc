"""A hub and three partners on this machine, by the commands that operators use.

One town is made by real commands once; every test works in a copy of it with ports of its
own. Tables are tiny and full of values that occur nowhere by chance, so that a leak can
be found by looking for them.
"""

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from clients.demo.bringing_up import Town, join_partner, make_hub, run_command
from clients.keys import load_keys
from clients.node.home import Home
from clients.node.spending import open_ledger
from clients.office import node_office
from protocols.tlog.entry import Entry
from protocols.vertical.contract import Contract
from server.home import HubHome
from server.keeping.place import keeping_of
from server.log.opening import open_log

PARTNERS = ("insurer", "telecom", "police")
HOLDER = "insurer"
COLUMNS = {
    "insurer": ("premium",),
    "telecom": ("night_minutes", "contacts"),
    "police": ("reported_loss",),
}
LOW, HIGH = 0.0, 10_000.0
PEOPLE = 900
STOP_S = 15.0


@dataclass(slots=True)
class Place:
    """One town's directory and what runs in it."""

    root: Path
    started: list[subprocess.Popen] = field(default_factory=list)

    @property
    def hub(self) -> Path:
        return self.root / "hub"

    def node(self, name: str) -> Path:
        return self.root / name

    def table(self, name: str) -> Path:
        return self.root / "data" / name / "table.csv"

    def frame(self, name: str) -> pl.DataFrame:
        return pl.read_csv(self.table(name), schema_overrides={"id": pl.String})

    def hub_run(self, run: str) -> Path:
        return self.hub / "runs" / run

    def node_run(self, name: str, run: str) -> Path:
        return self.node(name) / "runs" / run

    def state(self, run: str) -> dict:
        return json.loads((self.hub_run(run) / "state.json").read_text())

    def record(self, run: str) -> dict:
        return json.loads((self.hub_run(run) / "record.json").read_text())

    def agree(self, make, **terms):
        """Keep an agreement at everybody that all have signed; by default it allows much."""
        keys = {name: load_keys(self.node(name) / "keys").identity for name in PARTNERS}
        keys["hub"] = HubHome(self.hub).identity_key()
        contracts = {name: Contract.parse(contract_of(name)) for name in PARTNERS}
        roots = (self.hub, *map(self.node, PARTNERS))
        for root in roots[1:]:
            shutil.rmtree(root / "agreements", ignore_errors=True)
        kept = keeping_of(self.hub).documents("agreements")
        for name in kept.names():
            kept.delete(name)
        return make(keys, **({"contracts": contracts} | terms)).keep(*roots)

    def entries(self, name: str) -> list[Entry]:
        """What stands in the log of a partner, or of the hub."""
        if name == "hub":
            with open_log(HubHome(self.hub)) as log:
                return entries_of(log.office)
        with node_office(Home(self.node(name))) as office:
            return entries_of(office)

    def log(self, name: str) -> str:
        return (self.root / "logs" / f"{name}.log").read_text()

    def set_policy(self, name: str, **changes) -> None:
        path = self.node(name) / "policy.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    def propose(self, run: str, **options) -> dict:
        choices = {"label_holder": HOLDER, "steps": 6, "min_rows": 100} | options
        arguments = [
            text
            for name, value in choices.items()
            for text in (f"--{name.replace('_', '-')}", str(value))
        ]
        said = run_command(
            "lianfang-hub", "propose", str(self.hub), run, *arguments, "--format", "json"
        )
        return json.loads(said)

    def charges(self, name: str, run: str) -> list[str]:
        """Labels of all that a partner's own ledger was charged for in a run."""
        return [charge.label for charge in self.ledger(name, run)[0]]

    def reserves(self, name: str, run: str) -> bool:
        """Whether the run still holds a reservation at a partner."""
        return self.ledger(name, run)[1]

    def ledger(self, name: str, run: str):
        with open_ledger(Home(self.node(name))) as ledger:
            return ledger.charges(run), run in ledger.open_runs()

    def spawn(self, name: str, *arguments: str) -> subprocess.Popen:
        """Start one long-lived process; its words go to the log of its name."""
        logs = self.root / "logs"
        logs.mkdir(exist_ok=True)
        with (logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.started.append(process)
        return process

    def run_directly(
        self, run: str, *, nodes=None, hub=None, names=PARTNERS, limit_s: float = 90, meanwhile=None
    ) -> dict[str, int]:
        """Run once over the link alone; returns how each process ended, within the limit.

        Args:
            nodes: by partner, a program that takes its node's place; its arguments follow.
            hub: a program that takes the hub's place.
            meanwhile: is called once all have started, with the processes.
        """
        programs = dict.fromkeys(names, ("-m", "clients.node.direct")) | (nodes or {})
        serve = (*(hub or ("-m", "server.cli")), "serve", str(self.hub), "--direct", run)
        processes = {"hub": self.spawn("hub", *serve)}
        for name in names:
            processes[name] = self.spawn(name, *programs[name], str(self.node(name)), run)
        ends_at = time.monotonic() + limit_s
        try:
            if meanwhile is not None:
                meanwhile(processes)
            return {
                name: process.wait(max(0.1, ends_at - time.monotonic()))
                for name, process in processes.items()
            }
        finally:
            self.stop()

    def stop(self) -> None:
        """End whatever still runs, politely first."""
        alive = [process for process in self.started if process.poll() is None]
        for process in alive:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in alive:
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.started.clear()


def entries_of(office) -> list[Entry]:
    origin = office.yearly.origin()
    size = office.storage.edge(origin).size
    return [Entry.decode(data) for data in office.storage.entries(origin, 0, size)]


@pytest.fixture(scope="session")
def template(tmp_path_factory, agree) -> Place:
    """A town made by `init`, `approve`, `join` and `trust`, with an agreement; nothing runs."""
    root = tmp_path_factory.mktemp("town")
    place = Place(root)
    write_tables(place)
    town: Town = make_hub(root)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda name: join(town, place, name), PARTNERS))
        list(pool.map(lambda name: introduce(town, name), PARTNERS))
    place.agree(agree)
    return place


@pytest.fixture
def place(template, tmp_path):
    """A copy of the town for one test."""
    copy = copied(template, tmp_path / "town")
    yield copy
    copy.stop()


@pytest.fixture(scope="session")
def make_place(template, tmp_path_factory):
    """Copy the town, or what a test made of one; for tests that share what one has run."""
    with ExitStack() as stack:

        def make(name: str, source: Place | None = None) -> Place:
            made = copied(source or template, tmp_path_factory.mktemp(name) / "town")
            stack.callback(made.stop)
            return made

        yield make


@pytest.fixture(scope="session")
def served(make_place):
    """A town whose hub and nodes are up, with Flower: its start costs ten seconds."""
    made = make_place("served")
    start_serving(made)
    start_nodes(made, PARTNERS)
    return made


@pytest.fixture(scope="session")
def start_flower():
    """Start a hub and its nodes with Flower and wait until all are up."""

    def start(made: Place) -> dict[str, subprocess.Popen]:
        start_serving(made)
        return start_nodes(made, PARTNERS)

    return start


@pytest.fixture(scope="session")
def restart_nodes():
    return start_nodes


@pytest.fixture(scope="session")
def wait_for():
    return until


def start_serving(made: Place) -> None:
    made.spawn("hub", "-m", "server.cli", "serve", str(made.hub))
    until(lambda: "Next:" in made.log("hub"), 90)


def start_nodes(made: Place, names) -> dict[str, subprocess.Popen]:
    before = dict.fromkeys(names, 0)
    for name in names:
        path = made.root / "logs" / f"{name}.log"
        before[name] = path.stat().st_size if path.exists() else 0
    started = {
        name: made.spawn(name, "-m", "clients.cli", "node", "start", str(made.node(name)))
        for name in names
    }
    until(lambda: all("Next:" in made.log(name)[before[name] :] for name in names), 90)
    return started


def until(condition, timeout_s: float = 30.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.02)


def join(town: Town, place: Place, name: str) -> None:
    join_partner(
        town, name, table=place.table(name), contract=place.table(name).with_name("contract.json")
    )


def introduce(town: Town, name: str) -> None:
    for other, identity in town.identities.items():
        if other != name:
            run_command("lianfang", "node", "trust", str(town.nodes[name]), other, identity)


def copied(template: Place, root: Path) -> Place:
    """Copy a town's directories and give the copy ports of its own."""
    shutil.copytree(template.root, root)
    made = Place(root)
    settings = json.loads((made.hub / "hub.json").read_text())
    settings |= {name: free_port() for name in ("link_port", "fleet_port", "api_port")}
    (made.hub / "hub.json").write_text(json.dumps(settings))
    for name in PARTNERS:
        path = made.node(name) / "node.json"
        text = path.read_text().replace(f'"{template.root}/', f'"{root}/')
        config = json.loads(text)
        config["hub"] |= {
            name: f"127.0.0.1:{settings[port]}"
            for name, port in (("link", "link_port"), ("flower", "fleet_port"), ("api", "api_port"))
        }
        path.write_text(json.dumps(config))
    return made


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def write_tables(place: Place) -> None:
    """Write three tables over partly the same people; the label follows the partners' columns."""
    random = np.random.default_rng(7)
    ids = np.array([f"QX{value:012x}KZ" for value in random.integers(0, 2**48, PEOPLE)])
    hidden = random.normal(size=PEOPLE)
    odd = iter(random.uniform(LOW + 1, HIGH - 1, (4, PEOPLE)))
    values = {
        name: np.clip(0.7 * next(odd) + 1_000 * hidden + 1_500, LOW + 1, HIGH - 1)
        for names in COLUMNS.values()
        for name in names
    }
    label = (hidden + 0.6 * random.normal(size=PEOPLE) > 0.5).astype(np.int64)
    for name in PARTNERS:
        share = {"insurer": 1.0, "telecom": 0.8, "police": 0.5}[name]
        rows = random.permutation(PEOPLE)[: int(share * PEOPLE)]
        columns = {"id": ids[rows]} | {column: values[column][rows] for column in COLUMNS[name]}
        if name == HOLDER:
            columns["fraud"] = label[rows]
        frame = pl.DataFrame(columns)
        if name == "telecom":
            # Three people twice, and one row without an identifier.
            frame = pl.concat([frame, frame[:3], frame[:1].with_columns(id=pl.lit(""))])
        place.table(name).parent.mkdir(parents=True)
        frame.write_csv(place.table(name))
        place.table(name).with_name("contract.json").write_text(json.dumps(contract_of(name)))


def contract_of(name: str) -> dict:
    return {
        "identifier": {"column": "id", "kind": "opaque"},
        "label": "fraud" if name == HOLDER else None,
        "columns": [
            {"name": column, "kind": "numeric", "low": LOW, "high": HIGH, "missing": False}
            for column in COLUMNS[name]
        ],
    }
