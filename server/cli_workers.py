"""`lianfang-hub serve-api`: a further process that serves the API of a hub on PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compliance.commands.options import LogFormatOption
from compliance.commands.output import Format, Formatted, say
from compliance.commands.stopping import stop_event
from compliance.operation.settings import LogFormat


def serve_api(
    directory: Annotated[Path, typer.Argument(help="The hub's directory, or a copy of it.")],
    port: Annotated[int, typer.Option(help="Port of this process; 0 takes a free one.")] = 0,
    metrics: Annotated[
        str, typer.Option(help="Where its own metrics are served; nowhere if empty.")
    ] = "",
    log_format: LogFormatOption = LogFormat.TEXT,
    output: Formatted = Format.TEXT,
) -> None:
    """Serve the API in one more process, beside `serve`, on the same PostgreSQL."""
    from compliance.operation.logs import configure_logging
    from compliance.operation.settled import settle_memory, share_heaps
    from server.home import HubHome
    from server.working import serve_api as serve_worker

    share_heaps()
    configure_logging(log_format)
    home = HubHome(directory)
    settings = home.settings()
    stop = stop_event()
    with serve_worker(home, port=port, metrics=metrics) as worker:
        settle_memory()
        typer.echo(
            f"serving {settings.name}: API https://{settings.host}:{worker.port}; ready, stop "
            "with Ctrl-C",
            err=True,
        )
        stop.wait()
    say(
        output,
        {"state": "stopped"},
        "Stopped; the other processes go on.",
        f"lianfang-hub serve-api {directory} --port {worker.port}",
    )
