"""`lianfang demo`: the whole system on this machine, on a simulated town or on given data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compliance.commands.output import Format, Formatted, say


def demo(
    data: Annotated[
        Path | None, typer.Option(help="A directory of the bench's form instead of the town.")
    ] = None,
    directory: Annotated[Path, typer.Option(help="Where everything is kept.")] = Path(
        "lianfang-data"
    ),
    people: Annotated[int, typer.Option(help="Inhabitants of the town.")] = 20_000,
    seed: Annotated[int, typer.Option(help="Seed of the town and of its split.")] = 0,
    epsilon: Annotated[float, typer.Option(help="Privacy cost of the run.")] = 1.0,
    data_only: Annotated[
        Path | None,
        typer.Option(help="Write the town's tables and reports there, and do nothing else."),
    ] = None,
    *,
    serve: Annotated[
        bool,
        typer.Option("--serve", help="Open its screens, and make it first if it is not there."),
    ] = False,
    port: Annotated[
        int, typer.Option(help="Of the first screens, the others follow; 0 takes free ones.")
    ] = 9446,
    output: Formatted = Format.TEXT,
) -> None:
    """Bring up a hub and three partners, train jointly over Flower, and compare."""
    if data_only is not None:
        _write_data(data_only, people=people, seed=seed, output=output)
        return
    from clients.demo.bringing_up import MARK
    from clients.demo.show import run_demo

    if serve and (directory / MARK).exists():
        _serve(directory, port, output)
        return
    figures = run_demo(
        directory, data=data, people=people, seed=seed, epsilon=epsilon, quiet=output is Format.JSON
    )
    if serve:
        typer.echo(figures["table"], err=True)
        _serve(directory, port, output)
        return
    say(output, figures, figures["table"], figures["following"])


def _serve(directory: Path, port: int, output: Format) -> None:
    """Open the screens of a demonstration until the process is told to stop."""
    import signal
    import threading
    from contextlib import suppress

    from clients.demo.serving import serve_demo

    # A stop during the start ends it at once, and leaves no process behind.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    typer.echo("starting the hub, the nodes and their screens", err=True)
    with serve_demo(directory, port=port) as screens:
        typer.echo(screens.text(), err=True)
        typer.echo("ready; stop with Ctrl-C", err=True)
        with suppress(KeyboardInterrupt):
            threading.Event().wait()
    told = {"state": "stopped", "addresses": screens.addresses}
    say(output, told, "Stopped.", f"lianfang demo --serve --directory {directory}")


def _write_data(directory: Path, *, people: int, seed: int, output: Format) -> None:
    """Write what each organisation of a town begins with, for hosts of its own."""
    import time

    from clients.demo.town import write_town
    from clients.demo.town_reports import write_reports

    town = write_town(directory, seed, people)
    write_reports(directory, int(time.time()))
    rows = {name: len(table.frame) for name, table in town.parties.items()}
    said = "\n".join(f"{directory / name}: {count:,} rows" for name, count in rows.items())
    following = (
        f"lianfang node init insurer --name insurer --table {directory}/insurer/table.parquet"
    )
    say(output, {"rows": rows}, said, f"{following} --contract {directory}/insurer/contract.json")
