"""What the hub asks of a partner in one phase, and what the partner answers.

Flower carries one message per phase. Both messages are flat records of text and whole
numbers, so that they pass through any transport; the bodies are JSON texts whose shape
belongs to the phase. This module must stay importable without torch: every message
starts a process at the partner.

    hub -> partner   type `query.plan`, PhaseRequest(run, phase, attempt, deadline_s, body)
    partner -> hub   PhaseReply(status, code, reason, body)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum

from protocols.errors import MalformedMessageError

PHASES = ("plan", "align", "prepare", "train", "validate", "score", "finish")
# Of runs in which members of a block train an expert together: rounds, then encoding anew.
LEARN, ENCODE = "learn", "encode"
ALL_PHASES = (*PHASES[:3], LEARN, ENCODE, *PHASES[3:])
# The code of a partner that ran out of time: it was waiting, most likely for another one.
DEADLINE = "deadline"
# The code of a partner whose work ended because another partner was gone.
PEER_LOST = "peer_lost"
MAX_BODY = 4 * 1024 * 1024
MAX_REASON = 2000
MAX_ATTEMPT = 1000
MAX_DEADLINE_S = 7 * 24 * 3600

_RUN = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_CODE = re.compile(r"[a-z][a-z0-9_]{0,62}|")


class Status(StrEnum):
    """How a partner's part of a phase ended."""

    DONE = "done"
    REFUSED = "refused"  # the partner will not
    FAILED = "failed"  # the partner could not


@dataclass(frozen=True, slots=True)
class PhaseRequest:
    """One phase of one run, asked of one partner.

    Args:
        attempt: 1 for the first time that the hub asks; a repeated phase counts up.
        deadline_s: seconds after which the hub no longer waits for the reply.
        body: JSON text.
    """

    run: str
    phase: str
    attempt: int
    deadline_s: int
    body: str = field(repr=False)

    def __post_init__(self) -> None:
        verify_run_name(self.run)
        if self.phase not in ALL_PHASES:
            raise MalformedMessageError("phase request: phase is unknown")
        _verify_range("attempt", self.attempt, MAX_ATTEMPT)
        _verify_range("deadline_s", self.deadline_s, MAX_DEADLINE_S)
        _verify_text("phase request: body", self.body, MAX_BODY)

    def fields(self) -> dict[str, str | int]:
        """Return the message as a flat record."""
        return asdict(self)

    @classmethod
    def from_fields(cls, fields: Mapping[str, object]) -> PhaseRequest:
        """Read a flat record; exactly the fields of this class, each of its type.

        Raises:
            MalformedMessageError: on any other record.
        """
        _verify_names("phase request", fields, {"run", "phase", "attempt", "deadline_s", "body"})
        return cls(
            run=_text(fields["run"]),
            phase=_text(fields["phase"]),
            attempt=_whole(fields["attempt"]),
            deadline_s=_whole(fields["deadline_s"]),
            body=_text(fields["body"]),
        )


@dataclass(frozen=True, slots=True)
class PhaseReply:
    """A partner's answer; `code` and `reason` are empty when the phase is done.

    Args:
        code: stable snake_case name of the refusal or failure.
        reason: one or two sentences for people; never about a person in the data.
        body: JSON text.
    """

    status: Status
    code: str = ""
    reason: str = ""
    body: str = field(default="{}", repr=False)

    def __post_init__(self) -> None:
        if not _CODE.fullmatch(self.code):
            raise MalformedMessageError("phase reply: code is not a snake_case name")
        if (self.status is Status.DONE) != (self.code == ""):
            raise MalformedMessageError("phase reply: a code goes with a refusal or failure only")
        _verify_text("phase reply: reason", self.reason, MAX_REASON)
        _verify_text("phase reply: body", self.body, MAX_BODY)

    def fields(self) -> dict[str, str | int]:
        """Return the message as a flat record."""
        return {
            "status": self.status.value,
            "code": self.code,
            "reason": self.reason,
            "body": self.body,
        }

    @classmethod
    def from_fields(cls, fields: Mapping[str, object]) -> PhaseReply:
        """Read a flat record; exactly the fields of this class, each of its type.

        Raises:
            MalformedMessageError: on any other record.
        """
        _verify_names("phase reply", fields, {"status", "code", "reason", "body"})
        try:
            status = Status(_text(fields["status"]))
        except ValueError as error:
            raise MalformedMessageError("phase reply: status is unknown") from error
        return cls(status, *(_text(fields[name]) for name in ("code", "reason", "body")))


def done(body: str = "{}") -> PhaseReply:
    """Answer that the phase is done."""
    return PhaseReply(Status.DONE, body=body)


def refused(code: str, reason: str) -> PhaseReply:
    """Answer that the partner will not take part."""
    return PhaseReply(Status.REFUSED, code, reason[:MAX_REASON])


def failed(code: str, reason: str) -> PhaseReply:
    """Answer that the partner could not do the phase."""
    return PhaseReply(Status.FAILED, code, reason[:MAX_REASON])


def message_type(phase: str) -> str:
    """Name the Flower message type of a phase."""
    return f"train.{phase}" if phase in {"train", LEARN} else f"query.{phase}"


def phase_of(kind: str) -> str:
    """Read the phase from a Flower message type.

    Raises:
        MalformedMessageError: if it is the type of no phase.
    """
    for phase in ALL_PHASES:
        if kind == message_type(phase):
            return phase
    raise MalformedMessageError("message type: belongs to no phase")


def verify_run_name(run: str) -> None:
    """Check that a run's name is safe as the name of a folder.

    Raises:
        MalformedMessageError: unless 1 to 63 of a-z, 0-9 and inner hyphens.
    """
    if not _RUN.fullmatch(run):
        raise MalformedMessageError("run: name is not 1 to 63 of a-z, 0-9 and hyphen")


def _verify_names(subject: str, fields: Mapping[str, object], names: set[str]) -> None:
    if set(fields) != names:
        raise MalformedMessageError(f"{subject}: {len(fields)} fields, expected {sorted(names)}")


def _verify_range(name: str, value: int, largest: int) -> None:
    if not 1 <= value <= largest:
        raise MalformedMessageError(f"phase request: {name} {value} not in 1..{largest}")


def _verify_text(subject: str, value: str, largest: int) -> None:
    if len(value) > largest:
        raise MalformedMessageError(f"{subject} has {len(value)} characters, at most {largest}")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise MalformedMessageError("record: a field is not text")
    return value


def _whole(value: object) -> int:
    # bool is an int in Python, but not on the wire.
    if not isinstance(value, int) or isinstance(value, bool):
        raise MalformedMessageError("record: a field is not a whole number")
    return value
