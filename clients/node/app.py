"""The Flower-facing shell of the node: one message in, one reply out.

Knows Flower's messages and nothing of the phases themselves.
"""

from __future__ import annotations

from collections.abc import Mapping

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp

from clients.node.answering import Phase, answer
from protocols.errors import MalformedMessageError
from protocols.phase import PhaseReply, PhaseRequest, phase_of, refused

REQUEST = "request"
REPLY = "reply"

# The bundle must name a ClientApp. It is never run: the launcher calls `handle`.
app = ClientApp()


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
    return answer(request, phase)
