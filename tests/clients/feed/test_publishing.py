"""Publishing from the register to the hub's table: what arrives, once, and what never leaves."""

import shutil

import pytest

from clients.feed.adopting import resynchronise
from clients.feed.connecting import connected  # noqa: F401  the whole chain must import
from clients.feed.drafts import Drafter
from clients.feed.publication import Publication
from clients.feed.register import Register
from clients.feed.schema import open_database
from clients.feed.withdrawing import withdraw_reports
from clients.node.files import store_json
from clients.output import CommandError
from compliance.errors import LogCorruptError, NotPermittedError
from protocols.lookup.payload import Category, Slot, Status, Use
from protocols.lookup.record import RECORD_SIZE
from server.tables.folder import Part
from server.tables.store import Tables

DAY = 86_400


@pytest.fixture
def people(town, given, ids):
    return town, given, ids


def test_reports_arrive_as_records_that_an_asker_can_read(town, given, ids):
    rows = [given(n) for n in range(20)]
    rows[1] |= {"status": "confirmed", "category": "mule_account", "use": "counter"}
    rows[2] |= {"slot": "victim"}
    rows[3] |= {"kind": "phone", "value": "0912-345-678", "first": "115/08/01"}
    town.take_in(rows)
    found = town.publish()
    assert (found.version, found.count, found.upserted, found.left) == (1, 20, 20, 0)
    assert len(town.hub.records()) == 20 * RECORD_SIZE
    plain = town.payload("tw_national_id", ids(0))
    assert (plain.status, plain.contributor) == (Status.REPORTED, 7)
    confirmed = town.payload("tw_national_id", ids(1))
    assert (confirmed.status, confirmed.category) == (Status.CONFIRMED, Category.MULE_ACCOUNT)
    assert confirmed.use == Use.COUNTER
    assert town.payload("tw_national_id", ids(2)) is None
    assert town.payload("tw_national_id", ids(2), Slot.VICTIM).use == Use.CARE
    phone = town.payload("phone", "+886912345678")
    assert (phone.first, phone.last, phone.expires) == (319, 321, 345)
    assert town.payload("tw_national_id", ids(99)) is None


def test_same_file_again_changes_nothing_and_costs_nothing(town, given):
    rows = [given(n) for n in range(10)]
    town.take_in(rows)
    town.publish()
    table, sent = town.hub.records(), len(town.hub.bodies)
    intake = town.take_in(rows)
    assert {effect.value: n for effect, n in intake.effects.items()} == {"unchanged": 10}
    found = town.publish()
    assert (found.is_new, found.version) == (False, 1)
    assert town.hub.records() == table
    assert (len(town.hub.bodies), town.hub.used()) == (sent, 10)


def test_change_is_a_delta_of_that_record_alone(town, given, ids):
    town.take_in([given(n) for n in range(10)])
    town.publish()
    town.take_in([given(4, status="confirmed"), given(11)])
    found = town.publish()
    assert (found.version, found.count, found.upserted, found.removed) == (2, 11, 2, 0)
    assert town.hub.used() == 11
    assert town.payload("tw_national_id", ids(4)).status is Status.CONFIRMED


def test_report_that_adds_nothing_makes_no_version(town, given):
    town.take_in([given(1)])
    town.publish()
    intake = town.take_in([given(1, report_id="another")])
    assert intake.accepted == 1
    assert not town.publish().is_new
    assert Publication(town.register()).waiting() == 0


def test_withdrawn_report_stays_as_a_correction_until_it_expires(town, given, ids):
    town.take_in([given(1, status="confirmed"), given(2)])
    town.publish()
    withdrawal = withdraw_reports(
        town.register(), ["R1"], town.actor("mistaken identity"), enter=lambda _count: None
    )
    assert withdrawal.withdrawn == 1
    found = town.publish()
    assert (found.version, found.count, found.upserted) == (2, 2, 1)
    payload = town.payload("tw_national_id", ids(1))
    assert (payload.status, payload.expires) == (Status.WITHDRAWN, 345)
    assert town.hub.used() == 2
    expire(town)
    town.publish()
    assert town.payload("tw_national_id", ids(1)) is None


def expire(town):
    """Let the retention of everything pass, by shortening it: the epoch would be over else."""
    settings = {
        "source": "police", "use": "counter", "renew_after_hours": 12,
        "retention_months": {"default": 1},
    }  # fmt: skip
    store_json(town.home.root / "feed.json", settings)
    town.clock.advance(30 * DAY - 1)


