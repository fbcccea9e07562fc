"""Two insurers, two telecoms and the police in one run over Flower, by the commands of operators.

The town's customers and subscribers are split by rows; a fifth of them are with both. The same
town with one insurer and one telecom, who have all the rows, is what the result is held against.
"""

import json
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from clients.bench.running import RUN as POOLED_RUN
from clients.bench.running import run_processes
from clients.demo.bringing_up import Bringing, Town, join_partners, make_hub, run_command
from clients.demo.show import AGREED_COLUMNS
from clients.demo.town import make_town
from clients.keys import load_keys
from clients.node.home import Home
from clients.node.spending import open_ledger
from compliance.spending import tally
from protocols.codec import canonical_json
from protocols.dp.events import Composed
from protocols.vertical.budget import run_event
from protocols.vertical.contract import Contract
from protocols.vertical.plan import TrainingPlan
from server.home import HubHome

# Five nodes, a process for every message: minutes, and more where the machine is shared.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

INSURERS, TELECOMS = ("insurer-a", "insurer-b"), ("telecom-a", "telecom-b")
FIVE = (*INSURERS, *TELECOMS, "police")
SEED, PEOPLE, SHARED = 11, 10_000, 0.2
EPSILON = 8.0
PATTERNS = AGREED_COLUMNS.partition("=")[2]
REASON = "Our data protection officer is away until Monday."


def split(frame: pl.DataFrame, names: tuple[str, str], seed: int) -> dict[str, pl.DataFrame]:
    """Give each of two a part of the rows, and both of them a fifth."""
    draw = np.random.default_rng(seed).random(frame.height)
    first = draw < (1 + SHARED) / 2
    both = draw < SHARED
    masks = (first, ~first | both)
    return {name: frame.filter(pl.Series(mask)) for name, mask in zip(names, masks, strict=True)}


def tables(*, pooled: bool) -> dict[str, tuple[pl.DataFrame, dict]]:
    town = make_town(SEED, PEOPLE)
    found = {}
    for name, table in town.parties.items():
        contract = table.contract.format()
        kinds = {"insurer": INSURERS, "telecom": TELECOMS}
        parts = {name: table.frame}
        if name in kinds and not pooled:
            parts = split(table.frame, kinds[name], SEED)
        found |= {each: (frame, contract) for each, frame in parts.items()}
    return found


def build(root: Path, agree, *, pooled: bool) -> Town:
    """Make a hub and its partners, with an agreement under which anything here may run."""
    bringing, contracts = {}, {}
    for name, (frame, contract) in tables(pooled=pooled).items():
        folder = root / "data" / name
        folder.mkdir(parents=True)
        frame.write_parquet(folder / "table.parquet")
        (folder / "contract.json").write_text(json.dumps(contract))
        bringing[name] = Bringing(folder / "table.parquet", folder / "contract.json")
        contracts[name] = Contract.parse(contract)
    town = make_hub(root)
    join_partners(town, bringing)
    for name in town.nodes:
        set_policy(town, name, max_epsilon=64.0, cap_epsilon=64.0, min_rows=1)
    keys = {name: load_keys(node / "keys").identity for name, node in town.nodes.items()}
    keys["hub"] = HubHome(town.hub).identity_key()
    agree(keys, contracts=contracts).keep(town.hub, *town.nodes.values())
    return town


def set_policy(town: Town, name: str, **changes) -> None:
    path = town.nodes[name] / "policy.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def propose(town: Town, run: str, *, holder: str, **options) -> TrainingPlan:
    choices = {"epsilon": EPSILON, "min_rows": 50, "held_out": 0.4} | options
    arguments = [
        text
        for name, value in choices.items()
        for text in (f"--{name.replace('_', '-')}", str(value))
    ]
    for name in town.nodes:
        if name.startswith("telecom"):
            arguments += ["--columns", f"{name}={PATTERNS}"]
    said = run_command(
        "lianfang-hub", "propose", str(town.hub), run, "--label-holder", holder, *arguments,
        "--format", "json",
    )  # fmt: skip
    return TrainingPlan.decode(canonical_json(json.loads(said)["plan"]))


@pytest.fixture(scope="module")
def town(tmp_path_factory, agree):
    """Five partners whose nodes and hub are up, with Flower."""
    root = tmp_path_factory.mktemp("five")
    made = build(root, agree, pooled=False)
    with ExitStack() as stack:
        start(stack, root, {"hub": ["server.cli", "serve", str(made.hub)]})
        start(
            stack,
            root,
            {name: ["clients.cli", "node", "start", str(made.nodes[name])] for name in FIVE},
        )
        yield made


