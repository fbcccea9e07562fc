"""What a desk keeps of a person is found and erased, and what it keeps of others is not."""

import os

import numpy as np
import polars as pl
import pytest

from clients.desk.before import LastLights
from clients.desk.desk import Desk
from clients.desk.screening import Screening
from clients.lookup.cache import OutputCache
from clients.lookup.queries import QueryStore, StoredQuery
from clients.node.files import load_array, store_array, store_json
from clients.node.home import Home
from clients.rights.scores import ScoreRecords
from clients.rights.stores import stores_of, told_stores
from compliance.rights.errors import StoreWaitsError
from compliance.rights.stores import Subject
from protocols.identifiers import IdentifierKind, canonicalize
from protocols.lookup.light import Colour
from protocols.lookup.request import Purpose

EPOCH = 3
PHONE, PERSON = IdentifierKind.PHONE, IdentifierKind.TW_PERSON_ID
NUMBER, OTHER = "0912345678", "0987654321"


def subject_of(*values, kind=PHONE):
    canonical = tuple(canonicalize(kind, value) for value in values)
    return Subject(canonical, tuple(f"subject/{at}" for at in range(len(canonical))))


@pytest.fixture
def desk(town):
    town.publish([(PHONE, NUMBER, {}), (PHONE, OTHER, {})])
    town.publish(contributor="telecom")
    with Desk(town.home().root, clock=town.clock) as made:
        for number, case in [(NUMBER, "C-1"), (OTHER, "C-2")]:
            made.check([(PHONE, number)], purpose=Purpose.COUNTER, case=case)
        yield made


@pytest.fixture
def stores(town, desk):
    return {store.name: store for store in stores_of(town.home(), os.urandom, clock=town.clock)}


def test_stores_follow_from_the_directory(town, stores):
    assert set(stores) == {"desk/queries", "desk/cache", "desk/window", "desk/screening"}
    assert stores_of(town.home("telecom"), os.urandom, clock=town.clock) == []
    assert not (town.home("telecom").root / "desk").exists()


def test_everything_that_a_check_left_is_found_and_erased(town, desk, stores):
    ours, theirs = subject_of(NUMBER), subject_of(OTHER)
    before = {name: len(store.find(ours)) for name, store in stores.items()}
    assert before == {
        "desk/queries": 1, "desk/cache": 1, "desk/window": 1, "desk/screening": 0,
    }  # fmt: skip
    for name, store in stores.items():
        assert store.erase(ours) == before[name]
        assert store.find(ours) == []
        assert store.erase(ours) == 0
        assert len(store.find(theirs)) == before[name]


def test_check_of_another_person_still_shows_its_light(town, desk, stores):
    for store in stores.values():
        store.erase(subject_of(NUMBER))
    used = town.used()
    found = desk.check([(PHONE, OTHER)], purpose=Purpose.COUNTER, case="C-2")
    assert found.light.colour is Colour.RED
    assert town.used() == used  # it is still cached
    again = desk.check([(PHONE, NUMBER)], purpose=Purpose.COUNTER, case="C-3")
    assert again.light.colour is Colour.RED
    assert town.used() == used + 1  # it is asked as somebody new


def test_desk_that_is_open_meanwhile_no_longer_has_the_person(town, desk, stores):
    cache = OutputCache(town.home(), town.manifest.epoch, os.urandom)
    ours = subject_of(NUMBER).canonical
    assert cache.count(ours) == 1
    stores["desk/cache"].erase(subject_of(NUMBER))
    assert cache.count(ours) == 0
    assert cache.count(subject_of(OTHER).canonical) == 1


def test_tags_of_an_erased_row_find_nothing(town, desk, stores):
    epoch = town.manifest.epoch
    cache = OutputCache(town.home(), epoch, os.urandom)
    row = int(cache.positions(cache.tokens(subject_of(NUMBER).canonical))[0])
    tags = np.array(cache.tags(7)[row])
    files = list((town.home().root / "lookup" / "cache").glob(f"{epoch}.tags-7"))
    assert files
    stores["desk/cache"].erase(subject_of(NUMBER))
    fresh = OutputCache(town.home(), epoch, os.urandom)
    assert not (fresh.tags(7) == tags).all(axis=1).any()
    assert len(fresh) == len(cache)


def test_query_of_a_batch_loses_one_person_and_keeps_the_rest(town, desk):
    store = QueryStore(town.home(), os.urandom)
    inputs = tuple(canonicalize(PHONE, number) for number in (NUMBER, OTHER))
    query = StoredQuery(
        EPOCH, b"k" * 16, b"r" * 16, Purpose.SCREENING, "", b"", 1_800_000_000, inputs
    )
    store.add(query)
    store.settle(query, None)
    assert store.erase(inputs[:1]) == (2, 0)  # the batch, and the check before
    (left,) = [item for item in store.about(inputs[1:]) if item.request_id == b"r" * 16]
    assert left.inputs == (b"", inputs[1])
    assert not left.is_whole
    assert store.find(EPOCH, b"r" * 16) is None  # it cannot be opened to an auditor any more
    assert store.erase(inputs[1:])[0] == 2
    assert store.about(inputs) == []


