"""One run over the link from proposal to scores, and what it left where.

Direct mode: the hub's `serve --direct` and one `clients.node.direct` a partner; what happens
in each phase is what happens under Flower.
"""

import json
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from clients.demo.bringing_up import run_command
from protocols.dp.accounting import epsilon
from protocols.dp.events import Composed, event_from_fields
from protocols.dp.neighbours import Neighbours
from protocols.identifiers import IdentifierKind, canonicalize

RUN = "first"
EPSILON = 8.0
STEPS = 8
PARTNERS = ("insurer", "telecom", "police")
SECRETS = ("ephemeral.key", "run.key", "announced.json", "checkpoint-*.bin")
MIN_RUN_LENGTH = 48


@pytest.fixture(scope="session")
def done(make_place):
    """The town after one run that ended well."""
    place = make_place("direct")
    for name in PARTNERS:
        place.set_policy(name, max_epsilon=EPSILON, cap_epsilon=EPSILON)
    place.propose(RUN, epsilon=EPSILON, steps=STEPS)
    ended = place.run_directly(RUN)
    assert ended == dict.fromkeys(("hub", *PARTNERS), 0), place.log("hub")
    return place


@pytest.fixture(scope="session")
def record(done):
    return done.record(RUN)


def test_every_phase_was_done_by_everyone(done):
    state = done.state(RUN)
    assert (state["state"], state["trouble"]) == ("done", [])
    phases = ["plan", "align", "prepare", "train", "validate", "score", "finish"]
    assert [step["phase"] for step in state["steps"]] == phases
    for step in state["steps"]:
        assert {reply["status"] for reply in step["nodes"].values()} == {"done"}


def test_epsilon_of_the_record_holds_when_recomputed(record):
    privacy = record["privacy"]
    head, own = {}, []
    for charges in privacy["releases"].values():
        for charge in charges:
            event = event_from_fields(charge["event"])
            if charge["label"].startswith("train/"):
                assert head.setdefault(charge["label"], event) == event
            else:
                own.append(event)
    assert len(head) == STEPS
    spent = epsilon(
        Composed((*own, *head.values())), delta=1e-5, neighbours=Neighbours.ZERO_OUT_ONE_PERSON
    )
    assert privacy["epsilon_planned"] == EPSILON
    assert spent == pytest.approx(privacy["epsilon_spent"], rel=1e-12)
    assert 0.95 * EPSILON < spent <= EPSILON


def test_ledgers_hold_what_the_record_says_and_no_reservation(done, record):
    for name in PARTNERS:
        told = [release["label"] for release in record["privacy"]["releases"][name]]
        assert done.charges(name, RUN) == told
        assert sum(label.startswith("train/step/") for label in told) == STEPS
        assert STEPS < len(told) == len(set(told))
        assert not done.reserves(name, RUN)


def test_record_tells_code_data_and_metrics(record):
    assert record["code"]["lianfang"] == version("lianfang")
    widths = record["data"]["encoded_columns"]
    assert set(widths) == {"police", "telecom"}
    assert 1 < widths["police"] < widths["telecom"]
    rows = {name: value["rows"] for name, value in record["data"]["alignment"].items()}
    assert rows == {"insurer": 900, "telecom": 720, "police": 450}
    assert {value["total"] for value in record["data"]["alignment"].values()} == {960}
    dropped = record["data"]["alignment"]["telecom"]["dropped"]
    assert dropped == {"malformed": 1, "duplicates": 3}
    for name in ("joint", "label_holder_alone"):
        metrics = record["metrics"][name]
        for figure in ("auc", "ap"):
            low, high = metrics[f"{figure}_interval"]
            assert low < metrics[figure] < high
        assert metrics["rows"] == sum(count for _, _, count in metrics["calibration"])
    # What the partners know decides here: a head that does nothing would show.
    assert record["metrics"]["head"]["auc"] > 0.6
    assert record["metrics"]["scores"] == 900


def test_bytes_are_told_by_partner_and_phase(done, record):
    sent = record["bytes"]["by_partner"]
    relayed = Counter()
    for entry in record["bytes"]["relayed"]["status"]["traffic"]:
        relayed[entry["party"], entry["phase"], entry["direction"]] = entry["bytes"]
    for name in PARTNERS:
        assert set(sent[name]) == {"align.1", "train.1", "validate.1", "score.1"}
        assert "hub" not in sent[name]["train.1"]
        for phase, recipients in sent[name].items():
            # The relay counts whole envelopes.
            payload = sum(recipients.values())
            assert payload <= relayed[name, phase, "sent"] <= payload + 10_000
        said = json.loads(
            run_command("lianfang", "node", "sent", str(done.node(name)), RUN, "--format", "json")
        )
        assert said["sent_bytes"] == sent[name]
        assert 0 < said["epsilon"] <= EPSILON


