"""`lianfang audit replay`: make decisions again, from one record or from the own log."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compliance.commands.output import EXIT_FAILED, Format, Formatted, say

if TYPE_CHECKING:
    from clients.node.home import Home

_SHOWN = 20


def replay(
    directory: Annotated[Path, typer.Argument(help="The node's directory.")],
    record: Annotated[
        Path | None,
        typer.Argument(help="The record of one decision; else every entry of the own log."),
    ] = None,
    document: Annotated[
        list[Path] | None,
        typer.Option(help="A run plan or the terms of an epoch that the record is about."),
    ] = None,
    year: Annotated[int, typer.Option(help="Of the own log; the present one if 0.")] = 0,
    output: Formatted = Format.TEXT,
) -> None:
    """Make decisions again with the policies and the agreement that their records name."""
    from clients.node.home import Home

    home = Home(directory)
    if record is None:
        found, text = _whole_log(home, year)
    else:
        found, text = _one(home, record, document or [])
    say(output, found, text, f"lianfang audit agreement show {directory}")
    if not found["same"]:
        raise typer.Exit(EXIT_FAILED)


def _whole_log(home: Home, year: int) -> tuple[dict[str, Any], str]:
    """Replay the own log; the erased entries are counted and are no fault."""
    from clients.office import node_office
    from compliance.office.replaying import replay_log
    from compliance.progress import progress_bar

    decided, missing = 0, 0
    wrong: list[dict[str, Any]] = []
    with node_office(home) as office:
        present = office.yearly.origin()
        origin = f"{present.rpartition('/')[0]}/{year:04}" if year else present
        size = office.storage.edge(origin).size if origin in office.storage.origins() else 0
        with progress_bar("replay", shown=True) as advance:
            for item in replay_log(office, office.document, origin=origin, end=size):
                advance(item.place.index + 1, size)
                decided += not item.missing
                missing += bool(item.missing)
                if item.differences:
                    wrong.append({"entry": item.place.index, "differences": [*item.differences]})
    lines = [
        f"{origin}: {decided:,} decisions made again, {len(wrong):,} differ; "
        f"{missing:,} are not made again: erased, or the accounts of the set-up."
    ]
    lines += [f"entry {item['entry']}: {'; '.join(item['differences'])}" for item in wrong[:_SHOWN]]
    found = {
        "same": not wrong, "origin": origin, "decided": decided, "missing": missing,
        "differences": wrong,
    }  # fmt: skip
    return found, "\n".join(lines)


def _one(home: Home, record: Path, files: list[Path]) -> tuple[dict[str, Any], str]:
    from clients.audit.home import AuditHome
    from clients.audit.recorded import documents_in
    from compliance.configuration import ConfigError
    from compliance.policy.decision import Decision
    from compliance.policy.replay import replay as again

    audit = AuditHome(home)
    try:
        data = record.read_bytes()
        documents = documents_in(home.root / "runs", files)
    except OSError as error:
        raise ConfigError(f"{record.name}: cannot be read; correct the path") from error
    found = Decision.decode(data)
    differences = again(found, audit.policies(), audit.agreements(), documents)
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
    return value, text
