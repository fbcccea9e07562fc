"""Lookups by the documented commands alone: from the key to a light that changes.

The steps are taken once, in order, and every test looks at what one of them said.
"""

import json
import threading
from contextlib import suppress
from pathlib import Path

import pytest

BAD_NUMBER = "A123456780"
BAD_ROW = f"bad-1,tw_national_id,{BAD_NUMBER},investment,confirmed,suspect,2026-01"
ASKED = ("red", "yellow", "care", "green")


class Watching(threading.Thread):
    """Reads the command lines and environments of all processes while others work."""

    def __init__(self):
        super().__init__(daemon=True)
        self.seen: set[bytes] = set()
        self.done = threading.Event()

    def run(self):
        while not self.done.wait(0.01):
            for process in Path("/proc").glob("[0-9]*"):
                for file in ("cmdline", "environ"):
                    with suppress(OSError):
                        self.seen.add((process / file).read_bytes())


@pytest.fixture(scope="module")
def watching():
    thread = Watching()
    thread.start()
    yield thread
    thread.done.set()
    thread.join()


@pytest.fixture(scope="module")
def bare_town(make_bare_town):
    return make_bare_town("lights")


@pytest.fixture(scope="module")
def begun(bare_town, watching):
    return bare_town.begin_epoch().fields


@pytest.fixture(scope="module")
def published(bare_town, begun):
    """What the feed said of a file with one row that is none, and of the same file again."""
    reports = bare_town.data("police", "reports.csv")
    reports.write_text(f"{reports.read_text()}\n{BAD_ROW}")
    return [bare_town.publish("police").fields for _ in range(2)]


@pytest.fixture(scope="module")
def early(bare_town, published, people):
    """Two lights while the telecom's table is missing."""
    return {name: bare_town.check(getattr(people, name)[9]).fields for name in ("red", "green")}


@pytest.fixture(scope="module")
def lights(bare_town, early, people):
    """A light of every colour once all tables are there."""
    bare_town.publish("telecom")
    bare_town.lianfang("desk", "sync", bare_town.node("insurer"))
    return {name: bare_town.check(getattr(people, name)[0]).fields for name in ASKED}


@pytest.fixture(scope="module")
def statuses(bare_town, lights):
    """What every party's status command says after ten questions."""
    insurer, police = bare_town.node("insurer"), bare_town.node("police")
    return {
        "desk": bare_town.lianfang("desk", "status", insurer).fields,
        "holder": bare_town.lianfang("holder", "status", police).fields,
        "feed": bare_town.lianfang("feed", "status", police).fields,
        "epoch": bare_town.lianfang_hub("epoch", "status", bare_town.hub).fields,
    }


@pytest.fixture(scope="module")
def withdrawn(bare_town, statuses, people):
    """A person's light before and after the desk hears that the report was taken back."""
    person = people.red[8]
    before = bare_town.check(person).fields
    bare_town.lianfang(
        "feed", "withdraw", bare_town.node("police"), "--reason", "a mistake",
        "--report-id-stdin", stdin="police-8\n",
    )  # fmt: skip
    unheard = bare_town.check(person).fields
    bare_town.lianfang("desk", "sync", bare_town.node("insurer"))
    return before, unheard, bare_town.check(person, text=True).out


@pytest.fixture(scope="module")
def old(bare_town, withdrawn, people):
    """Lights of a desk that believes no table of the police after no time at all."""
    policy = bare_town.node("insurer") / "desk" / "policy.json"
    policy.write_text(json.dumps({"max_ages_s": {"police": 0}}))
    persons = {"red": people.red[20], "both": people.red[0], "green": people.green[0]}
    found = {name: bare_town.check(person).fields for name, person in persons.items()}
    policy.unlink()
    return found


def test_epoch_begins_with_every_holder(begun):
    assert (begun["state"], begun["epoch"], begun["done"], begun["total"]) == ("done", 1, 2, 2)


def test_feed_publishes_good_rows_and_names_the_bad_one(published):
    first, again = published
    assert (first["accepted"], first["refused"], first["records"]) == (160, 1, 160)
    (refusal,) = first["refusals"]
    assert (refusal["row"], refusal["field"]) == (161, "value")
    assert (first["state"], first["version"]) == ("published", 1)
    assert (again["state"], again["version"], again["new"]) == ("unchanged", 1, 0)


