"""`lianfang node map` and `refresh`: draft a feature contract from a table, and prove it.

Exit codes: 3 when the rows do not keep the contract; 4 when table or contract cannot be used.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compliance.commands.output import EXIT_REFUSED, Format, Formatted, say

if TYPE_CHECKING:
    from clients.node.mapping.drafting import Choices, Draft
    from clients.node.mapping.proving import Proof
    from clients.node.mapping.snapshots import Origin
    from clients.node.mapping.sources import Rows
    from protocols.vertical.contract import Contract

    Show = Callable[[str, int, int], None]

DRAFT = "contract-draft.json"

Directory = Annotated[Path, typer.Argument(help="The node's directory; made if there is none.")]


def map_table(
    directory: Directory,
    source: Annotated[
        str,
        typer.Argument(help=".csv, .parquet, or a database's [SCHEMA.]TABLE; else the node's own."),
    ] = "",
    identifier: Annotated[str, typer.Option(help="The column of identifiers; else guessed.")] = "",
    kind: Annotated[str, typer.Option(help="Their kind, such as tw_person_id; else guessed.")] = "",
    label: Annotated[str, typer.Option(help="The 0/1 column, at the label holder alone.")] = "",
    without: Annotated[list[str] | None, typer.Option(help="Leave this column out.")] = None,
    url_env: Annotated[str, typer.Option(help="Variable with a database's SQLAlchemy URL.")] = "",
    url_file: Annotated[
        Path | None, typer.Option(help="File with that URL, readable by you alone.")
    ] = None,
    contract: Annotated[
        Path | None, typer.Option(help="Contract to prove, or where to write the draft.")
    ] = None,
    max_levels: Annotated[int, typer.Option(min=2, max=512, help="Of a category.")] = 50,
    rare: Annotated[int, typer.Option(min=1, help="Name no level of fewer rows.")] = 10,
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Only prove the contract that there is.")
    ] = False,
    snapshot: Annotated[
        bool, typer.Option("--snapshot", help="Keep a database's rows in the node.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a draft, edits included.")
    ] = False,
    output: Formatted = Format.TEXT,
) -> None:
    """Draft the feature contract of a table, and prove it in counts; shows no value."""
    from clients.node.map_telling import draft_fields, draft_text, draw, proof_text
    from clients.node.mapping.drafting import Choices

    _check_source(source, url_env, url_file, snapshot=snapshot)
    held_out = _held_out(directory)
    with _bars(output) as show:
        rows, origin = _read(directory, source, url_env, url_file, show)
        if check:
            agreed, path = _existing(directory, contract)
            proof = _proof(rows, agreed, held_out, show)
        else:
            kept_back = {*(without or ()), *([held_out] if held_out else [])}
            choices = Choices(
                identifier, _kind(kind), label or None, sorted(kept_back), max_levels, rare
            )
            path = contract or directory / DRAFT
            draft, proof = _draft(rows, choices, path, held_out, show, overwrite=overwrite)
            agreed = draft.contract
    value: dict[str, Any] = {"contract": str(path), "source": source or "the node's table"}
    if not check:
        value |= draft_fields(draft)
    value |= {"sample": proof[0].fields(), "proof": proof[1].fields(), "holds": proof[1].holds}
    kept = None
    if snapshot and origin is not None and proof[1].holds:
        kept = _keep(directory, rows, agreed, held_out, origin)
        value["snapshot"] = str(kept)
    if output is Format.TEXT:
        draw(proof[1])
    text = proof_text(*proof)
    if not check:
        text = f"{draft_text(draft, path)}\n{text}"
    if kept is not None:
        text += f"\nKept {proof[1].rows:,} rows in {kept}, for you alone to read."
    say(output, value, text, _next(directory, source, path, kept, check=check, proof=proof[1]))
    if not proof[1].holds:
        raise typer.Exit(EXIT_REFUSED)


def refresh(
    directory: Annotated[Path, typer.Argument(help="The node's directory.")],
    output: Formatted = Format.TEXT,
) -> None:
    """Take the snapshot of a database again; what breaks the contract is not put in place."""
    from clients.node.home import Home
    from clients.node.map_telling import broken_text, draw
    from clients.node.mapping.snapshots import refresh as take

    with _bars(output) as show:
        found = take(Home(directory), environment=os.environ, now=int(time.time()), progress=show)
    if output is Format.TEXT:
        draw(found.proof)
    said = (
        f"Took {found.proof.rows:,} rows; they keep the contract and are in place."
        if found.replaced
        else f"{broken_text(found.proof)}\nThe former snapshot stays in place."
    )
    say(
        output,
        {"snapshot": str(found.path), "replaced": found.replaced, "proof": found.proof.fields()},
        said,
        f"lianfang node doctor {directory}"
        if found.replaced
        else f"correct the source, then lianfang node refresh {directory}",
    )
    if not found.replaced:
        raise typer.Exit(EXIT_REFUSED)


def _check_source(source: str, url_env: str, url_file: Path | None, *, snapshot: bool) -> None:
    """Refuse what cannot be, and an address on the command line without repeating it."""
    from compliance.configuration import ConfigError

    if "://" in source:
        raise ConfigError(
            "source: an address may hold a password, which every process of this machine could "
            "read here; put it into a variable or a file, and give --url-env or --url-file"
        )
    database = bool(url_env) or url_file is not None
    if snapshot and not database:
        raise ConfigError("--snapshot: is of a database; a file is named in node.json itself")
    if database and not source:
        raise ConfigError("source: name the database's table, as TABLE or SCHEMA.TABLE")


def _read(
    directory: Path, source: str, url_env: str, url_file: Path | None, show: Show | None
) -> tuple[Rows, Origin | None]:
    """Read the rows; returns where they came from if that is a database."""
    from clients.node.home import Home
    from clients.node.mapping.snapshots import Origin
    from clients.node.mapping.sources import read_file
    from clients.node.mapping.sql import Database, read_table

    if not url_env and url_file is None:
        return read_file(Path(source) if source else Home(directory).config().table), None
    database = Database(url_env, url_file)
    rows = read_table(database.address(os.environ), source, progress=show)
    return rows, Origin(source, database)


def _held_out(directory: Path) -> str | None:
    """Return the column that fixes the held-out people, if the node has one."""
    from clients.node.home import Home

    is_node = (directory / "node.json").exists()
    return Home(directory).config().held_out_column if is_node else None


def _existing(directory: Path, contract: Path | None) -> tuple[Contract, Path]:
    """Return the contract that is to be proved: the one named, the node's own, or the draft."""
    from clients.node.home import Home, load_contract

    path = contract or directory / DRAFT
    if contract is None and (directory / "node.json").exists():
        path = Home(directory).config().contract
    return load_contract(path), path


