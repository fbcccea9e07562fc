import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import MalformedMessageError
from protocols.phase import (
    MAX_REASON,
    PHASES,
    PhaseReply,
    PhaseRequest,
    Status,
    done,
    failed,
    message_type,
    phase_of,
    refused,
    verify_run_name,
)

REQUEST = PhaseRequest("autumn-1", "align", 2, 60, '{"a":1}')


def test_request_survives_the_wire():
    assert PhaseRequest.from_fields(REQUEST.fields()) == REQUEST


@pytest.mark.parametrize("reply", [done('{"x":2}'), refused("not_agreed", "No."), failed("x", "y")])
def test_reply_survives_the_wire(reply):
    assert PhaseReply.from_fields(reply.fields()) == reply


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("run", "../../etc"),
        ("run", ""),
        ("run", "A"),
        ("run", 7),
        ("run", "a\n"),
        ("phase", "destroy"),
        ("attempt", 0),
        ("attempt", True),
        ("attempt", "1"),
        ("deadline_s", 0),
        ("deadline_s", 10**9),
        ("body", b"{}"),
        ("body", "x" * (4 * 1024 * 1024 + 1)),
        ("extra", "field"),
    ],
)
def test_wrong_request_is_malformed(field, value):
    with pytest.raises(MalformedMessageError):
        PhaseRequest.from_fields(REQUEST.fields() | {field: value})


def test_missing_field_is_malformed():
    for name in REQUEST.fields():
        fields = REQUEST.fields()
        del fields[name]
        with pytest.raises(MalformedMessageError):
            PhaseRequest.from_fields(fields)


@pytest.mark.parametrize(
    "change",
    [
        {"status": "maybe"},
        {"status": "done", "code": "odd"},
        {"status": "failed", "code": ""},
        {"code": "Not Snake"},
        {"reason": "x" * (MAX_REASON + 1)},
        {"reason": 5},
    ],
)
def test_wrong_reply_is_malformed(change):
    with pytest.raises(MalformedMessageError):
        PhaseReply.from_fields(refused("not_agreed", "No.").fields() | change)


@given(
    st.dictionaries(
        st.sampled_from(["run", "phase", "attempt", "deadline_s", "body", "status", "code"]),
        st.text() | st.integers() | st.booleans() | st.binary() | st.none(),
    )
)
def test_any_record_is_a_value_or_malformed(fields):
    for kind in (PhaseRequest, PhaseReply):
        try:
            kind.from_fields(fields)
        except MalformedMessageError:
            continue


def test_long_reason_is_cut_not_lost():
    assert len(refused("long", "x" * 10_000).reason) == MAX_REASON
    assert failed("long", "x").status is Status.FAILED


def test_every_phase_has_its_message_type():
    assert [phase_of(message_type(phase)) for phase in PHASES] == list(PHASES)
    assert message_type("train") == "train.train"
    assert message_type("plan") == "query.plan"


@pytest.mark.parametrize("kind", ["query", "train", "query.train", "evaluate.plan", "", "train.x"])
def test_foreign_message_type_is_malformed(kind):
    with pytest.raises(MalformedMessageError):
        phase_of(kind)


def test_run_name_is_safe_as_a_folder():
    verify_run_name("2026-autumn")
    for name in ("..", "a/b", "-a", "", "a" * 64, "a b", "a.b"):
        with pytest.raises(MalformedMessageError):
            verify_run_name(name)


def test_phase_messages_load_without_torch():
    # Every message starts a process at the partner; torch would add seconds to each.
    code = (
        "import sys, clients.node.launcher, protocols.bundle;"
        "sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
