"""Flower's federated averaging over the members of a block, with masked updates.

`MaskedFedAvg` is Flower's FedAvg in all but the sum: it asks the members of one block and no
other node, sends the common weights as Flower's arrays, and adds up masked words instead of
weights. One message a round and member. A round without an answer of every member is void.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from protocols.errors import MalformedMessageError
from protocols.phase import LEARN, PhaseReply, PhaseRequest, message_type
from protocols.vertical.averaging import Averaging
from server.training.coordinator import (
    Failure,
    IsRevoked,
    falls_out,
    nobody_revoked,
    partner_deadline_s,
)
from server.training.reading import read_reply
from server.training.rounds import Group, is_done, learned, round_attempt, void

POLL_S = 0.2
ROWS = "num-examples"
_ARRAYS, _REQUEST = "arrays", "request"


class RoundVoidError(Exception):
    """Leaves Flower's loop: a member is missing; the strategy holds the answers."""

    code: ClassVar[str] = "round_void"


class MaskedFedAvg(FedAvg):
    """FedAvg over updates of which only the sum can be read.

    Args:
        nodes: Flower's node ids of the members, by name.
        attempt: of the phase; each round of it has a number of its own.
    """

    def __init__(
        self, group: Group, nodes: Mapping[str, int], *, run: str, attempt: int, deadline_s: int
    ) -> None:
        super().__init__(
            fraction_evaluate=0.0,
            min_train_nodes=len(nodes),
            min_available_nodes=len(nodes),
            weighted_by_key=ROWS,
            arrayrecord_key=_ARRAYS,
            configrecord_key=_REQUEST,
        )
        self.averaging = Averaging(group.members)
        self.answers: dict[str, PhaseReply | Failure] = {}
        self._names = {node: name for name, node in nodes.items()}
        self._run = run
        self._attempt = attempt
        self._deadline_s = deadline_s

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask every member for a round, from the weights that all members have now."""
        request = PhaseRequest(
            self._run,
            LEARN,
            round_attempt(self._attempt, server_round),
            partner_deadline_s(self._deadline_s),
            json.dumps({"round": server_round}),
        )
        config = ConfigRecord(dict(request.fields()))
        messages: Iterable[Message] = super().configure_train(server_round, arrays, config, grid)
        return messages

    def _construct_messages(
        self, record: RecordDict, node_ids: list[int], kind: str
    ) -> Iterable[Message]:
        """Make one message a member, of the type under which nodes know the phase."""
        del kind
        number = record[_REQUEST]["server-round"]
        return [
            Message(
                record,
                dst_node_id=node,
                message_type=message_type(LEARN),
                group_id=f"{LEARN}-{self._attempt}-{number}",
                ttl=float(self._deadline_s),
            )
            for node in node_ids
        ]

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Add up the masked words of all members; the masks cancel in the sum alone.

        Raises:
            RoundVoidError: a member refused, failed or is missing.
            MalformedMessageError: the words are not those of one round.
        """
        received = list(replies)
        self.answers = {
            self._names[message.metadata.src_node_id]: read_reply(message) for message in received
        }
        whole = set(self.answers) == set(self.averaging.members)
        if not whole or not all(map(is_done, self.answers.values())):
            raise RoundVoidError(f"round {server_round}")
        valid, _ = self._check_and_log_replies(received, is_train=True)
        parts = {self._names[reply.metadata.src_node_id]: _part(reply.content) for reply in valid}
        moved = self.averaging.add_round(parts)
        rows = sum(part[1] for part in parts.values())
        return ArrayRecord([moved]), MetricRecord({ROWS: rows})


class MembersGrid(Grid):
    """Flower's grid as if the members of one block were all its nodes.

    Polls more often than Flower does, and stops waiting when a member has fallen out.
    """

    def __init__(
        self,
        grid: Grid,
        nodes: Mapping[str, int],
        *,
        grace_s: float,
        is_revoked: IsRevoked = nobody_revoked,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._grid = grid
        self._nodes = nodes
        self._grace_s = grace_s
        self._is_revoked = is_revoked
        self._clock = clock
        self._sleep = sleep

    def __getattr__(self, name: str) -> Any:
        """Leave everything else to Flower's grid."""
        return getattr(self._grid, name)

    def set_run(self, run: Any) -> None:
        """Leave the run as Flower set it."""

    @property
    def run(self) -> Any:
        """Return Flower's run."""
        return self._grid.run

    def create_message(self, *arguments: Any, **named: Any) -> Message:
        """Make a message as Flower does."""
        return self._grid.create_message(*arguments, **named)

    def get_node_ids(self) -> Iterable[int]:
        """Return the members' ids."""
        return list(self._nodes.values())

    def get_nodes(self) -> Iterable[Any]:
        """Return what Flower knows of the members."""
        return [node for node in self._grid.get_nodes() if node.node_id in self._nodes.values()]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Hand messages to Flower."""
        pushed: Iterable[str] = self._grid.push_messages(messages)
        return pushed

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Take replies from Flower."""
        pulled: Iterable[Message] = self._grid.pull_messages(message_ids)
        return pulled

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send a round and wait for all members, or for one to fall out."""
        waiting = set(self._grid.push_messages(list(messages)))
        end = self._clock() + (timeout or 0.0)
        found: list[Message] = []
        while waiting and self._clock() < end:
            for reply in self._grid.pull_messages(list(waiting)):
                waiting.discard(reply.metadata.reply_to_message_id)
                found.append(reply)
                if falls_out(read_reply(reply)):
                    end = min(end, self._clock() + self._grace_s)
            if any(map(self._is_revoked, self._nodes)):
                # Its word for the sum does not come: the others' are waited for briefly.
                end = min(end, self._clock() + self._grace_s)
            if waiting:
                self._sleep(POLL_S)
        return found


def learn_over_flower(
    grid: Grid, group: Group, strategy: MaskedFedAvg, *, timeout_s: float
) -> dict[str, PhaseReply | Failure]:
    """Do all rounds of one block by Flower's own loop; return what became of each member."""
    try:
        strategy.start(grid, ArrayRecord([np.zeros(0)]), num_rounds=group.rounds, timeout=timeout_s)
    except RoundVoidError:
        silent = Failure("silent", "no reply within the deadline")
        answers = dict.fromkeys(group.members, silent) | strategy.answers
        return void(group, answers)
    return dict(learned(group, strategy.averaging.moved))


def _part(content: RecordDict) -> tuple[Any, int]:
    """Read a member's masked words and rows from its records."""
    arrays, metrics = content[_ARRAYS], content["metrics"]
    if not isinstance(arrays, ArrayRecord) or not isinstance(metrics, MetricRecord):
        raise MalformedMessageError("round: the reply holds no update")
    found, rows = arrays.to_numpy_ndarrays(), metrics[ROWS]
    if len(found) != 1 or found[0].dtype != np.int64 or found[0].ndim != 1:
        raise MalformedMessageError("round: the update is not one vector of words")
    if not isinstance(rows, int):
        raise MalformedMessageError("round: rows must be a whole number")
    return found[0].view(np.uint64), rows
