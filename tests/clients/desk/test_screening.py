"""Screening of whole files: costs told first, nothing charged twice, changes told."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import polars as pl
import pytest

from clients.desk.desk import Desk
from clients.desk.screening import Screening
from clients.desk.watch import ALARMS
from compliance.errors import NotPermittedError
from protocols.identifiers import IdentifierKind
from protocols.lookup.light import Colour
from protocols.lookup.payload import Slot, Status, Use
from protocols.lookup.request import Purpose

PERSON, PHONE = IdentifierKind.TW_PERSON_ID, IdentifierKind.PHONE


@pytest.fixture
def customers(tmp_path, person):
    """A file of 60 customers, with two repetitions and two rows that are none."""
    path = tmp_path / "customers.parquet"
    values = [person(number) for number in range(60)]
    values += [values[0], values[1], "A123456780", None]
    pl.DataFrame({"id": values}).write_parquet(path)
    return path


@pytest.fixture
def screened_town(town, person):
    """A town in which customers 3 and 4 stand in the tables."""
    reported = {"status": Status.REPORTED}
    town.publish([(PERSON, person(3), {}), (PERSON, person(4), reported)])
    town.publish(contributor="telecom")
    return town


@pytest.fixture
def screening_of(customers):
    """Make screenings at desks that are closed at the end."""
    desks = []

    def make(town, file=customers, *, home=None, batch=16_384, **changes):
        desk = Desk((home or town.home()).root, clock=town.clock, batch=batch)
        desk.lookup.api._https._pauses_s = (0.01,)
        desks.append(desk)
        return Screening(desk, file, **({"column": "id", "kind": PERSON} | changes))

    yield make
    for desk in desks:
        desk.close()


def lights(out):
    frame = pl.read_parquet(out)
    return dict(zip(frame["row"], frame["light"], strict=True))


def test_preview_tells_the_cost_and_asks_nothing(screened_town, customers, screening_of):
    screening = screening_of(screened_town)
    found = screening.preview()
    assert (found.rows, found.valid, found.malformed, found.duplicates) == (64, 62, 2, 2)
    assert (found.cached, found.needed, found.quota_left) == (0, 60, 100_000)
    assert found.seconds == 1
    assert screened_town.used() == 0


def test_every_row_has_its_light_and_no_identifier(
    screened_town, customers, tmp_path, person, screening_of
):
    out = tmp_path / "result.parquet"
    summary = screening_of(screened_town).run(out)
    found = lights(out)
    assert found[4] == "red"
    assert found[5] == "yellow"
    assert found[63] is None
    assert found[64] is None
    assert all(found[row] == "green" for row in range(1, 63) if row not in (4, 5))
    assert summary.lights == {"green": 60, "yellow": 1, "red": 1, "malformed": 2, "shared": 0}
    frame = pl.read_parquet(out)
    assert frame.columns == ["row", "light", "reasons"]
    assert frame["reasons"][3] == "confirmed:police:mule_account"
    assert person(3).encode() not in out.read_bytes()
    assert out.stat().st_mode & 0o077 == 0
    assert screened_town.used() == 60


def test_identifiers_are_written_on_demand_only(
    screened_town, customers, tmp_path, person, screening_of
):
    out = tmp_path / "result.csv"
    screening_of(screened_town).run(out, keep_identifier=True)
    frame = pl.read_csv(out, infer_schema=False)
    assert frame["identifier"][3] == person(3)
    assert frame["light"][3] == "red"


def test_second_run_against_new_tables_costs_nothing(
    screened_town, customers, tmp_path, person, screening_of
):
    town, out = screened_town, tmp_path / "result.parquet"
    screening_of(town).run(out)
    town.publish([(PERSON, person(10), {})], [(PERSON, person(3), Slot.SUSPECT)])
    town.clock.advance(3600)
    again = screening_of(town)
    assert (again.preview().needed, again.preview().cached) == (0, 62)
    summary = again.run(out)
    assert summary.evaluated == 0
    assert summary.changes == {
        (Colour.RED, Colour.GREEN): 1,
        (Colour.GREEN, Colour.RED): 1,
    }
    assert lights(out)[11] == "red"
    assert town.used() == 60


def test_first_run_counts_everybody_as_new(screened_town, customers, tmp_path, screening_of):
    summary = screening_of(screened_town).run(tmp_path / "result.parquet")
    assert summary.changes == {
        (None, Colour.GREEN): 58,
        (None, Colour.YELLOW): 1,
        (None, Colour.RED): 1,
    }


def test_only_records_for_screening_count(town, customers, tmp_path, person, screening_of):
    town.publish(
        [
            (PERSON, person(0), {"use": Use.COUNTER}),
            (PERSON, person(5), {"slot": Slot.VICTIM}),
            (PERSON, person(6), {"canary": True}),
        ]
    )
    town.publish(contributor="telecom")
    out = tmp_path / "result.parquet"
    screening_of(town).run(out)
    assert set(lights(out).values()) == {"green", None}
    alarms = (town.home().root / ALARMS).read_bytes()
    assert b"row 7" in alarms
    assert person(6).encode() not in alarms
    # Outreach with care is asked for by name.
    screening_of(town, care=True).run(out)
    assert [row for row, light in lights(out).items() if light == "yellow"] == [6]


def test_missing_table_makes_everybody_grey(town, customers, tmp_path, person, screening_of):
    town.publish([(PERSON, person(3), {})])
    summary = screening_of(town).run(tmp_path / "result.parquet")
    assert summary.lights["grey"] == 61
    assert summary.lights["red"] == 1
    assert summary.absent == ("telecom",)


def test_shared_numbers_are_neither_asked_nor_lit(town, tmp_path, screening_of):
    (town.home().root / "desk").mkdir()
    entries = [{"kind": "phone", "value": "0223123456", "label": "a hospital"}]
    benign = {"format": 1, "version": 1, "entries": entries}
    (town.home().root / "desk" / "benign.json").write_text(json.dumps(benign))
    path, out = tmp_path / "phones.csv", tmp_path / "result.parquet"
    pl.DataFrame({"tel": ["0912345678", "02-23123456"]}).write_csv(path)
    summary = screening_of(town, path, column="tel", kind=PHONE).run(out)
    assert summary.lights["shared"] == 1
    assert pl.read_parquet(out)["reasons"].to_list() == ["", "shared"]
    assert town.used() == 1


def test_too_little_quota_is_told_before_anything_is_asked(
    make_town, customers, tmp_path, screening_of
):
    town = make_town(quota=30)
    with pytest.raises(NotPermittedError, match="needs 60 evaluations, 30 are left"):
        screening_of(town).run(tmp_path / "result.parquet")
    assert town.used() == 0


def test_dense_range_needs_an_approval(screened_town, tmp_path, screening_of):
    path, out = tmp_path / "range.csv", tmp_path / "result.parquet"
    pl.DataFrame({"tel": [f"0912345{n:03d}" for n in range(200)]}).write_csv(path)
    screening = screening_of(screened_town, path, column="tel", kind=PHONE)
    assert screening.preview().dense is not None
    with pytest.raises(NotPermittedError, match="--approved-by"):
        screening.run(out)
    assert screened_town.used() == 0
    assert b"dense_range" in (screened_town.home().root / ALARMS).read_bytes()
    screening.run(out, approved_by="the compliance office")
    assert screened_town.used() == 200


def test_hub_away_still_screens_whom_it_knows(
    screened_town, proxied, customers, tmp_path, screening_of
):
    home, proxy = proxied
    out = tmp_path / "result.parquet"
    screening_of(screened_town).run(out)
    before = lights(out)
    proxy.is_down = True
    screened_town.clock.advance(600)
    summary = screening_of(screened_town, home=home).run(out)
    assert "cannot be reached" in summary.problem
    assert lights(out) == before


KILLED = textwrap.dedent("""
    import os, signal, sys, time
    from pathlib import Path
    from clients.desk.desk import Desk
    from clients.desk.screening import Screening
    from protocols.identifiers import IdentifierKind
    home, customers, out = map(Path, sys.argv[1:4])
    desk = Desk(home, batch=7)
    screening = Screening(desk, customers, column="id", kind=IdentifierKind.TW_PERSON_ID)
    print("ready", flush=True)
    screening.run(out, on_progress=lambda done, total: print(done, flush=True))
    print("done", flush=True)