def start(stack: ExitStack, root: Path, commands: dict[str, list[str]]) -> None:
    logs = {}
    for name, command in commands.items():
        logs[name] = root / f"{name}.log"
        log = stack.enter_context(logs[name].open("wb"))
        process = subprocess.Popen(
            [sys.executable, "-m", *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        stack.callback(process.wait, 30)
        stack.callback(process.terminate)
    until(lambda: all("Next:" in log.read_text() for log in logs.values()), 120)


def until(condition, timeout_s: float) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.05)


def run_over_flower(town: Town, run: str, meanwhile=lambda: None) -> tuple[int, dict]:
    command = [sys.executable, "-m", "server.cli", "run", str(town.hub), run]
    process = subprocess.Popen(
        [*command, "--wait", "60", "--format", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    meanwhile()
    output, errors = process.communicate(timeout=1800)
    assert output, errors
    return process.returncode, json.loads(output)["state"]


def record_of(town: Town, run: str) -> dict:
    return json.loads((town.hub / "runs" / run / "record.json").read_text())


def charges(town: Town, name: str, run: str):
    with open_ledger(Home(town.nodes[name])) as ledger:
        return ledger.charges(run), run in ledger.open_runs()


def joint_auc(town: Town, run: str) -> float:
    """Return the AUC of the head over all label holders' customers."""
    logits, labels = [], []
    for name in town.nodes:
        if name.startswith("insurer"):
            folder = town.nodes[name] / "runs" / run
            logits.append(np.load(folder / "logit.npy"))
            labels.append(np.load(folder / "own_labels.npy"))
    return float(roc_auc_score(np.concatenate(labels), np.concatenate(logits)))


@pytest.fixture(scope="module")
def joint(town):
    """A run that ended well: its plan and its record."""
    plan = propose(town, "joint", holder="insurer-a")
    code, state = run_over_flower(town, "joint")
    assert (code, state["state"]) == (0, "done"), state["trouble"]
    return plan, record_of(town, "joint")


@pytest.fixture(scope="module")
def learned(town, joint):
    """A run whose telecoms trained their encoder together."""
    plan = propose(
        town, "learned", holder="insurer-a", neural="telecom-a,telecom-b", neural_share=0.3
    )
    code, state = run_over_flower(town, "learned")
    assert (code, state["state"]) == (0, "done"), state["trouble"]
    return plan, record_of(town, "learned"), state


def test_plan_has_blocks_and_one_compute_party_of_each_kind(joint):
    plan, _ = joint
    kinds = {kind.name: kind.names for kind in plan.kinds}
    assert kinds == {"insurer": INSURERS, "police": ("police",), "telecom": TELECOMS}
    assert plan.compute == ("insurer-a", "police", "telecom-a")
    assert set(plan.outsiders) == {"insurer-b", "telecom-b"}


def test_result_is_near_that_of_pooled_members(town, joint, tmp_path, agree):
    pooled = build(tmp_path, agree, pooled=True)
    propose(pooled, POOLED_RUN, holder="insurer")
    run_processes(pooled, list(pooled.nodes))
    one, several = joint_auc(pooled, POOLED_RUN), joint_auc(town, "joint")
    assert several > 0.7
    assert abs(one - several) < 0.04


@pytest.mark.parametrize("which", ["joint", "learned"])
def test_every_ledger_is_charged_exactly_what_the_plan_says(town, request, which):
    plan, record = request.getfixturevalue(which)[:2]
    privacy = record["privacy"]
    assert (privacy["doubts"], privacy["unreported"]) == ([], [])
    assert 0.999 * EPSILON < privacy["epsilon_spent"] <= EPSILON
    for name in FIVE:
        paid, is_open = charges(town, name, which)
        assert not is_open
        told = [release["label"] for release in privacy["releases"][name]]
        assert [charge.label for charge in paid] == told
        assert len(set(told)) == len(told)
        # To the last release, with the noise that the plan gives it.
        assert tally(Composed(tuple(charge.event for charge in paid))) == tally(
            run_event(plan, name)
        )


def test_each_insurer_has_the_scores_of_its_own_customers_alone(town, joint):
    _, record = joint
    assert set(record["metrics"]) == set(INSURERS)
    kept = {}
    for name in INSURERS:
        folder = town.nodes[name] / "runs" / "joint"
        rows = pl.read_parquet(town.tables[name]).height
        logits = np.load(folder / "logit.npy")
        assert len(logits) == len(np.load(folder / "refined.npy")) == rows
        assert record["metrics"][name]["scores"] == rows
        assert len(np.unique(logits)) > 50
        kept[name] = logits
    for name in (*TELECOMS, "police"):
        folder = town.nodes[name] / "runs" / "joint"
        names = {path.name for path in folder.iterdir()}
        assert names.isdisjoint({"logit.npy", "refined.npy", "own_labels.npy", "metrics.json"})


def test_customers_of_both_insurers_have_one_score(town, joint):
    scores = {}
    for name in INSURERS:
        folder = town.nodes[name] / "runs" / "joint"
        ids = pl.read_parquet(town.tables[name])["id"].to_numpy()[np.load(folder / "taken.npy")]
        scores[name] = dict(zip(ids, np.load(folder / "logit.npy"), strict=True))
    both = set(scores["insurer-a"]) & set(scores["insurer-b"])
    assert len(both) > 500
    assert all(scores["insurer-a"][one] == scores["insurer-b"][one] for one in both)


def test_members_of_a_block_hold_the_same_model(town, joint, learned):
    for run in ("joint", "learned"):
        for file in ("weights.npy", "encoder.json"):
            first, second = (
                (town.nodes[name] / "runs" / run / file).read_bytes() for name in TELECOMS
            )
            assert first == second
    untrained, trained = (
        json.loads((town.nodes["telecom-a"] / "runs" / run / "encoder.json").read_text())["expert"]
        for run in ("joint", "learned")
    )
    assert untrained is None
    assert len(trained) > 100


def test_rounds_are_flowers_and_paid_one_by_one(learned):
    plan, record, state = learned
    phases = [step["phase"] for step in state["steps"]]
    assert phases[2:5] == ["prepare", "learn", "encode"]
    for name in FIVE:
        rounds = [
            release["label"]
            for release in record["privacy"]["releases"][name]
            if "neural" in release["label"]
        ]
        expected = [f"encoder/neural/round/{n}/attempt/{n}" for n in (1, 2, 3, 4)]
        assert rounds == (expected if name in TELECOMS else [])
    assert plan.partner("telecom-b").encoder.neural.rounds == 4


@pytest.mark.parametrize("owner", FIVE)
def test_no_file_elsewhere_names_a_person_of_its_owner(town, joint, learned, owner):
    mine = set(pl.read_parquet(town.tables[owner])["id"].to_list())
    for other in FIVE:
        if other != owner:
            mine -= set(pl.read_parquet(town.tables[other])["id"].to_list())
    needles = [one.encode() for one in sorted(mine)[:200]]
    assert len(needles) > 50 or owner == "police"
    own = (town.nodes[owner], town.tables[owner].parent)
    places = [path for path in town.hub.parent.rglob("*") if path.is_file()]
    foreign = [path for path in places if not any(path.is_relative_to(place) for place in own)]
    assert len(foreign) > 100
    for path in foreign:
        data = path.read_bytes()
        assert not any(needle in data for needle in needles), path


def test_outsiders_receive_openings_and_nothing_of_the_size_of_rows(town, joint):
    plan, record = joint
    sent = record["bytes"]["by_partner"]
    width = record["data"]["encoded_columns"]["telecom-b"]
    rows = record["data"]["alignment"]["police"]["total"]
    to_telecom = sum(sent[name]["train.1"].get("telecom-b", 0) for name in plan.compute)
    openings = 3 * plan.steps * (8 * width + 25)
    assert openings <= to_telecom <= openings + 1_000
    assert "telecom-b" not in sent["insurer-b"].get("train.1", {})
    to_insurer = sum(sent[name]["train.1"].get("insurer-b", 0) for name in plan.compute)
    assert to_insurer < 1_000
    # What it brings goes to each of the three, masked: more than a table's worth.
    assert sent["telecom-b"]["train.1"]["police"] > 8 * width * rows


@pytest.fixture(scope="module")
def declined(town, learned):
    set_policy(town, "telecom-b", decide="hand")
    propose(town, "declined", holder="insurer-a")
    node = str(town.nodes["telecom-b"])
    said = {}

    def refuse() -> None:
        until((town.nodes["telecom-b"] / "inbox" / "declined.json").exists, 120)
        said["inbox"] = json.loads(
            run_command("lianfang", "node", "inbox", node, "--format", "json")
        )
        run_command("lianfang", "node", "refuse", node, "declined", "--reason", REASON)

    code, state = run_over_flower(town, "declined", refuse)
    set_policy(town, "telecom-b", decide="policy")
    return code, state, said["inbox"]["runs"][0]


def test_inbox_shows_who_is_of_one_kind(declined):
    _, _, item = declined
    assert (
        "insurer (insurer-a and insurer-b), police, telecom (telecom-a and telecom-b)"
        in (item["summary"])
    )
    assert "computed by insurer-a, police, telecom-a" in item["summary"]


def test_refusal_of_one_member_ends_the_run_and_costs_nobody(town, declined):
    code, state, _ = declined
    assert (code, state["state"]) == (1, "refused")
    (trouble,) = state["trouble"]
    assert (trouble["party"], trouble["phase"]) == ("telecom-b", "plan")
    assert (trouble["code"], trouble["reason"]) == ("by_hand", REASON)
    for name in FIVE:
        assert charges(town, name, "declined") == ((), False)


def test_run_goes_on_without_a_member_that_refuses(town, declined):
    set_policy(town, "telecom-b", max_epsilon=0.5)
    propose(town, "without", holder="insurer-a", on_refusal="continue", steps=6)
    code, state = run_over_flower(town, "without")
    set_policy(town, "telecom-b", max_epsilon=64.0)
    assert (code, state["state"]) == (0, "done"), state["trouble"]
    record = record_of(town, "without")
    assert set(record["data"]["encoded_columns"]) == {"telecom-a", "police"}
    assert set(record["metrics"]) == set(INSURERS)
    assert (record["privacy"]["doubts"], charges(town, "telecom-b", "without")) == ([], ((), False))
