"""Running the checks of a `doctor`: one that fails does not stop the others.

A check looks and changes nothing. It passes, warns or fails; each line that does not pass says
what was found and which command mends it. A failure that lies with the network, another party
or this machine ends a doctor with another code than one of files or settings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from compliance.doctor.seen import FAIL, Level, Seen
from compliance.exits import Exit

__all__ = ["AGAIN", "Check", "Examined", "Look", "report_text", "run_checks", "worst"]

Check = tuple[str, Callable[[], bool], str]
"""What is checked, whether it holds, and how to mend it."""


class _Where(StrEnum):
    HERE = "here"
    ELSEWHERE = "elsewhere"


AGAIN = "mend what failed, then run this again"


@dataclass(frozen=True, slots=True)
class Examined:
    """The report of a doctor.

    Args:
        exit: how its command ends.
    """

    findings: list[dict[str, Any]]
    exit: Exit

    @classmethod
    def of(cls, findings: list[dict[str, Any]]) -> Examined:
        """Judge what was found."""
        return cls(findings, worst(findings))

    @property
    def good(self) -> bool:
        """Report whether nothing failed; warnings are no failure."""
        return self.exit is Exit.DONE

    @property
    def text(self) -> str:
        """Return the lines for people."""
        return report_text(self.findings)

    def fields(self) -> dict[str, Any]:
        """Return the report for machines."""
        return {"ok": self.good, "checks": self.findings}


@dataclass(frozen=True, slots=True)
class Look:
    """One check that tells what it found, whether it passes or not.

    Args:
        name: what holds if it passes.
        look: looks, and changes nothing.
        cure: the command, or the deed, that mends it.
        elsewhere: whether a failure lies with the network, another party or this machine.
    """

    name: str
    look: Callable[[], Seen | bool]
    cure: str
    elsewhere: bool = False


def run_checks(
    checks: Sequence[Check | Look], known: tuple[type[Exception], ...]
) -> list[dict[str, Any]]:
    """Run every check and tell what was found.

    Args:
        known: our own errors, whose text says why a check does not hold.
    """
    findings = []
    for check in checks:
        one = check if isinstance(check, Look) else Look(*check)
        seen = _seen(one.look, known)
        findings.append(
            {
                "check": one.name,
                "ok": seen.level is not FAIL,
                "level": seen.level.value,
                "found": seen.found,
                "cure": one.cure,
                "where": (_Where.ELSEWHERE if one.elsewhere else _Where.HERE).value,
            }
        )
    return findings


def report_text(findings: Sequence[dict[str, Any]]) -> str:
    """Return the lines of a report: what passed in one, what did not with its cure."""
    lines = []
    for finding in findings:
        told = f": {finding['found']}" if finding["found"] else ""
        lines.append(f"{finding['level']:<5} {finding['check']}{told}")
        if finding["level"] != Level.PASS:
            lines.append(f"      -> {finding['cure']}")
    return "\n".join(lines)


def worst(findings: Sequence[dict[str, Any]]) -> Exit:
    """Return how a doctor ends: warnings are no failure; files and settings come first."""
    failed = {finding["where"] for finding in findings if not finding["ok"]}
    if _Where.HERE in failed:
        return Exit.CONFIG
    return Exit.FAILED if failed else Exit.DONE


def _seen(look: Callable[[], Seen | bool], known: tuple[type[Exception], ...]) -> Seen:
    """Tell what a check saw and, where our own error says why it does not hold, what that says."""
    try:
        found = look()
    except known as error:
        return Seen(FAIL, str(error))
    except (OSError, ValueError) as error:
        # The text of others may name a path or a value; the kind of error does not.
        return Seen(FAIL, f"could not be looked at ({type(error).__name__})")
    if isinstance(found, Seen):
        return found
    return Seen(Level.PASS if found else FAIL)
