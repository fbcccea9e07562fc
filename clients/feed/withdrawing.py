"""Taking reports back, so that every desk learns that they no longer stand.

A withdrawn report is not deleted: its record becomes a new version that says withdrawn and
stays until it would have expired, for the desks that had a hit. Numbers of reports come
from a file or from standard input, never from the command line, which other users see.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from clients.feed.columns import read_text
from clients.feed.defects import DefectError, Refusal
from clients.feed.permitting import Enter
from clients.feed.register import Actor, Effect, Register
from clients.feed.reports import read_report_id
from protocols.errors import InvalidTableError, OutOfTurnError


@dataclass(slots=True)
class Withdrawal:
    """What came of a list of report numbers; refusals name lines of the list."""

    withdrawn: int = 0
    unchanged: int = 0
    refusals: list[Refusal] = field(default_factory=list)


def read_numbers(data: bytes) -> list[str]:
    """Read one report number a line; empty lines do not count.

    Raises:
        InvalidTableError: no text, or nothing in it.
    """
    text, _ = read_text(data)
    lines = [line.strip() for line in text.splitlines()]
    numbers = [line for line in lines if line]
    if not numbers:
        raise InvalidTableError("report numbers: none given; write one a line")
    return numbers


def withdraw_reports(
    register: Register, numbers: list[str], actor: Actor, *, enter: Enter
) -> Withdrawal:
    """Withdraw every report of a list, all known ones in one transaction.

    Args:
        enter: enters into the log how many are withdrawn, before any is.
    """
    found = Withdrawal()
    with register.transaction():
        for line, number in enumerate(numbers, 1):
            try:
                effect = register.withdraw(read_report_id(number), actor)
            except DefectError as error:
                found.refusals.append(Refusal(line, "report_id", error.rule, error.cure))
                continue
            except OutOfTurnError as error:
                cure = "its record is gone already; nothing is left to withdraw"
                found.refusals.append(Refusal(line, "status", str(error), cure))
                continue
            match effect:
                case None:
                    rule, cure = "no report of this number is known here", "correct the number"
                    found.refusals.append(Refusal(line, "report_id", rule, cure))
                case Effect.UNCHANGED:
                    found.unchanged += 1
                case _:
                    found.withdrawn += 1
        if found.withdrawn:
            enter(found.withdrawn)
    return found
