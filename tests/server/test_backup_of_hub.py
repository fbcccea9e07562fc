"""A hub on SQLite and on PostgreSQL: backed up, put back, settled; nothing is given back."""

import json
import shutil
import time
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest

from compliance.agreement.drafting import FRAUD
from compliance.atrest.envelope import Material
from compliance.atrest.errors import SealedKeysError
from compliance.backup.logs import bring_up
from compliance.backup.making import Subject, make_backup
from compliance.backup.quotas import recover_quotas
from compliance.backup.restoring import restore_backup
from compliance.backup.settled import RestoredError, check_settled
from compliance.configuration import ConfigError
from compliance.errors import LogCorruptError, NotPermittedError
from compliance.evaluations.book import BookEntry, EvaluationBook
from compliance.exports.source import open_source
from compliance.log.export import export_log
from compliance.log.second import FileCheckpoints
from compliance.log.verify import verify_export
from compliance.office.opening import SECOND
from compliance.staff.staff import Staff
from compliance.state.engine import open_engine
from protocols.lookup.request import NO_CASE, Purpose
from protocols.tlog.entry import Decision, Entry, Outcome, Verb
from server.acting import acting
from server.database import address_of
from server.home import HubHome
from server.keeping.place import keeping_of
from server.log.opening import open_log
from server.log.storages import storage_of
from server.serving import serve
from server.settling import Given, settle_hub

KEY = Material.of_key(b"k" * 32)
REASON = "the disk of the machine failed"
EPOCH, COUNT = 1, 7


def asked(now: int, **changes) -> Entry:
    """What the hub enters when the insurer had seven elements evaluated at its counter."""
    found = Entry(
        sequence=0, time=now, organisation="insurer", actor=b"a" * 16, verb=Verb.CONSULT,
        act="evaluate", purpose=FRAUD, basis="none", agreement=None, policy_set=b"p" * 32,
        policies=("lookup.within-purpose",), decision=Decision.PERMIT, outcome=Outcome.DONE,
        subject_matter=f"epoch-{EPOCH}/counter", recipients=("insurer",), count=COUNT,
        document=None, charge=None, commitment=b"c" * 32,
    )  # fmt: skip
    return replace(found, **changes)


class Hub:
    """One hub: what it does is charged to its book and entered into its log."""

    def __init__(self, home):
        self.home = home
        self.number = 0

    def evaluate(self, times=1, *, copy=None):
        with open_log(self.home) as log, closing(self.book()) as book:
            for _ in range(times):
                self.number += 1
                seed = self.number.to_bytes(32, "big")
                now = int(time.time())
                book.recover(
                    BookEntry(
                        EPOCH,
                        "insurer",
                        Purpose.COUNTER,
                        NO_CASE,
                        seed[16:],
                        seed,
                        seed,
                        COUNT,
                        now,
                    )
                )
                log.yearly.append(asked(now, commitment=seed))
            log.yearly.checkpoint()
            if copy is not None:
                export_log(log.storage, log.yearly.origin(), copy)

    def enter(self, **changes):
        with open_log(self.home) as log:
            log.yearly.append(asked(int(time.time()), **changes))

    def export(self, copy):
        with open_log(self.home) as log:
            log.yearly.checkpoint()
            export_log(log.storage, log.yearly.origin(), copy)
            return log.policy_of(log.yearly.origin())

    def book(self):
        return EvaluationBook(keeping_of(self.home.root).book)

    def used(self):
        with closing(self.book()) as book:
            return book.used(EPOCH, "insurer")

    def size(self):
        with closing(storage_of(self.home)) as storage:
            return sum(storage.edge(origin).size for origin in storage.origins())

    @contextmanager
    def engine(self):
        setting = self.home.settings().database
        found = open_engine(address_of(setting, {})) if setting else None
        try:
            yield found
        finally:
            if found is not None:
                found.dispose()

    def back_up(self, out):
        with self.engine() as engine:
            subject = Subject(self.home.root, "hub", "hub", engine)
            return make_backup(subject, out, KEY, now=int(time.time()))


@pytest.fixture(params=["sqlite", "postgres"])
def hub(request, tmp_path, staffed):
    database = request.getfixturevalue("postgres")() if request.param == "postgres" else ""
    home = HubHome(tmp_path / "hub")
    ports = dict.fromkeys(("link_port", "fleet_port", "api_port"), 0)
    now = int(time.time())
    home.create(name="hub", host="127.0.0.1", **ports, now=now, database=database)
    staffed(home.root)
    return Hub(home)


