"""The town's reports are what a feed takes, and say what the police's table says."""

import polars as pl
import pytest

from clients.demo.town import write_town
from clients.demo.town_reports import write_reports
from clients.feed.intake import open_input
from clients.feed.reports import Defaults
from protocols.lookup.payload import Slot, SourceClass, Use, month_of

NOW = 1_800_000_000
DEFAULTS = Defaults(SourceClass.POLICE, Use.COUNTER | Use.SCREENING, month_of(NOW))


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    folder = tmp_path_factory.mktemp("town")
    write_town(folder, 0, 2_000)
    police, telecom = write_reports(folder, NOW)
    return folder, police, telecom


def test_feed_takes_every_row(town):
    for path in town[1:]:
        rows = list(open_input(path, DEFAULTS).rows)
        assert len(rows) > 5
        assert [row for row in rows if type(row).__name__ == "Refusal"] == []


def test_no_witness_and_nothing_taken_back_is_reported(town):
    folder, police, _ = town
    table = pl.read_parquet(folder / "police" / "table.parquet")
    told = pl.read_csv(police).join(table, left_on="value", right_on="id")
    assert set(told["role"]) == {"account_holder", "line_holder", "suspected_victim"}
    assert set(told["status"]) == {"confirmed", "reported"}
    is_victim = told["role"] == "suspected_victim"
    assert told["slot"].to_list() == ["victim" if victim else "suspect" for victim in is_victim]


def test_telecom_reports_victims_alone(town):
    assert set(pl.read_csv(town[2])["slot"]) == {Slot.VICTIM.name.lower()}
    assert town[2].stat().st_size < 100_000
