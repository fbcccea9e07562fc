"""`lianfang-hub staff`: accounts and roles, consents of a second person.

The first two accounts of a hub are added by whoever sets it up; after that an approver
decides with a second person, as everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.acting import AsOption, SecondOption, acting, new_password
from server.console.cli import bind, unbind
from server.output import Format, Formatted, say

if TYPE_CHECKING:
    from compliance.office.office import Office
    from compliance.policy.actors import StaffRole
    from compliance.staff.accounts import Account
    from compliance.staff.acting import Acting
    from compliance.staff.staff import Staff

app = typer.Typer(help="People: accounts, roles, second persons.", no_args_is_help=True)
app.command()(bind)
app.command()(unbind)

Directory = Annotated[Path, typer.Argument(help="The hub's directory.")]
Name = Annotated[str, typer.Argument(help="The account.")]
Number = Annotated[int, typer.Argument(help="Its number, see `waiting`.")]
Roles = Annotated[
    list[str] | None, typer.Option("--role", help="desk, analyst, operator, approver, compliance.")
]
Reason = Annotated[str, typer.Option(help="Why; sealed in the log.")]
PasswordFile = Annotated[
    Path | None, typer.Option(help="A file with the new password, mode 600; else it is asked for.")
]


@app.command()
def add(
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

    with _desk(directory, by, second) as desk:
        account = add_account(
            desk.staff, desk.office, desk.who, name,
            display=display, roles=_roles(role), reason=reason,
            password=new_password(name, password_file),
        )  # fmt: skip
        following = f"lianfang-hub staff list {directory}"
        if not desk.staff.is_set_up:
            following = f"lianfang-hub staff add {directory} NAME --display ... --role compliance"
    _tell(output, "Added", account, following)


@app.command(name="list")
def list_accounts(directory: Directory, output: Formatted = Format.TEXT) -> None:
    """List the accounts, their roles, and which are shut."""
    import time

    from compliance.staff.wording import tell_account

    staff, now = _staff(directory), int(time.time())
    told = [
        tell_account(account, staff.attempts.shut_until(name), now)
        for name, account in sorted(staff.accounts().items())
    ]
    say(
        output,
        {"accounts": [value for value, _ in told]},
        "\n".join(line for _, line in told) or "There is no account yet.",
        f"lianfang-hub staff add {directory} NAME --display ... --role approver --reason ...",
    )


@app.command()
def grant(
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

    with _desk(directory, by, second) as desk:
        account = grant_roles(desk.staff, desk.office, desk.who, name, _roles(role), reason=reason)
    _tell(output, "Changed", account, f"lianfang-hub staff list {directory}")


@app.command()
def suspend(
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

    with _desk(directory, by, second) as desk:
        account = suspend_account(desk.staff, desk.office, desk.who, name, reason=reason, lift=lift)
    _tell(output, "Changed", account, f"lianfang-hub staff list {directory}")


@app.command()
def password(
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

    with _desk(directory, by, second) as desk:
        who = desk.person()
        whose = name or who.account
        fresh = new_password(whose, password_file, kept=False)
        if whose == who.account:
            now = desk.office.clock.now()
            account = change_own_password(desk.staff, who, fresh, now=now)
        else:
            account = reset_password(desk.staff, desk.office, who, whose, fresh, reason=reason)
    _tell(output, "Changed the password of", account, f"lianfang-hub staff list {directory}")


@app.command()
def agree(
    directory: Directory,
    number: Number,
    by: AsOption = "",
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    output: Formatted = Format.TEXT,
) -> None:
    """Agree to what somebody else has asked for; it is then done once."""
    from compliance.staff.wording import tell_request

    with _desk(directory, by, "") as desk:
        account, now = desk.account(), desk.office.clock.now()
        waiting = {request.number: request for request in desk.staff.consents.open(now)}
        if number in waiting and not yes:
            typer.echo(tell_request(waiting[number])[1], err=True)
            typer.confirm("Agree?", abort=True, err=True)
        request = desk.staff.consents.agree(number, account, now=now)
    value, line = tell_request(request)
    say(output, value, line, f"{request.asker} repeats the command")


@app.command()
def decline(
    directory: Directory,
    number: Number,
    reason: Annotated[str, typer.Option(help="Why, for the one who asked; name no person.")],
    by: AsOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Refuse what somebody else has asked for."""
    from compliance.staff.wording import tell_request

    with _desk(directory, by, "") as desk:
        request = desk.staff.consents.decline(
            number, desk.account(), reason, now=desk.office.clock.now()
        )
    value, line = tell_request(request)
    say(output, value, line, f"lianfang-hub staff waiting {directory}")


@app.command()
def waiting(directory: Directory, output: Formatted = Format.TEXT) -> None:
    """List what waits for a second person."""
    import time

    from compliance.staff.wording import tell_waiting

    staff, now = _staff(directory), int(time.time())
    value, text = tell_waiting(staff.consents.open(now), staff.emergencies.unreviewed(), now)
    say(output, value, text, f"lianfang-hub staff agree {directory} NUMBER --as NAME")


@dataclass(frozen=True, slots=True)
class _Desk:
    """The register, the office, and who stands before them."""

    staff: Staff
    office: Office
    who: Acting

    def person(self) -> Acting:
        """Return who acts, if it is a person."""
        from compliance.configuration import ConfigError

        if not self.who.account:
            raise ConfigError("--as: missing; say who you are")
        return self.who

    def account(self) -> Account:
        """Return the account of the person that acts, as it is at present."""
        return self.staff.accounts()[self.person().account]


@contextmanager
def _desk(directory: Path, by: str, second: str) -> Iterator[_Desk]:
    from server.home import HubHome
    from server.log.opening import open_log

    staff = _staff(directory)
    with open_log(HubHome(directory)) as log:
        office = log.office
        yield _Desk(staff, office, acting(directory, office, name=by, second=second))


def _staff(directory: Path) -> Staff:
    from compliance.staff.staff import Staff
    from server.home import HubHome

    HubHome(directory).settings()  # what is no hub is told before anything is made in it
    return Staff(directory)


def _roles(words: list[str] | None) -> list[StaffRole]:
    from compliance.agreement.fields import read_choice
    from compliance.policy.actors import StaffRole

    return [read_choice(word, StaffRole, "role") for word in words or []]


def _tell(output: Format, done: str, account: Account, following: str) -> None:
    from compliance.staff.wording import tell_account

    value, line = tell_account(account)
    say(output, value, f"{done} {line}.", following)
