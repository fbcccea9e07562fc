"""Who opens accounts by an issuer: `staff bind` and `staff unbind` of both programs."""

from __future__ import annotations

from typing import Annotated

import typer

from compliance.commands.acting import AsOption, SecondOption
from compliance.commands.desk import Directory, Name, Reason, at_desk
from compliance.commands.output import Format, Formatted, say
from compliance.commands.program import program_of


def bind(
    context: typer.Context,
    directory: Directory,
    name: Name,
    issuer: Annotated[str, typer.Option(help="The issuer's address, as in signin.json.")],
    subject: Annotated[str, typer.Option(help="What the issuer calls the person (claim sub).")],
    reason: Reason = "",
    by: AsOption = "",
    second: SecondOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Let somebody at the issuer open an account, with a second person."""
    from compliance.signin.issuer.people import bind_identity
    from compliance.signin.store import opened_beside

    with at_desk(context, directory, by, second) as desk, opened_beside(desk.staff) as store:
        found = bind_identity(
            desk.staff, store, desk.office, desk.who, name,
            issuer=issuer, subject=subject, reason=reason,
        )  # fmt: skip
    say(
        output,
        {"account": found.account, "issuer": found.issuer},
        f"The issuer now opens the account {name}.",
        f"{program_of(context).console} {directory}",
    )


def unbind(
    context: typer.Context,
    directory: Directory,
    name: Name,
    reason: Reason = "",
    by: AsOption = "",
    second: SecondOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Let no issuer open an account any more, with a second person."""
    from compliance.signin.issuer.people import unbind_identities
    from compliance.signin.store import opened_beside

    with at_desk(context, directory, by, second) as desk, opened_beside(desk.staff) as store:
        count = unbind_identities(store, desk.office, desk.who, name, reason=reason)
    say(
        output,
        {"account": name, "identities": count},
        f"No issuer opens the account {name} any more; {count} could.",
        f"{program_of(context).name} staff list {directory}",
    )