@pytest.fixture
def put_back(request, hub, tmp_path, monkeypatch):
    """Wipe the hub and put a backup back, into an empty database where it has one."""

    def put(archive):
        database = hub.home.settings().database
        new = request.getfixturevalue("postgres")() if database else ""
        keeping_of(hub.home.root).close()
        shutil.rmtree(hub.home.root)
        restore_backup(
            archive, hub.home.root, KEY, kind="hub", now=int(time.time()),
            connect=lambda _: open_engine(address_of(new, {})) if new else None,
        )  # fmt: skip
        if new:
            path = hub.home.root / "hub.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | {"database": new}))
        return Hub(hub.home)

    return put


def settle(hub, *, second="eye", **given):
    return settle_hub(
        hub.home, Given(**given), lambda office: acting(hub.home.root, office, second=second),
        reason=REASON, progress=lambda _done, _of: None,
    )  # fmt: skip


def test_restored_hub_recovers_log_and_quota_from_a_copy(hub, put_back, tmp_path):
    hub.evaluate(3)
    made = hub.back_up(tmp_path / "one.backup")
    assert [log.size for log in made.logs] == [3]
    hub.evaluate(4)
    policy = hub.export(tmp_path / "copy")
    used, size = hub.used(), hub.size()
    back = put_back(tmp_path / "one.backup")
    assert (back.used(), back.size()) == (3 * COUNT, 3)
    done = settle(back, copies=[tmp_path / "copy"])
    assert back.used() == used == 7 * COUNT
    assert done["charged_elements"] == 4 * COUNT
    assert back.size() == size + 1  # the settling itself
    # What goes on from there is no fork of what the partner has.
    back.evaluate(1, copy=tmp_path / "copy")
    report = verify_export(tmp_path / "copy", policy)
    assert (report.fault, report.size) == ("", size + 2)
    check_settled(back.home.root)


def test_restored_hub_is_not_served(hub, put_back, tmp_path):
    hub.back_up(tmp_path / "one.backup")
    back = put_back(tmp_path / "one.backup")
    with pytest.raises(RestoredError), serve(back.home, flower=False):
        pass


def test_newer_checkpoint_than_any_copy_is_refused(hub, put_back, tmp_path):
    hub.evaluate(2)
    hub.back_up(tmp_path / "one.backup")
    hub.evaluate(1)
    hub.export(tmp_path / "copy")
    hub.evaluate(1)
    hub.export(tmp_path / "witness")
    shutil.copytree(hub.home.root / SECOND, tmp_path / "survived")
    back = put_back(tmp_path / "one.backup")
    (survived,) = (tmp_path / "survived").glob("*.checkpoint")
    for seen in (tmp_path / "witness" / "checkpoint", survived):
        with pytest.raises(ConfigError, match="4 entries was shown, the backup has 2"):
            settle(back, copies=[tmp_path / "copy"], seen=[seen])
    with pytest.raises(RestoredError):
        check_settled(back.home.root)
    settle(back, copies=[tmp_path / "witness"], seen=[survived])
    assert back.used() == 4 * COUNT


def test_forged_and_forked_copies_are_refused(hub, put_back, tmp_path):
    hub.evaluate(2)
    hub.back_up(tmp_path / "one.backup")
    hub.evaluate(2)
    hub.export(tmp_path / "copy")
    bundle = next((tmp_path / "copy" / "tile" / "entries").rglob("4"))
    bundle.write_bytes(bundle.read_bytes().replace(b'"count":7', b'"count":1'))
    back = put_back(tmp_path / "one.backup")
    with pytest.raises(LogCorruptError, match="does not hold"):
        settle(back, copies=[tmp_path / "copy"])
    assert back.size() == 2
    # The same key, another history: somebody served two hubs from one backup.
    back.evaluate(3)
    fork = tmp_path / "fork"
    back.export(fork)
    other = put_back(tmp_path / "one.backup")
    other.enter(count=9)
    with (
        closing(storage_of(other.home)) as storage,
        open_source(fork) as copy,
        open_log(other.home) as log,
        pytest.raises(LogCorruptError, match="fork"),
    ):
        bring_up(
            storage, FileCheckpoints(other.home.root / SECOND),
            log.keys.signer(log.yearly.origin()), seen=[], copies=[copy],
            progress=lambda _done, _of: None,
        )  # fmt: skip


def test_settling_needs_two_people_and_says_so(hub, put_back, tmp_path, monkeypatch):
    hub.evaluate(1)
    hub.back_up(tmp_path / "one.backup")
    hub.evaluate(1)
    hub.export(tmp_path / "copy")
    back = put_back(tmp_path / "one.backup")
    monkeypatch.setenv("LIANFANG_SECOND", "")
    with pytest.raises(NotPermittedError):
        settle(back, second="", copies=[tmp_path / "copy"])
    assert back.used() == COUNT
    with pytest.raises(ConfigError, match="--copy"):
        settle(back)
    with pytest.raises(ConfigError, match="--unseen"):
        settle(back, unseen=True, copies=[tmp_path / "copy"])


