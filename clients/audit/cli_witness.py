"""`lianfang audit witness`: serve, key, add-log, status, close.

`lianfang audit witness NODE_DIR` serves: it is what the command is for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from click import Context
from typer.core import TyperGroup

from clients.output import CommandError
from compliance.commands.output import EXIT_REFUSED, Format, Formatted, say
from compliance.commands.stopping import stop_event

_DEFAULT = "serve"


class ServesByDefault(TyperGroup):
    """Takes a first argument that is no command for the directory of a node to serve."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Put the command in front where it is left out."""
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = [_DEFAULT, *args]
        return super().parse_args(ctx, args)


_LOOK_EVERY_S = 0.5

app = typer.Typer(
    help="Watch the logs of others: cosign what only grows, keep evidence of what does not.",
    no_args_is_help=True,
    cls=ServesByDefault,
)

Directory = Annotated[Path, typer.Argument(help="The node's directory.")]


@app.command(name=_DEFAULT)
def serve(
    directory: Directory,
    listen: Annotated[str, typer.Option(help="HOST:PORT; without TLS a loopback address.")],
    certificate: Annotated[
        Path | None, typer.Option(help="The witness's TLS certificate, PEM.")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key, PEM.")] = None,
    output: Formatted = Format.TEXT,
) -> None:
    """Serve add-checkpoint until stopped; a running holder answers over its own link too."""
    import logging

    from clients.witness.app import WitnessServer, parse_address, tls_context
    from clients.witness.service import open_witness
    from compliance.configuration import ConfigError

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if (certificate is None) != (key is None):
        raise ConfigError("witness: --certificate and --key go together; give both or none")
    context = tls_context(certificate, key) if certificate and key else None
    host, port = parse_address(listen)
    stop = stop_event()
    with open_witness(directory) as witness:
        server = WitnessServer(witness)
        port = server.start(host, port, context)
        try:
            witness.start()
            typer.echo(
                f"witness listens on {host}:{port}; stop with Ctrl-C. "
                f"Next: lianfang audit witness status {directory}",
                err=True,
            )
            # In pieces: a signal that another thread received is acted on only between two.
            while not stop.wait(_LOOK_EVERY_S):
                pass
        finally:
            server.stop()
    say(output, {"state": "stopped"}, "Stopped.", f"lianfang audit witness {directory}")


@app.command(name="key")
def key_(
    directory: Directory,
    name: Annotated[str, typer.Option(help="Name of a new key; NODE/witness if left out.")] = "",
    output: Formatted = Format.TEXT,
) -> None:
    """Print the keys by which others verify this witness; makes them at the first call."""
    from clients.node.home import Home
    from clients.witness.keys import create_witness_keys
    from compliance.configuration import ConfigError

    home = Home(directory)
    chosen = name or f"{home.config().name}/witness"
    try:
        signers = create_witness_keys(home.keys, chosen)
    except ValueError as error:
        raise ConfigError(f"name: {error}; choose another") from error
    if name and signers[0].name != name:
        raise ConfigError(f"name: the keys exist and are named {signers[0].name}; leave it out")
    lines = [signer.key.format() for signer in signers]
    say(
        output,
        {"name": signers[0].name, "keys": lines},
        "\n".join(lines),
        f"the hub lists both; lianfang audit witness add-log {directory} KEY_OF_THE_LOG",
    )


@app.command(name="add-log")
def add_log(
    directory: Directory,
    log_key: Annotated[str, typer.Argument(metavar="KEY", help="The log's verifier key.")],
    *,
    one_year: Annotated[
        bool, typer.Option("--one-year", help="Pin the log of this year, not of every year.")
    ] = False,
    silence_hours: Annotated[
        int, typer.Option(min=1, max=24 * 366, help="How long nothing may come.")
    ] = 24,
    output: Formatted = Format.TEXT,
) -> None:
    """Pin the key of a log, so that its checkpoints are cosigned; compare it with its operator."""
    from clients.node.home import Home
    from clients.witness.pins import Pin, Pins, names_a_year, parse_log_key
    from clients.witness.service import witness_folder
    from compliance.clock import SystemClock

    Home(directory).config()
    found = parse_log_key(log_key)
    every_year = names_a_year(found) and not one_year
    pin = Pin(found, every_year, silence_hours * 3600, SystemClock().now())
    new = Pins(witness_folder(directory)).add(pin)
    years = ", every year" if every_year else ""
    say(
        output,
        {"log": pin.name, "every_year": every_year, "new": new},
        f"{'Pinned' if new else 'Pinned before'}: {pin.name}{years}.",
        f"lianfang audit witness {directory} --listen 127.0.0.1:8460",
    )


@app.command()
def status(directory: Directory, output: Formatted = Format.TEXT) -> None:
    """Show logs, how far they are cosigned, and alarms; ends with 3 while an alarm is open."""
    from clients.witness.status import describe, status_text

    found = describe(directory)
    following = f"lianfang audit witness status {directory} tomorrow"
    if found["open"]:
        following = f"lianfang audit witness close {directory} NUMBER --reason TEXT, once looked at"
    say(output, found, status_text(found), following)
    if found["open"]:
        raise typer.Exit(EXIT_REFUSED)


@app.command()
def close(
    directory: Directory,
    number: Annotated[int, typer.Argument(min=1, help="The alarm's number, as status shows it.")],
    reason: Annotated[str, typer.Option(help="What was found; never anything of a person.")],
    output: Formatted = Format.TEXT,
) -> None:
    """Close an alarm; it stays on record with its evidence and the reason."""
    from clients.witness.service import open_witness
    from compliance.clock import SystemClock

    if not reason.strip() or not reason.isprintable():
        raise CommandError("reason: needs a line of text")
    with open_witness(directory) as witness:
        alarm = witness.alarms.close_alarm(number, at=SystemClock().now(), reason=reason)
    say(
        output,
        {"closed": number, "kind": str(alarm.kind), "log": alarm.log},
        f"Closed alarm {number}: {alarm.kind}, {alarm.log}.",
        f"lianfang audit witness status {directory}",
    )
