"""`lianfang-hub staff` and `lianfang staff`: accounts and roles, consents of a second person.

The first two accounts of an organisation are added by whoever sets it up; after that an approver
decides with a second person, as everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compliance.commands.acting import AsOption, SecondOption, new_password
from compliance.commands.desk import Directory, Name, Number, Reason, at_desk, staff_of
from compliance.commands.issuers import bind, unbind
from compliance.commands.output import Format, Formatted, say
from compliance.commands.program import program_of

if TYPE_CHECKING:
    from compliance.policy.actors import StaffRole
    from compliance.staff.accounts import Account

Roles = Annotated[
    list[str] | None, typer.Option("--role", help="desk, analyst, operator, approver, compliance.")
]
PasswordFile = Annotated[
    Path | None, typer.Option(help="A file with the new password, mode 600; else it is asked for.")
]


def add(
    context: typer.Context,
    directory: Directory,
    name: Name,
    display: Annotated[str, typer.Option(help="The person's name, shown to colleagues.")],
    role: Roles = None,
    reason: Reason = "",
    password_file: PasswordFile = None,
    by: AsOption = "",
    second: SecondOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Add an account."""
    from compliance.staff.changes import add_account

    with at_desk(context, directory, by, second) as desk:
        account = add_account(
            desk.staff, desk.office, desk.who, name,
            display=display, roles=_roles(role), reason=reason,
            password=new_password(name, password_file),
        )  # fmt: skip
        following = f"{_staff(context)} list {directory}"
        if not desk.staff.is_set_up:
            following = f"{_staff(context)} add {directory} NAME --display ... --role compliance"
    _tell(output, "Added", account, following)


def list_accounts(
    context: typer.Context, directory: Directory, output: Formatted = Format.TEXT
) -> None:
    """List the accounts, their roles, and which are shut."""
    import time

    from compliance.staff.wording import tell_account

    staff, now = staff_of(context, directory), int(time.time())
    told = [
        tell_account(account, staff.attempts.shut_until(name), now)
        for name, account in sorted(staff.accounts().items())
    ]
    say(
        output,
        {"accounts": [value for value, _ in told]},
        "\n".join(line for _, line in told) or "There is no account yet.",
        f"{_staff(context)} add {directory} NAME --display ... --role approver --reason ...",
    )


def grant(
    context: typer.Context,
    directory: Directory,
    name: Name,
    role: Roles = None,
    reason: Reason = "",
    by: AsOption = "",
    second: SecondOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Give an account these roles instead of those that it has."""
    from compliance.staff.changes import grant_roles

    with at_desk(context, directory, by, second) as desk:
        account = grant_roles(desk.staff, desk.office, desk.who, name, _roles(role), reason=reason)
    _tell(output, "Changed", account, f"{_staff(context)} list {directory}")


def suspend(
    context: typer.Context,
    directory: Directory,
    name: Name,
    reason: Reason = "",
    *,
    lift: Annotated[bool, typer.Option("--lift", help="Let it act again.")] = False,
    by: AsOption = "",
    second: SecondOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Let an account act no more, from its next command on."""
    from compliance.staff.changes import suspend_account

    with at_desk(context, directory, by, second) as desk:
        account = suspend_account(desk.staff, desk.office, desk.who, name, reason=reason, lift=lift)
    _tell(output, "Changed", account, f"{_staff(context)} list {directory}")


def password(
    context: typer.Context,
    directory: Directory,
    name: Annotated[str, typer.Argument(help="Somebody else's account; your own if empty.")] = "",
    reason: Reason = "",
    password_file: PasswordFile = None,
    by: AsOption = "",
    second: SecondOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Change your password, or reset somebody else's, which needs a second person."""
    from compliance.staff.changes import change_own_password, reset_password

    with at_desk(context, directory, by, second) as desk:
        who = desk.person()
        whose = name or who.account
        fresh = new_password(whose, password_file, kept=False)
        if whose == who.account:
            now = desk.office.clock.now()
            account = change_own_password(desk.staff, who, fresh, now=now)
        else:
            account = reset_password(desk.staff, desk.office, who, whose, fresh, reason=reason)
    _tell(output, "Changed the password of", account, f"{_staff(context)} list {directory}")


def agree(
    context: typer.Context,
    directory: Directory,
    number: Number,
    by: AsOption = "",
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    output: Formatted = Format.TEXT,
) -> None:
    """Agree to what somebody else has asked for; it is then done once."""
    from compliance.staff.wording import tell_request

    with at_desk(context, directory, by, "") as desk:
        account, now = desk.account(), desk.office.clock.now()
        waiting = {request.number: request for request in desk.staff.consents.open(now)}
        if number in waiting and not yes:
            typer.echo(tell_request(waiting[number])[1], err=True)
            typer.confirm("Agree?", abort=True, err=True)
        request = desk.staff.consents.agree(number, account, now=now)
    value, line = tell_request(request)
    say(output, value, line, f"{request.asker} repeats the command")


def decline(
    context: typer.Context,
    directory: Directory,
    number: Number,
    reason: Annotated[str, typer.Option(help="Why, for the one who asked; name no person.")],
    by: AsOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Refuse what somebody else has asked for."""
    from compliance.staff.wording import tell_request

    with at_desk(context, directory, by, "") as desk:
        request = desk.staff.consents.decline(
            number, desk.account(), reason, now=desk.office.clock.now()
        )
    value, line = tell_request(request)
    say(output, value, line, f"{_staff(context)} waiting {directory}")


def waiting(context: typer.Context, directory: Directory, output: Formatted = Format.TEXT) -> None:
    """List what waits for a second person, and emergencies that nobody has reviewed."""
    import time

    from compliance.staff.wording import tell_waiting

    staff, now = staff_of(context, directory), int(time.time())
    value, text = tell_waiting(staff.consents.open(now), staff.emergencies.unreviewed(), now)
    following = "agree" if value["requests"] or not value["emergencies"] else "review"
    say(output, value, text, f"{_staff(context)} {following} {directory} NUMBER --as NAME")


def _staff(context: typer.Context) -> str:
    return f"{program_of(context).name} staff"


def _roles(words: list[str] | None) -> list[StaffRole]:
    from compliance.agreement.fields import read_choice
    from compliance.policy.actors import StaffRole

    return [read_choice(word, StaffRole, "role") for word in words or []]


def _tell(output: Format, done: str, account: Account, following: str) -> None:
    from compliance.staff.wording import tell_account

    value, line = tell_account(account)
    say(output, value, f"{done} {line}.", following)


COMMANDS: dict[str, Callable[..., None]] = {
    "bind": bind,
    "unbind": unbind,
    "add": add,
    "list": list_accounts,
    "grant": grant,
    "suspend": suspend,
    "password": password,
    "agree": agree,
    "decline": decline,
    "waiting": waiting,
}
