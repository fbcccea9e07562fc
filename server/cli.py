"""`lianfang-hub`: init, staff, invite, approve, reject, revoke, renew, serve, status and more.

Results go to standard output, progress to standard error. Heavy modules are imported by
the command that needs them, so that help is at hand at once.
"""

from __future__ import annotations

import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from compliance.commands.keys import keys_commands
from compliance.commands.options import LogFormatOption
from compliance.commands.output import EXIT_FAILED, Format, Formatted, say
from compliance.commands.stopping import stop_event
from compliance.operation.settings import LogFormat
from server.cli_agreement import app as agreement
from server.cli_authority import app as authority
from server.cli_backup import backup, restore, settle
from server.cli_enrol import approve, invite, reject, renew, revoke
from server.cli_epoch import app as epoch
from server.cli_log import app as log
from server.cli_propose import propose
from server.cli_staff import app as staff
from server.cli_status import status
from server.cli_workers import serve_api
from server.console.cli import console
from server.output import explain
from server.program import PROGRAM

_LOOK_EVERY_S = 0.5

app = typer.Typer(
    name="lianfang-hub",
    help="Run the hub: take partners in, serve the link and Flower, propose and start runs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


for _command in (invite, approve, reject, revoke, renew, propose, status, backup, restore, settle):
    app.command()(_command)
app.command(name="serve-api")(serve_api)
app.command()(console)
app.add_typer(agreement, name="agreement")
app.add_typer(authority, name="authority")
app.add_typer(epoch, name="epoch")
app.add_typer(keys_commands(PROGRAM), name="keys")
app.add_typer(log, name="log")
app.add_typer(staff, name="staff")

Directory = Annotated[Path, typer.Argument(help="The hub's directory.")]


def main() -> None:
    """Run the command line; known errors end with one clear line and their exit code."""
    try:
        app()
    except Exception as error:  # noqa: BLE001  # unknown errors are raised again by `explain`
        sys.exit(explain(error))


@app.command()
def init(
    directory: Directory,
    name: Annotated[
        str, typer.Option(help="The hub's name, the domain of all certificates.")
    ] = "lianfang",
    host: Annotated[str, typer.Option(help="Address that partners dial.")] = "127.0.0.1",
    link_port: Annotated[int, typer.Option(help="Port of the link; 0 takes a free one.")] = 9443,
    fleet_port: Annotated[
        int, typer.Option(help="Port for SuperNodes; 0 takes a free one.")
    ] = 9444,
    api_port: Annotated[
        int, typer.Option(help="Port of the HTTPS API; 0 takes a free one.")
    ] = 9445,
    database: Annotated[
        str,
        typer.Option(help="PostgreSQL address for the log, without password; else SQLite."),
    ] = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Make a hub: its authority, its certificates, its settings."""
    from server.home import HubHome, unix_now

    settings = HubHome(directory).create(
        name=name,
        host=host,
        link_port=link_port,
        fleet_port=fleet_port,
        api_port=api_port,
        now=unix_now(),
        database=database,
    )
    say(
        output,
        {
            "hub": settings.name,
            "host": host,
            "link_port": settings.link_port,
            "fleet_port": settings.fleet_port,
            "api_port": settings.api_port,
        },
        f"Made the hub {settings.name} in {directory}.",
        f"lianfang-hub invite {directory} PARTNER --as NAME, once there is staff and it is served",
    )


@app.command()
def serve(
    directory: Directory,
    direct: Annotated[
        str | None,
        typer.Option(help="Serve without Flower, do this one proposed run, and end."),
    ] = None,
    *,
    flower: Annotated[
        bool, typer.Option(help="Serve Flower too; a hub for lookups alone needs none.")
    ] = True,
    log_format: LogFormatOption = LogFormat.TEXT,
    output: Formatted = Format.TEXT,
) -> None:
    """Serve the link, the API and Flower until stopped."""
    from compliance.operation.logs import configure_logging
    from compliance.operation.settled import settle_memory, share_heaps
    from server.home import HubHome
    from server.serving import run_directly
    from server.serving import serve as serve_hub

    share_heaps()
    configure_logging(log_format)
    home = HubHome(directory)
    settings = home.settings()
    stop = stop_event() if direct is None else threading.Event()
    with serve_hub(home, flower=flower and direct is None) as hub:
        typer.echo(
            f"serving {settings.name}: link {settings.host}:{settings.link_port}, "
            f"API https://{settings.host}:{settings.api_port}",
            err=True,
        )
        if direct is not None:
            _tell_end(directory, output, asdict(run_directly(hub, direct)))
            return
        settle_memory()
        typer.echo("ready; stop with Ctrl-C. Next: lianfang-hub epoch begin", err=True)
        while not stop.wait(_LOOK_EVERY_S):
            if hub.flower is not None:
                hub.flower.look()
    say(output, {"state": "stopped"}, "Stopped.", f"lianfang-hub serve {directory}")


@app.command(name="run")
def run_command(
    directory: Directory,
    run: Annotated[str, typer.Argument(help="A proposed run.")],
    wait: Annotated[
        float, typer.Option(help="Seconds to wait for partners that are not there.", min=0)
    ] = 0.0,
    output: Formatted = Format.TEXT,
) -> None:
    """Start a proposed run on the hub that is being served, once its partners are there."""
    from server.following import Follower
    from server.home import HubHome
    from server.serving import run_over_flower

    home = HubHome(directory)
    quiet = output is Format.JSON
    with Follower(quiet=quiet) as follower:
        state = run_over_flower(
            home, run, follower.show, wait_s=wait, tell=_tell_quietly if quiet else _tell_absent
        )
    _tell_end(directory, output, state)


@app.command()
def doctor(directory: Directory, output: Formatted = Format.TEXT) -> None:
    """Check the hub's directory and say how to mend what is wrong."""
    from compliance.checkup import AGAIN, Examined
    from server.checks import examine

    findings = examine(directory)
    examined = Examined.of(findings)
    say(
        output,
        examined.fields(),
        examined.text,
        f"lianfang-hub serve {directory}" if examined.good else AGAIN,
    )
    if not examined.good:
        raise typer.Exit(examined.exit)


def _tell_absent(line: str) -> None:
    typer.echo(f"waiting for {line}", err=True)


def _tell_quietly(line: str) -> None:
    """Say nothing: who is missing in the end stands in the error."""


def _tell_end(directory: Path, output: Format, state: dict[str, Any]) -> None:
    """Say how a run ended; exits with a failure unless it was done."""
    run, record = state["run"], directory / "runs" / state["run"] / "record.json"
    lines = [f"Run {run} is {state['state']}."]
    lines += [f"{t['party']}, {t['phase']}: {t['reason']} ({t['code']})" for t in state["trouble"]]
    say(output, {"state": state, "record": str(record)}, "\n".join(lines), f"read {record}")
    if state["state"] != "done":
        raise typer.Exit(EXIT_FAILED)


if __name__ == "__main__":
    main()
