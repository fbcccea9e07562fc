"""A check at the desk, over a real hub with real holders and real tables."""

import json
import random

import numpy as np
import pytest

from clients.desk.desk import Desk
from clients.desk.journal import CheckJournal
from clients.desk.state import describe
from clients.desk.watch import ALARMS
from clients.lookup.alarms import AlarmKind, Alarms
from clients.lookup.https import HubRefusedError
from compliance.errors import NotPermittedError
from protocols.errors import UnsupportedParameterError
from protocols.identifiers import IdentifierKind, InvalidIdentifierError
from protocols.lookup.light import Colour
from protocols.lookup.payload import Slot, Status, Use
from protocols.lookup.request import Purpose

PHONE, PERSON = IdentifierKind.PHONE, IdentifierKind.TW_PERSON_ID
DAY = 86_400


@pytest.fixture
def desk(town):
    town.publish(contributor="telecom")
    with Desk(town.home().root, clock=town.clock) as made:
        yield made


def check(desk, *identifiers, **changes):
    fields = {"purpose": Purpose.COUNTER, "case": "C-118"} | changes
    return desk.check(list(identifiers), **fields)


def test_confirmed_record_is_red_and_a_stranger_green(town, desk, person):
    town.publish([(PHONE, "0912345678", {})])
    red = check(desk, (PHONE, "0912-345-678"))
    assert red.light.colour is Colour.RED
    assert [reason.code for reason in red.light.reasons] == ["confirmed:police:mule_account"]
    green = check(desk, (PERSON, person(1)))
    assert green.light.colour is Colour.GREEN
    assert red.receipt.request_id.hex() in red.receipt_number
    assert town.used() == 2
    assert {entry.purpose for entry in town.entries()} == {Purpose.COUNTER}


def test_each_status_has_its_colour(town, desk, person):
    cases = [
        (person(1), {"status": Status.REPORTED}, Colour.YELLOW),
        (person(2), {"status": Status.WITHDRAWN}, Colour.GREEN),
        (person(3), {"slot": Slot.VICTIM}, Colour.YELLOW),
        (person(4), {"use": Use.SCREENING}, Colour.GREEN),
        (person(5), {}, Colour.RED),
    ]
    town.publish([(PERSON, number, changes) for number, changes, _ in cases])
    for number, _, colour in cases:
        assert check(desk, (PERSON, number)).light.colour is colour
    assert check(desk, (PERSON, person(3))).light.is_care


def test_several_identifiers_of_one_customer_give_one_light(town, desk, person):
    town.publish([(PHONE, "0912345678", {"status": Status.REPORTED})])
    found = check(desk, (PERSON, person(1)), (PHONE, "0912345678"))
    assert found.light.colour is Colour.YELLOW
    assert town.used() == 2
    assert len(town.entries()) == 1  # one request for both


def test_cached_customer_is_checked_without_a_question(town, desk, person):
    town.publish()
    check(desk, (PERSON, person(1)))
    again = check(desk, (PERSON, person(1)))
    assert again.receipt is None
    assert again.receipt_number == "D-000002"
    assert town.used() == 1
    # What was published in between counts as soon as the tables are synchronised.
    town.publish([(PERSON, person(1), {})])
    town.clock.advance(desk.policy.refresh_s)
    assert check(desk, (PERSON, person(1))).light.colour is Colour.RED
    assert town.used() == 1
    assert [entry.case for entry in CheckJournal.entries(town.home().root)] == ["C-118"] * 3


def test_missing_and_old_tables_are_grey(town, desk, person):
    assert check(desk, (PERSON, person(1))).light.absent == ("police",)
    town.publish()
    town.clock.advance(desk.policy.refresh_s)
    assert check(desk, (PERSON, person(1))).light.colour is Colour.GREEN
    town.clock.advance(2 * DAY + 1)
    old = check(desk, (PERSON, person(1)))
    assert (old.light.colour, old.light.absent) == (Colour.GREY, ("police", "telecom"))


def test_policy_names_which_tables_are_needed(town, person):
    town.publish([(PERSON, person(2), {})])
    root = town.home().root
    (root / "desk").mkdir()
    policy = {"required": ["police"], "max_ages_s": {"police": DAY}}
    (root / "desk" / "policy.json").write_text(json.dumps(policy))
    with Desk(root, clock=town.clock) as desk:
        assert check(desk, (PERSON, person(1))).light.colour is Colour.GREEN
        town.clock.advance(DAY + 1)
        assert check(desk, (PERSON, person(1))).light.colour is Colour.GREY


