"""The demonstration's second half: reports are published, customers checked and screened.

Every step is a command that operators and clerks use. What the hub saw of it is read from
the hub's own book, in which it logged each request before it answered.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table

from clients.demo.bringing_up import Town, run_command
from clients.demo.town import IDENTIFIER
from clients.demo.town_reports import write_reports
from clients.output import CommandError
from compliance.evaluations.reading import read_book
from compliance.policy.actors import hour_at

KIND = "tw_national_id"
_CONNECTED_S = 30.0
# When people may look at customers, by the policies that are shipped.
FIRST_HOUR, LAST_HOUR = 7, 22


@dataclass(frozen=True, slots=True)
class Lookups:
    """What the second half found, and what the hub knows of it."""

    checks: list[dict[str, Any]]
    screened: Mapping[str, int]
    seen: list[tuple[str, str, int, int]]
    records: Mapping[str, int]


def largest_table(town: Town) -> int:
    """Return the rows of the largest table."""
    tables = town.tables.values()
    return max(int(pl.scan_parquet(table).select(pl.len()).collect().item()) for table in tables)


def begin_epoch(town: Town) -> None:
    """Make the key that nobody holds, as soon as its holders are connected, as it is agreed."""
    population = str(2 * largest_table(town))
    command = ("lianfang-hub", "epoch", "begin", str(town.hub), "--population", population)
    ends_at = time.monotonic() + _CONNECTED_S
    while True:
        try:
            run_command(*command)
        except CommandError as error:
            if "not connected" not in str(error) or time.monotonic() > ends_at:
                raise
            time.sleep(0.3)
        else:
            return


def look_up(town: Town, folder: Path) -> Lookups:
    """Publish both tables, check a customer of every colour, and screen the whole base.

    Args:
        folder: directory of the town's tables.
    """
    police, telecom = write_reports(folder, int(time.time()))
    insurer = town.nodes["insurer"]
    run_command("lianfang", "feed", "publish", str(town.nodes["police"]), str(police))
    people = people_to_try(folder, police, telecom)
    # Before the telecom has published, its table is missing: nothing may be shown as green.
    checks = [_check(insurer, "before the telecom has published", people["unreported"])]
    run_command("lianfang", "feed", "publish", str(town.nodes["telecom"]), str(telecom))
    run_command("lianfang", "desk", "sync", str(insurer))
    checks += [
        _check(insurer, told, people[who])
        for who, told in (
            ("unreported", "the same customer, afterwards"),
            ("reported", "reported, not confirmed"),
            ("victim", "a suspected victim"),
            ("confirmed", "confirmed"),
        )
        if who in people
    ]
    screened = json.loads(
        run_command(
            "lianfang", "desk", "screen", str(insurer), str(town.tables["insurer"]), "--yes",
            "--care", "--column", IDENTIFIER, "--kind", KIND, "--format", "json",
            "--out", str(insurer / "screened.parquet"),
        )
    )  # fmt: skip
    return Lookups(checks, screened["lights"], _seen(town.hub), _records(insurer))


def draw_lookups(found: Lookups) -> str:
    """Draw what the desk was shown, and what the hub saw of it."""
    desk = Table(title="At the insurer's desk")
    for heading in ("customer", "light", "why"):
        desk.add_column(heading)
    for check in found.checks:
        why = "; ".join(reason["text"] for reason in check["reasons"]) or check["sentence"]
        desk.add_row(check["told"], f"{check['shape']} {check['word']}", why)
    hub = Table(title="What the hub saw: who asked, why, how much; never about whom")
    for heading in ("asker", "purpose", "requests", "blinded elements"):
        hub.add_column(heading)
    for asker, purpose, requests, elements in found.seen:
        hub.add_row(asker, purpose, str(requests), f"{elements:,}")
    target = StringIO()
    console = Console(file=target, width=88)
    console.print(desk)
    lights = ", ".join(f"{count:,} {colour}" for colour, count in found.screened.items())
    console.print(f"Whole customer base screened: {lights}")
    console.print(hub)
    tables = ", ".join(f"{name} {count:,}" for name, count in found.records.items())
    console.print(f"Encrypted records at the hub: {tables}")
    return target.getvalue().rstrip()


def people_to_try(folder: Path, police: Path, telecom: Path) -> dict[str, str]:
    """Choose a customer for every colour, as only the demonstration can."""
    customers = pl.read_parquet(folder / "insurer" / "table.parquet")[IDENTIFIER]
    reports = pl.read_csv(police).filter(pl.col("value").is_in(customers.implode()))
    watched = pl.read_csv(telecom)["value"]
    only = reports.filter(~pl.col("value").is_in(watched.implode()))
    suspects = only.filter(pl.col("slot") == "suspect").sort("last", descending=True)
    chosen = {
        "reported": suspects.filter(pl.col("status") == "reported"),
        "confirmed": suspects.filter(pl.col("status") == "confirmed"),
        "victim": only.filter(pl.col("slot") == "victim").sort("last", descending=True),
    }
    named = {who: rows["value"][0] for who, rows in chosen.items() if len(rows)}
    free = customers.filter(~customers.is_in([*reports["value"], *watched]))
    return named | {"unreported": free[0]}


def people_may_look() -> bool:
    """Report whether it is an hour at which the policies let people look at customers."""
    return FIRST_HOUR <= hour_at(int(time.time())) < LAST_HOUR


def _check(insurer: Path, told: str, identifier: str) -> dict[str, Any]:
    # At night nobody may look, and nobody stands at a counter: a customer comes in online.
    is_day = people_may_look()
    answer: dict[str, Any] = json.loads(
        run_command(
            "lianfang", "desk", "check", str(insurer), "--case", "DEMO-1", "--stdin",
            "--purpose", "counter" if is_day else "online",
            "--format", "json", said=f"{KIND},{identifier}\n", unattended=not is_day,
        )
    )  # fmt: skip
    return {"told": told} | answer


def _seen(hub: Path) -> list[tuple[str, str, int, int]]:
    with read_book(hub) as book:
        entries = book.entries(1)
    requests = Counter((entry.asker, entry.purpose.value) for entry in entries)
    elements: Counter[tuple[str, str]] = Counter()
    for entry in entries:
        elements[entry.asker, entry.purpose.value] += entry.count
    return [(*key, requests[key], elements[key]) for key in sorted(requests)]


def _records(insurer: Path) -> dict[str, int]:
    status = json.loads(run_command("lianfang", "desk", "status", str(insurer), "--format", "json"))
    return {table["contributor"]: table["records"] for table in status["tables"]}
