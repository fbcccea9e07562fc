"""Reading CSV and Parquet: every defect is told by row, field, rule and cure, never by value."""

import random

import polars as pl
import pytest

from clients.feed.columns import BIG5_NOTE
from clients.feed.defects import refusal_table
from clients.feed.intake import open_input, take_in
from clients.feed.register import Effect
from protocols.errors import InvalidTableError
from protocols.lookup.payload import Status

PHONE = {"kind": "phone", "value": "0912-345-678"}


def town_row(ids, number, **changes):
    base = {
        "report_id": f"R{number}", "kind": "tw_national_id", "value": ids(number),
        "category": "loan", "source": "", "status": "", "first": "", "last": "2026-10",
        "slot": "", "use": "",
    }  # fmt: skip
    return base | changes


# What is wrong with a row, and the fields under which it must be listed.
DEFECTS = [
    ({"report_id": ""}, {"report_id"}),
    ({"report_id": "x" * 129}, {"report_id"}),
    ({"report_id": "a\x07b"}, {"report_id"}),
    ({"kind": ""}, {"kind"}),
    ({"kind": "passport"}, {"kind"}),
    ({"value": ""}, {"value"}),
    ({"value": "A123456788"}, {"value"}),
    ({"kind": "phone", "value": "12345"}, {"value"}),
    ({"kind": "email", "value": "nobody"}, {"value"}),
    ({"kind": "bank_account", "value": "000-1234567"}, {"value"}),
    ({"category": ""}, {"category"}),
    ({"category": "murder"}, {"category"}),
    ({"source": "neighbour"}, {"source"}),
    ({"status": "certain"}, {"status"}),
    ({"status": "withdrawn"}, {"status"}),
    ({"status": "expired"}, {"status"}),
    ({"last": ""}, {"last"}),
    ({"last": "soon"}, {"last"}),
    ({"last": "2027-01"}, {"last"}),
    ({"last": "2024-10"}, {"last"}),
    ({"first": "2026-11", "last": "2026-10"}, {"last"}),
    ({"first": "31/12/2025"}, {"first"}),
    ({"slot": "witness"}, {"slot"}),
    ({"slot": "victim", "use": "counter"}, {"use"}),
    ({"slot": "victim", "use": "care,screening"}, {"use"}),
    ({"use": "everything"}, {"use"}),
    ({"use": ";"}, {"use"}),
    ({"kind": "x", "category": "y", "last": "z"}, {"kind", "category", "last"}),
]
GOOD = [
    {}, {"last": "115/10/03"}, {"last": "", "first": "民國115年9月"}, {"kind": "TW-National-ID"},
    {"category": "假投資"}, {"source": "165"}, {"status": "確認"}, {"slot": "被害人"},
    {"slot": "victim", "use": "care"}, {"use": "臨櫃、篩查"}, PHONE, {"use": "counter; care"},
]  # fmt: skip


def test_forty_rows_are_judged_one_by_one(town, ids):
    rows = [town_row(ids, n, **changes) for n, (changes, _) in enumerate(DEFECTS)]
    rows += [town_row(ids, n, **changes) for n, changes in enumerate(GOOD, 100)]
    assert len(rows) == 40
    order = list(range(40))
    random.Random(4).shuffle(order)
    intake = town.take_in([rows[at] for at in order])
    found = {}
    for refusal in intake.refusals:
        assert refusal.rule
        assert refusal.cure
        found.setdefault(order[refusal.row - 1], set()).add(refusal.field)
    assert found == {at: fields for at, (_, fields) in enumerate(DEFECTS)}
    assert (intake.refused_rows, intake.effects[Effect.NEW]) == (len(DEFECTS), len(GOOD))
    told = refusal_table(intake.refusals, shown=99)
    values = {row[name] for row in rows for name in ("value", "report_id")} | {"murder", "soon"}
    assert not [value for value in values if len(value) > 3 and value in told]
    assert town.register().refusals() == intake.refusals


