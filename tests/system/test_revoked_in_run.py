"""A partner is revoked in the middle of a training run over Flower: the run ends, and says why."""

import json
import subprocess
import sys
import time

import pytest

from clients.demo.bringing_up import run_command

PARTNERS = ("insurer", "telecom", "police")
RUN, GONE = "autumn", "police"


@pytest.mark.slow
def test_run_ends_soon_after_a_partner_is_revoked(make_place, start_flower, wait_for):
    place = make_place("revoked")
    start_flower(place)
    for name in PARTNERS:
        place.set_policy(name, decide="policy", max_epsilon=1.0)
    place.propose(RUN, steps=400, deadline_s=240)
    command = subprocess.Popen(
        [
            *(sys.executable, "-m", "server.cli", "run", str(place.hub), RUN),
            *("--wait", "60", "--format", "json"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    journal = place.node("telecom") / "ledger" / "budget.journal"
    before = journal.stat().st_size if journal.exists() else 0
    wait_for(lambda: journal.exists() and journal.stat().st_size > before + 6_000, 240)
    run_command("lianfang-hub", "revoke", str(place.hub), GONE, "--reason", "its key was stolen")
    at = time.monotonic()
    output, errors = command.communicate(timeout=200)
    took_s = time.monotonic() - at
    state = json.loads(output)["state"]
    assert (command.returncode, state["state"]) == (1, "failed"), errors
    assert [(item["party"], item["code"]) for item in state["trouble"]] == [(GONE, "revoked")]
    assert took_s < 30, state["steps"][-1]
    # The others closed the run and told what they had spent, which stays spent.
    releases = place.record(RUN)["privacy"]["releases"]
    assert set(releases) == {"insurer", "telecom"}
    for name, told in releases.items():
        assert place.charges(name, RUN) == [item["label"] for item in told]
        assert not place.reserves(name, RUN)
        assert not list(place.node_run(name, RUN).glob("*.key"))
    assert any(item["label"].startswith("train/step/") for item in releases["telecom"])
