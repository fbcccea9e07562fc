"""Documents in a database: whole, compared before they are replaced, counted by folder."""

import os
import threading

import pytest

from compliance.state.database import open_state
from compliance.state.documents import PART_SIZE


def test_documents_are_kept_apart_by_folder_and_name(state):
    tables, others = state.documents("tables"), state.documents("others")
    tables.put("b", b"2")
    tables.put("a", b"")
    others.put("a", b"3")
    assert (tables.get("a"), tables.get("b"), tables.get("c")) == (b"", b"2", None)
    assert tables.names() == ["a", "b"]
    assert tables.all() == {"a": b"", "b": b"2"}
    assert others.all() == {"a": b"3"}
    assert state.documents("empty").all() == {}


@pytest.mark.parametrize("size", [0, 1, PART_SIZE, PART_SIZE + 1, 3 * PART_SIZE])
def test_document_comes_back_as_it_went_in(state, size):
    documents = state.documents("tables")
    for data in (os.urandom(size), os.urandom(max(0, size - 1)), os.urandom(size)):
        documents.put("a", data)
        assert documents.get("a") == data
        assert documents.all() == {"a": data}


def test_large_table_fits(state):
    documents, data = state.documents("tables"), os.urandom(PART_SIZE) * 64
    documents.put("large", data)
    assert documents.get("large") == data
    assert documents.replace("large", data, b"small")
    assert documents.get("large") == b"small"


def test_first_writer_of_a_new_document_wins(state):
    documents = state.documents("tables")
    assert documents.put_new("a", b"1")
    assert not documents.put_new("a", b"2")
    assert documents.get("a") == b"1"


def test_document_is_replaced_only_as_it_was_known(state):
    documents = state.documents("tables")
    assert not documents.replace("a", b"0", b"1")
    assert documents.replace("a", None, b"1")
    assert not documents.replace("a", None, b"2")
    assert not documents.replace("a", b"2", b"3")
    assert documents.replace("a", b"1", b"2")
    assert documents.get("a") == b"2"


def test_deleted_document_is_gone(state):
    documents = state.documents("tables")
    documents.put("a", b"1" * (PART_SIZE + 1))
    assert documents.delete("a")
    assert not documents.delete("a")
    assert documents.get("a") is None
    assert documents.replace("a", None, b"2")


def test_counter_moves_with_every_change_and_no_other_call(state):
    documents = state.documents("tables")
    assert documents.version() == 0
    for change in (
        lambda: documents.put("a", b"1"),
        lambda: documents.put("a", b"1"),
        lambda: documents.put_new("b", b"1"),
        lambda: documents.replace("a", b"1", b"2"),
        lambda: documents.delete("b"),
    ):
        before = documents.version()
        change()
        assert documents.version() > before
    before = documents.version()
    documents.put_new("a", b"3")
    documents.replace("a", b"3", b"4")
    documents.delete("b")
    documents.all()
    state.documents("others").put("a", b"1")
    assert documents.version() == before


def test_one_of_many_swaps_wins_each_time(address):
    """A counter that processes raise by compare-and-swap loses no step."""
    states = [open_state(address) for _ in range(2)]
    states[0].documents("tables").put("n", b"0")

    def work(state):
        documents, done = state.documents("tables"), 0
        while done < 10:
            old = documents.get("n")
            done += documents.replace("n", old, b"%d" % (int(old) + 1))

    threads = [threading.Thread(target=work, args=(states[n % 2],)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert states[0].documents("tables").get("n") == b"40"
    for state in states:
        state.close()


def test_undone_change_is_not_seen(state, undone):
    documents = state.documents("tables")
    documents.put("a", b"1")
    before = documents.version()
    with undone():
        documents.put("a", b"2")
        documents.delete("a")
        assert documents.get("a") is None
    assert documents.get("a") == b"1"
    assert documents.version() == before


def test_file_of_an_embedded_database_is_its_owners_alone(tmp_path):
    path = tmp_path / "made" / "state.sqlite"
    with open_state(path) as state:
        state.documents("tables").put("a", b"1")
        files = list(path.parent.iterdir())
        assert len(files) == 3
        assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)