def _draft(
    rows: Rows,
    choices: Choices,
    path: Path,
    held_out: str | None,
    show: Show | None,
    *,
    overwrite: bool,
) -> tuple[Draft, tuple[Proof, Proof]]:
    """Draft, prove, and write the draft where no edited one is lost."""
    from clients.node.files import store_json
    from clients.node.mapping.drafting import draft_contract
    from compliance.configuration import ConfigError

    if path.exists() and not overwrite:
        raise ConfigError(
            f"{path.name}: exists already and may have been edited; prove it with --check, name "
            "another file with --contract, or replace it with --overwrite"
        )
    draft = draft_contract(rows, choices, progress=show)
    proof = _proof(rows, draft.contract, held_out, show)
    store_json(path, draft.contract.format())
    return draft, proof


def _proof(
    rows: Rows, contract: Contract, held_out: str | None, show: Show | None
) -> tuple[Proof, Proof]:
    """Prove a contract on a sample, then on all rows."""
    from clients.node.mapping.proving import prove, sample_of

    sample = prove(sample_of(rows.frame), contract, held_out_column=held_out)
    return sample, prove(rows.frame, contract, held_out_column=held_out, progress=show)


def _keep(
    directory: Path, rows: Rows, contract: Contract, held_out: str | None, origin: Origin
) -> Path:
    from clients.node.mapping.snapshots import columns_of, keep_snapshot

    columns = columns_of(contract, held_out)
    return keep_snapshot(directory, rows.frame, columns, origin, now=int(time.time()))


def _kind(text: str) -> Any:
    from protocols.identifiers import IdentifierKind

    if not text:
        return None
    try:
        return IdentifierKind(text)
    except ValueError as error:
        raise typer.BadParameter(f"--kind: must be one of {', '.join(IdentifierKind)}") from error


def _next(
    directory: Path, source: str, path: Path, kept: Path | None, *, check: bool, proof: Proof
) -> str:
    if check:
        return (
            f"lianfang node doctor {directory}"
            if proof.holds
            else f"correct the export, then lianfang node map {directory} {source} --check"
        )
    if (directory / "node.json").exists():
        table = "" if kept is None else f' with "table": "{kept.relative_to(directory)}"'
        return f"agree {path} with the partners and name it in node.json{table}"
    return (
        f"edit {path}, then lianfang node init {directory} --name NAME "
        f"--table {kept or source} --contract {path}"
    )


@contextmanager
def _bars(output: Format) -> Iterator[Show | None]:
    """Show progress on a terminal, and nowhere else."""
    if output is Format.JSON or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as bars:
        tasks: dict[str, Any] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield show
