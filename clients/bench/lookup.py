"""`lianfang bench lookup`: single checks at the desk, and the rate of evaluation.

Every check goes through what a core system imports: over HTTPS to the hub, which asks one
further holder, each with its durable book; back to the desk, which checks the proofs, opens
what it finds in the table and notes the check. All of it on the loopback of one machine.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from clients.bench.lookup_town import LookupTown, lookup_town
from clients.bench.meters import Usage, Wire, measured, percentiles, surroundings
from clients.bench.people import made_up_numbers
from clients.bench.rates import measure_rates
from clients.bench.reporting import KIND, publish_reports, write_reports
from clients.desk.desk import Desk
from clients.output import CommandError
from compliance.clock import SystemClock
from protocols.group.select import load_group
from protocols.lookup.light import Colour
from protocols.lookup.request import Purpose

# Every tenth check finds a report, as at a counter that asks when in doubt.
HIT_EVERY = 10
_WARM_UP = 20
_FOR_BYTES = 50
_SEED = 11
TARGETS_MS = {"p50": 15.0, "p99": 60.0}

Tell = Callable[[str], None]


def measure_lookup(*, records: int, lookups: int, tell: Tell) -> dict[str, Any]:
    """Publish `records` reports, check `lookups` different people, and return every figure."""
    around = surroundings()
    tell("measuring the rate of evaluation")
    rates = measure_rates()
    people = made_up_numbers(records + lookups + _WARM_UP + _FOR_BYTES, _SEED)
    asked, others = people[:lookups], people[lookups + records :]
    reports = pl.concat([asked[::HIT_EVERY], people[lookups:]])[:records]
    with tempfile.TemporaryDirectory(prefix="lianfang-bench-") as place:
        root = Path(place)
        tell("bringing up hub and holders")
        quota = lookups + _WARM_UP + _FOR_BYTES
        with lookup_town(root, asked=quota, published=records) as town:
            tell("publishing")
            file = root / "reports.parquet"
            write_reports(file, reports, 0, SystemClock().now())
            published = publish_reports(town.contributor, file)
            with Desk(town.asker) as desk:
                desk.lookup.sync()
                return {
                    "records": published,
                    "lookups": lookups,
                    **_figures(town, desk, asked.to_list(), others.to_list(), tell),
                    "quota_used": town.used(),
                    "rates": rates,
                    **around,
                }


def _figures(
    town: LookupTown, desk: Desk, asked: Sequence[str], others: Sequence[str], tell: Tell
) -> dict[str, Any]:
    _timed(desk, others[:_WARM_UP])
    tell("checking")
    with measured(town.pids, "desk", town.port) as fresh:
        seconds, colours = _timed(desk, asked)
    tell("checking again")
    with measured(town.pids, "desk", town.port) as cached:
        again, same = _timed(desk, asked)
    if same != colours:
        raise CommandError("bench: a cached check showed another light than the first one")
    with Wire(town.port) as wire:
        _timed(desk, others[_WARM_UP:][:_FOR_BYTES])
    expected = -(-len(asked) // HIT_EVERY)
    found = {"check_ms": percentiles(seconds), "cached_ms": percentiles(again)}
    return found | {
        "backend": load_group().name,
        "bytes_per_lookup": {
            name: round(count / _FOR_BYTES) for name, count in wire.counts().items()
        },
        "cpu_ms_per_lookup": _each(fresh, len(asked)),
        "cpu_ms_per_cached": _each(cached, len(asked)),
        "red": colours.count(Colour.RED),
        "expected_red": expected,
        "correct": colours.count(Colour.RED) == expected
        and colours.count(Colour.GREEN) == len(asked) - expected,
        "met": all(found["check_ms"][name] <= most for name, most in TARGETS_MS.items()),
    }


def _timed(desk: Desk, values: Sequence[str]) -> tuple[list[float], list[Colour | None]]:
    """Check everybody, one after the other."""
    seconds, colours = [], []
    for number, value in enumerate(values):
        began = time.perf_counter()
        found = desk.check([(KIND, value)], purpose=Purpose.COUNTER, case=f"bench-{number}")
        seconds.append(time.perf_counter() - began)
        colours.append(None if found.light is None else found.light.colour)
    return seconds, colours


def _each(usage: Usage, count: int) -> dict[str, float]:
    return {role: round(1e3 * value / count, 2) for role, value in usage.cpu_s.items()}


def lookup_text(figures: dict[str, Any]) -> str:
    """Put the figures in a few lines for people."""
    check, cached, rates = figures["check_ms"], figures["cached_ms"], figures["rates"]
    size, cpu = figures["bytes_per_lookup"], figures["cpu_ms_per_lookup"]
    lines = [
        f"{figures['records']:,} records, {figures['lookups']:,} lookups; {figures['backend']}",
        f"  check    p50 {check['p50']:7.2f} ms   p95 {check['p95']:7.2f}   p99 {check['p99']:7.2f}"
        f"   (15 and 60 wanted for p50 and p99: {'met' if figures['met'] else 'NOT met'})",
        f"  cached   p50 {cached['p50']:7.2f} ms   p95 {cached['p95']:7.2f}   "
        f"p99 {cached['p99']:7.2f}",
        f"  {size['up']:,} bytes up and {size['down']:,} down a lookup; processor time "
        + ", ".join(f"{role} {value:.1f} ms" for role, value in cpu.items()),
        f"  bare scalar multiplication {rates['bare_per_s']:,} a second and core",
    ]
    lines += [
        f"  {rates[library]['name']}: evaluation {rates[library]['evaluate']['per_s']:,}, "
        f"{rates[library]['evaluate']['of_bare']:.1%} of bare; with proof "
        f"{rates[library]['evaluate_and_prove']['per_s']:,}"
        for library in ("libsodium", "kernel")
        if library in rates
    ]
    lines.append(
        f"  lights: {figures['red']} red of {figures['expected_red']} expected, "
        f"{'all right' if figures['correct'] else 'WRONG'}"
    )
    return "\n".join(lines)
