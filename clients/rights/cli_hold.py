"""`lianfang audit rights hold`, `holds`, `release`: what must not be erased for a time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clients.rights.cli_options import Directory, Kind, Reason, Stdin
from compliance.commands.acting import AsOption
from compliance.commands.output import Format, Formatted, say

if TYPE_CHECKING:
    from compliance.rights.case import Hold


def hold(
    directory: Directory,
    office: Annotated[str, typer.Option(help="The unit that answers for the hold.")],
    until: Annotated[str, typer.Option(help="Its last day, as 2027-03-31.")],
    reason: Reason,
    *,
    request: Annotated[
        str, typer.Option(help="Hold a request by its number; else the person is asked for.")
    ] = "",
    identifier: Kind = "tw_person_id",
    stdin: Stdin = False,
    by: AsOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Hold a person or a request: while it stands, nothing of it is erased."""
    from clients.rights.counter import opened, read_texts

    with opened(directory, by=by, reason=reason) as counter:
        if request:
            targets = [counter.rights.file.case(request).number]
        else:
            found = read_texts(identifier, many=stdin).identifiers
            targets = [counter.rights.file.token(item.canonical) for item in found]
        laid = counter.rights.hold(targets, office, _end_of(until), counter.who, number=request)
        now = counter.rights.now
    _tell(output, laid, now, f"lianfang audit rights holds {directory}")


def holds(directory: Directory, *, output: Formatted = Format.TEXT) -> None:
    """List the holds, the one that ends first in front."""
    import time

    from clients.rights.counter import read_only
    from compliance.rights.holds import Holds

    with read_only(directory) as file:
        found = Holds(file).all()
    _tell(output, found, int(time.time()), f"lianfang audit rights release {directory} NUMBER")


def release(
    directory: Directory,
    number: Annotated[str, typer.Argument(help="The number of the hold, as H-7K2MQ-9XWT4.")],
    reason: Reason,
    *,
    by: AsOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """End a hold before its time."""
    from clients.rights.counter import opened

    with opened(directory, by=by, reason=reason) as counter:
        found = counter.rights.release(number, counter.who)
        now = counter.rights.now
    _tell(output, [found], now, f"lianfang audit rights holds {directory}")


def _end_of(day: str) -> int:
    """Return the end of a day (UTC)."""
    try:
        start = datetime.fromisoformat(day).replace(tzinfo=UTC)
    except ValueError as error:
        raise typer.BadParameter("--until: must be a day, as 2027-03-31") from error
    return int((start + timedelta(days=1)).timestamp())


def _tell(output: Format, found: list[Hold], now: int, following: str) -> None:
    def row(item: Hold) -> dict[str, Any]:
        last = datetime.fromtimestamp(item.until - 1, UTC).date().isoformat()
        return {
            "number": item.number,
            "office": item.office,
            "owner": item.owner.hex(),
            "last_day": last,
            "reason": item.reason,
            "stands": item.stands(now),
        }

    rows = [row(item) for item in found]
    lines = [
        f"{one['number']}  until {one['last_day']}  {one['office']}  {one['reason']}"
        + ("" if one["stands"] else "  (ended)")
        for one in rows
    ]
    say(output, {"holds": rows}, "\n".join(lines) or "None.", following)
