"""SIMULATED reports in the form in which a feed takes them: one CSV file for each contributor.

The police report what their table holds and has not taken back: suspects for the counter,
suspected victims for care alone. The telecom reports subscribers whose telephone was
controlled from afar, as suspected victims. Nobody in it exists.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl

from clients.demo.town import IDENTIFIER
from protocols.lookup.payload import format_month, month_of

REPORTS = "reports.csv"
_FIELDS = ("report_id", "kind", "value", "category", "source", "status", "first", "last", "slot")
_KIND = "tw_national_id"
_CATEGORIES = {
    "account_rental": "mule_account",
    "fake_investment": "investment",
    "fake_official": "impersonated_authority",
    "instalment_cancelling": "shopping",
    "job_offer": "job",
    "romance": "romance",
    "shopping": "shopping",
}
_SOURCES = {"bank": "bank", "hotline_165": "hotline_165", "patrol": "police", "telecom": "telecom"}
_OPEN = ("confirmed", "reported")
_REMOTE = "remote_control_"
# One in so many subscribers, those controlled from afar most often.
_WATCHED_SHARE = 100


def write_reports(town: Path, now: int) -> tuple[Path, Path]:
    """Write the police's and the telecom's reports; returns their files.

    Args:
        town: directory of the town's tables.
        now: Unix seconds; reports are dated by months before it.
    """
    month = month_of(now)
    police, telecom = (town / name / REPORTS for name in ("police", "telecom"))
    _write(police, _police_rows(pl.read_parquet(police.with_name("table.parquet")), month))
    _write(telecom, _telecom_rows(pl.read_parquet(telecom.with_name("table.parquet")), month))
    return police, telecom


def _police_rows(table: pl.DataFrame, month: int) -> Iterator[Mapping[str, str]]:
    # A witness is no subject of a report, and what was taken back is not published.
    kept = table.filter(pl.col("status").is_in(_OPEN) & (pl.col("role") != "witness"))
    for number, row in enumerate(kept.iter_rows(named=True), 1):
        yield {
            "report_id": f"P-{number:05d}",
            "kind": _KIND,
            "value": row[IDENTIFIER],
            "category": _CATEGORIES[row["category"]],
            "source": _SOURCES[row["source"]],
            "status": row["status"],
            "first": format_month(month - row["months_since_first"]),
            "last": format_month(month - row["months_since_last"]),
            "slot": "victim" if row["role"] == "suspected_victim" else "suspect",
        }


def _telecom_rows(table: pl.DataFrame, month: int) -> Iterator[Mapping[str, str]]:
    columns = [name for name in table.columns if name.startswith(_REMOTE)]
    total = pl.sum_horizontal(pl.col(name).fill_null(0) for name in columns)
    most = table.select(IDENTIFIER, total.alias("total")).sort("total", descending=True)
    for number, row in enumerate(most.head(len(table) // _WATCHED_SHARE).iter_rows(named=True), 1):
        yield {
            "report_id": f"T-{number:05d}",
            "kind": _KIND,
            "value": row[IDENTIFIER],
            "category": "impersonated_authority",
            "source": "telecom",
            "status": "reported",
            "first": format_month(month - 1),
            "last": format_month(month),
            "slot": "victim",
        }


def _write(path: Path, rows: Iterator[Mapping[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _FIELDS)
        writer.writeheader()
        writer.writerows(rows)
