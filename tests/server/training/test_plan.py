import json
from dataclasses import asdict

import pytest

from protocols.errors import MalformedMessageError, UnsupportedParameterError
from server.training.plan import RunFolder, RunPlan

PLAN = RunPlan("r1", "check", ("insurer", "telecom"), deadlines_s={"train": 30})


def test_plan_survives_the_disk(tmp_path):
    RunFolder(tmp_path, "r1").store_plan(PLAN)
    assert RunFolder(tmp_path, "r1").load_plan() == PLAN


@pytest.mark.parametrize(
    "change",
    [
        {"nodes": []},
        {"nodes": ["a", "a"]},
        {"required": ["police"]},
        {"phases": []},
        {"phases": ["train", "plan"]},
        {"phases": ["plan", "plan"]},
        {"phases": ["plan", "guess"]},
        {"on_refusal": "ignore"},
        {"attempts": 0},
        {"deadlines_s": {"train": 0}},
        {"deadlines_s": {"guess": 5}},
        {"surprise": 1},
    ],
)
def test_plan_that_does_not_hold_together_is_refused(change):
    with pytest.raises(UnsupportedParameterError):
        RunPlan.parse(json.loads(json.dumps(asdict(PLAN))) | change)


def test_run_name_cannot_leave_the_folder(tmp_path):
    with pytest.raises(MalformedMessageError):
        RunFolder(tmp_path, "../elsewhere")


def test_state_is_replaced_as_a_whole(tmp_path):
    folder = RunFolder(tmp_path, "r1")
    assert folder.load_state() is None
    folder.store_plan(PLAN)
    folder.store_state({"state": "running", "long": "x" * 1000})
    folder.store_state({"state": "done"})
    assert folder.load_state() == {"state": "done"}
    assert sorted(path.name for path in folder.path.iterdir()) == ["plan.json", "state.json"]
