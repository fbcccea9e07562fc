"""`lianfang-hub console` and `lianfang node console`: serve the screens until stopped."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Protocol

import typer

from compliance.commands.output import Format, say
from compliance.commands.program import Program
from compliance.commands.stopping import stop_event
from compliance.operation.settings import LogFormat

Directory = Annotated[Path, typer.Argument(help="Directory of the hub or node.")]
Port = Annotated[int, typer.Option(help="Port of the screens; 0 takes a free one.")]
Host = Annotated[
    str,
    typer.Option(help="Address to listen at; another than the loopback needs a certificate."),
]
Certificate = Annotated[
    Path | None, typer.Option(help="A certificate for the screens, PEM; else one is made here.")
]
Key = Annotated[Path | None, typer.Option(help="Its key, PEM.")]
Demo = Annotated[bool, typer.Option("--demo", help="Say on every page: made-up data.")]


class Served(Protocol):
    """A console that is being served."""

    def lines(self) -> str:
        """Say where it is, and how to reach it."""
        ...

    def told(self) -> dict[str, str | int]:
        """Return the same as JSON."""
        ...


def show_screens(
    opened: Callable[..., AbstractContextManager[Served]],
    program: Program,
    directory: Path,
    *,
    host: str,
    port: int,
    certificate: Path | None,
    key: Path | None,
    demo: bool,
    log_format: LogFormat,
    output: Format,
) -> None:
    """Serve a console until the process is told to stop, and say where it is.

    Args:
        opened: serves the console of a directory until its block ends.

    Raises:
        ConfigError: a certificate without its key, or none where others reach the screens.
    """
    from compliance.configuration import ConfigError
    from compliance.operation.logs import configure_logging

    if (certificate is None) is not (key is None):
        raise ConfigError("--certificate: goes together with --key; give both, or neither")
    if certificate is None and host not in {"127.0.0.1", "::1", "localhost"}:
        raise ConfigError("--host: others can reach it; give --certificate and --key")
    configure_logging(log_format)
    stop = stop_event()
    with opened(
        directory, host=host, port=port, certificate=certificate, key=key, demo=demo
    ) as served:
        typer.echo(served.lines(), err=True)
        typer.echo("ready; stop with Ctrl-C", err=True)
        told = served.told()
        stop.wait()
    say(output, {"state": "stopped", **told}, "Stopped.", f"{program.console} {directory}")
