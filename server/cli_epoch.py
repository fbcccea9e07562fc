"""`lianfang-hub epoch`: begin, refresh, status, end, evidence; the hub must be being served."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from compliance.commands.acting import AsOption, SecondOption
from compliance.commands.output import EXIT_FAILED, Format, Formatted, say

_LOOK_EVERY_S = 0.2
_STEPS = {
    "announce": "holders that agreed to the terms",
    "run": "holders that made their share and signed",
    "deliver": "partners that put it in use",
}

app = typer.Typer(
    help="Make, refresh and end the key that nobody holds alone.", no_args_is_help=True
)

Directory = Annotated[Path, typer.Argument(help="The hub's directory.")]
Reason = Annotated[str, typer.Option(help="Why; sealed in the log.")]


@app.command()
def begin(
    directory: Directory,
    threshold: Annotated[
        int, typer.Option(help="Holders that together can answer; 0: as agreed.")
    ] = 0,
    holders: Annotated[
        str,
        typer.Option(help="Comma-separated names that get a share, the hub one; else as agreed."),
    ] = "",
    days: Annotated[int, typer.Option(help="How long the epoch is in force.")] = 31,
    grace_days: Annotated[
        int, typer.Option(help="How much longer its holders answer; then its shares go.")
    ] = 3,
    starts_in_hours: Annotated[
        int, typer.Option(help="Begin later, when the epoch before it ends.")
    ] = 0,
    population: Annotated[
        int, typer.Option(help="People of the largest asker; no quota is over a fifth more.")
    ] = 0,
    quota: Annotated[
        list[str] | None,
        typer.Option(help="PARTNER=ELEMENTS[,...]: less than the agreement grants."),
    ] = None,
    purposes: Annotated[
        list[str] | None,
        typer.Option(
            help="PARTNER=PURPOSE[,PURPOSE]: fewer than the agreement grants, of counter, "
            "call_centre, online, screening, publish, alignment."
        ),
    ] = None,
    reason: Reason = "",
    by: AsOption = "",
    second: SecondOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Make the key of the next epoch with the other holders, under the agreement in force."""
    wish = {
        "action": "begin_epoch",
        "threshold": threshold,
        "holders": [name for name in holders.split(",") if name],
        "days": days,
        "grace_days": grace_days,
        "starts_in_hours": starts_in_hours,
        "population": population,
        "quotas": parse_quotas(quota or []),
        "purposes": parse_purposes(purposes or []),
    }
    again = f"lianfang-hub epoch begin {directory} ..."
    _order(directory, wish, by, second, reason)
    _tell_end(directory, output, _follow(directory, output), again)


