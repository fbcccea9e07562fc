"""`lianfang node console`, and who opens accounts by an issuer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clients.acting import AsOption, SecondOption, acting
from clients.operation.options import LogFormatOption
from clients.output import Format, Formatted, say
from compliance.operation.settings import LogFormat

Directory = Annotated[Path, typer.Argument(help="The node's directory.")]
Name = Annotated[str, typer.Argument(help="The account.")]
Reason = Annotated[str, typer.Option(help="Why; sealed in the log.")]


def console(
    directory: Directory,
    port: Annotated[int, typer.Option(help="Port of the screens; 0 takes a free one.")] = 9446,
    host: Annotated[
        str,
        typer.Option(help="Address to listen at; another than the loopback needs a certificate."),
    ] = "127.0.0.1",
    certificate: Annotated[
        Path | None, typer.Option(help="A certificate for the screens, PEM; else one is made here.")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="Its key, PEM.")] = None,
    *,
    demo: Annotated[bool, typer.Option("--demo", help="Say on every page: made-up data.")] = False,
    log_format: LogFormatOption = LogFormat.TEXT,
    output: Formatted = Format.TEXT,
) -> None:
    """Serve the screens of a node's staff until stopped."""
    import signal
    import threading

    from clients.console.app import node_console
    from compliance.configuration import ConfigError
    from compliance.operation.logs import configure_logging

    if (certificate is None) is not (key is None):
        raise ConfigError("--certificate: goes together with --key; give both, or neither")
    if certificate is None and host not in {"127.0.0.1", "::1", "localhost"}:
        raise ConfigError("--host: others can reach it; give --certificate and --key")
    configure_logging(log_format)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with node_console(
        directory, host=host, port=port, certificate=certificate, key=key, demo=demo
    ) as served:
        typer.echo(served.lines(), err=True)
        typer.echo("ready; stop with Ctrl-C", err=True)
        told = served.told()
        stop.wait()
    say(output, {"state": "stopped", **told}, "Stopped.", f"lianfang node console {directory}")


def bind(
    directory: Directory,
    name: Name,
    issuer: Annotated[str, typer.Option(help="The issuer's address, as in signin.json.")],
    subject: Annotated[str, typer.Option(help="What the issuer calls the person (claim sub).")],
    reason: Reason = "",
    by: AsOption = "",
    second: SecondOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Let somebody at the issuer open an account, with a second person."""
    from clients.node.home import Home
    from clients.office import node_office
    from compliance.signin.issuer.people import bind_identity
    from compliance.signin.store import opened_beside
    from compliance.staff.staff import Staff

    Home(directory).config()  # a directory that is no node is told before anything is made in it
    staff = Staff(directory)
    with node_office(Home(directory)) as office, opened_beside(staff) as store:
        who = acting(directory, office, name=by, second=second)
        found = bind_identity(
            staff, store, office, who, name, issuer=issuer, subject=subject, reason=reason
        )
    say(
        output,
        {"account": found.account, "issuer": found.issuer},
        f"The issuer now opens the account {name}.",
        f"lianfang node console {directory}",
    )


def unbind(
    directory: Directory,
    name: Name,
    reason: Reason = "",
    by: AsOption = "",
    second: SecondOption = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Let no issuer open an account any more, with a second person."""
    from clients.node.home import Home
    from clients.office import node_office
    from compliance.signin.issuer.people import unbind_identities
    from compliance.signin.store import opened_beside
    from compliance.staff.staff import Staff

    Home(directory).config()  # a directory that is no node is told before anything is made in it
    staff = Staff(directory)
    with node_office(Home(directory)) as office, opened_beside(staff) as store:
        who = acting(directory, office, name=by, second=second)
        count = unbind_identities(store, office, who, name, reason=reason)
    say(
        output,
        {"account": name, "identities": count},
        f"No issuer opens the account {name} any more; {count} could.",
        f"lianfang staff list {directory}",
    )
