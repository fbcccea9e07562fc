"""One log: appending, signing, publishing; what is refused at the opening and later."""

import shutil
import threading
from contextlib import contextmanager
from dataclasses import replace

import pytest

from compliance.configuration import ConfigError
from compliance.errors import LogCorruptError
from compliance.log.errors import NotWitnessedError, StorageError
from compliance.log.memory import MemoryStorage
from compliance.log.second import FileCheckpoints
from compliance.log.sqlstore import SqlStorage
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.entry import Entry
from protocols.tlog.note import KeyKind, Note, Signer
from protocols.tlog.proof import verify_proof


def size_of(note):
    return Checkpoint.parse(note.text).size


def test_entry_stands_where_append_says(world, tools):
    log = world.open()
    world.fill(log, 249)
    for number in range(249, 300):
        assert log.append(tools.make_entry(number)) == number
    entries = world.check_log(300)
    for number in (0, 9, 10, 255, 256, 299):
        expected = replace(tools.make_entry(number), sequence=number)
        assert entries[number] == expected.encode()
    assert world.open().append(tools.make_entry(300)) == 300
    world.check_log(301)


def test_log_verifies_at_every_size(memory_world, tools):
    world = memory_world
    log = world.open()
    for number in range(1, 260):
        log.append(tools.make_entry(number))
        if number % 7 == 0 or number > 253:
            assert size_of(log.checkpoint()) == number
        if number % 11 == 0:
            log = world.open()
        if number % 5 == 0 or number > 253:
            world.check_log(number)


def test_threads_share_commits_and_lose_nothing(world, tools):
    log = world.open()
    found = {}

    def work(name):
        for number in range(25):
            key = name * 100 + number
            found[key] = log.append(tools.make_entry(key))

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entries = world.check_log(200)
    assert sorted(found.values()) == list(range(200))
    for key, index in found.items():
        assert entries[index] == replace(tools.make_entry(key), sequence=index).encode()


def test_two_logs_on_one_storage_take_turns(world, tools):
    logs = [world.open(), world.open()]
    for number in range(12):
        assert logs[number % 3 % 2].append(tools.make_entry(number)) == number
        if number % 4 == 3:
            assert size_of(logs[0].checkpoint()) == number + 1
            assert size_of(logs[1].checkpoint()) == number + 1
    world.check_log(12)


def test_proof_convinces_whoever_has_the_policy(world, tools):
    log = world.open()
    with pytest.raises(ValueError, match="published"):
        log.prove(0)
    world.fill(log, 270)
    log.checkpoint()
    log.append(tools.make_entry(270))
    for index in (0, 255, 256, 269):
        entry = replace(tools.make_entry(index), sequence=index).encode()
        witnessed = verify_proof(log.prove(index), entry, world.policy)
        assert witnessed.checkpoint.size == 270
        assert set(witnessed.times) == set(world.witnesses)
    with pytest.raises(ValueError, match="no leaf"):
        log.prove(270)


def test_empty_log_is_published_as_such(memory_world):
    assert size_of(memory_world.open().checkpoint()) == 0
    memory_world.check_log(0)


def test_without_quorum_nothing_is_published(world, tools):
    log = world.open()
    log.append(tools.make_entry(0))
    published = log.checkpoint()
    log.append(tools.make_entry(1))
    world.awake = {"insurer"}
    with pytest.raises(NotWitnessedError):
        log.checkpoint()
    assert Note.decode(world.storage.checkpoint(tools.ORIGIN)) == published
    # What was signed is kept all the same, the log goes on, and so does the next checkpoint.
    assert size_of(Note.decode(world.second.load(tools.ORIGIN))) == 2
    log.append(tools.make_entry(2))
    world.awake = {"insurer", "police"}
    assert size_of(world.open().checkpoint()) == 3
    world.check_log(3)


