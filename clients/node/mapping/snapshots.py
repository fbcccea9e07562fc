"""A private copy of a database's rows for a node, and taking it again.

    NODE/snapshot/table.parquet   the columns of the contract and no others, mode 600
    NODE/snapshot/source.json     table, where the address stands, when it was read, how many rows

The address itself is never kept: it may hold a password. A copy that does not keep the
contract is not put in place of one that does, nor is any while a run is open, which reads the
table in several phases.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from clients.node.files import make_private_directory, store_json
from clients.node.home import Home
from clients.node.mapping.proving import Proof, prove
from clients.node.mapping.sql import Database, Progress, read_table
from compliance.configuration import ConfigError, check_fields, read_object, typed
from compliance.files import FILE_MODE
from protocols.errors import OutOfTurnError
from protocols.vertical.contract import Contract

FOLDER, TABLE, SOURCE = "snapshot", "table.parquet", "source.json"
_FIELDS = {"table", "variable", "file", "taken_at", "rows"}


@dataclass(frozen=True, slots=True)
class Origin:
    """Which table of which database a snapshot is of."""

    table: str
    database: Database


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What taking a snapshot again came to; it is in place only where the proof holds."""

    path: Path
    proof: Proof

    @property
    def replaced(self) -> bool:
        """Whether the new rows are in place of the former ones."""
        return self.proof.holds


def columns_of(contract: Contract, held_out_column: str | None = None) -> tuple[str, ...]:
    """Return the columns that a run reads, and that a snapshot may have."""
    named = [contract.identifier, contract.label, held_out_column]
    named += [column.name for column in contract.columns]
    return tuple(dict.fromkeys(name for name in named if name is not None))


def keep_snapshot(
    root: Path, frame: pl.DataFrame, columns: tuple[str, ...], origin: Origin, *, now: int
) -> Path:
    """Put these columns of a frame in place of the former snapshot; durable on return.

    Raises:
        OutOfTurnError: a run is open here.
    """
    check_no_run(root)
    folder = make_private_directory(root / FOLDER)
    path = folder / TABLE
    waiting = path.with_name(f".{TABLE}.{secrets.token_hex(8)}")
    # Closed to others from its first byte on.
    descriptor = os.open(waiting, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            frame.select(columns).write_parquet(file)
            file.flush()
            os.fsync(file.fileno())
        waiting.replace(path)
    except BaseException:
        waiting.unlink(missing_ok=True)
        raise
    database = origin.database
    file_name = "" if database.file is None else str(database.file.resolve())
    store_json(
        folder / SOURCE,
        {"table": origin.table, "variable": database.variable, "file": file_name,
         "taken_at": now, "rows": frame.height},
    )  # fmt: skip
    return path


def origin_of(root: Path) -> Origin:
    """Read where a snapshot came from.

    Raises:
        ConfigError: there is none, or the file is damaged.
    """
    where = f"{FOLDER}/{SOURCE}"
    value = read_object(
        root / FOLDER / SOURCE, cure="take one with `lianfang node map ... --snapshot` first"
    )
    check_fields(value, _FIELDS, where)
    file = typed(value, "file", str, where)
    database = Database(typed(value, "variable", str, where), Path(file) if file else None)
    return Origin(typed(value, "table", str, where), database)


def refresh(
    home: Home, *, environment: Mapping[str, str], now: int, progress: Progress | None = None
) -> Refreshed:
    """Read the columns of the contract again and put them in place if they keep it.

    Raises:
        ConfigError: no snapshot, another table in node.json, or the database cannot be read.
        OutOfTurnError: a run is open here. InvalidTableError: the table is gone.
    """
    config, contract, origin = home.config(), home.contract(), origin_of(home.root)
    path = home.root / FOLDER / TABLE
    if config.table.resolve() != path.resolve():
        raise ConfigError(
            f"node.json: table is not {FOLDER}/{TABLE}; put that there, so that runs read it"
        )
    check_no_run(home.root)
    columns = columns_of(contract, config.held_out_column)
    rows = read_table(
        origin.database.address(environment), origin.table, columns=columns, progress=progress
    )
    proof = prove(rows.frame, contract, held_out_column=config.held_out_column, progress=progress)
    if proof.holds:
        keep_snapshot(home.root, rows.frame, columns, origin, now=now)
    return Refreshed(path, proof)


def check_no_run(root: Path) -> None:
    """Refuse while a run is open here.

    Raises:
        OutOfTurnError: names one, and the cure.
    """
    found = sorted(path.parent.name for path in root.glob("runs/*/ephemeral.key"))
    if found:
        raise OutOfTurnError(
            f"table: {len(found)} runs are open here ({found[0]}) and read it in several phases; "
            "wait for their end, or `lianfang node close` what the hub has left"
        )
