"""Tables and manifests over a real hub: what is believed, what is refused, what is fetched."""

import gc
import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.keys import credentials
from clients.lookup.alarms import AlarmKind, Alarms
from clients.lookup.api import HubApi, HubRefusedError, TableList
from clients.lookup.session import Lookup
from clients.lookup.tables import ForkedTableError, TableStore
from clients.lookup.trust import ALARMS, ForkedEpochError, Trust
from compliance.configuration import ConfigError
from protocols.errors import InvalidProofError, MalformedMessageError
from protocols.identifiers import IdentifierKind
from protocols.link import TransportError
from protocols.lookup.delta import make_delta
from protocols.lookup.header import sign_header
from protocols.lookup.payload import Slot
from protocols.lookup.request import Purpose
from protocols.oprf.errors import WrongEpochError
from server.identity import create_authority

PERSON = IdentifierKind.TW_PERSON_ID


class Asker:
    """The insurer's view of the hub."""

    def __init__(self, town, home=None):
        self.town = town
        self.home = home or town.home()
        self.api = HubApi(
            self.home.config().api, credentials(self.home.keys), timeout_s=5, pauses_s=(0.01,)
        )
        self.trust = Trust(self.home)
        self.store = TableStore(self.home, self.trust)

    def sync(self):
        return self.store.sync(self.api, self.town.manifest, self.town.clock.now())

    def tables(self):
        return self.store.tables(self.town.manifest)

    def alarms(self):
        alarms = Alarms(self.home.root / ALARMS)
        try:
            return [alarm.kind for alarm in alarms.all()]
        finally:
            alarms.close()


@pytest.fixture
def asker(town):
    made = Asker(town)
    yield made
    made.api.close()


def persons(person, numbers):
    return [(PERSON, person(number), {}) for number in numbers]


def test_table_is_fetched_whole_then_by_steps(asker, town, person):
    town.publish(persons(person, range(20)))
    assert [(c.before, c.after, c.count) for c in asker.sync()] == [(0, 1, 20)]
    assert [(c.before, c.after, c.count) for c in asker.sync()] == [(1, 1, 20)]
    fetched = []
    table = asker.api.table
    asker.api.table = lambda *args: (fetched.append(args), table(*args))
    town.publish(persons(person, [20]), [(PERSON, person(0), Slot.SUSPECT)])
    town.publish(persons(person, [21, 22]))
    assert [(c.before, c.after, c.count) for c in asker.sync()] == [(1, 3, 22)]
    assert fetched == []  # two versions further in one composed step
    police = asker.tables()["police"]
    assert bytes(police.data) == town.tables["police"][0]
    assert police.payloads(town.root(PERSON, person(0))) == []
    (payload,) = police.payloads(town.root(PERSON, person(22)))
    assert payload.contributor == 1
    assert len(list((asker.home.root / "lookup" / "tables").rglob("*.table"))) == 1


def test_damaged_table_on_disk_is_fetched_again(asker, town, person):
    town.publish(persons(person, range(20)))
    asker.sync()
    (path,) = (asker.home.root / "lookup" / "tables").rglob("*.table")
    data = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    town.publish(persons(person, [20]))
    asker.sync()
    assert bytes(asker.tables()["police"].data) == town.tables["police"][0]
    (path,) = (asker.home.root / "lookup" / "tables").rglob("*.table")
    path.write_bytes(path.read_bytes()[:-76])
    asker.store._open.clear()
    with pytest.raises(InvalidProofError, match="damaged on this disk"):
        asker.tables()


def test_download_goes_on_where_it_was_cut(town, proxied, person):
    home, proxy = proxied
    records = [town.source.randbytes(76) for _ in range(20_000)]
    town.publish_records(records)
    asker = Asker(town, home)
    sizes = []
    download = asker.api._https._download_once
    asker.api._https._download_once = lambda path, sink, limit: (
        sizes.append(sink.seek(0, 2)),
        download(path, sink, limit),
    )
    asker.api.tables(5)  # connected, so that the cut falls into the table
    proxy.down_left = 700_000
    with asker.api:
        asker.sync()
    assert bytes(asker.tables()["police"].data) == town.tables["police"][0]
    assert sizes[0] == 0
    assert sizes[1] > 100_000  # the second try began where the first ended
    gc.collect()  # a file that was left open would warn here


def test_download_of_a_killed_process_is_continued(asker, town):
    records = [town.source.randbytes(76) for _ in range(2_000)]
    after = town.publish_records(records)
    data, _ = town.tables["police"]
    folder = asker.home.root / "lookup" / "tables" / "5" / "police"
    folder.mkdir(parents=True)
    draft = folder / f".{after.header.root.hex()}"
    for beginning in (data[:100_000], data):
        draft.write_bytes(beginning)
        asker.sync()
        assert bytes(asker.tables()["police"].data) == data
        (folder / "current").unlink()
    draft.write_bytes(b"x" * 1000)
    with pytest.raises((InvalidProofError, MalformedMessageError)):
        asker.sync()
    asker.sync()  # what was spoilt is gone, and fetched anew
    assert bytes(asker.tables()["police"].data) == data