def test_missing_table_turns_green_to_grey_and_leaves_red(early):
    assert (early["green"]["light"], early["green"]["absent"]) == ("grey", ["telecom"])
    assert (early["red"]["light"], early["red"]["absent"]) == ("red", ["telecom"])


def test_every_record_shows_its_colour(lights):
    assert {name: found["light"] for name, found in lights.items()} == {
        "red": "red",
        "yellow": "yellow",
        "care": "yellow",
        "green": "green",
    }
    codes = {name: [reason["code"] for reason in lights[name]["reasons"]] for name in ASKED}
    # The telecom says the same of this person, so there are two reasons.
    assert codes["red"] == ["confirmed:police:investment"] * 2
    assert codes["yellow"] == ["reported:police:investment"]
    assert codes["care"] == ["care:police:investment"]
    assert codes["green"] == []
    assert all(found["absent"] == [] and found["problem"] == "" for found in lights.values())


def test_receipt_names_the_request_that_two_holders_logged(bare_town, lights):
    books = {
        holder: {entry.request_id.hex() for entry in bare_town.book(holder)}
        for holder in ("hub", "police", "telecom")
    }
    for found in lights.values():
        request = found["receipt"].partition("/")[2]
        assert sum(request in book for book in books.values()) == 2
        assert request in books["hub"]


def test_every_status_tells_the_same(statuses):
    desk, holder, feed, epoch = (statuses[name] for name in ("desk", "holder", "feed", "epoch"))
    assert desk["quota"] == {"quota": 50_000, "used": 6, "left": 49_994}
    assert {table["contributor"]: table["records"] for table in desk["tables"]} == {
        "police": 160,
        "telecom": 5,
    }
    assert (desk["cached"], desk["alarms"], desk["problem"]) == (6, 0, "")
    assert (holder["connected"], holder["epochs"][0]["share"]) == (True, True)
    assert (feed["version"], feed["records"], feed["waiting"]) == (1, 160, 0)
    assert {line["state"]: line["count"] for line in feed["reports"]} == {
        "confirmed": 100,
        "reported": 60,
    }
    assert epoch["connected"] == ["police", "telecom"]
    (only,) = epoch["epochs"]
    assert (only["state"], only["waiting"]) == ("in force", {})
    assert only["askers"]["insurer"]["used"] == 6
    assert only["askers"]["police"]["used"] == 160


def test_withdrawn_report_loses_its_light_after_a_sync(bare_town, withdrawn):
    before, unheard, text = withdrawn
    assert (before["light"], unheard["light"]) == ("red", "red")
    assert "/" in before["receipt"]
    # A person who was asked for before costs no question any more.
    assert "/" not in unheard["receipt"]
    assert "● GREEN" in text
    assert "no match found, keep using your judgement" in text
    assert bare_town.used("hub") == 7


def test_old_table_turns_its_own_reports_and_green_to_grey(old):
    assert {name: found["light"] for name, found in old.items()} == {
        "red": "grey",
        "both": "red",  # by the telecom's table, which is fresh
        "green": "grey",
    }
    assert all(found["absent"] == ["police"] for found in old.values())


def test_several_identifiers_of_a_person_give_the_most_serious_light(bare_town, old, people):
    lines = "".join(f"tw_national_id,{person}\n" for person in (people.green[0], people.red[0]))
    said = bare_town.lianfang(
        "desk", "check", bare_town.node("insurer"), "--case", "C-2026-119", "--stdin",
        "--lang", "zh", stdin=lines, text=True,
    )  # fmt: skip
    assert "■ 紅" in said.out
    assert "查無通報" not in said.out


def test_nobody_is_named_outside_of_what_was_given(bare_town, old, people, watching):
    persons = [*people.all, BAD_NUMBER]
    assert bare_town.leaks(persons) == []
    seen = b"\n".join(watching.seen)
    assert b"desk\0check" in seen
    assert not any(person.encode() in seen for person in persons)


@pytest.mark.parametrize("write", [str.encode, lambda text: text.encode("utf-16-le")])
def test_the_search_would_find_a_name(bare_town, people, write):
    path = bare_town.root / "logs" / "planted.log"
    for hidden in (write(people.green[5]), people.green[5].encode().hex().encode()):
        path.write_bytes(b"some bytes 12" + hidden + b"34")
        assert bare_town.leaks(people.all) == [path]
    path.unlink()
