"""What a partner or an operator gets wrong ends with field, rule and cure, and costs nothing."""

import json
from collections.abc import Callable

import polars as pl
import pytest

from clients.demo.bringing_up import CommandError

PARTNERS = ("insurer", "telecom", "police")
DEADLINE_S = 30


def without_column(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.drop("contacts")


def with_text(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(
        contacts=pl.concat([pl.Series(["many-many"]), frame["contacts"][1:].cast(pl.String)])
    )


def out_of_range(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(contacts=frame["contacts"] + 70_000)


def with_gap(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(
        contacts=pl.when(pl.int_range(pl.len()) == 4).then(None).otherwise(pl.col("contacts"))
    )


def of_strangers(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(id="stranger-" + pl.int_range(pl.len()).cast(pl.String))


def without_rows(frame: pl.DataFrame) -> pl.DataFrame:
    return frame[:0]


def with_third_label(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(fraud=frame["fraud"] * 2)


TABLES: list[tuple[str, Callable[[pl.DataFrame], pl.DataFrame], str, tuple[str, ...]]] = [
    ("telecom", without_column, "invalid_table", ("column contacts", "does not have it", "add it")),
    (
        "telecom",
        with_text,
        "invalid_table",
        ("column contacts", "1 rows", "not a number", "correct"),
    ),
    ("telecom", out_of_range, "invalid_table", ("column contacts", "range 0 to 10000", "clip it")),
    ("telecom", with_gap, "invalid_table", ("contacts", "missing", "row")),
    ("telecom", without_rows, "invalid_table", ("table", "no rows", "check the export")),
    (
        "insurer",
        with_third_label,
        "invalid_table",
        ("column fraud", "not 0 or 1", "label every row"),
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("owner", "change", "code", "words"), TABLES)
def test_wrong_table_is_named_by_column_rule_and_cure(place, owner, change, code, words):
    change(place.frame(owner)).write_csv(place.table(owner))
    state = run_badly(place)
    assert [(t["party"], t["phase"], t["code"]) for t in state["trouble"]] == [
        (owner, "align", code)
    ]
    reason = state["trouble"][0]["reason"]
    for word in words:
        assert word in reason, reason
    assert "many-many" not in reason
    assert f"{owner}, align: {reason} ({code})" in place.log("hub")
    # Nobody waits for a partner that will not come.
    assert state["steps"][-1]["seconds"] < DEADLINE_S / 2


@pytest.mark.slow
def test_no_overlap_is_told_to_everyone_with_its_cure(place):
    of_strangers(place.frame("telecom")).write_csv(place.table("telecom"))
    state = run_badly(place)
    assert {t["party"] for t in state["trouble"]} == set(PARTNERS)
    for trouble in state["trouble"]:
        assert (trouble["phase"], trouble["code"]) == ("align", "alignment_refused")
        assert "no_overlap" in trouble["reason"]
        assert "compare kind and spelling of the identifiers" in trouble["reason"]


@pytest.mark.slow
def test_too_few_rows_are_told_with_their_cure(place):
    state = run_badly(place, min_rows=901)
    assert {t["code"] for t in state["trouble"]} == {"alignment_refused"}
    assert "too_few_rows: fewer rows than the agreement asks" in state["trouble"][0]["reason"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epsilon": 0}, ("epsilon", "must be greater than 0")),
        ({"epsilon": -1}, ("epsilon", "must be greater than 0")),
        ({"epsilon": "nan"}, ("epsilon", "must be greater than 0")),
        ({"partners": "insurer,stranger"}, ("stranger: no such partner", "approve")),
        ({"label_holder": "stranger"}, ("label holder", "not among the partners", "approve")),
    ],
)
def test_impossible_proposal_changes_nothing(place, options, words):
    with pytest.raises(CommandError) as told:
        place.propose("wrong", **options)
    for word in words:
        assert word in str(told.value)
    assert "Traceback" not in str(told.value)
    assert not place.hub_run("wrong").exists()


def run_badly(place, **options) -> dict:
    """Run once; whatever went wrong, nothing may have been paid or kept open."""
    place.propose("wrong", deadline_s=DEADLINE_S, **options)
    ended = place.run_directly("wrong")
    assert ended["hub"] == 1
    state = place.state("wrong")
    assert state["state"] == "failed"
    assert json.dumps(state).count("Traceback") == 0
    for name in PARTNERS:
        assert place.charges(name, "wrong") == []
        assert not place.reserves(name, "wrong")
        assert not list(place.node_run(name, "wrong").glob("*.key"))
    return state
