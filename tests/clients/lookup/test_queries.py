import os
import subprocess
import sys
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.lookup.queries import QueryStore, StoredQuery
from clients.lookup.secrets import SealBrokenError
from clients.node.home import Home
from protocols.errors import MalformedMessageError
from protocols.lookup.request import NO_CASE, Purpose, commit_case


def query(number=0, **changes):
    fields = {
        "epoch": 5,
        "key_id": b"k" * 16,
        "request_id": bytes([number]) * 16,
        "purpose": Purpose.SCREENING,
        "reference": "",
        "salt": b"",
        "asked_at": 1_800_000_000,
        "inputs": (b"somebody's number", b"another one"),
    }
    return StoredQuery(**(fields | changes))


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


@pytest.fixture
def store(home):
    return QueryStore(home, os.urandom)


queries = st.builds(
    StoredQuery,
    epoch=st.integers(0, 2**64 - 1),
    key_id=st.binary(min_size=16, max_size=16),
    request_id=st.binary(min_size=16, max_size=16),
    purpose=st.sampled_from(Purpose),
    reference=st.text(max_size=20).filter(lambda text: text.isprintable()),
    salt=st.sampled_from([b"", b"s" * 32]),
    asked_at=st.integers(0, 2**64 - 1),
    inputs=st.lists(st.binary(max_size=9), min_size=1, max_size=4).map(tuple),
)


@given(queries)
def test_query_survives_writing_and_reading(item):
    assert StoredQuery.decode(item.encode()) == item


@given(st.one_of(st.binary(max_size=200), queries.map(lambda item: item.encode()[:-1])))
def test_any_bytes_are_a_query_or_malformed(data):
    try:
        found = StoredQuery.decode(data)
    except MalformedMessageError:
        return
    assert found.encode() == data


def test_case_is_committed_with_the_salt_of_its_query():
    assert query().case == NO_CASE
    asked = query(reference="C-1", salt=b"s" * 32, purpose=Purpose.COUNTER)
    assert asked.case == commit_case("C-1", b"s" * 32)


def test_unsettled_query_is_found_by_purpose_and_case_until_it_is_settled(home, store):
    mine, other = query(1), query(2, purpose=Purpose.COUNTER, reference="C-1", salt=b"s" * 32)
    for item in (mine, other):
        store.add(item)
        store.release(item)
    again = QueryStore(home, os.urandom)
    assert list(again.unsettled(Purpose.SCREENING, "")) == [mine]
    assert list(again.unsettled(Purpose.COUNTER, "C-2")) == []
    again.settle(mine, None)
    assert list(again.unsettled(Purpose.SCREENING, "")) == []
    assert again.find(5, mine.request_id) == mine
    assert again.find(5, other.request_id) == other
    assert again.find(5, bytes(16)) is None
    assert again.requests(5) == [mine.request_id]


def test_query_at_work_is_nobody_elses(home, store):
    store.add(query())
    other = QueryStore(home, os.urandom)
    assert list(other.unsettled(Purpose.SCREENING, "")) == []
    store.release(query())
    assert list(other.unsettled(Purpose.SCREENING, "")) == [query()]


HOLDER = textwrap.dedent("""
    import os, sys
    from pathlib import Path
    from clients.lookup.queries import QueryStore
    from clients.node.home import Home
    from protocols.lookup.request import Purpose
    store = QueryStore(Home(Path(sys.argv[1])), os.urandom)
    print(len(list(store.unsettled(Purpose.SCREENING, ""))), flush=True)
    sys.stdin.read()
""")


def test_killed_process_lets_go_of_its_query(home, store):
    store.add(query())
    store.release(query())
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(home.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "1\n"
        assert list(store.unsettled(Purpose.SCREENING, "")) == []
        process.kill()
        process.wait()
        assert list(store.unsettled(Purpose.SCREENING, "")) == [query()]


def test_files_are_sealed_and_bound_to_their_names(home, store):
    for number in (1, 2):
        store.add(query(number))
        store.release(query(number))
    first, second = sorted((home.root / "lookup" / "queries" / "open").glob("*.query"))
    assert b"somebody" not in first.read_bytes()
    assert first.stat().st_mode & 0o077 == 0
    second.write_bytes(first.read_bytes())
    with pytest.raises(SealBrokenError):
        list(store.unsettled(Purpose.SCREENING, ""))
