"""The Flower-facing shell of the node: one message in, one reply out.

Knows Flower's messages and nothing of the phases themselves, but that in a round of averaging
the weights are Flower's arrays, and not part of the body:

    request   `request` (config), `arrays` (how far the common weights have moved)
    reply     `reply` (config), `arrays` (our masked words), `metrics` (`num-examples`: our rows)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from clients.node.answering import Phase, answer
from protocols.errors import MalformedMessageError
from protocols.phase import (
    LEARN,
    PhaseReply,
    PhaseRequest,
    Status,
    message_type,
    phase_of,
    refused,
)
from protocols.vertical.averaging import decode_masked, encode_reals

REQUEST = "request"
REPLY = "reply"
ARRAYS, METRICS = "arrays", "metrics"
ROWS, ROUND = "num-examples", "server-round"  # as Flower's FedAvg calls them

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
    records: dict[str, ArrayRecord | MetricRecord | ConfigRecord] = {}
    if reply.status is Status.DONE and message.metadata.message_type == message_type(LEARN):
        reply, records = _with_arrays(reply)
    records[REPLY] = ConfigRecord(dict(reply.fields()))
    return Message(RecordDict(records), reply_to=message)


def read_request(message: Message) -> PhaseRequest:
    """Read the request of a Flower message.

    Raises:
        MalformedMessageError: if there is none, or it is of another phase than the type says.
    """
    phase = phase_of(message.metadata.message_type)
    expected = {REQUEST, ARRAYS} if phase == LEARN else {REQUEST}
    if not message.has_content() or set(message.content) != expected:
        raise MalformedMessageError("message: content is not one request record")
    record = message.content[REQUEST]
    if not isinstance(record, ConfigRecord):
        raise MalformedMessageError("message: request is not a config record")
    fields = dict(record)
    if phase == LEARN:
        fields.pop(ROUND, None)  # Flower's own count; ours stands in the body
    request = PhaseRequest.from_fields(fields)
    if request.phase != phase:
        raise MalformedMessageError("message: type and request name different phases")
    return request if phase != LEARN else _with_weights(request, message.content[ARRAYS])


def _with_weights(request: PhaseRequest, arrays: object) -> PhaseRequest:
    """Put the weights of a round into the request's body, where the phase expects them."""
    try:
        body = json.loads(request.body)
        found = arrays.to_numpy_ndarrays() if isinstance(arrays, ArrayRecord) else []
        if len(found) != 1:
            raise MalformedMessageError("message: arrays are not the weights of a round")
        weights = encode_reals(found[0].astype(np.float64).ravel())
        return replace(request, body=json.dumps(body | {"moved": weights}))
    except (TypeError, ValueError) as error:
        raise MalformedMessageError("message: arrays are not the weights of a round") from error


def _with_arrays(
    reply: PhaseReply,
) -> tuple[PhaseReply, dict[str, ArrayRecord | MetricRecord | ConfigRecord]]:
    """Take the masked words out of a reply's body, into records as FedAvg expects them."""
    body = json.loads(reply.body)
    if not body:
        return reply, {}
    words = decode_masked(body["update"]).view(np.int64)
    records: dict[str, ArrayRecord | MetricRecord | ConfigRecord] = {
        ARRAYS: ArrayRecord([words]),
        METRICS: MetricRecord({ROWS: int(body["rows"])}),
    }
    return replace(reply, body="{}"), records


def _answer(message: Message, phase: Phase) -> PhaseReply:
    try:
        request = read_request(message)
    except MalformedMessageError as error:
        return refused(error.code, str(error))
    return answer(request, phase)
