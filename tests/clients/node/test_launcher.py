import json
import logging
import stat
import time

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.supercore.constant import TASK_TYPE_TO_COMMAND
from flwr.supercore.task_identity import TaskIdentity

from clients.node.app import dispatch, handle
from clients.node.launcher import answer
from clients.node.supernode import make_key, write_programs
from protocols.bundle import bundle_hash
from protocols.errors import UnsupportedParameterError
from protocols.phase import PhaseReply, PhaseRequest, done, message_type


@pytest.fixture(autouse=True)
def identity():
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 7, 1, 3


def asked(phase="plan", *, kind=None, deadline_s=60, content=None):
    request = PhaseRequest("r1", phase, 1, deadline_s, "{}")
    content = content or RecordDict({"request": ConfigRecord(dict(request.fields()))})
    return Message(content, dst_node_id=1, message_type=kind or message_type(phase))


def reply_of(message):
    return PhaseReply.from_fields(message.content["reply"])


def never(request):
    raise AssertionError("the phase must not be reached")


def test_approved_bundle_reaches_the_phase():
    def phase(request):
        return done(json.dumps({"phase": request.phase}))

    reply = reply_of(answer(asked("train"), bundle_hash(), phase))
    assert (reply.status, reply.body) == ("done", '{"phase": "train"}')


def test_foreign_bundle_is_refused_with_a_reason():
    reply = reply_of(answer(asked(), "0" * 64, never))
    assert (reply.status, reply.code) == ("refused", "bundle_not_approved")
    assert "installed" in reply.reason


@pytest.mark.parametrize("kind", ["query", "train", "train.plan", "evaluate", "query.destroy"])
def test_foreign_message_type_is_refused(kind):
    reply = reply_of(answer(asked(kind=kind), bundle_hash(), never))
    assert (reply.status, reply.code) == ("refused", "malformed_message")


@pytest.mark.parametrize(
    "content",
    [
        RecordDict({"request": ConfigRecord({"phase": "plan"})}),
        RecordDict({"other": ConfigRecord({})}),
        RecordDict({"request": ConfigRecord({}), "more": ConfigRecord({})}),
    ],
)
def test_foreign_content_is_refused(content):
    reply = reply_of(answer(asked(content=content), bundle_hash(), never))
    assert (reply.status, reply.code) == ("refused", "malformed_message")


def test_type_and_request_must_name_the_same_phase():
    message = asked("plan", kind=message_type("score"))
    assert reply_of(answer(message, bundle_hash(), never)).status == "refused"


def test_phase_ends_at_its_deadline_even_if_it_swallows_errors():
    def stubborn(request):
        try:
            time.sleep(30)
        except Exception:  # noqa: BLE001
            time.sleep(30)
        return done()

    started = time.monotonic()
    reply = reply_of(answer(asked(deadline_s=1), bundle_hash(), stubborn))
    assert (reply.status, reply.code) == ("failed", "deadline")
    assert time.monotonic() - started < 3


def test_deadline_does_not_outlive_its_phase():
    answer(asked(deadline_s=1), bundle_hash(), lambda _: done())
    time.sleep(1.2)


def test_text_of_a_strange_exception_stays_at_home(caplog):
    def leak(request):
        raise RuntimeError("A123456789 is not in the table")

    with caplog.at_level(logging.DEBUG):
        reply = reply_of(handle(asked(), leak))
    assert (reply.status, reply.code) == ("failed", "internal_error")
    assert "A123456789" not in reply.reason + caplog.text
    assert "RuntimeError" in caplog.text
    assert "test_launcher.py" in caplog.text


def test_our_own_error_keeps_its_code_and_cure():
    def unsupported(request):
        raise UnsupportedParameterError("width: 9999, at most 4096")

    reply = reply_of(handle(asked(), unsupported))
    assert (reply.code, reply.reason) == ("unsupported_parameter", "width: 9999, at most 4096")


def test_phase_that_is_not_in_the_table_is_refused():
    reply = reply_of(handle(asked("score"), dispatch({"plan": lambda _: done()})))
    assert (reply.status, reply.code) == ("refused", "unknown_phase")


def test_every_program_that_a_hub_can_ask_for_is_the_launcher(tmp_path):
    folder = tmp_path / "bin"
    write_programs(folder, ("-m", "clients.node.launcher"))
    programs = {path.name: path.read_text() for path in folder.iterdir()}
    assert set(programs) == {"flower-superexec", *TASK_TYPE_TO_COMMAND.values()}
    for name, text in programs.items():
        assert ('-I "-m" "clients.node.launcher" "$@"' in text) == (name != "flower-superexec")


def test_key_is_readable_by_its_owner_only_and_never_replaced(tmp_path):
    path = tmp_path / "key"
    public = make_key(path)
    assert public.startswith(b"-----BEGIN PUBLIC KEY-----")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        make_key(path)
