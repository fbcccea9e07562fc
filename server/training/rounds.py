"""Rounds of averaging: which members of which block, what a round asks, what came of it.

The hub tells a phase `learn` in two steps: to the carrier, which block each partner averages
with and in how many rounds; to the partners, round after round, the number of the round and
how far the common weights have moved. It adds up words that are masked in pairs, and sees no
member's update; see `protocols.vertical.averaging`.

    carrier   {"block": "telecom", "rounds": 4}      {} for a partner that averages with nobody
    partner   {"round": 1, "moved": ""}              <- {"update": words, "rows": n}
    result    {"moved": weights}                     at every member, once all rounds are done
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from protocols.errors import MalformedMessageError
from protocols.phase import PhaseReply, Status, done
from protocols.vertical.averaging import (
    Averaging,
    Words,
    decode_masked,
    encode_reals,
)
from protocols.vertical.axis import Reals
from protocols.vertical.neural_terms import MAX_ROUNDS
from server.training.coordinator import ABANDONED, Answers, Failure


@dataclass(frozen=True, slots=True)
class Group:
    """The members of one block and how many rounds they do."""

    block: str
    members: tuple[str, ...]
    rounds: int


def groups_of(bodies: Mapping[str, str]) -> tuple[Group, ...]:
    """Read from the hub's own bodies who averages with whom."""
    found: dict[tuple[str, int], list[str]] = {}
    for name, body in bodies.items():
        told = json.loads(body)
        if told:
            found.setdefault((told["block"], told["rounds"]), []).append(name)
    return tuple(Group(block, tuple(names), rounds) for (block, rounds), names in found.items())


def round_attempt(attempt: int, number: int) -> int:
    """Return the number under which a partner is asked for a round: never one twice."""
    return (attempt - 1) * MAX_ROUNDS + number


def part_of(reply: PhaseReply) -> tuple[Words, int]:
    """Read a member's masked words and rows.

    Raises:
        MalformedMessageError: the body is not a round's.
    """
    try:
        body = json.loads(reply.body)
        words, rows = decode_masked(body["update"]), body["rows"]
    except (ValueError, KeyError, TypeError) as error:
        raise MalformedMessageError("round: the reply holds no update") from error
    if not isinstance(rows, int) or isinstance(rows, bool):
        raise MalformedMessageError("round: rows must be a whole number")
    return words, rows


def learned(group: Group, moved: Reals) -> dict[str, PhaseReply]:
    """Return what every member's phase came to."""
    body = json.dumps({"moved": encode_reals(moved)})
    return {name: done(body) for name in group.members}


def void(group: Group, answers: Answers) -> dict[str, PhaseReply | Failure]:
    """Return what became of a round in which a member is missing: nothing, for all of them."""
    lost = Failure(ABANDONED, "the round is void, because another member fell out")
    return {
        name: lost if (answer := answers.get(name)) is None or is_done(answer) else answer
        for name in group.members
    }


def is_done(answer: PhaseReply | Failure) -> bool:
    """Whether a member did its round."""
    return isinstance(answer, PhaseReply) and answer.status is Status.DONE


def run_rounds(
    group: Group, ask: Callable[[int, Mapping[str, str]], Answers]
) -> dict[str, PhaseReply | Failure]:
    """Do all rounds of one block over a carrier other than Flower.

    Args:
        ask: sends the bodies of a round, by its number, and returns the answers.
    """
    averaging = Averaging(group.members)
    for number in range(1, group.rounds + 1):
        body = json.dumps({"round": number, "moved": encode_reals(averaging.moved)})
        answers = ask(number, dict.fromkeys(group.members, body))
        parts = {}
        for name, answer in answers.items():
            if not isinstance(answer, PhaseReply) or not is_done(answer):
                return void(group, answers)
            parts[name] = part_of(answer)
        averaging.add_round(parts)
    return dict(learned(group, averaging.moved))