def test_signed_checkpoint_is_kept_before_a_witness_sees_it(world, tools):
    seen = []

    def cosign(note, prove):
        assert Note.decode(world.second.load(tools.ORIGIN)).text == note.text
        assert world.storage.checkpoint(tools.ORIGIN) is None
        seen.append(prove(1))
        return world.cosign(note, prove)

    log = world.open(cosign=cosign)
    for number in range(3):
        log.append(tools.make_entry(number))
    log.checkpoint()
    assert [len(proof) for proof in seen] == [2]


def test_later_checkpoint_of_another_process_stands(world, tools):
    theirs = world.open()

    def cosign(note, prove):
        if size_of(note) == 1:  # while ours waits for its witnesses, they publish
            theirs.append(tools.make_entry(1))
            theirs.checkpoint()
        return world.cosign(note, prove)

    ours = world.open(cosign=cosign)
    ours.append(tools.make_entry(0))
    assert size_of(ours.checkpoint()) == 2
    world.check_log(2)


def test_rolled_back_database_is_refused(tmp_path, tools):
    path = tmp_path / "log.db"
    world = tools.World(SqlStorage.open(f"sqlite:///{path}"), tmp_path)
    log = world.open()
    for number in range(5):
        log.append(tools.make_entry(number))
    log.checkpoint()
    world.storage.close()
    shutil.copy(path, tmp_path / "old.db")
    world.storage = SqlStorage.open(f"sqlite:///{path}")
    log = world.open()
    log.append(tools.make_entry(5))
    log.checkpoint()
    world.storage.close()
    shutil.copy(tmp_path / "old.db", path)
    world.storage = SqlStorage.open(f"sqlite:///{path}")
    with pytest.raises(LogCorruptError, match="put back"):
        world.open()
    # The process that was running all the time finds it as well, and stays stopped.
    with pytest.raises(LogCorruptError):
        log.append(tools.make_entry(6))
    with pytest.raises(LogCorruptError, match="before"):
        log.append(tools.make_entry(6))
    with pytest.raises(LogCorruptError):
        log.checkpoint()
    assert world.storage.edge(tools.ORIGIN).size == 5
    world.storage.close()


def test_rolled_back_and_refilled_database_is_refused(memory_world, tools):
    world = memory_world
    running = world.open()
    for number in range(3):
        running.append(tools.make_entry(number))
    running.checkpoint()
    world.storage, real = MemoryStorage(), world.storage
    forged = world.open(second=FileCheckpoints(world.directory / "elsewhere"))
    for number in range(4):
        forged.append(tools.make_entry(100 + number))
    with pytest.raises(LogCorruptError, match="fork"):
        world.open()
    running._storage = world.storage
    with pytest.raises(LogCorruptError, match="another history"):
        running.append(tools.make_entry(9))
    assert world.storage.edge(tools.ORIGIN).size == 4
    world.storage = real
    world.check_log(3)


def test_checkpoint_of_a_tree_that_changed_below_is_refused(memory_world, tools):
    world = memory_world
    running = world.open()
    running.append(tools.make_entry(0))
    running.checkpoint()
    running.append(tools.make_entry(1))
    # Another storage with the same signed beginning, and another entry thereafter.
    world.storage = MemoryStorage()
    forged = world.open(second=FileCheckpoints(world.directory / "elsewhere"))
    for number in (0, 2, 3):
        forged.append(tools.make_entry(number))
    running._storage = world.storage
    with pytest.raises(LogCorruptError, match="another history"):
        running.checkpoint()
    assert world.sizes()[1] == 1


def test_second_place_that_was_put_back_is_refused(memory_world, tools):
    world = memory_world
    log = world.open()
    log.append(tools.make_entry(0))
    old = world.second.load(tools.ORIGIN)
    log.checkpoint()
    assert world.second.swap(tools.ORIGIN, world.second.load(tools.ORIGIN), old)
    with pytest.raises(LogCorruptError, match="second place"):
        world.open()


def test_log_that_others_begin_meanwhile_is_opened(memory_world, tools):
    world = memory_world

    class Overtaken:
        """While ours finds no checkpoint, another process opens the log and works with it."""

        def load(self, origin):
            found = world.second.load(origin)
            if found is None:
                theirs = world.open()
                theirs.append(tools.make_entry(0))
                theirs.checkpoint()
            return found

        def swap(self, *arguments):
            return world.second.swap(*arguments)

    log = world.open(second=Overtaken())
    assert log.append(tools.make_entry(1)) == 1
    world.check_log(2)


