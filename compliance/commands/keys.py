"""`lianfang-hub keys` and `lianfang keys`: seal keys at rest, open them, change what opens them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compliance.commands.output import Format, Formatted, say
from compliance.commands.program import Program, commands_of, program_of

if TYPE_CHECKING:
    from compliance.atrest.telling import Told

Directory = Annotated[Path, typer.Argument(help="Directory of the hub or node.")]
With = Annotated[
    str,
    typer.Option(
        "--with",
        help="file:PATH, passphrase-file:PATH, fd:NUMBER or ask; LIANFANG_UNLOCK if empty.",
    ),
]


def seal(
    context: typer.Context, directory: Directory, spec: With = "", output: Formatted = Format.TEXT
) -> None:
    """Encrypt every private key on disk; stop what serves them first."""
    from compliance.atrest.telling import seal_keys
    from compliance.progress import progress_bar

    with progress_bar("seal", shown=output is Format.TEXT) as progress:
        told = seal_keys(directory, program_of(context).name, spec, progress)
    _say(output, told)


def unseal(context: typer.Context, directory: Directory, output: Formatted = Format.TEXT) -> None:
    """Put every private key in clear again; LIANFANG_UNLOCK must open them."""
    from compliance.atrest.telling import unseal_keys
    from compliance.progress import progress_bar

    with progress_bar("unseal", shown=output is Format.TEXT) as progress:
        told = unseal_keys(directory, program_of(context).name, progress)
    _say(output, told)


def status(context: typer.Context, directory: Directory, output: Formatted = Format.TEXT) -> None:
    """Tell which keys are sealed, and by what they open; opens nothing."""
    from compliance.atrest.telling import tell_standing

    _say(output, tell_standing(directory, program_of(context).name))


def passwd(
    context: typer.Context,
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

    _say(output, change_passphrase(directory, program_of(context).name, spec, beside=beside))


def keys_commands(program: Program) -> typer.Typer:
    """Return the commands of one program."""
    return commands_of(
        program,
        {"seal": seal, "unseal": unseal, "status": status, "passwd": passwd},
        "Keys at rest: sealed under a passphrase, or a key file that a KMS provides.",
    )


def _say(output: Format, told: Told) -> None:
    say(output, told.value, told.text, told.following)