@app.command()
def refresh(
    directory: Directory,
    epoch: Annotated[int, typer.Option(help="Its number; the one in force otherwise.")] = 0,
    reason: Reason = "",
    by: AsOption = "",
    second: SecondOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Give every holder a new share of the same key; what was stolen before is worthless."""
    again = f"lianfang-hub epoch refresh {directory}"
    _order(directory, {"action": "refresh_epoch", "epoch": epoch}, by, second, reason)
    _tell_end(directory, output, _follow(directory, output), again)


@app.command()
def status(directory: Directory, output: Formatted = Format.TEXT) -> None:
    """Show the epochs, their holders, and what every asker has used."""
    found = _ask(directory, {"action": "epoch_status"})
    following = (
        f"lianfang-hub epoch refresh {directory}"
        if any(item["state"] == "in force" for item in found["epochs"])
        else f"lianfang-hub epoch begin {directory}"
    )
    say(output, found, status_text(found), following)


@app.command()
def end(
    directory: Directory,
    epoch: Annotated[int, typer.Argument(help="The epoch's number.")],
    reason: Reason = "",
    by: AsOption = "",
    second: SecondOption = "",
    *,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask whether the shares shall really go.")
    ] = False,
    output: Formatted = Format.TEXT,
) -> None:
    """End an epoch before its time: every holder destroys its share, for good."""
    if not yes:
        typer.confirm(
            f"Destroy the key of epoch {epoch}? Its tables can never be asked again.",
            abort=True,
            err=True,
        )
    wish = {"action": "end_epoch", "epoch": epoch}
    found = _order(directory, wish, by, second, reason)
    waiting = ", ".join(found["waiting"])
    say(
        output,
        found,
        f"Ended epoch {epoch}: the hub's share is destroyed."
        + (f"\nNot heard yet: {waiting}; told as soon as connected." if waiting else ""),
        f"lianfang-hub epoch begin {directory}",
    )


@app.command()
def evidence(
    directory: Directory,
    epoch: Annotated[int, typer.Argument(help="The epoch's number.")],
    asker: Annotated[str, typer.Option(help="The partner whose requests are audited.")],
    out: Annotated[Path, typer.Option(help="Where the evidence goes, JSON.")],
    output: Formatted = Format.TEXT,
) -> None:
    """Write down what one asker had evaluated in an epoch, for an auditor; it names no person."""
    from compliance.files import write_atomically
    from server.lookups import evidence as paper

    write_atomically(out, paper(directory, epoch, asker))
    say(
        output,
        {"epoch": epoch, "asker": asker, "out": str(out)},
        f"Wrote what {asker} asked in epoch {epoch} to {out}.",
        f"the auditor runs lianfang desk sample --evidence {out}",
    )


def parse_quotas(texts: list[str]) -> dict[str, int]:
    """Read `PARTNER=ELEMENTS`, several behind commas or in several options.

    Raises:
        typer.BadParameter: it is not written so.
    """
    found = {}
    for text in (part for item in texts for part in item.split(",")):
        name, _, number = text.partition("=")
        if not name or not number.isdecimal():
            raise typer.BadParameter(f"--quota: {text[:64]} is not PARTNER=ELEMENTS")
        found[name] = int(number)
    return found


def parse_purposes(texts: list[str]) -> dict[str, list[str]]:
    """Read `PARTNER=PURPOSE[,PURPOSE]`, one option for each partner.

    Raises:
        typer.BadParameter: it is not written so.
    """
    found = {}
    for text in texts:
        name, _, listed = text.partition("=")
        chosen = [item for item in listed.split(",") if item]
        if not name or not chosen:
            raise typer.BadParameter(f"--purposes: {text[:64]} is not PARTNER=PURPOSE[,PURPOSE]")
        found[name] = chosen
    return found


def status_text(found: dict[str, Any]) -> str:
    """Write the status for people."""
    connected = found["connected"]
    lines = [f"Connected: {', '.join(connected) or 'nobody'}."]
    lines += ["No epoch has been begun yet."] if not found["epochs"] else []
    for item in found["epochs"]:
        until = time.strftime("%Y-%m-%d", time.localtime(item["not_after"]))
        lines.append(
            f"Epoch {item['epoch']}, generation {item['generation']}: {item['state']}, "
            f"until {until}; {item['threshold']} of {', '.join(item['holders'])}"
        )
        lines += [
            f"  {name} has not confirmed it: {reason or 'not told yet'}"
            for name, reason in item["waiting"].items()
        ]
        lines += [
            f"  {name:<16} {asker['used']:>12,} of {asker['quota']:,} evaluations; "
            f"{', '.join(asker['purposes'])}"
            for name, asker in item["askers"].items()
        ]
    return "\n".join(lines)


def _order(
    directory: Path, wish: dict[str, Any], by: str, second: str, reason: str
) -> dict[str, Any]:
    """Send what somebody wants done to an epoch, with who agreed to it.

    Raises:
        TransportError: the hub refuses; says how a second person agrees, if one is missing.
    """
    from protocols.link import TransportError
    from server.acting import acting
    from server.epochs.consent import second_person, told
    from server.epochs.orders import Order
    from server.home import HubHome
    from server.log.opening import open_log

    with open_log(HubHome(directory)) as log:
        who = acting(directory, log.office, name=by, second=second)
        order = Order(who.by, second_person(who, log.office, wish), reason)
        try:
            return _ask(directory, {**wish, **order.fields()})
        except TransportError as error:
            text = told(who, log.office, wish, str(error))
            raise TransportError(text, retryable=error.retryable) from error


def _follow(directory: Path, output: Format) -> dict[str, Any]:
    """Show how a set-up goes; returns its last state."""
    show = _shower(quiet=output is Format.JSON)
    while True:
        progress = _ask(directory, {"action": "epoch_progress"})
        show(progress)
        if progress["state"] != "running":
            return progress
        time.sleep(_LOOK_EVERY_S)


def _shower(*, quiet: bool) -> Callable[[dict[str, Any]], None]:
    """Return what writes one line to standard error for every change."""
    shown: set[str] = set()

    def show(progress: dict[str, Any]) -> None:
        step = _STEPS.get(progress["step"])
        line = f"epoch {progress['epoch']}: {progress['done']} of {progress['total']} {step}"
        if not quiet and step is not None and line not in shown:
            shown.add(line)
            typer.echo(line, err=True)

    return show


def _tell_end(directory: Path, output: Format, progress: dict[str, Any], again: str) -> None:
    """Say how a set-up ended; exits with a failure unless it was done."""
    epoch, done = progress["epoch"], progress["state"] == "done"
    if done:
        verb = "refreshed: every holder has a new share" if progress["refresh"] else "begun"
        away = progress["total"] - progress["done"]
        lines = [f"Epoch {epoch} is {verb}; all holders have signed."]
        lines += [f"{away} have still to confirm; they are told when connected."] if away else []
    else:
        lines = [f"Epoch {epoch} was not {'refreshed' if progress['refresh'] else 'begun'}; "
                 "nothing has changed."]  # fmt: skip
        lines += [f"{f['holder']} says: {f['text']} ({f['code']})" for f in progress["failures"]]
    following = f"lianfang-hub epoch status {directory}" if done else again
    say(output, progress, "\n".join(lines), following)
    if not done:
        raise typer.Exit(EXIT_FAILED)


def _ask(directory: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Send one control request to the hub that is being served."""
    from server.home import HubHome
    from server.link.control import call_control

    home = HubHome(directory)
    settings = home.settings()
    return call_control(
        f"{settings.host}:{settings.link_port}",
        request,
        authority=home.authority / "ca.crt",
        certificate=home.authority / "hub.pem",
        key=home.authority / "hub.key",
        timeout_s=60.0,
    )