def test_lost_second_place_is_refused(memory_world, tools):
    world = memory_world
    world.open().append(tools.make_entry(0))
    with pytest.raises(LogCorruptError, match="second place"):
        world.open(second=FileCheckpoints(world.directory / "elsewhere"))


def test_forked_second_place_is_refused(memory_world, tools):
    world = memory_world
    log = world.open()
    log.append(tools.make_entry(0))
    other = tools.World(MemoryStorage(), world.directory / "other")
    theirs = other.open()
    theirs.append(tools.make_entry(1))
    theirs.checkpoint()
    forged = other.second.load(tools.ORIGIN)
    assert world.second.swap(tools.ORIGIN, world.second.load(tools.ORIGIN), forged)
    with pytest.raises(LogCorruptError, match="fork"):
        world.open()
    with pytest.raises(LogCorruptError, match="fork"):
        log.checkpoint()
    with pytest.raises(LogCorruptError):
        log.append(tools.make_entry(2))
    assert world.storage.edge(tools.ORIGIN).size == 1


def test_checkpoint_of_a_wrong_key_is_refused(memory_world, tools):
    world = memory_world
    world.open().append(tools.make_entry(0))
    stranger = Signer.from_seed(tools.ORIGIN, KeyKind.ED25519, b"x" * 32)
    with pytest.raises(ConfigError, match="policy"):
        world.open(signer=stranger)
    world.signer = stranger
    with pytest.raises(LogCorruptError, match="not signed"):
        world.open()


def test_altered_tile_or_edge_is_refused_at_the_opening(tmp_path, tools, address):
    world = tools.World(SqlStorage.open(address), tmp_path)
    log = world.open()
    world.fill(log, 257)
    statements = (
        "UPDATE tlog_tile SET root = data WHERE level = 0",
        "UPDATE tlog SET hashes = (SELECT root FROM tlog_tile)",
        "UPDATE tlog_entry SET data = hashes FROM tlog WHERE place = 256",
        "DELETE FROM tlog_entry WHERE place = 256",
        "DELETE FROM tlog_tile",
        "UPDATE tlog SET size = 256",
    )
    for statement in statements:
        with pytest.raises(LogCorruptError), undone(world.storage, statement):
            world.open()
    world.open()
    world.storage.close()


@contextmanager
def undone(storage, statement):
    """Alter the database and put it back to what it was."""
    names = ("tlog", "tlog_entry", "tlog_tile")
    with storage._engine.begin() as connection:
        kept = {n: connection.exec_driver_sql(f"SELECT * FROM {n}").mappings().all() for n in names}
        assert connection.exec_driver_sql(statement).rowcount > 0
    try:
        yield
    finally:
        from compliance.state import schema  # noqa: PLC0415 - only needed to restore

        with storage._engine.begin() as connection:
            for name in names:
                table = schema.LOGS.metadata.tables[name]
                connection.execute(table.delete())
                connection.execute(table.insert(), [dict(row) for row in kept[name]])


def test_unreachable_second_place_is_told(memory_world, tools):
    world = memory_world
    log = world.open()
    log.append(tools.make_entry(0))
    shutil.rmtree(world.directory / "second")
    with pytest.raises(LogCorruptError, match="lost"):
        log.checkpoint()
    (world.directory / "second").write_text("not a directory")
    with pytest.raises(StorageError, match="second place"):
        world.open()


def test_entry_and_part_must_belong_together(memory_world, tools):
    log = memory_world.open()
    part = tools.make_parts(memory_world.storage).seal
    from protocols.tlog.private import PrivatePart  # noqa: PLC0415

    with pytest.raises(ValueError, match="another private part"):
        log.append(tools.make_entry(0), part(PrivatePart("s", "c", "r")))
    assert Entry.decode(tools.make_entry(0).encode()) == tools.make_entry(0)
    assert log.size == 0