def test_hub_that_is_behind_does_not_take_a_version_back(asker, town, person):
    town.publish(persons(person, range(3)))
    old = asker.api.tables(5)
    town.publish(persons(person, [3]))
    asker.sync()
    asker.api.tables = lambda epoch: old
    assert [(c.before, c.after) for c in asker.sync()] == [(2, 2)]
    assert asker.tables()["police"].header.version == 2


def test_second_table_for_one_version_is_an_alarm(asker, town, person):
    town.publish(persons(person, range(3)))
    asker.sync()
    genuine = asker.api.tables(5)
    header = replace(genuine.entries[0].header.header, root=b"r" * 32)
    forked = sign_header(town.identities["police"], header)
    entry = replace(genuine.entries[0], header=forked)
    asker.api.tables = lambda epoch: signed_list(town, genuine, entry)
    with pytest.raises(ForkedTableError, match="two tables for version 1"):
        asker.sync()
    assert asker.alarms() == [AlarmKind.FORKED_TABLE]
    assert asker.tables()["police"].header.root != b"r" * 32


def signed_list(town, genuine, entry):
    signature = town.identities["hub"].sign(b"changed")
    return TableList(genuine.hub, genuine.epoch, genuine.at, (entry,), b"changed", signature)


@pytest.mark.parametrize("change", [{"epoch": 6}, {"number": 2}, {"hub": "other"}])
def test_table_of_another_epoch_number_or_hub_is_refused(asker, town, person, change):
    town.publish(persons(person, range(3)))
    genuine = asker.api.tables(5)
    header = replace(genuine.entries[0].header.header, **change)
    entry = replace(genuine.entries[0], header=sign_header(town.identities["police"], header))
    asker.api.tables = lambda epoch: signed_list(town, genuine, entry)
    with pytest.raises(InvalidProofError, match="another hub, epoch or number"):
        asker.sync()
    assert asker.tables() == {}


def test_table_signed_by_somebody_else_is_refused(asker, town, person):
    town.publish(persons(person, range(3)))
    genuine = asker.api.tables(5)
    forged = sign_header(town.identities["hub"], genuine.entries[0].header.header)
    asker.api.tables = lambda epoch: signed_list(
        town, genuine, replace(genuine.entries[0], header=forged)
    )
    with pytest.raises(InvalidProofError):
        asker.sync()


def test_list_that_the_hub_did_not_sign_is_refused(asker, town, person):
    town.publish(persons(person, range(3)))
    genuine = asker.api.tables(5)
    for changed in (
        replace(genuine, signature=bytes(64)),
        replace(genuine, signed=genuine.signed + b" "),
    ):
        asker.api.tables = lambda epoch, changed=changed: changed
        with pytest.raises(InvalidProofError, match="hub's signature"):
            asker.sync()
    asker.api.tables = lambda epoch: replace(genuine, epoch=6)
    with pytest.raises(WrongEpochError):
        asker.sync()


def test_table_with_other_contents_than_signed_is_refused(asker, town, person):
    town.publish(persons(person, range(3)))

    def lie(epoch, contributor, version, sink):
        sink.write(bytes(3 * 76))

    asker.api.table = lie
    with pytest.raises((InvalidProofError, MalformedMessageError), match="table of police"):
        asker.sync()
    assert asker.tables() == {}
    assert not list((asker.home.root / "lookup" / "tables").rglob(".?*"))


def test_manifest_is_kept_and_believed_while_the_hub_is_away(asker, town):
    manifest = asker.trust.manifest(asker.api, town.clock.now())
    assert manifest.digest == town.manifest.digest
    assert asker.trust.in_force(town.clock.now()).digest == manifest.digest
    assert asker.trust.in_force(manifest.not_after + manifest.grace_s) is None
    assert asker.trust.in_force(manifest.not_after).digest == manifest.digest  # its grace


def test_second_manifest_for_an_epoch_is_an_alarm(asker, town):
    now = town.clock.now()
    asker.trust.manifest(asker.api, now)
    other = town.signed_manifest(contributors={"police": 1, "telecom": 2, "bank": 3})
    with pytest.raises(ForkedEpochError, match="epoch 5"):
        asker.trust.admit(other, asker.api, now)
    assert asker.alarms() == [AlarmKind.FORKED_EPOCH]
    assert asker.trust.known(5).digest == town.manifest.digest


