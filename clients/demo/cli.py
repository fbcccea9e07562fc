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
    output: Formatted = Format.TEXT,
) -> None:
    """Bring up a hub and three partners, train jointly over Flower, and compare."""
    if data_only is not None:
        _write_data(data_only, people=people, seed=seed, output=output)
        return
    from clients.demo.show import run_demo

    figures = run_demo(
        directory, data=data, people=people, seed=seed, epsilon=epsilon, quiet=output is Format.JSON
    )
    say(output, figures, figures["table"], figures["following"])


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
