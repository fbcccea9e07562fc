"""`lianfang node token`: an access token for a program beside the node, in a file or a pipe.

The token never stands on a command line or in a log: not ours, and not that of the program which
reads it from the file.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clients.output import CommandError
from compliance.commands.output import Format, Formatted, say
from compliance.commands.stopping import stop_event

if TYPE_CHECKING:
    from clients.tokens import AccessToken, TokenSource

_AGAIN_S = 15.0


def token(
    directory: Annotated[Path, typer.Argument(help="The node's directory.")],
    scope: Annotated[
        list[str],
        typer.Option(help="lookup, publish, agreements, log or certificate; may be repeated."),
    ],
    out: Annotated[
        str, typer.Option(help="A file for it, - for a pipe; else NODE/tokens/SCOPE.jwt.")
    ] = "",
    *,
    header: Annotated[
        bool, typer.Option("--header", help="Write the whole header line, as `curl -H @` reads it.")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Go on, with a new token in time, until stopped.")
    ] = False,
    output: Formatted = Format.TEXT,
) -> None:
    """Fetch an access token for a program, bound to this node's certificate."""
    from clients.keys import credentials
    from clients.node.home import Home
    from clients.tokens import TokenSource

    home = Home(directory)
    config = home.config()
    source = TokenSource(config.api, credentials(home.keys), config.name, scope)
    if out == "-":
        if keep:
            raise CommandError("token: --keep needs a file, which it replaces")
        if sys.stdout.isatty():
            raise CommandError("token: a terminal keeps what it shows; give a file, or a pipe")
        sys.stdout.write(_text(source.token(), header=header))
        return
    path = Path(out) if out else directory / "tokens" / f"{'+'.join(sorted(scope))}.jwt"
    held = _write(path, source.token(), header=header)
    if keep:
        typer.echo(f"{path} holds a token; stop with Ctrl-C.", err=True)
        held = _keep(path, source, held, header=header)
    line = f"-H @{path}" if header else f"with what {path} holds as its Bearer token"
    say(
        output,
        {"file": str(path), "scope": held.scope, "ends_at": held.ends_at},
        f"Wrote a token for {held.scope} to {path}; it lasts until {held.ends_at} (Unix seconds), "
        f"and serves beside this node's certificate alone.",
        f"curl --cert {home.keys}/tls.pem --key {home.keys}/tls.key --cacert {home.keys}/ca.crt "
        f"{line} https://{config.api}/v1/quota",
    )


def _text(held: AccessToken, *, header: bool) -> str:
    return f"Authorization: Bearer {held.text}\n" if header else f"{held.text}\n"


def _write(path: Path, held: AccessToken, *, header: bool) -> AccessToken:
    from compliance.files import write_atomically

    write_atomically(path, _text(held, header=header).encode())
    return held


def _keep(path: Path, source: TokenSource, held: AccessToken, *, header: bool) -> AccessToken:
    """Replace the token in time until stopped; a hub that is away is asked again."""
    from protocols.link import TransportError

    stop = stop_event()
    while not stop.wait(_AGAIN_S):
        try:
            found = source.token()
        except TransportError as error:
            typer.echo(f"token: {error}; trying again", err=True)
            continue
        if found is not held:
            held = _write(path, found, header=header)
    return held