def test_refreshed_shares_follow_and_the_old_ones_do_not_come_back(asker, town):
    now = town.clock.now()
    asker.trust.manifest(asker.api, now)
    old = town.signed
    town.refresh_shares()
    assert asker.trust.manifest(asker.api, now).record.generation == 1
    with pytest.raises(ForkedEpochError):
        asker.trust.admit(old, asker.api, now)


def test_manifest_needs_every_holder_and_its_time(asker, town):
    now = town.clock.now()
    missing = dict(town.signed.signatures)
    missing.pop("police")
    with pytest.raises(InvalidProofError, match="police"):
        asker.trust.admit(replace(town.signed, signatures=missing), asker.api, now)
    with pytest.raises(WrongEpochError):
        asker.trust.admit(town.signed, asker.api, now + 10**9)
    assert asker.trust.known(5) is None


def test_unpinned_contributor_is_told_with_the_command(asker, town, person):
    town.publish(persons(person, range(3)))
    asker.trust.identities = {
        name: key for name, key in asker.trust.identities.items() if name != "police"
    }
    with pytest.raises(ConfigError, match="lianfang node trust"):
        asker.sync()


def test_conflict_and_unknown_things_are_refusals_with_their_code(asker, town, person):
    town.publish(persons(person, range(3)))
    data, _ = town.tables["police"]
    stale = make_delta(
        town.identities["police"], b"", None, hub="lianfang", epoch=5, contributor="police",
        number=1, removed=[], upserted=[data[:76]], now=town.clock.now(),
    )  # fmt: skip
    police = Asker(town, town.home("police"))
    with police.api as api, pytest.raises(HubRefusedError) as refused:
        api.publish(5, "police", stale)
    assert (refused.value.code, refused.value.current_version) == ("version_conflict", 1)
    for call in (
        lambda: asker.api.manifest(9),
        lambda: asker.api.header(5, "telecom", 1),
        lambda: asker.api.delta(5, "police", 1, 0) and asker.api.delta(5, "police", 9, 1),
        lambda: asker.api.publish(5, "police", stale),
    ):
        with pytest.raises(HubRefusedError):
            call()
    assert asker.api.quota().left == 100_000


def test_hub_of_another_authority_is_not_spoken_with(town, tmp_path):
    home = town.home()
    create_authority(tmp_path / "other", "lianfang", town.clock.now())
    shutil.copy(tmp_path / "other" / "ca.crt", home.keys / "ca.crt")
    # The pauses would be noticed: a certificate that does not verify is not tried again.
    stranger = HubApi(home.config().api, credentials(home.keys), pauses_s=(30, 30))
    with stranger as api, pytest.raises(TransportError) as error:
        api.current_manifest()
    assert not error.value.retryable


def test_fault_of_one_contributor_keeps_no_other_table_away(asker, town, person):
    town.publish(persons(person, range(3)))
    town.publish(contributor="telecom")
    asker.trust.identities = {
        name: key for name, key in asker.trust.identities.items() if name != "police"
    }
    with pytest.raises(ConfigError, match="police"):
        asker.sync()
    assert set(asker.tables()) == {"telecom"}


def test_what_an_epoch_left_is_removed_when_it_is_over(town, person):
    home, now = town.home(), town.clock.now()
    town.publish(persons(person, range(3)))
    with Lookup(home, clock=town.clock) as lookup:
        lookup.sync()
        lookup.evaluate([b"somebody"], purpose=Purpose.SCREENING)
        lookup.epoch().cache.tags(1)
        assert set(lookup.tables(lookup.epoch())) == {"police"}
        kept = sorted((home.root / "lookup" / "cache").iterdir())
        assert len(kept) == 2
        over = town.manifest.not_after + town.manifest.grace_s
        assert lookup.trust.over(over - 1) == []
        assert lookup.trust.over(over) == [5]
        lookup.forget(over - 1)
        assert set(lookup.tables(lookup.epoch())) == {"police"}
        lookup.forget(over)
    assert not list((home.root / "lookup" / "cache").iterdir())
    assert not list((home.root / "lookup" / "tables").iterdir())
    # What was asked stays, for audits.
    assert list((home.root / "lookup" / "queries" / "5").glob("*.query"))
    assert now < over


@given(st.recursive(
    st.one_of(st.none(), st.integers(), st.text(max_size=6), st.just("00")),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["tables", "signature", "epoch", "at", "hub", "contributor", "version",
                             "count", "header", "quota", "used", "resets_at"]),
            inner, max_size=6,
        ),
    ),
    max_leaves=10,
))  # fmt: skip
def test_any_answer_is_read_or_malformed(value):
    api = object.__new__(HubApi)
    api._https = SimpleNamespace(fetch=lambda path, limit: json.dumps(value).encode())
    for call in (lambda: api.tables(5), api.quota, api.current_manifest):
        try:
            call()
        except MalformedMessageError:
            continue
