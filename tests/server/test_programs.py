"""The hub's own programs: what starts, what is refused, and how an end is told."""

import time

import pytest

from protocols.errors import MalformedMessageError
from protocols.link import TransportError
from server.link.relay import Relay
from server.training.plan import RunFolder
from server.training.programs import Programs

RUN = "spring"


@pytest.fixture
def relay():
    relay = Relay()
    yield relay
    relay.close()


@pytest.fixture
def programs(relay, tmp_path, plan):
    RunFolder(tmp_path, RUN).store_bytes("training.json", plan.encode())
    return Programs(relay, tmp_path)


def start(phase, **terms):
    return {"action": "start", "run": RUN, "phase": phase, "terms": terms}


def result(programs, phase):
    ends_at = time.monotonic() + 10
    while time.monotonic() < ends_at:
        found = programs.control({"action": "result", "run": RUN, "phase": phase})
        if found["state"] != "running":
            return found
        time.sleep(0.01)
    return found


@pytest.mark.parametrize(
    "request_",
    [{}, {"action": "stop"}, {"action": "start", "run": RUN}, start("plan"), start("finish")],
)
def test_what_the_hub_has_no_program_for_is_refused(programs, request_):
    with pytest.raises(MalformedMessageError, match="control: "):
        programs.control(request_)


def test_nothing_that_was_not_started_has_a_result(programs):
    assert result(programs, "align") == {"state": "none"}


def test_run_that_is_not_open_does_not_start(programs):
    with pytest.raises(TransportError):
        programs.control(start("align"))
    assert result(programs, "align") == {"state": "none"}


def test_end_of_a_run_ends_its_program_with_a_reason(programs, relay, plan):
    relay.open_run(RUN, [*plan.names, "hub"])
    programs.control(start("align"))
    relay.close_run(RUN, "the operator stopped it")
    found = result(programs, "align")
    assert found["state"] == "failed"
    assert found["code"] == "transport_error" or found["reason"]


def test_rubbish_from_a_partner_ends_the_join(programs, relay, plan):
    relay.open_run(RUN, [*plan.names, "hub"])
    programs.control(start("align"))
    for name in plan.names:
        relay.local(RUN, "align", party=name, deadline_s=5).send("hub", b"rubbish")
    found = result(programs, "align")
    assert (found["state"], found["code"]) == ("failed", "malformed_message")