def test_scores_are_at_the_label_holder_alone(done):
    folder = done.node_run("insurer", RUN)
    scores = np.load(folder / "refined.npy")
    assert len(scores) == len(np.load(folder / "logit.npy")) == 900
    assert len(np.unique(scores)) > 500
    wanted = scores.astype(np.float64).view(np.uint64)
    assert holds_words(folder / "refined.npy", wanted)
    for path in outside(done, "insurer"):
        assert not holds_words(path, wanted), path
        assert not any(repr(float(score)).encode() in path.read_bytes() for score in scores[:50])
    for name in ("telecom", "police", "hub"):
        kept = {path.name for path in (done.root / name).rglob("*") if path.is_file()}
        assert kept.isdisjoint({"refined.npy", "logit.npy", "own_labels.npy", "metrics.json"})


def test_secrets_of_the_run_are_gone(done):
    for name in PARTNERS:
        kept = [path.name for glob in SECRETS for path in done.node(name).rglob(glob)]
        assert kept == []


def test_files_of_a_node_are_closed_to_others(done):
    for name in PARTNERS:
        for path in (*done.node(name).glob("runs/**/*"), *done.node(name).glob("ledger/**/*")):
            assert path.stat().st_mode & 0o077 == 0 or path.name == "progress.json", path


@pytest.mark.parametrize("owner", PARTNERS)
def test_nothing_of_a_person_left_its_owner(done, owner):
    others = tuple(outside(done, owner))
    assert len(others) > 40
    identifiers = identifiers_of(done, owner)
    needles = [*identifiers, *values_of(done, owner)]
    if owner == "insurer":
        needles += label_runs(done)
    for path in others:
        data = path.read_bytes()
        assert not any(needle in data for needle in needles), path


def test_the_search_would_find_what_it_looks_for(done, tmp_path):
    assert any(
        needle in done.table("telecom").read_bytes() for needle in identifiers_of(done, "telecom")
    )
    assert any(needle in done.table("police").read_bytes() for needle in values_of(done, "police"))
    labels = (done.node_run("insurer", RUN) / "own_labels.npy").read_bytes()
    assert any(needle in labels for needle in label_runs(done))


def outside(done, owner: str) -> list[Path]:
    """All files but the owner's own: its node directory, its table; logs are everyone's."""
    own = (done.node(owner), done.table(owner).parent)
    shared_people = done.root / "data"
    return [
        path
        for path in done.root.rglob("*")
        if path.is_file() and not any(path.is_relative_to(place) for place in (*own, shared_people))
    ]


def identifiers_of(done, owner: str) -> set[bytes]:
    texts = [text for text in done.frame(owner)["id"].to_list() if text]
    canonical = [canonicalize(IdentifierKind.OPAQUE, text) for text in texts]
    return {
        *(text.encode() for text in texts),
        *(text.encode("utf-16-le") for text in texts),
        *(text.removeprefix("QX").removesuffix("KZ").encode() for text in texts),
        *canonical,
        *(value.hex().encode() for value in canonical[:50]),
    }


def values_of(done, owner: str) -> set[bytes]:
    """Every number of the table as text and in words; few as single short words, which repeat."""
    frame = done.frame(owner)
    found: set[bytes] = set()
    for column in frame.columns:
        if column in ("id", "fraud"):
            continue
        numbers = frame[column].to_numpy().astype(np.float64)
        numbers = numbers[(numbers > 2) & (numbers < 9_998)]
        found |= {repr(float(number)).encode() for number in numbers}
        for dtype in ("<f8", ">f8"):
            found |= {number.tobytes() for number in numbers.astype(dtype)}
        for scale_bits in (16, 24, 32):
            found |= {number.tobytes() for number in (numbers * 2.0**scale_bits).astype("<i8")}
        singles = numbers.astype("<f4")
        found |= {singles[row : row + 2].tobytes() for row in range(len(singles) - 1)}
        found |= {number.tobytes() for number in singles[:4]}
    return found


def label_runs(done) -> list[bytes]:
    """The labels' own order, as text and in every usual width."""
    frame = done.frame("insurer")
    taken = np.load(done.node_run("insurer", RUN) / "taken.npy")
    labels = frame["fraud"].to_numpy()[taken][:MIN_RUN_LENGTH]
    digits = [str(label) for label in labels]
    return [
        *(labels.astype(dtype).tobytes() for dtype in ("i1", "<i4", "<i8", "<f4", "<f8")),
        "".join(digits).encode(),
        ",".join(digits).encode(),
        ", ".join(digits).encode(),
        np.packbits(labels.astype(np.uint8)).tobytes(),
    ]


def holds_words(path: Path, wanted: np.ndarray) -> bool:
    """Whether any of the wanted 8-byte words stands anywhere in a file."""
    data = path.read_bytes()
    return any(
        bool(
            np.isin(
                np.frombuffer(data[start : start + (len(data) - start) // 8 * 8], np.uint64), wanted
            ).any()
        )
        for start in range(min(8, max(0, len(data) - 7)))
    )
