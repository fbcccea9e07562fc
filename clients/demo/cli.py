"""`lianfang demo`: the whole system on this machine, on a simulated town or on given data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clients.output import Format, Formatted, say


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
    output: Formatted = Format.TEXT,
) -> None:
    """Bring up a hub and three partners, train jointly over Flower, and compare."""
    from clients.demo.show import run_demo

    figures = run_demo(
        directory, data=data, people=people, seed=seed, epsilon=epsilon, quiet=output is Format.JSON
    )
    say(output, figures, figures["table"], figures["following"])
