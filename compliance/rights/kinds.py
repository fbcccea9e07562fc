"""What a person may ask for, and the way of a request from its receipt to its end.

    received -> verified -> in_work -> (extended) -> answered -> closed

A request may be refused before the identity is shown, because it is not shown; a person may
take it back at any time. Everything else keeps to the arrows.
"""

from __future__ import annotations

from enum import StrEnum

from protocols.errors import OutOfTurnError


class Kind(StrEnum):
    """What is asked for."""

    ACCESS = "access"
    CORRECTION = "correction"
    OBJECTION = "objection"  # stop of use
    ERASURE = "erasure"
    DISPUTE = "dispute"  # somebody is listed wrongly, or says so


class State(StrEnum):
    """How far a request has come."""

    RECEIVED = "received"
    VERIFIED = "verified"  # who asks has shown to be the person, or to act for it
    IN_WORK = "in_work"
    EXTENDED = "extended"
    ANSWERED = "answered"
    CLOSED = "closed"


class Answer(StrEnum):
    """What the person was told."""

    GRANTED = "granted"
    PARTLY = "partly"
    REFUSED = "refused"
    TAKEN_BACK = "taken_back"  # by the person


_NEXT = {
    State.RECEIVED: {State.VERIFIED, State.ANSWERED},
    State.VERIFIED: {State.IN_WORK, State.ANSWERED},
    State.IN_WORK: {State.EXTENDED, State.ANSWERED},
    State.EXTENDED: {State.ANSWERED},
    State.ANSWERED: {State.CLOSED},
    State.CLOSED: set(),
}
WORKING = (State.IN_WORK, State.EXTENDED)
OPEN = (State.RECEIVED, State.VERIFIED, *WORKING)
NEEDS_CODE = (Answer.PARTLY, Answer.REFUSED)


def check_step(before: State, after: State) -> None:
    """Refuse a step that the way of a request does not have.

    Raises:
        OutOfTurnError: names both ends of the step.
    """
    if after not in _NEXT[before]:
        known = ", ".join(sorted(_NEXT[before])) or "nothing"
        raise OutOfTurnError(f"request: {before} -> {after} is no step; next is {known}")


def check_answer(before: State, answer: Answer) -> None:
    """Refuse an answer for which the request is not far enough.

    Raises:
        OutOfTurnError: only a request in work is granted, even partly.
    """
    check_step(before, State.ANSWERED)
    if answer in {Answer.GRANTED, Answer.PARTLY} and before not in WORKING:
        raise OutOfTurnError(f"request: is {before}; show who asks and take it into work first")