def test_open_query_is_settled_and_a_busy_one_waits(town, desk, stores):
    store = QueryStore(town.home(), os.urandom)
    query = StoredQuery(
        EPOCH, b"k" * 16, b"r" * 16, Purpose.COUNTER, "C-9", b"s" * 32, 1_800_000_000,
        (canonicalize(PHONE, NUMBER),),
    )  # fmt: skip
    store.add(query)  # and held by this process, as one that is being asked
    with pytest.raises(StoreWaitsError, match="run it again"):
        stores["desk/queries"].erase(subject_of(NUMBER))
    store.release(query)
    assert stores["desk/queries"].erase(subject_of(NUMBER)) == 1
    assert list(store.unsettled(Purpose.COUNTER, "C-9")) == []


def test_lights_of_a_screening_are_told_and_forgotten(town, tmp_path, person):
    town.publish([(PERSON, person(3), {})])
    town.publish(contributor="telecom")
    file = tmp_path / "customers.parquet"
    pl.DataFrame({"id": [person(number) for number in range(20)]}).write_parquet(file)
    with Desk(town.home().root, clock=town.clock) as desk:
        screening = Screening(desk, file, column="id", kind=PERSON)
        screening.run(tmp_path / "lights.parquet", approved_by="chief")
    ours = subject_of(person(3), kind=PERSON)
    stores = {s.name: s for s in stores_of(town.home(), os.urandom, clock=town.clock)}
    lights = stores["desk/screening"]
    assert [list(item.facts.values()) for item in lights.find(ours)] == [["red"]]
    assert stores["desk/queries"].erase(ours) == 1
    assert lights.erase(ours) == 1
    assert lights.find(ours) == []
    tokens = OutputCache(town.home(), 0, os.urandom).tokens(
        subject_of(person(4), kind=PERSON).canonical
    )
    assert LastLights(town.home(), os.urandom).find(tokens) == [Colour.GREEN]


def test_person_is_told_which_light_the_counter_saw(town, desk):
    told = {s.name: s for s in told_stores(town.home(), os.urandom, clock=town.clock)}
    (found,) = told["desk/checks"].find(subject_of(NUMBER))
    assert list(found.facts.values()) == ["C-1", "", "red"]


def test_identifier_and_token_are_in_no_file_of_the_directory(town, desk, stores):
    root, (canonical,) = town.home().root, subject_of(NUMBER).canonical
    tokens = OutputCache(town.home(), 0, os.urandom).tokens([canonical]).tobytes()
    for store in stores.values():
        store.erase(subject_of(NUMBER))
    data = b"\x00".join(path.read_bytes() for path in root.rglob("*") if path.is_file())
    for trace in (canonical, canonical.hex().encode(), b"912345678", tokens):
        assert trace not in data


@pytest.fixture
def scored(tmp_path):
    """A label holder with a table of three customers and the scores of two of them."""
    root = tmp_path / "node"
    (root / "runs" / "spring").mkdir(parents=True)
    contract = {
        "identifier": {"column": "id", "kind": "phone"}, "label": None,
        "columns": [{"name": "n", "kind": "numeric", "low": 0, "high": 9, "missing": False}],
    }  # fmt: skip
    store_json(root / "contract.json", contract)
    frame = pl.DataFrame({"id": ["0911111111", OTHER, "0912-345-678"], "n": [1.0, 2.0, 3.0]})
    frame.write_parquet(root / "table.parquet")
    store_json(root / "node.json", {
        "name": "insurer", "hub": {"link": "", "flower": "", "api": "", "identity": ""},
        "table": "table.parquet", "contract": "contract.json", "peers": {},
        "held_out_column": None,
    })  # fmt: skip
    folder = root / "runs" / "spring"
    store_array(folder / "taken.npy", np.array([2, 1]))
    store_array(folder / "refined.npy", np.array([0.75, 0.25]))
    store_array(folder / "logit.npy", np.array([1.0, -1.0]))
    return Home(root)


def test_score_is_found_by_its_row_and_erased(scored):
    records = ScoreRecords(scored)
    (found,) = records.find(subject_of(NUMBER))
    assert list(found.facts.values()) == ["spring", "0.7500"]
    assert records.erase(subject_of(NUMBER)) == 1
    assert records.find(subject_of(NUMBER)) == []
    folder = scored.root / "runs" / "spring"
    for name in ("refined.npy", "logit.npy"):
        assert np.isnan(load_array(folder / name)).tolist() == [True, False]
    assert len(records.find(subject_of(OTHER))) == 1


def test_scores_are_nobodys_once_the_table_was_replaced(scored):
    later = (scored.root / "runs" / "spring" / "taken.npy").stat().st_mtime + 10
    os.utime(scored.root / "table.parquet", (later, later))
    records = ScoreRecords(scored)
    assert records.find(subject_of(NUMBER)) == []
    assert records.erase(subject_of(NUMBER)) == 0
