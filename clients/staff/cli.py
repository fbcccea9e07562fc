"""`lianfang staff`: accounts and roles, consents of a second person, emergencies."""

from __future__ import annotations

from typing import Annotated

import typer

from clients.program import PROGRAM
from compliance.commands.acting import AsOption, SecondOption
from compliance.commands.desk import Directory, Number, at_desk
from compliance.commands.output import Format, Formatted, say
from compliance.commands.program import commands_of
from compliance.commands.staff import COMMANDS


def emergency(
    context: typer.Context,
    directory: Directory,
    case: Annotated[str, typer.Option(help="The case at your organisation; sealed in the log.")],
    reason: Annotated[str, typer.Option(help="Why it cannot wait; sealed in the log.")],
    hours: Annotated[int, typer.Option(help="For how long at most, 1 to 12.")] = 4,
    by: AsOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Declare an emergency: it opens what it opens to you alone, and is reviewed afterwards."""
    from compliance.staff.breaking import declare_emergency
    from compliance.staff.wording import tell_emergency

    with at_desk(context, directory, by, "") as desk:
        who = desk.person()
        found = declare_emergency(
            desk.staff, desk.office, who, case=case, reason=reason, hours=hours
        )
        value, line = tell_emergency(found, desk.office.clock.now())
    say(output, value, f"Declared {line}", f"lianfang staff review {directory} {found.number}")


def review(
    context: typer.Context,
    directory: Directory,
    number: Number,
    finding: Annotated[
        str, typer.Option(help="What came out of the review; without it, read why it was declared.")
    ] = "",
    by: AsOption = "",
    second: SecondOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Read why an emergency was declared, or close it with a finding; not one's own."""
    from compliance.staff.breaking import read_emergency, review_emergency
    from compliance.staff.wording import tell_emergency

    with at_desk(context, directory, by, second) as desk:
        who, now = desk.person(), desk.office.clock.now()
        if finding:
            found = review_emergency(desk.staff, desk.office, who, number, finding=finding)
            value, line = tell_emergency(found, now)
            following = f"lianfang staff waiting {directory}"
        else:
            sealed = read_emergency(desk.staff, desk.office, who, number)
            value, line = tell_emergency(desk.staff.emergencies.find(number), now)
            value |= {"case": sealed.case, "reason": sealed.reason}
            line += f"\ncase: {sealed.case}\nreason: {sealed.reason}"
            following = f"lianfang staff review {directory} {number} --finding ... --second NAME"
    say(output, value, line, following)


app = commands_of(
    PROGRAM,
    COMMANDS | {"emergency": emergency, "review": review},
    "People: accounts, roles, second persons, emergencies.",
)