def test_dry_run_judges_all_and_keeps_nothing(town, given):
    town.take_in([given(1)])
    before = sorted((path.name, path.read_bytes()) for path in town.home.root.glob("*.sqlite"))
    register = town.register()
    intake = town.take_in([given(1, status="confirmed"), given(2), given(3, kind="x")],
                          register, keep=False)  # fmt: skip
    assert intake.effects == {Effect.CHANGED: 1, Effect.NEW: 1}
    assert intake.refused_rows == 1
    assert [state for state, *_ in register.counts()] == [Status.REPORTED]
    assert not register.refusals()
    assert before == sorted((p.name, p.read_bytes()) for p in town.home.root.glob("*.sqlite"))


def test_rows_that_contradict_each_other_are_refused(town, given):
    intake = town.take_in([given(1), given(1), given(1, category="job")])
    assert [(one.row, one.field) for one in intake.refusals] == [(3, "report_id")]
    assert intake.effects == {Effect.NEW: 1, Effect.UNCHANGED: 1}


def test_one_report_may_name_several_identifiers(town, given):
    intake = town.take_in([given(1), given(1, **PHONE), given(1, slot="victim")])
    assert intake.effects == {Effect.NEW: 3}


def write(town, data, name="given.csv"):
    path = town.path / name
    path.write_bytes(data)
    return path


def read(town, path):
    settings = town.home.settings()
    source = open_input(path, settings.defaults(town.clock.now()))
    return take_in(town.register(), source, settings, None, town.actor(), enter=lambda _count: None)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_utf8_with_and_without_mark_is_read(town, given, as_csv, mark):
    text = as_csv([given(1, category="假投資")])
    intake = read(town, write(town, mark + text.encode()))
    assert (intake.accepted, intake.note) == (1, "")


def test_big5_is_read_and_said(town, given, as_csv):
    text = as_csv([given(1, category="假投資", last="民國115年10月")])
    text = text.replace("report_id", "案號").replace("category", "類別")
    intake = read(town, write(town, text.encode("cp950")))
    assert (intake.accepted, intake.note) == (1, BIG5_NOTE)
    assert town.register().counts()[0][1] == 1


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfer\x00e\x00", b"", b"\n", b"report_id,kind,value,category\n\xff\xff\xff\xff",
        b"report_id,kind,value\nR1,phone,0912345678\n", b"A123456789,phone,x,y\n",
        b"report_id,report_id,kind,value,category\n", b'report_id,kind,value,category\n"R1,phone',
        b"report_id,kind,value,category,name\n",
    ],
)  # fmt: skip
def test_unusable_files_are_told_without_their_contents(town, data):
    with pytest.raises(InvalidTableError) as caught:
        read(town, write(town, data))
    assert "A123456789" not in str(caught.value)
    assert town.register().counts() == []


def test_row_of_another_width_is_refused_alone(town, given, as_csv):
    text = as_csv([given(1), given(2)]).replace("R1,", "R1,,")
    intake = read(town, write(town, text.encode()))
    assert (intake.accepted, [one.row for one in intake.refusals]) == (1, [1])


@pytest.mark.parametrize(
    "name", ["given.xlsx", "given", "absent.csv", "absent.json", "absent.parquet"]
)
def test_unknown_ending_or_absent_file_is_told(town, name):
    if name.startswith("given"):
        write(town, b"x", name)
    with pytest.raises(InvalidTableError, match="file"):
        read(town, town.path / name)


def test_parquet_is_read_as_csv_is(town, given):
    frame = pl.DataFrame([given(1), given(2, value="x")]).with_columns(
        pl.lit("2026-10-03").str.to_date().alias("last")
    )
    path = town.path / "given.parquet"
    frame.write_parquet(path)
    intake = read(town, path)
    assert (intake.accepted, [one.row for one in intake.refusals]) == (1, [2])
    frame.with_columns(pl.lit(912345678).alias("value")).write_parquet(path)
    with pytest.raises(InvalidTableError, match="value"):
        read(town, path)


def test_killed_intake_leaves_the_register_as_it_was(town, given, killed):
    town.take_in([given(1)])
    settings = town.home.settings()
    source = town.source([given(2), given(3)], settings.defaults(town.clock.now()))

    def rows():
        yield next(source.rows)
        raise killed

    register = town.register()
    with pytest.raises(killed):
        take_in(
            register, type(source)(rows()), settings, None, town.actor(), enter=lambda _count: None
        )
    assert [count for *_, count in town.register().counts()] == [1]
