"""The hub's part in a run: replies are read strictly, and a record is kept however it ends."""

import json
import os
from hashlib import sha256

import pytest

from compliance.clock import FixedClock
from compliance.log.errors import StorageError
from compliance.log.memory import MemoryStorage
from compliance.log.second import FileCheckpoints
from protocols.dp.events import Gaussian, event_fields
from protocols.errors import MalformedMessageError
from protocols.link import TransportError
from protocols.tlog.entry import Entry
from server.log.keys import LogKeys
from server.log.opening import assemble
from server.training.conduct import Training
from server.training.plan import RunFolder
from server.training.proposal import store_proposal

NAMES = ("insurer", "police", "telecom")


class Control:
    """Takes control requests as the hub process does; `fails` names actions that it cannot do."""

    def __init__(self, fails=()):
        self.asked, self.fails = [], fails

    def __call__(self, request):
        self.asked.append(request)
        if request["action"] in self.fails:
            raise TransportError("the relay is gone", retryable=False)
        return {"run": request["run"]}


@pytest.fixture
def run(tmp_path, choices, partners):
    store_proposal(tmp_path, choices(on_refusal="continue"), partners)
    return RunFolder(tmp_path, "spring")


def conduct(run, **changes):
    control = Control(**changes)
    home = run.path.parent.parent
    log = assemble(
        "lianfang/audit",
        MemoryStorage(),
        FileCheckpoints(home / "log-second"),
        LogKeys.draw(os.urandom),
        clock=FixedClock(1_795_305_600),
        folder=home,
    )
    return Training(home, run.load_plan(), control, journal=log.journal), control


def entered(training):
    log = training._journal._log
    storage, origin = log._storage, log.origin()
    size = storage.edge(origin).size
    return [Entry.decode(data) for data in storage.entries(origin, 0, size)]


def record(run):
    return json.loads((run.path / "record.json").read_text())


def replies(**values):
    return dict.fromkeys(NAMES, json.dumps(values))


def through_align(training):
    training.before("plan", NAMES)
    training.after("plan", replies(announcement="00"))
    training.before("align", NAMES)
    training.after("align", replies(rows=5, total=8, dropped={}))


def test_everyone_is_asked_for_one_and_the_same_plan(run):
    training, control = conduct(run)
    bodies = training.before("plan", NAMES)
    assert len(set(bodies.values())) == 1
    assert control.asked[0]["parties"] == [*NAMES, "hub"]
    assert (
        json.loads(bodies["police"])["plan"].encode() == (run.path / "training.json").read_bytes()
    )


def test_plan_without_a_partner_is_another_plan(run):
    training, _ = conduct(run)
    first = training.before("plan", NAMES)["insurer"]
    second = training.before("plan", ("insurer", "telecom"))
    assert set(second) == {"insurer", "telecom"}
    assert second["insurer"] != first
    assert "police" not in json.loads(second["insurer"])["plan"]


def test_widths_and_counts_are_passed_on(run):
    training, _ = conduct(run)
    through_align(training)
    training.before("prepare", NAMES)
    training.after("prepare", replies(width=4, trained=90, positives=7))
    body = json.loads(training.before("train", NAMES)["police"])
    assert body == {
        "widths": {"police": 4, "telecom": 4},
        "counts": {"trained": 90, "positives": 7},
    }


@pytest.mark.parametrize(
    "wrong", [{}, {"width": "4"}, {"width": -1}, {"width": True}, {"width": 1.5}]
)
def test_reply_that_does_not_fit_is_refused_by_name(run, wrong):
    training, _ = conduct(run)
    through_align(training)
    bodies = replies(width=4, trained=90, positives=7) | {"telecom": json.dumps(wrong)}
    with pytest.raises(MalformedMessageError, match="reply of telecom: width"):
        training.after("prepare", bodies)


@pytest.mark.parametrize("body", ["", "[]", "7"])
@pytest.mark.parametrize("phase", ["plan", "align", "prepare", "validate", "finish"])
def test_reply_that_is_no_object_is_refused_by_name(run, phase, body):
    training, _ = conduct(run)
    with pytest.raises(MalformedMessageError, match="reply of police"):
        training.after(phase, replies(total=1) | {"police": body})


def test_partners_must_agree_about_the_joint_table(run):
    training, _ = conduct(run)
    through_align(training)
    training.after("align", replies(total=8) | {"police": '{"total": 9}'})
    with pytest.raises(MalformedMessageError, match="disagree about the joint table's size"):
        _ = training._rows


def test_partner_cannot_keep_the_record_from_being_written(run):
    training, _ = conduct(run)
    through_align(training)
    training.before("prepare", NAMES)
    training.before("finish", NAMES)
    bad = {"releases": [{"label": "a", "event": {"kind": "unheard"}}], "sent_bytes": {}}
    with pytest.raises(MalformedMessageError):
        training.after("finish", dict.fromkeys(NAMES, json.dumps(bad)))
    training.close("failed")
    assert record(run)["outcome"] == "failed"
    assert record(run)["privacy"]["unreported"] == list(NAMES)
    assert record(run)["privacy"]["epsilon_spent"] > 0.99


def test_run_refused_at_the_plan_has_cost_nothing(run):
    training, control = conduct(run)
    training.before("plan", NAMES)
    training.close("refused")
    assert record(run)["privacy"]["epsilon_spent"] == 0
    assert control.asked[-1]["action"] == "close_run"


def test_record_is_kept_even_if_the_relay_is_gone(run):
    training, _ = conduct(run, fails={"run_status"})
    training.before("plan", NAMES)
    with pytest.raises(TransportError):
        training.close("failed")
    assert record(run)["outcome"] == "failed"
    assert record(run)["bytes"]["relayed"] == {}


def test_run_stands_in_the_log_from_its_beginning_to_its_end(run):
    training, _ = conduct(run)
    through_align(training)
    training.before("prepare", NAMES)
    training.before("finish", NAMES)
    release = {"label": "train/0", "event": event_fields(Gaussian(4.0))}
    training.after("finish", replies(releases=[release], sent_bytes={}))
    training.close("done")
    found = entered(training)
    assert [entry.policies[0] for entry in found] == [
        "run.start", "run.release", "run.release", "run.release", "run.end",
    ]  # fmt: skip
    assert [entry.organisation for entry in found[1:4]] == list(NAMES)
    assert found[-1].document == sha256((run.path / "record.json").read_bytes()).digest()


def test_partner_that_leaves_at_the_plan_makes_another_beginning(run):
    training, _ = conduct(run)
    training.before("plan", NAMES)
    training.before("plan", NAMES[:1] + NAMES[2:])
    training.close("refused")
    found = entered(training)
    assert [(e.policies[0], e.outcome) for e in found] == [
        ("run.start", "done"), ("run.start", "done"), ("run.end", "refused"),
    ]  # fmt: skip
    assert found[0].agreement != found[1].agreement


class Full:
    """A journal whose storage is full."""

    def run_started(self, plan):
        raise StorageError("log storage failed")

    def run_ended(self, plan, outcome, **fields):
        raise StorageError("log storage failed")


def test_run_without_a_beginning_in_the_log_asks_nobody(run):
    training, control = conduct(run)
    training._journal = Full()
    with pytest.raises(StorageError):
        training.before("plan", NAMES)
    assert control.asked == []


def test_run_without_an_end_in_the_log_has_no_record(run):
    training, _ = conduct(run)
    training.before("plan", NAMES)
    training._journal = Full()
    with pytest.raises(StorageError):
        training.close("done")
    assert not run.has_record()
