"""The hub's part in a run: replies are read strictly, and a record is kept however it ends."""

import json

import pytest

from protocols.errors import MalformedMessageError
from protocols.link import TransportError
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
    return Training(run.path.parent.parent, run.load_plan(), control), control


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
