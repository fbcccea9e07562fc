"""The Flower-facing shell of the node: one message in, one reply out.

Knows Flower's messages and nothing of the phases themselves. Whatever goes wrong inside a
phase becomes a reply with a stable code; the text of an exception that is not ours may
hold a person's value, so it neither leaves the site nor reaches a log.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp

from compliance.errors import ComplianceError
from protocols.errors import MalformedMessageError, ProtocolError
from protocols.phase import PhaseReply, PhaseRequest, failed, phase_of, refused

Phase = Callable[[PhaseRequest], PhaseReply]

REQUEST = "request"
REPLY = "reply"

# The bundle must name a ClientApp. It is never run: the launcher calls `handle`.
app = ClientApp()

_log = logging.getLogger(__name__)


def handle(message: Message, phase: Phase) -> Message:
    """Answer one message with `phase`; always returns a reply."""
    return write_reply(message, _answer(message, phase))


def dispatch(table: Mapping[str, Phase]) -> Phase:
    """Make one phase function of a table of them; a phase that is not in it is refused."""

    def run(request: PhaseRequest) -> PhaseReply:
        if request.phase not in table:
            return refused("unknown_phase", f"this node does not do the phase {request.phase}")
        return table[request.phase](request)

    return run


def write_reply(message: Message, reply: PhaseReply) -> Message:
    """Put a phase's reply into a Flower message."""
    return Message(RecordDict({REPLY: ConfigRecord(dict(reply.fields()))}), reply_to=message)


def read_request(message: Message) -> PhaseRequest:
    """Read the request of a Flower message.

    Raises:
        MalformedMessageError: if there is none, or it is of another phase than the type says.
    """
    phase = phase_of(message.metadata.message_type)
    if not message.has_content() or set(message.content) != {REQUEST}:
        raise MalformedMessageError("message: content is not one request record")
    record = message.content[REQUEST]
    if not isinstance(record, ConfigRecord):
        raise MalformedMessageError("message: request is not a config record")
    request = PhaseRequest.from_fields(record)
    if request.phase != phase:
        raise MalformedMessageError("message: type and request name different phases")
    return request


def _answer(message: Message, phase: Phase) -> PhaseReply:
    try:
        request = read_request(message)
    except MalformedMessageError as error:
        return refused(error.code, str(error))
    try:
        return phase(request)
    except (ProtocolError, ComplianceError) as error:
        # Our own errors name field, rule and cure, and never a person's value.
        _log.warning("phase %s failed: %s", request.phase, error.code)
        return failed(error.code, str(error))
    except Exception as error:  # noqa: BLE001  # the shell: whatever it is, the hub gets a reply
        _log.error("phase %s failed: %s at %s", request.phase, *_whereabouts(error))
        return failed(
            "internal_error", "the phase failed at this partner; the node's log says where"
        )


def _whereabouts(error: Exception) -> tuple[str, str]:
    """Name an exception's class and its place, without its text."""
    frames = traceback.extract_tb(error.__traceback__)
    places = (f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames[-3:])
    return type(error).__name__, " > ".join(places)
