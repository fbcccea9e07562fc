"""Publishing made-up reports as the police would: a file, the register, the feed, the hub."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from clients.feed.connecting import connected
from clients.feed.home import FeedHome
from clients.feed.intake import open_input, take_in
from clients.feed.permitting import Permitting
from clients.feed.register import Actor
from clients.node.home import Home
from clients.office import node_office
from clients.output import CommandError
from compliance.clock import SystemClock
from protocols.identifiers import IdentifierKind
from protocols.lookup.payload import format_month, month_of

KIND = IdentifierKind.TW_NATIONAL_ID
_MONTHS_AGO = 3


def write_reports(path: Path, values: pl.Series, first_number: int, now: int) -> None:
    """Write one confirmed report for each identifier into a Parquet file."""
    last = format_month(month_of(now))
    first = format_month(month_of(now) - _MONTHS_AGO)
    numbers = pl.int_range(first_number, first_number + len(values), eager=True)
    frame = pl.DataFrame({"report_id": numbers.cast(pl.String), "value": values}).with_columns(
        kind=pl.lit(str(KIND)),
        category=pl.lit("mule_account"),
        status=pl.lit("confirmed"),
        first=pl.lit(first),
        last=pl.lit(last),
    )
    frame.write_parquet(path)


def publish_reports(node: Path, file: Path) -> int:
    """Enter a file of reports and publish; returns how many records the table then has.

    Raises:
        CommandError: a row was refused, or a record could not be published.
    """
    home = FeedHome(Home(node))
    settings, now = home.settings(), SystemClock().now()
    register, actor = home.register(), Actor("bench", now)
    office = node_office(home.node)
    permitting = Permitting(office)
    try:
        source = open_input(file, settings.defaults(now))
        enter = permitting.intake()
        taken = take_in(register, source, settings, home.benign(), actor, enter=enter)
        if taken.refusals:
            raise CommandError(f"bench: {taken.refused_rows} reports were refused")
        with connected(home, register, permitting) as hub:
            done = hub.publisher.publish(actor)
    finally:
        register.close()
        office.close()
    if done.left:
        raise CommandError(f"bench: {done.left} records could not be published: {done.missed}")
    return done.count
