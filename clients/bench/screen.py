"""`lianfang bench screen`: a whole customer base against a whole table, and the day after.

    publish    the police enters and publishes the reports
    screen     the insurer fetches the table, evaluates all customers, and finds the lights
    delta      the police publishes a hundredth of it more
    rescreen   the insurer fetches what changed and finds the lights again

The insurer's desk and the police's feed work in the bench's own process, one after the
other; hub and holder are processes of their own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from clients.bench.backend import Library, using
from clients.bench.lookup_town import LookupTown, lookup_town
from clients.bench.meters import Usage, measured, peak_rss_mb, surroundings
from clients.bench.people import made_up_numbers
from clients.bench.reporting import KIND, publish_reports, write_reports
from clients.desk.desk import Desk
from clients.desk.screened import Summary
from clients.desk.screening import Screening
from compliance.clock import SystemClock
from protocols.group.select import load_group
from protocols.lookup.light import Colour

OVERLAP_PERCENT = 1
DELTA_PERCENT = 1
_SEED = 12
# Processor seconds of all roles for 10^6 customers against 10^6 records; the last one where
# this machine has the vector kernel.
TARGET_SIZE = 1_000_000
TARGET_CPU_S, TARGET_AGAIN_CPU_S, TARGET_KERNEL_CPU_S = 200.0, 5.0, 40.0

Tell = Callable[[str], None]


def measure_screen(*, customers: int, records: int, library: Library, tell: Tell) -> dict[str, Any]:
    """Screen once and again, and return every figure."""
    around = surroundings()
    with using(library), tempfile.TemporaryDirectory(prefix="lianfang-bench-") as place:
        return _Run(Path(place), customers, records, library, tell).measure() | around


class _Run:
    """One measurement; the files of the bench lie in `root`."""

    def __init__(
        self, root: Path, customers: int, records: int, library: Library, tell: Tell
    ) -> None:
        self._root = root
        self._library = library
        self._tell = tell
        self._more = max(1, records * DELTA_PERCENT // 100)
        hits = min(records, max(1, customers * OVERLAP_PERCENT // 100))
        # Half of what comes the next day is about customers, as far as there are any left.
        self._more_hits = min(customers - hits, self._more // 2)
        people = made_up_numbers(customers + records + self._more, _SEED)
        self._customers = people[:customers]
        strangers = people[customers:]
        self._reports = pl.concat([people[:hits], strangers[: records - hits]])
        self._later = pl.concat(
            [
                people[hits : hits + self._more_hits],
                strangers[records:][: self._more - self._more_hits],
            ]
        )
        self._expected = (hits, hits + self._more_hits)
        self._usages: dict[str, Usage] = {}

    def measure(self) -> dict[str, Any]:
        self._tell("bringing up hub and holders")
        file = self._root / "customers.parquet"
        # In another order than the reports that name some of them.
        pl.DataFrame({"id": self._customers.shuffle(seed=_SEED)}).write_parquet(file)
        asked, published = len(self._customers), len(self._reports) + len(self._later)
        with lookup_town(
            self._root, asked=asked, published=published, library=self._library
        ) as town:
            self._publish(town, "publish", self._reports, 0)
            first = self._screen(town, "screen", file)
            self._publish(town, "delta", self._later, len(self._reports))
            again = self._screen(town, "rescreen", file)
            return self._figures(first, again) | {
                "hub_peak_rss_mb": round(peak_rss_mb(town.pids["hub"]), 1),
                "holder_peak_rss_mb": round(peak_rss_mb(town.pids["holder"]), 1),
                "quota_used": town.used(),
            }

    def _publish(self, town: LookupTown, phase: str, reports: pl.Series, first: int) -> None:
        self._tell(f"publishing {len(reports):,} reports")
        file = self._root / f"{phase}.parquet"
        write_reports(file, reports, first, SystemClock().now())
        with measured(town.pids, "feed", town.port) as usage:
            publish_reports(town.contributor, file)
        self._usages[phase] = usage

    def _screen(self, town: LookupTown, phase: str, file: Path) -> Summary:
        self._tell(f"screening {len(self._customers):,} customers")
        with (
            measured(town.pids, "desk", town.port) as usage,
            Desk(town.asker) as desk,
        ):
            desk.lookup.sync()
            screening = Screening(desk, file, column="id", kind=KIND)
            summary = screening.run(self._root / f"{phase}-lights.parquet")
        self._usages[phase] = usage
        return summary

    def _figures(self, first: Summary, again: Summary) -> dict[str, Any]:
        size, phases = len(self._customers), self._usages
        found = tuple(summary.lights.get(Colour.RED, 0) for summary in (first, again))
        greens = tuple(summary.lights.get(Colour.GREEN, 0) for summary in (first, again))
        changed = {(Colour.GREEN, Colour.RED): self._more_hits} if self._more_hits else {}
        return {
            "customers": size,
            "records": len(self._reports),
            "delta": len(self._later),
            "library": self._library.value,
            "backend": load_group().name,
            "published_by": "the feed's own commands: register, evaluation, records, delta",
            "phases": {name: usage.fields() for name, usage in phases.items()},
            "hits": {"screen": found[0], "rescreen": found[1]},
            "expected": {"screen": self._expected[0], "rescreen": self._expected[1]},
            "evaluated": {"screen": first.evaluated, "rescreen": again.evaluated},
            "correct": found == self._expected
            and greens == tuple(size - hits for hits in self._expected)
            and dict(again.changes) == changed
            and (first.evaluated, again.evaluated) == (size, 0),
            "targets": self._targets(),
        }

    def _targets(self) -> list[dict[str, Any]]:
        """Say what was wanted, and whether it was met where the sizes are those it is meant for."""
        wanted = [("screen", TARGET_CPU_S), ("rescreen", TARGET_AGAIN_CPU_S)]
        if "kernel" in load_group().name:
            wanted.append(("screen", TARGET_KERNEL_CPU_S))
        is_judged = min(len(self._customers), len(self._reports)) >= TARGET_SIZE
        return [
            {
                "phase": phase,
                "cpu_s": most,
                "met": self._usages[phase].total_cpu_s <= most if is_judged else None,
            }
            for phase, most in wanted
        ]


def screen_text(figures: dict[str, Any]) -> str:
    """Put the figures in a few lines for people."""
    lines = [
        f"{figures['customers']:,} customers against {figures['records']:,} records, "
        f"then {figures['delta']:,} more; {figures['backend']}"
    ]
    for name, phase in figures["phases"].items():
        roles = ", ".join(f"{role} {value:.2f}" for role, value in phase["cpu_s"].items())
        lines.append(
            f"  {name:<9} {phase['wall_s']:8.1f} s; processor seconds: {roles}; "
            f"{phase['bytes']['up']:,} bytes up, {phase['bytes']['down']:,} down"
        )
    hits, expected = figures["hits"], figures["expected"]
    lines += [
        f"  hits {hits['screen']:,} of {expected['screen']:,}, then {hits['rescreen']:,} of "
        f"{expected['rescreen']:,}: {'all right' if figures['correct'] else 'WRONG'}",
        f"  largest hub {figures['hub_peak_rss_mb']:,.0f} MB, holder "
        f"{figures['holder_peak_rss_mb']:,.0f} MB",
    ]
    words = {True: "met", False: "NOT met", None: "not judged at this size"}
    lines += [
        f"  wanted for 10^6 by 10^6: {item['phase']} in {item['cpu_s']:.0f} processor seconds: "
        f"{words[item['met']]}"
        for item in figures["targets"]
    ]
    return "\n".join(lines)