def test_check_needs_a_case_and_a_serving_purpose(town, desk, person):
    with pytest.raises(NotPermittedError):
        check(desk, (PERSON, person(1)), case="")
    with pytest.raises(NotPermittedError):
        check(desk, (PERSON, person(1)), purpose=Purpose.SCREENING)
    with pytest.raises(NotPermittedError, match="the identifier itself"):
        check(desk, (PERSON, person(1)), case=person(1))
    with pytest.raises(InvalidIdentifierError):
        check(desk, (PERSON, "A123456780"))
    with pytest.raises(UnsupportedParameterError):
        check(desk, (PERSON, person(1)), case="line\nbreak")
    assert town.used() == 0


def test_shared_number_has_no_light(town):
    root = town.home().root
    (root / "desk").mkdir()
    entries = [{"kind": "phone", "value": "02-2312-3456", "label": "a hospital"}]
    benign = {"format": 1, "version": 1, "entries": entries}
    (root / "desk" / "benign.json").write_text(json.dumps(benign))
    town.publish([(PHONE, "0223123456", {})])
    with Desk(root, clock=town.clock) as desk:
        found = check(desk, (PHONE, "(02) 2312-3456"))
    assert (found.light, found.shared) == (None, ("a hospital",))
    assert town.used() == 0


def test_hub_that_is_away_is_grey_for_a_new_customer_only(town, proxied, person):
    home, proxy = proxied
    town.publish()
    town.publish(contributor="telecom")
    with Desk(home.root, clock=town.clock) as desk:
        desk.lookup.api._https._pauses_s = (0.01,)
        assert check(desk, (PERSON, person(1))).light.colour is Colour.GREEN
        proxy.is_down = True
        known = check(desk, (PERSON, person(1)))
        assert (known.light.colour, known.problem) == (Colour.GREEN, "")
        stranger = check(desk, (PERSON, person(2)))
        assert stranger.light.colour is Colour.GREY
        assert "cannot be reached" in stranger.problem
        town.clock.advance(desk.policy.refresh_s)
        assert check(desk, (PERSON, person(1))).problem
        proxy.is_down = False
        # The same question for the same case is the same request.
        assert check(desk, (PERSON, person(2))).light.colour is Colour.GREEN
    assert town.used() == 2


def test_refreshed_shares_are_noticed_within_a_check(town, desk, person):
    town.publish()
    check(desk, (PERSON, person(1)))
    town.refresh_shares()
    assert check(desk, (PERSON, person(2))).light.colour is Colour.GREEN


def test_spent_quota_is_a_refusal_and_no_light(make_town, person):
    town = make_town(quota=1)
    town.publish()
    with Desk(town.home().root, clock=town.clock) as desk:
        check(desk, (PERSON, person(1)))
        with pytest.raises(HubRefusedError) as refused:
            check(desk, (PERSON, person(2)))
    assert refused.value.code == "quota_exhausted"


def test_canary_raises_an_alarm_and_has_no_light_of_its_own(town, desk, person):
    town.publish([(PERSON, person(7), {"canary": True})])
    assert check(desk, (PERSON, person(7))).light.colour is Colour.GREEN
    root = town.home().root
    state = describe(root, clock=town.clock)
    assert (state["alarms"], state["last_alarms"][0]["kind"]) == (1, AlarmKind.CANARY)
    text = (root / ALARMS).read_bytes()
    assert person(7).encode() not in text
    assert b"C-118" in text


def test_walking_through_a_range_raises_an_alarm(town, desk):
    town.publish()
    for serial in range(100, 140):
        check(desk, (PHONE, f"0912000{serial}"), case=f"C-{serial}")
    alarms = Alarms(town.home().root / ALARMS)
    found = alarms.all()
    alarms.close()
    assert {alarm.kind for alarm in found} == {AlarmKind.DENSE_RANGE}
    assert len(found) == 21  # from the twentieth neighbour on
    # An innocent customer after that raises none.
    check(desk, (PHONE, "0987654321"))
    alarms = Alarms(town.home().root / ALARMS)
    assert len(alarms.all()) == 21
    alarms.close()
    assert not any("0912" in alarm.text + alarm.subject for alarm in found)


