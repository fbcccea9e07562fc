"""A ledger that cannot be written: no gradient leaves, and nothing is lost that was paid.

The node's own program runs with a limit on the size of files, so that the write of one
charge stops in the middle, as on a full disk.
"""

import json

import pytest

PARTNERS = ("insurer", "telecom", "police")
VICTIM = "police"
FAILS_AT = 3

LIMITED = """
import os, resource, signal, sys
from pathlib import Path

from clients.node import channel, direct
from protocols.program import Charge

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
home = Path(sys.argv[1])
charges = 0


def perform(self, request, installed=channel.Channel._perform):
    global charges
    if isinstance(request, Charge):
        charges += 1
        if charges == FAILS_AT:
            # Room for a few bytes of the next record and no more.
            size = (home / "ledger" / "budget.journal").stat().st_size + 10
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    answer = installed(self, request)
    os.write(2, (type(request).__name__ + chr(10)).encode())
    return answer


channel.Channel._perform = perform
direct.main()
"""


@pytest.mark.slow
def test_no_gradient_leaves_when_its_charge_cannot_be_written(place):
    place.propose("full", deadline_s=30, steps=8)
    program = ("-c", LIMITED.replace("FAILS_AT", str(FAILS_AT)))
    ended = place.run_directly("full", nodes={VICTIM: program})
    assert ended["hub"] == 1
    state = place.state("full")
    assert state["state"] == "failed"
    (trouble,) = state["trouble"]
    assert (trouble["party"], trouble["phase"], trouble["code"]) == (
        VICTIM,
        "train",
        "internal_error",
    )
    performed = [line for line in place.log(VICTIM).split() if line in ("Charge", "Send")]
    # The last thing that was performed before the failing charge is its own step's shares:
    # after the third charge was asked for, nothing more was sent.
    assert performed.count("Charge") == FAILS_AT - 1
    charged = [label for label in place.charges(VICTIM, "full") if label.startswith("train/")]
    assert charged == [f"train/step/{step}/attempt/1" for step in range(FAILS_AT - 1)]
    for name in PARTNERS:
        steps = [label for label in place.charges(name, "full") if label.startswith("train/")]
        assert len(steps) <= FAILS_AT
        assert not place.reserves(name, "full") or name == VICTIM
    place.propose("again")
    assert place.run_directly("again") == dict.fromkeys(("hub", *PARTNERS), 0), place.log("hub")
    assert json.loads((place.hub_run("again") / "state.json").read_text())["state"] == "done"
