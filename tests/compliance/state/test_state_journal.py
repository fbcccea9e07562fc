"""Journals in a database: shared, durable, undone together, and damage is an alarm."""

import threading

import pytest
from sqlalchemy import text

from compliance.errors import LogConflictError, LogCorruptError
from compliance.frames import MAX_RECORD
from compliance.state.database import open_state
from compliance.state.engine import writing
from compliance.state.errors import StateUnavailableError

RECORDS = [b"first", b"second record", b"x" * 60]


def append(journal, *records):
    for record in records:
        with journal.exclusive():
            journal.append(record)


def read(state, name="book"):
    with state.journal(name).exclusive() as records:
        return records


def change(state, statement, **parameters):
    with writing(state.engine).begin() as connection:
        assert connection.execute(text(statement), parameters).rowcount > 0


def test_records_are_there_in_order_after_reopening(address):
    with open_state(address) as state:
        append(state.journal("book"), *RECORDS)
    with open_state(address) as state:
        append(state.journal("book"), b"later")
        assert read(state) == [*RECORDS, b"later"]
        assert read(state, "another") == []


def test_two_objects_see_each_others_records(state):
    ours, theirs = state.journal("book"), state.journal("book")
    append(ours, b"ours")
    with theirs.exclusive() as seen:
        assert seen == [b"ours"]
        theirs.append(b"theirs")
    for expected in ([b"theirs"], []):
        with ours.exclusive() as seen:
            assert seen == expected


def test_appended_record_is_there_before_the_block_ends(state):
    journal = state.journal("book")
    with journal.exclusive():
        journal.append(b"one")
        assert read_elsewhere(state) == [b"one"]
        # The second one takes the journal anew; nobody came in between.
        journal.append(b"two")
    assert read(state) == [b"one", b"two"]


def read_elsewhere(state):
    found = []
    with state.engine.connect() as connection:
        found += connection.execute(text("SELECT data FROM state_record ORDER BY place")).scalars()
    return [bytes(record) for record in found]


def test_error_in_the_block_keeps_what_was_appended(state):
    journal = state.journal("book")
    with pytest.raises(KeyError), journal.exclusive():
        raise KeyError(journal.append(b"paid"))
    append(journal, b"more")
    assert read(state) == [b"paid", b"more"]


def test_second_append_of_a_block_is_refused_if_others_came_in_between(address):
    with open_state(address) as ours, open_state(address) as theirs:
        journal = ours.journal("book")
        with journal.exclusive():
            journal.append(b"one")
            append(theirs.journal("book"), b"between")
            with pytest.raises(LogConflictError):
                journal.append(b"two")
        with journal.exclusive() as seen:
            assert seen == [b"between"]
        assert read(theirs) == [b"one", b"between"]


def test_threads_append_one_after_the_other(state):
    shared, errors = state.journal("book"), []

    def work(name):
        journal = shared if name % 2 else state.journal("book")
        try:
            append(journal, *(b"%d %d" % (name, i) for i in range(10)))
        except Exception as error:  # noqa: BLE001 - told by the assertion below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert sorted(read(state)) == sorted(b"%d %d" % (n, i) for n in range(4) for i in range(10))


def test_transaction_is_one_commit_over_journals_and_documents(state):
    book, other = state.journal("book"), state.journal("other")
    documents = state.documents("tables")
    with state.transaction():
        append(book, b"one", b"two")
        documents.put("a", b"1")
        append(other, b"three")
        assert read_elsewhere(state) == []
        assert documents.get("a") == b"1"
    assert (read(state), read(state, "other")) == ([b"one", b"two"], [b"three"])
    assert documents.all() == {"a": b"1"}


def test_undone_transaction_leaves_nothing_and_the_object_refuses(state, undone):
    journal, documents = state.journal("book"), state.documents("tables")
    append(journal, b"before")
    with undone():
        append(journal, b"undone")
        documents.put("a", b"1")
    assert documents.names() == []
    assert documents.version() == 0
    with pytest.raises(StateUnavailableError, match="undone"), journal.exclusive():
        pass
    assert read(state) == [b"before"]