def test_expired_reports_leave_the_table_and_the_register(town, given, ids):
    town.take_in([given(1), given(2, last="2026-11"), given(3, status="confirmed")])
    town.publish()
    expire(town)  # mid December: October's retention of one month is over
    found = town.publish()
    assert (found.expired, found.removed, found.count) == (2, 2, 1)
    assert town.payload("tw_national_id", ids(1)) is None
    assert town.payload("tw_national_id", ids(2)) is not None
    register = town.register()
    steps = [(before, after) for before, after, _ in register.history("R3")]
    assert steps == [(None, Status.CONFIRMED), (Status.CONFIRMED, Status.EXPIRED)]
    (left,) = register.database.execute(
        "SELECT COUNT(*) FROM identifiers WHERE sealed IS NOT NULL OR root IS NOT NULL"
    ).fetchone()
    assert left == 1
    assert town.take_in([given(1)]).refused_rows == 1


def test_new_epoch_publishes_everything_anew(town, given, ids):
    town.take_in([given(n) for n in range(5)])
    town.publish()
    town.begin(6)
    publisher = town.publisher()
    assert publisher.is_epoch_new()
    found = publisher.publish(town.actor())
    assert (found.epoch, found.version, found.count) == (6, 1, 5)
    assert town.hub.used() == 5
    assert town.payload("tw_national_id", ids(3)).status is Status.REPORTED
    assert not town.publisher().is_epoch_new()
    assert not town.publish().is_new


def die_before_sending(town, killed):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Tables, "publish", dying(Tables, "publish", killed, after=False))
        with pytest.raises(killed):
            town.publish()


def test_pending_version_of_an_ended_epoch_is_replaced(town, given, killed):
    town.take_in([given(1)])
    die_before_sending(town, killed)
    town.begin(6)
    found = town.publish()
    assert (found.epoch, found.version, found.count) == (6, 1, 1)
    assert sorted(path.name for path in town.home.tables.iterdir()) == ["6-1.delta", "6-1.table"]


def test_quota_holds_back_new_reports_and_no_withdrawal(town, given, ids):
    town.take_in([given(n) for n in range(600)])
    town.publish()
    town.take_in([given(n) for n in range(600, 1100)])
    withdraw_reports(town.register(), ["R1"], town.actor("wrong person"), enter=lambda _count: None)
    found = town.publish()
    assert (found.left, found.missed.code, found.upserted) == (500, "quota_exhausted", 1)
    assert town.payload("tw_national_id", ids(1)).status is Status.WITHDRAWN
    assert Publication(town.register()).waiting() == 500


def test_incomplete_first_table_of_an_epoch_is_not_published(town, given):
    town.take_in([given(n) for n in range(1001)])
    with pytest.raises(CommandError, match="quota"):
        town.publish()
    assert town.hub.version() == 0


def test_away_holders_hold_back_new_reports_alone(town, given, ids):
    town.take_in([given(1)])
    town.publish()
    town.take_in([given(1, status="confirmed"), given(2)])
    town.hub.bridge.away = True
    found = town.publish()
    assert (found.version, found.left) == (2, 1)
    assert town.payload("tw_national_id", ids(1)).status is Status.CONFIRMED
    town.hub.bridge.away = False
    assert town.publish().count == 2


def test_quiet_table_is_renewed_before_desks_go_grey(town, given):
    town.take_in([given(1)])
    town.publish()
    town.clock.advance(12 * 3600 - 1)
    assert not town.publish().is_new
    town.clock.advance(1)
    found = town.publish()
    assert (found.version, found.upserted, found.removed) == (2, 0, 0)


def test_empty_register_publishes_an_empty_table(town):
    found = town.publish()
    assert (found.version, found.count) == (1, 0)


def test_shared_numbers_are_refused_and_taken_out(town, given):
    phone = {"kind": "phone", "value": "0800-123-456"}
    town.take_in([given(1, **phone), given(2)])
    town.publish()
    entry = phone | {"label": "a hospital"}
    store_json(town.home.root / "benign.json", {"format": 1, "version": 1, "entries": [entry]})
    assert town.take_in([given(3, **phone)]).refusals[0].field == "value"
    found = town.publish()
    assert (found.removed, found.count) == (1, 1)
    assert town.payload("phone", "0800-123-456") is None
    (town.home.root / "benign.json").unlink()
    assert town.publish().count == 2


def test_stranger_to_the_epoch_is_told_so(town):
    town.hub.manifest.contributors.pop("police")
    try:
        with pytest.raises(NotPermittedError, match="no contributor"):
            town.publisher()
    finally:
        town.hub.manifest.contributors["police"] = 7


def dying(owner, name, killed, *, after):
    """Wrap a step so that the process dies before or after it."""
    real = getattr(owner, name)

    def step(*arguments, **options):
        if not after:
            raise killed
        real(*arguments, **options)
        raise killed

    return step