def test_refused_attempt_changes_neither_the_count_nor_what_was_agreed(
    hub, put_back, tmp_path, monkeypatch
):
    hub.evaluate(2)
    hub.back_up(tmp_path / "one.backup")
    hub.evaluate(3)
    hub.export(tmp_path / "copy")
    back = put_back(tmp_path / "one.backup")
    monkeypatch.setenv("LIANFANG_SECOND", "")
    copy = {"second": "", "copies": [tmp_path / "copy"]}
    with pytest.raises(NotPermittedError, match="request 1 waits"):
        settle(back, **copy)
    # The log has its entries again, beside the refusal; nothing is made up for as yet.
    assert (back.size(), back.used()) == (2 + 3 + 1, 2 * COUNT)
    staff, now = Staff(back.home.root), int(time.time())
    staff.consents.agree(1, staff.find("eye"), now=now)
    done = settle(back, **copy)
    assert list(done["recovered_entries"].values()) == [3]
    assert done["charged_elements"] == 3 * COUNT
    assert len(staff.consents.open(now)) == 0
    check_settled(back.home.root)


def test_settling_twice_charges_once(hub, put_back, tmp_path):
    hub.evaluate(2)
    hub.back_up(tmp_path / "one.backup")
    hub.evaluate(2)
    hub.export(tmp_path / "copy")
    back = put_back(tmp_path / "one.backup")
    mark = (back.home.root / "restored.json").read_bytes()
    settle(back, copies=[tmp_path / "copy"])
    # A crash before the mark went: the same command again.
    (back.home.root / "restored.json").write_bytes(mark)
    assert settle(back, copies=[tmp_path / "copy"])["charged_elements"] == 0
    assert back.used() == 4 * COUNT


def test_second_backup_of_the_same_holds_the_same(hub, put_back, tmp_path):
    hub.evaluate(3)
    first = hub.back_up(tmp_path / "one.backup")
    back = put_back(tmp_path / "one.backup")
    (back.home.root / "restored.json").unlink()
    second = back.back_up(tmp_path / "two.backup")
    # SQLite's own file is another, what it holds is not: see the first test.
    told = [
        {part.name: part.sha256 for part in made.parts if not part.name.endswith(".sqlite")}
        for made in (first, second)
    ]
    assert set(told[0]) == set(told[1])
    assert {name for name in told[0] if told[0][name] != told[1][name]} <= {"hub.json"}
    assert first.tables == second.tables


def test_full_database_and_missing_one_are_refused(hub, tmp_path):
    hub.evaluate(1)
    hub.back_up(tmp_path / "one.backup")
    if not hub.home.settings().database:
        pytest.skip("this hub has no database server")
    database = hub.home.settings().database
    for connect in (lambda _: open_engine(address_of(database, {})), lambda _: None):
        with pytest.raises(ConfigError, match="database"):
            restore_backup(
                tmp_path / "one.backup", tmp_path / "back", KEY, kind="hub", now=1, connect=connect
            )
        assert not (tmp_path / "back").exists()
    assert hub.used() == COUNT


def test_broken_archive_leaves_the_database_empty(request, hub, tmp_path):
    hub.evaluate(1)
    hub.back_up(tmp_path / "one.backup")
    if not hub.home.settings().database:
        pytest.skip("this hub has no database server")
    new = request.getfixturevalue("postgres")()
    data = bytearray((tmp_path / "one.backup").read_bytes())
    data[-1] ^= 1
    (tmp_path / "one.backup").write_bytes(data)
    with pytest.raises(SealedKeysError):
        restore_backup(
            tmp_path / "one.backup", tmp_path / "back", KEY, kind="hub", now=1,
            connect=lambda _: open_engine(address_of(new, {})),
        )  # fmt: skip
    assert request.getfixturevalue("postgres").run(
        "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()", address=new
    ) == [(0,)]


def test_recovery_counts_what_the_book_has_once(tmp_path):
    """Requests with the same asker, purpose and count are told apart by how many there are."""
    now = int(time.time())
    entries = [asked(now, sequence=at) for at in range(5)]
    entries += [asked(now - 10**6), asked(now, outcome=Outcome.FAILED, count=0)]
    with closing(EvaluationBook(tmp_path / "book.journal")) as book:
        for at in range(2):
            seed = bytes([at + 1]) * 32
            book.recover(
                BookEntry(
                    EPOCH, "insurer", Purpose.COUNTER, NO_CASE, seed[16:], seed, seed, COUNT, now
                )
            )
        told = {"since": now, "now": now}
        assert recover_quotas(book, "hub/audit/2026", entries, **told) == 3 * COUNT
        assert recover_quotas(book, "hub/audit/2026", entries, **told) == 0
        assert book.used(EPOCH, "insurer") == 5 * COUNT