def test_undone_transaction_is_forgotten_by_who_can(state, undone):
    learned = []
    journal = state.journal("book", forget=learned.clear)

    def charge(record):
        with journal.exclusive() as records:
            learned.extend(records)
            journal.append(record)
            learned.append(record)

    charge(b"one")
    with undone():
        charge(b"undone")
    charge(b"two")
    assert learned == [b"one", b"two"] == read(state)


def test_transaction_without_an_append_may_fail_and_hurts_no_journal(state):
    journal = state.journal("book")
    append(journal, b"one")
    with pytest.raises(KeyError), state.transaction(), journal.exclusive():
        raise KeyError
    append(journal, b"two")
    assert read(state) == [b"one", b"two"]


def test_inner_transaction_is_undone_alone(state, undone):
    documents = state.documents("tables")
    learned = []
    kept, other = state.journal("kept"), state.journal("other", forget=learned.clear)
    with state.transaction():
        append(kept, b"one")
        with state.transaction():
            documents.put("a", b"1")
        with undone():
            append(other, b"no")
            documents.put("b", b"2")
        append(other, b"yes")
        append(kept, b"two")
    assert documents.all() == {"a": b"1"}
    assert (read(state, "kept"), read(state, "other")) == ([b"one", b"two"], [b"yes"])
    append(other, b"again")
    append(kept, b"three")
    assert read(state, "other") == [b"yes", b"again"]


def test_transactions_over_the_same_things_in_any_order_end(state):
    """Two that take the same journals crosswise do not wait for each other for ever."""
    names, errors = ("left", "right"), []
    journals = {name: state.journal(name) for name in names}

    def work(order):
        try:
            for _ in range(5):
                with state.transaction():
                    for name in order:
                        append(journals[name], b"record")
                for name in order:
                    append(journals[name], b"single")
        except Exception as error:  # noqa: BLE001 - told by the assertion below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(o,)) for o in (names, names[::-1]) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not errors
    assert [len(read(state, name)) for name in names] == [40, 40]


def test_transaction_is_not_begun_inside_of_exclusive(state):
    journal = state.journal("book")
    with (
        pytest.raises(RuntimeError, match="before"),
        journal.exclusive(),
        state.transaction(),
    ):
        pass
    append(journal, b"one")


DAMAGES = {
    "altered": "UPDATE state_record SET data = :other WHERE place = 1",
    "taken out": "DELETE FROM state_record WHERE place = 1",
    "cut": "DELETE FROM state_record WHERE place = 2",
    "exchanged": "UPDATE state_record SET place = CASE place WHEN 0 THEN 5 ELSE place END",
    "chain": "UPDATE state_journal SET chain = :other",
    "fewer": "UPDATE state_journal SET size = 2",
    "more": "UPDATE state_journal SET size = 4",
}


@pytest.mark.parametrize("statement", DAMAGES.values(), ids=DAMAGES)
def test_damage_is_an_alarm(state, statement):
    known = state.journal("book")
    append(known, *RECORDS)
    change(state, statement, **({"other": b"y" * 13} if ":other" in statement else {}))
    with pytest.raises(LogCorruptError):
        read(state)
    if "state_journal" in statement:
        with pytest.raises(LogCorruptError):
            append(known, b"more")


def test_journal_of_another_name_does_not_pass_for_this_one(state):
    append(state.journal("book"), *RECORDS)
    change(state, "UPDATE state_journal SET name = 'other'")
    with pytest.raises(LogCorruptError):
        read(state, "other")


def test_append_needs_the_block_and_a_size(state):
    journal = state.journal("book")
    with pytest.raises(RuntimeError):
        journal.append(b"alone")
    with journal.exclusive():
        for record in (b"", bytes(MAX_RECORD + 1)):
            with pytest.raises(ValueError, match="record"):
                journal.append(record)
        with pytest.raises(RuntimeError), journal.exclusive():
            pass
        journal.append(bytes(MAX_RECORD))
    journal.close()
    assert read(state) == [bytes(MAX_RECORD)]
    with pytest.raises(RuntimeError), journal.exclusive():
        pass


def test_records_appended_together_are_one_commit(state):
    journal = state.journal("book")
    with journal.exclusive():
        journal.append_all(RECORDS)
        assert read_elsewhere(state) == RECORDS
    with journal.exclusive() as records:
        assert records == []
        with pytest.raises(ValueError, match="record: 0 bytes"):
            journal.append_all([b"next", b""])
    assert read(state) == RECORDS