STEPS = [
    (Register, "store_root"),
    (Drafter, "changes"),
    (Drafter, "write"),
    (Publication, "set_pending"),
    (Tables, "publish"),
    (Publication, "confirm"),
    (Drafter, "tidy"),
]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS, ids=lambda step: step[1])
@pytest.mark.parametrize("had", [0, 4])
def test_killed_publication_resumes_to_one_version(
    people, killed, monkeypatch, *, step, after, had
):
    town, given, ids = people
    if had:
        town.take_in([given(n) for n in range(had)])
        town.publish()
    before, version = town.hub.records(), town.hub.version()
    town.take_in([given(n) for n in range(10, 16)])
    if had:
        withdraw_reports(town.register(), ["R0"], town.actor("wrong"), enter=lambda _count: None)
    with monkeypatch.context() as patched:
        owner, name = step
        patched.setattr(owner, name, dying(owner, name, killed, after=after))
        with pytest.raises(killed):
            town.publish()
    assert town.hub.version() in {version, version + 1}
    if town.hub.version() == version:
        assert town.hub.records() == before
    found = town.publish()
    assert (found.version, town.hub.version()) == (version + 1, version + 1)
    assert found.count == had + 6
    assert town.hub.used() == had + 6
    assert town.payload("tw_national_id", ids(12)).status is Status.REPORTED
    if had:
        assert town.payload("tw_national_id", ids(0)).status is Status.WITHDRAWN
    assert not town.publish().is_new
    register = town.register()
    assert Publication(register).pending is None
    assert Publication(register).waiting() == 0


def test_lost_pending_file_stops_with_a_cure(town, given, killed):
    town.take_in([given(1)])
    die_before_sending(town, killed)
    (town.home.tables / "5-1.delta").unlink()
    with pytest.raises(LogCorruptError, match="resynchronise"):
        town.publish()


def test_nothing_on_disk_or_on_the_wire_names_anybody(town, given, ids):
    rows = [given(n) for n in range(8)]
    rows[0] |= {"report_id": "case-of-wang-2026"}
    rows[1] |= {"kind": "phone", "value": "0912345678"}
    rows[2] |= {"kind": "email", "value": "wang.hsiao@example.tw"}
    rows[3] |= {"kind": "line_id", "value": "wang_line_id"}
    rows[4] |= {"kind": "bank_account", "value": "012-12345678"}
    rows[5] |= {"value": "Z-not-a-number"}
    town.take_in(rows)
    town.publish()
    withdraw_reports(
        town.register(), ["R6"], town.actor("reason-naming-wang"), enter=lambda _count: None
    )
    town.publish()
    secrets = [
        "case-of-wang-2026", "0912345678", "912345678", "wang.hsiao", "wang_line_id", "12345678",
        "Z-not-a-number", "reason-naming-wang", *(ids(n) for n in range(8)),
    ]  # fmt: skip
    scanned = 0
    for path in town.home.root.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path.name
        if path.is_file():
            scanned += 1
            data = path.read_bytes()
            assert not [one for one in secrets if one.encode() in data], path.name
    assert scanned >= 4
    for body in town.hub.bodies:
        assert not [one for one in secrets if one.encode() in body]


def test_copied_register_does_not_open_with_another_key(town, given, tmp_path):
    town.take_in([given(1)])
    (town.node.keys / "feed.key").write_bytes(bytes(32))
    with pytest.raises(LogCorruptError, match=r"feed\.key"):
        town.register()


def test_register_is_synced_at_every_commit(town):
    database = open_database(town.home.root / "other.sqlite")
    assert database.execute("PRAGMA synchronous").fetchone() == (2,)
    assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    database.close()


@pytest.mark.parametrize("lost", ["tables", "table", "nothing"])
def test_register_from_a_backup_takes_over_the_hubs_version(town, given, ids, tmp_path, lost):
    town.take_in([given(1), given(2)])
    town.publish()
    register = town.register()
    register.database.execute("VACUUM INTO ?", (str(tmp_path / "backup.sqlite"),))
    town.take_in([given(2, status="confirmed"), given(3)])
    town.publish()
    for path in town.home.root.glob("register.sqlite*"):
        path.unlink()
    (tmp_path / "backup.sqlite").rename(town.home.root / "register.sqlite")
    town.take_in([given(4)])
    if lost != "nothing":
        shutil.rmtree(town.home.tables)
    if lost == "table":
        (town.home.tables / "5-1.table").write_bytes(bytes(2 * RECORD_SIZE))
    elif lost == "nothing":
        # The backup had the folder of its time.
        (town.home.tables / "5-2.table").unlink()
        first = town.hub.tables_store.snapshot(5, "police", 1).path(Part.TABLE)
        shutil.copy(first, town.home.tables / "5-1.table")
    with pytest.raises((CommandError, LogCorruptError), match="resynchronise"):
        town.publish()
    drafter = town.drafter()
    resynchronise(drafter, town.hub)
    found = town.publish()
    assert (found.version, found.count, found.removed) == (3, 3, 1)
    assert town.payload("tw_national_id", ids(2)).status is Status.REPORTED
    assert town.payload("tw_national_id", ids(3)) is None
    assert not town.publish().is_new


def test_lost_register_with_nothing_at_the_hub_begins_at_one(town, given):
    town.take_in([given(1)])
    assert resynchronise(town.drafter(), town.hub) is None
    assert town.publish().version == 1
