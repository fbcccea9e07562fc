"""Three nodes of one town under an agreement; nothing runs and nothing is sent."""

import copy
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clients.keys import load_keys
from clients.node.answering import answer
from clients.node.files import load_json, store_json
from clients.node.home import Home
from clients.node.joining import make_node, pin_peer
from clients.node.phases import run as run_phase
from clients.office import node_office
from protocols.phase import PhaseReply, PhaseRequest
from protocols.tlog.entry import Entry
from protocols.vertical.contract import Contract
from protocols.vertical.plan import TrainingPlan
from server.training.proposal import Choices, propose

RUN = "spring"
PURPOSE = "https://w3id.org/dpv#FraudPreventionAndDetection"
ROWS = 200
CONTRACTS = {
    "insurer": [{"name": "age", "kind": "numeric", "low": 0, "high": 120, "missing": False}],
    "telecom": [
        {"name": "calls", "kind": "numeric", "low": 0, "high": 1000, "missing": True},
        {"name": "tariff", "kind": "category", "levels": ["flat", "prepaid"], "missing": True},
    ],
    "police": [{"name": "reports", "kind": "numeric", "low": 0, "high": 50, "missing": False}],
}
TABLES = {
    "insurer": {
        "age": [float(20 + row % 60) for row in range(ROWS)],
        "y": [row % 4 == 0 for row in range(ROWS)],
    },
    "telecom": {
        "calls": [float(row % 300) if row % 7 else None for row in range(ROWS)],
        "tariff": [("flat", "prepaid", None)[row % 3] for row in range(ROWS)],
    },
    "police": {"reports": [row % 5 for row in range(ROWS)]},
}


# What the office of a node keeps, refusals and the plans that they were about included.
LOG = ("log", "log-second", "policies", "documents")


@dataclass
class Town:
    """The nodes' directories, and what a hub would say to them."""

    root: Path
    requests: dict[str, dict]
    agreed: Any
    agree: Callable[..., Any]

    def node(self, name: str) -> Path:
        return self.root / name

    def plan(self, **changes: object) -> TrainingPlan:
        """Propose a run as the hub does."""
        choices = Choices(
            **{
                "run": RUN, "purpose": PURPOSE, "epsilon": 1.0, "delta": 1e-5,
                "label_holder": "insurer", "columns": {}, "min_rows": 100, "steps": 5,
            } | changes
        )  # fmt: skip
        return propose(choices, self.requests)

    def ask(
        self, name: str, phase: str, body: object, *, run: str = RUN, attempt: int = 1,
        deadline_s: int = 30,
    ) -> PhaseReply:  # fmt: skip
        """Ask a node for a phase; whatever happens there is a reply."""
        request = PhaseRequest(run, phase, attempt, deadline_s, json.dumps(body))
        return answer(request, lambda asked: run_phase(self.node(name), asked))

    def offer(self, name: str, plan: TrainingPlan, *, deadline_s: int = 30) -> PhaseReply:
        """Ask a node to accept a plan."""
        body = {"plan": plan.encode().decode()}
        return self.ask(name, "plan", body, run=plan.run, deadline_s=deadline_s)

    def allow(self, name: str, **changes: object) -> None:
        """Change a node's policy."""
        path = self.node(name) / "policy.json"
        store_json(path, load_json(path) | changes)

    def agree_otherwise(self, **terms: object) -> None:
        """Put another agreement in the place of the one that there is."""
        contracts = {
            name: Contract.parse(request["contract"]) for name, request in self.requests.items()
        }
        self.agreed = self.agree(self.agreed.keys, **({"contracts": contracts} | terms))
        for name in CONTRACTS:
            shutil.rmtree(self.node(name) / "agreements", ignore_errors=True)
            keep_closed(self.agreed, self.node(name))

    def revoke(self, party: str) -> None:
        """Let a party end the agreement; every node hears of it."""
        now = int(time.time())
        revocation = self.agreed.revocation(party, now=now)
        for name in CONTRACTS:
            with node_office(Home(self.node(name))) as office:
                office.agreements.keep_revocation(revocation, now=now)

    def entries(self, name: str) -> list[Entry]:
        """Return what stands in a node's own log."""
        with node_office(Home(self.node(name))) as office:
            origin = office.yearly.origin()
            size = office.storage.edge(origin).size
            return [Entry.decode(data) for data in office.storage.entries(origin, 0, size)]

    def files(self, name: str) -> dict[str, bytes]:
        """Return everything in a node's directory but what its office keeps of every refusal."""
        node = self.node(name)
        found = {}
        for path in sorted(node.rglob("*")):
            if path.relative_to(node).parts[0] in LOG:
                continue
            found[str(path.relative_to(node))] = path.read_bytes() if path.is_file() else b""
        return found


def keep_closed(agreed: Any, node: Path) -> None:
    """Keep an agreement as a node does, closed to others."""
    agreed.keep(node)
    for path in (node / "agreements").rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, agree: Callable[..., Any]) -> Town:
    """Three nodes that have pinned one another's keys and signed an agreement with a hub."""
    root = tmp_path_factory.mktemp("town")
    requests = {}
    for name, columns in CONTRACTS.items():
        contract, table = root / f"{name}.json", root / f"{name}.parquet"
        label = "y" if name == "insurer" else None
        identifier = {"column": "id", "kind": "opaque"}
        store_json(contract, {"identifier": identifier, "label": label, "columns": columns})
        pl.DataFrame({"id": [f"p{row}" for row in range(ROWS)], **TABLES[name]}).write_parquet(
            table
        )
        request = make_node(
            root / name, name=name, table=table, contract=contract, held_out_column=None
        )
        requests[name] = load_json(request)
    for name in requests:
        for other, request in requests.items():
            if other != name:
                pin_peer(root / name, other, request["identity"])
    keys = {name: load_keys(Home(root / name).keys).identity for name in requests}
    keys["hub"] = Ed25519PrivateKey.generate()
    for name in requests:
        path = root / name / "node.json"
        config = load_json(path)
        config["hub"]["identity"] = keys["hub"].public_key().public_bytes_raw().hex()
        store_json(path, config)
    contracts = {name: Contract.parse(request["contract"]) for name, request in requests.items()}
    agreed = agree(keys, contracts=contracts)
    for name in requests:
        keep_closed(agreed, root / name)
    return Town(root, requests, agreed, agree)


@pytest.fixture
def town(template: Town, tmp_path: Path) -> Town:
    """A copy of the town that a test may change."""
    root = tmp_path / "town"
    shutil.copytree(template.root, root)
    for name in template.requests:
        path = root / name / "node.json"
        path.write_text(path.read_text().replace(str(template.root), str(root)))
    return Town(root, copy.deepcopy(template.requests), template.agreed, template.agree)


@pytest.fixture(scope="session")
def changed() -> Callable[..., TrainingPlan]:
    """Change fields of a plan, as a hub might that proposes what it likes."""
    return replace