def test_range_is_refused_where_the_policy_says_so(town, person):
    town.publish()
    root = town.home().root
    (root / "desk").mkdir()
    (root / "desk" / "policy.json").write_text('{"dense_ranges": {"counter": "refuse"}}')
    with Desk(root, clock=town.clock) as desk:
        for serial in range(100, 119):
            check(desk, (PHONE, f"0912000{serial}"))
        with pytest.raises(NotPermittedError, match="next to each other"):
            check(desk, (PHONE, "0912000119"))
        assert town.used() == 19
        check(desk, (PHONE, "0987654321"))
    assert town.used() == 20


def test_record_that_does_not_open_is_never_green(town, desk, person):
    town.publish([(PERSON, person(1), {})])
    data, _ = town.tables["police"]
    broken = data[:40] + bytes(20) + data[60:]
    town.publish_records([data[:16] + bytes(12) + broken[28:]])
    found = check(desk, (PERSON, person(1)))
    assert found.light.colour is Colour.GREY
    assert found.light.absent == ("police",)


def test_files_of_the_desk_hold_no_identifier(town, desk, person):
    numbers = [person(number) for number in range(5)]
    town.publish([(PERSON, numbers[0], {})])
    for number in numbers:
        check(desk, (PERSON, number))
    seen = 0
    for path in town.directory.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            seen += 1
            assert not any(number.encode() in data for number in numbers), path
            assert path.stat().st_mode & 0o077 == 0 or "keys" not in path.parts
    assert seen > 20


def test_thin_desk_finds_the_same_and_asks_alike(town, person):
    source = random.Random(5)
    town.publish_records([source.randbytes(76) for _ in range(3000)])
    town.publish([(PERSON, person(1), {}), (PERSON, person(2), {"status": Status.REPORTED})])
    town.publish(contributor="telecom")
    counts = []
    with Desk(town.home().root, clock=town.clock, thin=True) as desk:
        fetched = []
        bucket = desk.lookup.api.bucket

        def counting(epoch, contributor, version, index):
            fetched.append((contributor, index))
            return bucket(epoch, contributor, version, index)

        desk.lookup.api.bucket = counting
        expected = [Colour.RED, Colour.YELLOW, Colour.GREEN, Colour.RED]
        for number, colour in zip((1, 2, 3, 1), expected, strict=True):
            fetched.clear()
            assert check(desk, (PERSON, person(number))).light.colour is colour
            counts.append(len(fetched))
            assert len({index for name, index in fetched if name == "police"}) >= 2
    assert counts == [8] * 4  # two real and two cover buckets of either contributor
    assert not (town.home().root / "lookup" / "tables").exists() or not list(
        (town.home().root / "lookup" / "tables").rglob("*.table")
    )


def test_epoch_past_its_end_serves_its_grace_and_is_grey_after(town, desk, person):
    town.publish()
    check(desk, (PERSON, person(1)))
    manifest = desk.lookup.epoch().manifest
    town.clock.seconds = manifest.not_after + 10
    for name in ("police", "telecom"):
        town.publish(contributor=name)
    assert check(desk, (PERSON, person(2))).light.colour is Colour.GREEN  # nobody began the next
    town.clock.seconds = manifest.not_after + manifest.grace_s + 10
    late = check(desk, (PERSON, person(2)))
    assert late.light.colour is Colour.GREY
    assert "epoch" in late.problem


def test_root_that_goes_missing_in_mid_check_is_grey_and_never_another_persons(town, desk, person):
    town.publish([(PERSON, person(2), {})])
    town.publish(contributor="telecom")
    assert check(desk, (PERSON, person(1))).light.colour is Colour.GREEN
    assert check(desk, (PERSON, person(2))).light.colour is Colour.RED
    cache, evaluate = desk.lookup.epoch().cache, desk.lookup.evaluate

    def evaluate_and_lose(canonical, **terms):
        found = evaluate(canonical, **terms)
        lost = cache.tokens(canonical)[-1]
        positions = type(cache).positions
        cache.__class__ = type(
            "Losing", (type(cache),),
            {"positions": lambda self, tokens: np.where(
                (tokens == lost).all(axis=1), -1, positions(self, tokens)
            )},
        )  # fmt: skip
        return found

    desk.lookup.evaluate = evaluate_and_lose
    late = check(desk, (PERSON, person(3)))
    assert late.light.colour is Colour.GREY
