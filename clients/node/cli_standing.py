"""`lianfang node pause`, `resume` and `leave`: whether this node takes part.

Each is decided by the policies and entered in the node's own log before it is so; leaving is
a person's act alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clients.acting import acting
from compliance.commands.acting import AsOption, SecondOption
from compliance.commands.output import EXIT_FAILED, Format, Formatted, say

if TYPE_CHECKING:
    from clients.node.home import Home
    from clients.node.leaving import Left
    from compliance.office.office import Office
    from compliance.staff.acting import Acting

Directory = Annotated[Path, typer.Argument(help="The node's directory.")]
Reason = Annotated[
    str, typer.Option(help="Why, for the hub and the partners to read; name no person.")
]


def pause(
    directory: Directory,
    reason: Reason,
    *,
    holder: Annotated[
        bool, typer.Option("--holder", help="Answer no evaluation as a key holder either.")
    ] = False,
    by: AsOption = "",
    second: SecondOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Refuse every new run, with the reason, until `resume`; runs under way end normally."""
    from clients.node.pausing import pause as begin

    with _opened(directory, by, second) as (home, office, who):
        state = begin(home, office, who, reason=reason, holder=holder)
    said = "Paused: every new run is refused with the code paused and your reason."
    said += (
        "\nEvaluations are refused as well: lookups fail where fewer holders than the "
        "threshold are left."
        if holder
        else "\nAs a key holder the node goes on to answer; --holder stops that as well."
    )
    say(
        output,
        {"standing": state.standing.value, "since": state.since, "reason": state.reason,
         "holder_paused": state.holder},
        f"{said}\nThe hub is told at its next question; nothing else is sent.",
        f"lianfang node resume {directory}",
    )  # fmt: skip


def resume(
    directory: Directory,
    by: AsOption = "",
    second: SecondOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Take part in new runs again, as agreement and policies say."""
    from clients.node.pausing import resume as go_on

    with _opened(directory, by, second) as (home, office, who):
        state = go_on(home, office, who)
    say(
        output,
        {"standing": state.standing.value, "since": state.since},
        "Takes part again. A run that was refused meanwhile is proposed anew by the hub.",
        f"lianfang node inbox {directory}",
    )


def leave(
    directory: Directory,
    reason: Reason,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    by: AsOption = "",
    second: SecondOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Leave for good: end runs, destroy key shares, revoke agreements, say what is kept."""
    from clients.audit.syncing import sync_agreements
    from clients.node.leaving import REPORT
    from clients.node.leaving import leave as end

    with _opened(directory, by, second) as (home, office, who):
        if not yes:
            question = (
                f"Leave for good as {office.name}? Agreements end for everybody, and key "
                "shares cannot be brought back."
            )
            typer.confirm(question, abort=True, err=True)
        found = end(home, office, who, reason=reason)
    sync = sync_agreements(home)
    sent = all(not sync.why_not(bytes.fromhex(digest)) for digest in found.revoked)
    say(
        output,
        found.fields() | {"standing": "left", "report": str(directory / REPORT), "sent": sent},
        _left_text(found, directory / REPORT, why="" if sent else sync.detail or "refused there"),
        f"lianfang node doctor {directory}"
        if sent
        else f"lianfang audit agreement sync {directory}",
    )
    if not sent:
        raise typer.Exit(EXIT_FAILED)


@contextmanager
def _opened(directory: Path, by: str, second: str) -> Iterator[tuple[Home, Office, Acting]]:
    from clients.node.home import Home
    from clients.office import node_office

    home = Home(directory)
    home.config()  # a directory that is no node is told before anything is made in it
    with node_office(home) as office:
        yield home, office, acting(directory, office, name=by, second=second)


def _left_text(found: Left, report: Path, *, why: str) -> str:
    day = datetime.fromtimestamp(found.at, UTC).strftime("%Y-%m-%d")
    lines = [
        f"Left on {day}: {len(found.runs)} runs ended, shares of {len(found.epochs)} epochs "
        f"destroyed, {len(found.revoked)} agreements revoked.",
        "Kept here:",
    ]
    lines += [
        f"  {item.what} ({', '.join(item.where)}): "
        + (f"until {item.until}, " if item.until else "")
        + item.why
        for item in found.kept
    ]
    lines += ["The hub's operator must:", *(f"  {step}" for step in found.hub_must)]
    if found.revoked:
        lines.append(
            "The hub has the revocations."
            if not why
            else f"The hub does not have the revocations yet ({why}); send them again, or give "
            f"{', '.join(found.files)} to every party."
        )
    return "\n".join([*lines, f"Written down in {report}."])
