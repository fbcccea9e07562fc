"""`lianfang holder`: start, status, evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from compliance.commands.options import LogFormatOption
from compliance.commands.output import Format, Formatted, say
from compliance.commands.stopping import stop_event
from compliance.operation.settings import LogFormat

_LOOK_EVERY_S = 0.5

app = typer.Typer(
    help="Hold a share of the lookup key: answer the hub's questions.", no_args_is_help=True
)

Directory = Annotated[Path, typer.Argument(help="The node's directory.")]


@app.command()
def start(
    directory: Directory,
    *,
    watched: Annotated[
        bool, typer.Option("--watched", hidden=True, help="Stop when standard input ends.")
    ] = False,
    log_format: LogFormatOption = LogFormat.TEXT,
    output: Formatted = Format.TEXT,
) -> None:
    """Connect to the hub and answer with our share until stopped; `node start` does it too."""
    from clients.holder.home import HolderHome
    from clients.holder.service import HolderService
    from clients.node.home import Home
    from clients.operation.state import NodeState
    from clients.operation.watch import watch_node
    from compliance.backup.settled import check_settled
    from compliance.clock import SystemClock
    from compliance.operation.logs import configure_logging
    from compliance.operation.settings import load_operation
    from compliance.operation.settled import settle_memory, share_heaps
    from compliance.watched import after_input

    share_heaps()
    configure_logging(log_format)
    stop = stop_event()
    if watched:
        # The input is a pipe of `node start`: it ends when that process does, however it ends.
        after_input(stop.set)
    home = HolderHome(Home(directory))
    watch = watch_node(home.config().name, load_operation(home.node.root / "node.json"))
    check_settled(home.node.root)
    with home.alone(), watch, HolderService(home, observer=watch.observer) as service:
        watch.serve(NodeState(home, SystemClock(), lambda: service.connected).sources())
        settle_memory()
        typer.echo(
            f"holder started; stop with Ctrl-C. Next: lianfang holder status {directory}", err=True
        )
        # In pieces: a signal that another thread received is acted on only between two of them.
        while not stop.wait(_LOOK_EVERY_S):
            pass
    say(output, {"state": "stopped"}, "Stopped.", f"lianfang holder start {directory}")


@app.command()
def status(directory: Directory, output: Formatted = Format.TEXT) -> None:
    """Show the epochs, whether our share of each is here, and what every asker has used."""
    from clients.holder.status import describe

    found = describe(directory, unix_now())
    say(output, found, status_text(found), _following(directory, found))


@app.command()
def evidence(
    directory: Directory,
    epoch: Annotated[int, typer.Argument(help="The epoch's number.")],
    asker: Annotated[str, typer.Option(help="The partner whose requests are audited.")],
    out: Annotated[Path, typer.Option(help="Where the evidence goes, JSON.")],
    output: Formatted = Format.TEXT,
) -> None:
    """Write down what one asker had evaluated in an epoch, for an auditor; it names no person."""
    from clients.holder import status as state
    from compliance.files import write_atomically

    paper = state.evidence(directory, epoch, asker)
    write_atomically(out, paper)
    say(
        output,
        {"epoch": epoch, "asker": asker, "out": str(out)},
        f"Wrote what {asker} asked in epoch {epoch} to {out}.",
        f"the auditor runs lianfang desk sample --evidence {out}",
    )


def unix_now() -> int:
    """Return Unix seconds."""
    from compliance.clock import SystemClock

    return SystemClock().now()


def status_text(found: dict[str, Any]) -> str:
    """Write the status for people."""
    if found["connected"]:
        lines = [f"{found['name']}: connected to the hub."]
    elif found["running"]:
        lines = [f"{found['name']}: not connected: {found['reason'] or 'dialling'}"]
    else:
        lines = [f"{found['name']}: not running."]
    lines += ["No epoch has been agreed yet."] if not found["epochs"] else []
    for epoch in found["epochs"]:
        share = "share held" if epoch["share"] else "no share"
        lines.append(
            f"Epoch {epoch['epoch']}, generation {epoch['generation']}: {epoch['state']}, {share}; "
            f"{epoch['threshold']} of {', '.join(epoch['holders'])}"
        )
        lines += [
            f"  {name:<16} {asker['used']:>12,} of {asker['quota']:,} evaluations"
            for name, asker in epoch["askers"].items()
        ]
    return "\n".join(lines)


def _following(directory: Path, found: dict[str, Any]) -> str:
    if not found["running"]:
        return f"lianfang node start {directory}"
    return f"edit {directory / 'holder' / 'policy.json'} to change what this holder allows"
