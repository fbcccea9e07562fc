"""Reading what a partner answers over Flower: a reply or a failure, whatever it sends."""

from __future__ import annotations

from flwr.app import ConfigRecord, Message
from flwr.common.constant import ErrorCode

from protocols.errors import MalformedMessageError
from protocols.phase import PhaseReply
from server.training.coordinator import Failure

_FLOWER_CODES = {value: name.lower() for name, value in vars(ErrorCode).items()}


def read_reply(message: Message) -> PhaseReply | Failure:
    """Read a reply; whatever a partner's node sends, the hub gets an answer."""
    if message.has_error():
        code = _FLOWER_CODES.get(message.error.code, "flower_error")
        return Failure(code, "the partner's node was lost, or Flower could not carry the message")
    record = message.content.get("reply")
    if not isinstance(record, ConfigRecord):
        return Failure(MalformedMessageError.code, "the partner's reply could not be read")
    try:
        return PhaseReply.from_fields(record)
    except MalformedMessageError as error:
        return Failure(error.code, f"the partner's reply could not be read: {error}")
