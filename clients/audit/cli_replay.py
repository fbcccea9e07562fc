"""`lianfang audit replay`: make a decision again from its record."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clients.output import EXIT_FAILED, Format, Formatted, say


def replay(
    directory: Annotated[Path, typer.Argument(help="The node's directory.")],
    record: Annotated[Path, typer.Argument(help="The record of a decision.")],
    document: Annotated[
        list[Path] | None,
        typer.Option(help="A run plan or the terms of an epoch that the record is about."),
    ] = None,
    output: Formatted = Format.TEXT,
) -> None:
    """Make a decision again with the policies and the agreement that its record names."""
    from clients.audit.home import AuditHome
    from clients.audit.recorded import documents_in
    from clients.node.home import Home
    from compliance.configuration import ConfigError
    from compliance.policy.decision import Decision
    from compliance.policy.replay import replay as again

    home = AuditHome(Home(directory))
    try:
        data = record.read_bytes()
        documents = documents_in(home.node.root / "runs", document or [])
    except OSError as error:
        raise ConfigError(f"{record.name}: cannot be read; correct the path") from error
    found = Decision.decode(data)
    differences = again(found, home.policies(), home.agreements(), documents)
    value = {
        "same": not differences,
        "differences": list(differences),
        "act": found.act,
        "allowed": found.allowed,
        "policies": list(found.policies),
        "policy_set": found.policy_set.hex(),
        "agreement": None if found.agreement is None else found.agreement.hex(),
    }
    text = (
        f"{found.act}: {found.reason}.\nThe same policies and agreement decide the same."
        if not differences
        else "It cannot be decided so again:\n" + "\n".join(differences)
    )
    say(output, value, text, f"lianfang audit agreement show {directory}")
    if differences:
        raise typer.Exit(EXIT_FAILED)