""")


def run_until(town, customers, out, batches):
    """Screen in a process that is killed after so many batches; None lets it end."""
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(town.home().root), str(customers), str(out)],
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline() == "ready\n"
        if batches is None:
            assert "done" in process.stdout.read()
            return
        for _ in range(batches):
            process.stdout.readline()
        # Somewhere in the next batch: before it is kept, sent, answered or put away.
        time.sleep(0.004 * batches)
        os.kill(process.pid, signal.SIGKILL)


def test_killed_run_goes_on_and_nothing_is_charged_twice(
    screened_town, customers, tmp_path, screening_of
):
    town = screened_town
    out, whole = tmp_path / "result.parquet", tmp_path / "whole.parquet"
    used = []
    for batches in (0, 1, 3, 2):
        run_until(town, customers, out, batches)
        used.append(town.used())
    assert any(0 < count < 60 for count in used)  # some were killed on the way
    run_until(town, customers, out, None)
    assert town.used() == 60
    assert max(town.used("police"), town.used("telecom")) <= 60
    # The result is that of a run that nobody disturbed.
    screening_of(town).run(whole)
    assert pl.read_parquet(out).equals(pl.read_parquet(whole))
    assert town.used() == 60


def test_cut_answer_is_asked_again_under_its_number(
    screened_town, proxied, customers, tmp_path, screening_of
):
    home, proxy = proxied
    screening = screening_of(screened_town, home=home)
    proxy.down_left = 900
    screening.run(tmp_path / "result.parquet")
    assert screened_town.used() == 60
    assert proxy.connections > 1


def test_screening_is_noted_under_its_purpose(screened_town, customers, tmp_path, screening_of):
    screening_of(screened_town).run(tmp_path / "result.parquet")
    assert {entry.purpose for entry in screened_town.entries()} == {Purpose.SCREENING}


def test_batches_of_another_size_find_the_same(screened_town, customers, tmp_path, screening_of):
    screening_of(screened_town, batch=1).run(tmp_path / "result.parquet")
    assert screened_town.used() == 60
    assert len(screened_town.entries()) == 60
