"""Shelves over both databases: what one process changes another finds."""

import time

import pytest

from compliance.shelf import FileShelf
from compliance.state.database import open_state
from compliance.state.errors import StateUnavailableError
from server.keeping.shelves import FRESH_S, DocumentShelf


@pytest.fixture(params=["files", "sqlite", "postgres"])
def shelf(request, tmp_path):
    """One shelf of each kind: the rules are the same."""
    if request.param == "files":
        yield FileShelf(tmp_path / "shelf")
        return
    is_file = request.param == "sqlite"
    address = tmp_path / "s.sqlite" if is_file else request.getfixturevalue("postgres")()
    with open_state(address) as database:
        yield DocumentShelf(database.documents("things"))


def test_shelves_keep_the_same_rules(shelf):
    assert (shelf.get("a.json"), list(shelf.names()), list(shelf.stamps())) == (None, [], [])
    assert shelf.put_new("a.json", b"1")
    assert not shelf.put_new("a.json", b"2")
    shelf.put("deep/b.json", b"3")
    assert (shelf.get("a.json"), shelf.get("deep/b.json")) == (b"1", b"3")
    assert (list(shelf.names()), list(shelf.names("deep"))) == (["a.json"], ["deep/b.json"])
    (before,) = shelf.stamps()
    shelf.put("a.json", b"other")
    (after,) = shelf.stamps()
    assert before[0] == after[0] == "a.json"
    assert before != after
    assert shelf.get("a.json") == b"other"


def test_own_change_is_seen_at_once(keeping):
    shelf = keeping.shelf("things")
    for number in range(20):
        shelf.put("a", str(number).encode())
        assert keeping.shelf("things").get("a") == str(number).encode()


def test_change_of_another_process_is_seen_soon(keeping, other):
    assert keeping.shelf("things").get("a") is None
    other.shelf("things").put("a", b"1")
    time.sleep(FRESH_S)
    assert keeping.shelf("things").get("a") == b"1"
    other.documents("things").delete("a")
    time.sleep(FRESH_S)
    assert keeping.shelf("things").get("a") is None


def test_nothing_is_read_twice_while_nothing_changes(keeping):
    keeping.shelf("things").put("a", b"1")
    reads = []

    class Counted:
        """Documents that tell when all of them are read."""

        def version(self):
            return keeping.documents("things").version()

        def all(self):
            reads.append(1)
            return keeping.documents("things").all()

    shelf = DocumentShelf(Counted(), fresh_s=0.0)
    assert [shelf.get("a") for _ in range(5)] == [b"1"] * 5
    assert reads == [1]
    keeping.shelf("things").put("a", b"2")
    assert (shelf.get("a"), reads) == (b"2", [1, 1])


def test_of_two_who_replace_one_is_told(keeping, other):
    keeping.shelf("things").put("a", b"1")
    seen = [one.shelf("things").current("a") for one in (keeping, other)]
    assert other.shelf("things").replace("a", seen[1], b"other")
    assert not keeping.shelf("things").replace("a", seen[0], b"mine")
    assert keeping.shelf("things").get("a") == b"other"


def test_what_may_be_old_decides_nothing_without_the_database(postgres):
    with open_state(postgres()) as database:
        shelf = DocumentShelf(database.documents("things"), fresh_s=0.0)
        shelf.put("a", b"1")
        assert shelf.get("a") == b"1"
        postgres.stop()
        try:
            with pytest.raises(StateUnavailableError):
                shelf.get("a")
        finally:
            postgres.start()
