"""A SIMULATED town: three organisations, one population, and a truth that is known.

Nothing here describes a person. An insurer, a telecom and the police each get a table of
their own about partly the same people, with a feature contract beside it; what really moves
the people is written apart, for who checks what the three found out together:

    DIR/insurer/table.parquet   DIR/insurer/contract.json    with the label `y`
    DIR/telecom/table.parquet   DIR/telecom/contract.json
    DIR/police/table.parquet    DIR/police/contract.json
    DIR/truth/truth.parquet     hidden traits, chances and memberships; no party gets it

The same seed gives the same town. Cases are far more frequent than in life, so that a town
that fits a laptop has enough of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clients.demo.town_draw import Field
from clients.demo.town_insurer import insurer_fields
from clients.demo.town_people import People, make_people
from clients.demo.town_police import police_fields
from clients.demo.town_telecom import telecom_fields
from protocols.codec import canonical_json
from protocols.errors import UnsupportedParameterError
from protocols.vertical.contract import Contract, Numeric

IDENTIFIER, LABEL = "id", "y"
DEFAULT_PEOPLE = 20_000
MIN_PEOPLE, MAX_PEOPLE = 200, 1_000_000


@dataclass(frozen=True, slots=True)
class PartyTable:
    """What one organisation holds."""

    frame: pl.DataFrame = field(repr=False)
    contract: Contract = field(repr=False)


@dataclass(frozen=True, slots=True)
class Town:
    """The tables by party, and the truth."""

    parties: Mapping[str, PartyTable]
    truth: pl.DataFrame = field(repr=False)


def make_town(seed: int, people: int = DEFAULT_PEOPLE) -> Town:
    """Simulate a town.

    Args:
        seed: the same seed gives the same town.
        people: how many live there.
    """
    if not MIN_PEOPLE <= people <= MAX_PEOPLE:
        raise UnsupportedParameterError(f"people: expected {MIN_PEOPLE} to {MAX_PEOPLE}")
    # One stream for each table: a further column in one leaves the others as they are.
    streams = [np.random.default_rng(part) for part in np.random.SeedSequence(seed).spawn(4)]
    population = make_people(streams[0], people)
    customers, subscribers, reported = (
        _shuffled(mask, streams[0])
        for mask in (population.is_customer, population.is_subscriber, population.is_reported)
    )
    parties = {
        "insurer": _table(
            population,
            customers,
            _taken(insurer_fields(population, streams[1]), customers),
            label=population.is_victim,
        ),
        "telecom": _table(
            population, subscribers, telecom_fields(population, subscribers, streams[2])
        ),
        "police": _table(
            population, reported, _taken(police_fields(population, streams[3]), reported)
        ),
    }
    return Town(parties, _truth(population))


def write_town(directory: Path, seed: int, people: int = DEFAULT_PEOPLE) -> Town:
    """Simulate a town and write its files, each party's into a folder of its own.

    Args:
        directory: made if it is not there; files of an earlier town are replaced.
        seed: the same seed gives the same files.
        people: how many live there.
    """
    town = make_town(seed, people)
    for name, table in town.parties.items():
        folder = directory / name
        folder.mkdir(parents=True, exist_ok=True)
        table.frame.write_parquet(folder / "table.parquet", compression="lz4")
        (folder / "contract.json").write_bytes(canonical_json(table.contract.format()) + b"\n")
    folder = directory / "truth"
    folder.mkdir(parents=True, exist_ok=True)
    town.truth.write_parquet(folder / "truth.parquet")
    return town


def _table(
    people: People,
    rows: NDArray[np.int64],
    fields: Sequence[Field],
    *,
    label: NDArray[np.bool_] | None = None,
) -> PartyTable:
    columns: dict[str, pl.Series] = {IDENTIFIER: pl.Series([people.identifiers[i] for i in rows])}
    if label is not None:
        columns[LABEL] = pl.Series(label[rows].astype(np.int8))
    for column, values in fields:
        if isinstance(column, Numeric):
            columns[column.name] = _numbers(column, values)
        else:
            columns[column.name] = pl.Series(values.tolist(), dtype=pl.String)
    contract = Contract(
        columns=tuple(column for column, _values in fields),
        identifier=IDENTIFIER,
        identifier_kind="tw_national_id",
        label=None if label is None else LABEL,
    )
    return PartyTable(pl.DataFrame(columns), contract)


def _numbers(column: Numeric, values: NDArray[np.generic]) -> pl.Series:
    # All of the town's numbers are whole; a missing one is null, not NaN.
    if not column.missing:
        return pl.Series(values.astype(np.int32))
    return pl.Series(values.astype(np.float64)).fill_nan(None).cast(pl.Int32)


def _taken(fields: Sequence[Field], rows: NDArray[np.int64]) -> list[Field]:
    return [(column, values[rows]) for column, values in fields]


def _shuffled(mask: NDArray[np.bool_], random: np.random.Generator) -> NDArray[np.int64]:
    # Every organisation has its own order, so that a row number says nothing elsewhere.
    return random.permutation(np.flatnonzero(mask))


def _truth(people: People) -> pl.DataFrame:
    return pl.DataFrame(
        {
            IDENTIFIER: people.identifiers,
            "chance": people.chance,
            LABEL: people.is_victim,
            "is_customer": people.is_customer,
            "is_subscriber": people.is_subscriber,
            "is_reported": people.is_reported,
            "targeted": people.targeted,
            "yielding": people.yielding,
            "strained": people.strained,
            "wealth": people.wealth,
            "digital": people.digital,
            "social": people.social,
        }
    )
