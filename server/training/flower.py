"""Flower as the carrier of phases: `PhaseGrid` over a real SuperLink.

A partner is named by the name under which its SuperNode's key is registered; the SuperLink
answers a node id only to the holder of that key. Replies are polled for here, because
Flower's own `send_and_receive` sleeps three seconds at a time and has no view of phases.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from protocols.phase import LEARN, PEER_LOST, PhaseReply, PhaseRequest, done, message_type
from server.training.coordinator import (
    ABANDONED,
    Answers,
    Failure,
    IsRevoked,
    falls_out,
    nobody_revoked,
    partner_deadline_s,
    revoked,
)
from server.training.learning import MaskedFedAvg, MembersGrid, learn_over_flower
from server.training.reading import read_reply
from server.training.rounds import groups_of, is_done

POLL_S = 0.2
# SuperNodes that are starting or were cut off for a moment get this long to come back.
JOIN_S = 30.0
# What the other partners get once one has failed: enough for a reply on its way.
GRACE_S = 10.0


class FlowerGrid:
    """Asks partners through Flower.

    Args:
        run: our name of the run.
        on_loss: is told phase, attempt and name of a partner that has fallen out, so that
            those who wait for it hear of it at once.
        is_revoked: such a partner is not waited for.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        grid: Grid,
        run: str,
        *,
        on_loss: Callable[[str, int, str], None] = lambda *_: None,
        join_s: float = JOIN_S,
        grace_s: float = GRACE_S,
        is_revoked: IsRevoked = nobody_revoked,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._grid = grid
        self._run = run
        self._on_loss = on_loss
        self._join_s = join_s
        self._grace_s = grace_s
        self._is_revoked = is_revoked
        self._clock = clock
        self._sleep = sleep

    def ask(
        self, phase: str, bodies: Mapping[str, str], *, attempt: int, deadline_s: int
    ) -> Answers:
        """Send each named partner its body; return one answer for each, within the deadline."""
        end = self._clock() + deadline_s
        ids = self._wait_for_nodes(set(bodies), end)
        offline = [name for name in bodies if name not in ids]
        answers: dict[str, PhaseReply | Failure] = {
            name: revoked()
            if self._is_revoked(name)
            else Failure("offline", "the partner's node is not connected to the hub")
            for name in offline
        }
        if offline:
            # Nobody starts a phase that cannot end: the others would wait for the absent one.
            answers |= {name: _abandoned() for name in ids}
            return answers
        if phase == LEARN:
            return self._learn(bodies, ids, attempt, deadline_s)
        asked = self._push(phase, bodies, ids, attempt, deadline_s)
        answers |= self._collect(asked, end, phase, attempt)
        return answers

    def _learn(
        self, bodies: Mapping[str, str], ids: Mapping[str, int], attempt: int, deadline_s: int
    ) -> Answers:
        """Let the members of each block average over Flower's FedAvg; others have no part."""
        answers: dict[str, PhaseReply | Failure] = {name: done() for name in bodies}
        for group in groups_of(bodies):
            nodes = {name: ids[name] for name in group.members}
            members = MembersGrid(
                self._grid,
                nodes,
                grace_s=self._grace_s,
                is_revoked=self._is_revoked,
                clock=self._clock,
                sleep=self._sleep,
            )
            strategy = MaskedFedAvg(
                group, nodes, run=self._run, attempt=attempt, deadline_s=deadline_s
            )
            answers |= learn_over_flower(members, group, strategy, timeout_s=deadline_s)
            if not all(map(is_done, answers.values())):
                break
        return answers

    def _wait_for_nodes(self, names: set[str], end: float) -> dict[str, int]:
        """Return the node ids of the named partners that are connected and not revoked."""
        end = min(end, self._clock() + self._join_s)
        while True:
            gone = {name for name in names if self._is_revoked(name)}
            ids = {
                node.name: node.node_id
                for node in self._grid.get_nodes()
                if node.name in names - gone
            }
            if gone or len(ids) == len(names) or self._clock() >= end:
                return ids
            self._sleep(POLL_S)

    def _push(
        self,
        phase: str,
        bodies: Mapping[str, str],
        ids: Mapping[str, int],
        attempt: int,
        deadline_s: int,
    ) -> dict[str, str]:
        """Send the messages; return the partner's name by message id."""
        messages = []
        theirs_s = partner_deadline_s(deadline_s)
        for name, body in bodies.items():
            request = PhaseRequest(self._run, phase, attempt, theirs_s, body)
            content = RecordDict({"request": ConfigRecord(dict(request.fields()))})
            messages.append(
                Message(
                    content,
                    dst_node_id=ids[name],
                    message_type=message_type(phase),
                    group_id=f"{phase}-{attempt}",
                    ttl=float(deadline_s),
                )
            )
        message_ids = self._grid.push_messages(messages)
        return dict(zip(message_ids, bodies, strict=True))

    def _collect(
        self, asked: Mapping[str, str], end: float, phase: str, attempt: int
    ) -> dict[str, PhaseReply | Failure]:
        """Poll until every partner has answered, or the time is over."""
        waiting = dict(asked)
        answers: dict[str, PhaseReply | Failure] = {}
        cut_short = False
        while waiting and self._clock() < end:
            for message in self._grid.pull_messages(list(waiting)):
                name = waiting.pop(message.metadata.reply_to_message_id, None)
                if name is not None:
                    answers[name] = read_reply(message)
            gone = {number: name for number, name in waiting.items() if self._is_revoked(name)}
            for number, name in gone.items():
                del waiting[number]
                answers[name] = revoked()
            fallen = [name for name, answer in answers.items() if falls_out(answer)]
            if fallen and not cut_short:
                cut_short = True
                end = min(end, self._clock() + self._grace_s)
                self._on_loss(phase, attempt, fallen[0])
            if waiting:
                self._sleep(POLL_S)
        return answers | dict.fromkeys(waiting.values(), _unanswered(answers))


def _unanswered(answers: Mapping[str, PhaseReply | Failure]) -> Failure:
    """Say what became of those who did not answer, by what the others said.

    Partners that lost another one are not at fault: whoever is silent beside them is the
    one that they lost.
    """
    fallen = [answer for answer in answers.values() if falls_out(answer)]
    if any(answer.code != PEER_LOST for answer in fallen):
        return _abandoned()
    if fallen:
        return Failure("silent", "no reply, and the other partners lost it in the middle")
    return Failure("silent", "no reply within the deadline")


def _abandoned() -> Failure:
    return Failure(ABANDONED, "not waited for any longer, because another partner fell out")
