"""`lianfang-hub keys`: seal the keys of a hub, open them for good, change what opens them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.output import Format, Formatted, say

if TYPE_CHECKING:
    from compliance.atrest.telling import Told

_PROGRAM = "lianfang-hub"

app = typer.Typer(
    help="Keys at rest: sealed under a passphrase, or a key file that a KMS provides.",
    no_args_is_help=True,
)
Directory = Annotated[Path, typer.Argument(metavar="HUB", help="The hub's directory.")]
With = Annotated[
    str,
    typer.Option(
        "--with",
        help="file:PATH, passphrase-file:PATH, fd:NUMBER or ask; LIANFANG_UNLOCK if empty.",
    ),
]


@app.command()
def seal(directory: Directory, spec: With = "", output: Formatted = Format.TEXT) -> None:
    """Encrypt every private key on disk; stop what serves the hub first."""
    from compliance.atrest.telling import seal_keys
    from compliance.progress import progress_bar

    with progress_bar("seal", shown=output is Format.TEXT) as progress:
        told = seal_keys(directory, _PROGRAM, spec, progress)
    _say(output, told)


@app.command()
def unseal(directory: Directory, output: Formatted = Format.TEXT) -> None:
    """Put every private key in clear again; LIANFANG_UNLOCK must open them."""
    from compliance.atrest.telling import unseal_keys
    from compliance.progress import progress_bar

    with progress_bar("unseal", shown=output is Format.TEXT) as progress:
        told = unseal_keys(directory, _PROGRAM, progress)
    _say(output, told)


@app.command()
def status(directory: Directory, output: Formatted = Format.TEXT) -> None:
    """Tell which keys are sealed, and by what they open; opens nothing."""
    from compliance.atrest.telling import tell_standing

    _say(output, tell_standing(directory, _PROGRAM))


@app.command()
def passwd(
    directory: Directory,
    spec: With = "",
    *,
    beside: Annotated[
        bool, typer.Option("--beside", help="What opens them so far goes on to do so.")
    ] = False,
    output: Formatted = Format.TEXT,
) -> None:
    """Change what opens the keys; --with names the new one, LIANFANG_UNLOCK the one so far."""
    from compliance.atrest.telling import change_passphrase

    _say(output, change_passphrase(directory, _PROGRAM, spec, beside=beside))


def _say(output: Format, told: Told) -> None:
    say(output, told.value, told.text, told.following)
