"""The state of a witness: durable before the answer, one turn at a time, never a second root."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from clients.keys import KeyStoreError
from clients.node.home import Home
from clients.witness.keys import WITNESS_KEY, create_witness_keys, load_witness_keys
from clients.witness.pins import Pin, Pins, parse_log_key
from clients.witness.service import open_witness
from clients.witness.store import STATE, Seen, WitnessStore
from compliance.configuration import ConfigError
from compliance.errors import LogCorruptError
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.note import KeyKind, Signer

SCRIPT = Path(__file__).with_name("witness_and_die.py")
ROOT = Path(__file__).resolve().parents[3]


def serve_and_die(root, request, moment):
    return subprocess.run(
        [sys.executable, SCRIPT, root, request, moment],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("moment", "size"), [("signed", 5), ("written", 5), ("stored", 9), ("never", 9)]
)
def test_killed_witness_never_answered_without_its_state(
    open_at, trunk, make_history, tmp_path, *, moment, size
):
    open_at().add_checkpoint(trunk.request(0, 5))
    request = tmp_path / "request"
    request.write_bytes(trunk.request(5, 9))
    done = serve_and_die(tmp_path / "police", request, moment)
    died = moment != "never"
    assert done.returncode == (-signal.SIGKILL if died else 0), done.stderr
    assert done.stdout == ("" if died else "200\n")
    again = open_at()
    assert again.store.latest(trunk.signer.name).checkpoint.size == size
    # The log asks again as it does after any lost answer, and gets its cosignature.
    answer = again.add_checkpoint(trunk.request(5, 9))
    if size == 9:
        assert (answer.status, answer.body) == (409, b"9\n")
        answer = again.add_checkpoint(trunk.request(9, 9))
    assert answer.status == 200
    # Nobody got a cosignature over 9 that the state does not know: the branch is refused.
    branch = make_history("branch", parted=5)
    assert again.add_checkpoint(branch.request(9, 9)).status == 422


def test_concurrent_requests_are_cosigned_as_one_chain(open_at, trunk):
    """Sixteen threads over two openings of one state: each 200 goes on from the one before."""
    witnesses, lock = [open_at(), open_at()], threading.Lock()
    cosigned, statuses = [], set()
    origin = trunk.signer.name

    def climb(witness, step):
        for size in range(step, 200, 16):
            held = witness.store.latest(origin)
            old = held.checkpoint.size if held else 0
            if old > size:
                continue
            status = witness.add_checkpoint(trunk.request(old, size)).status
            with lock:
                statuses.add(status)
                if status == 200:
                    cosigned.append((old, size))

    threads = [
        threading.Thread(target=climb, args=(witnesses[step % 2], step)) for step in range(1, 17)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    chain = sorted(cosigned)
    assert len(chain) > 2
    assert statuses <= {200, 409}
    assert [old for old, _ in chain] == [0, *(size for _, size in chain)][: len(chain)]
    assert witnesses[0].store.latest(origin).checkpoint.size == chain[-1][1]
    assert witnesses[0].alarms.all() == []


def test_two_branches_at_once_get_one_cosignature(open_at, trunk, make_history):
    branch = make_history("branch", parted=0)
    for number in range(8):
        witness, statuses = open_at(f"node-{number}"), []
        barrier = threading.Barrier(2)

        def ask(history, witness=witness, barrier=barrier, statuses=statuses):
            body = history.request(0, 9)
            barrier.wait()
            statuses.append(witness.add_checkpoint(body).status)

        threads = [threading.Thread(target=ask, args=(item,)) for item in (trunk, branch)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(statuses) == [200, 409]
        # The one that came too late is the proof of the fork.
        assert len(witness.alarms.open()) == 1


def test_state_cannot_hold_two_roots_of_one_size(witness, trunk):
    witness.add_checkpoint(trunk.request(0, 5))
    other = Checkpoint(trunk.signer.name, 5, bytes(32))
    with pytest.raises(LogCorruptError), witness.store.turn() as turn:
        turn.store(Seen(other, b"", 1))
    assert witness.store.latest(trunk.signer.name).checkpoint.root != other.root


def test_old_sizes_are_forgotten_and_the_latest_never(witness, trunk, tmp_path):
    witness.store.close()
    witness.store = WitnessStore(tmp_path / "police" / "witness", kept=3)
    for size in range(1, 10):
        assert witness.add_checkpoint(trunk.request(size - 1, size)).status == 200
    origin = trunk.signer.name
    kept = [size for size in range(12) if witness.store.at_size(origin, size)]
    assert kept == [6, 7, 8, 9]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE cosigned SET size = 3 WHERE size = 5",
        "UPDATE cosigned SET root = zeroblob(32)",
        "UPDATE cosigned SET note = x'00'",
    ],
)
def test_damaged_state_cosigns_nothing(open_at, trunk, tmp_path, change):
    witness = open_at()
    witness.add_checkpoint(trunk.request(0, 5))
    with sqlite3.connect(tmp_path / "police" / "witness" / STATE) as connection:
        connection.execute(change)
    connection.close()
    for old in (0, 3, 5):
        answer = witness.add_checkpoint(trunk.request(old, 9))
        assert (answer.status, answer.body) == (503, b"unavailable\n")


def test_full_disk_lets_no_cosignature_leave(open_at, trunk):
    witness = open_at()
    witness.add_checkpoint(trunk.request(0, 5))
    (pages,) = witness.store._connection.execute("PRAGMA page_count").fetchone()
    witness.store._connection.execute(f"PRAGMA max_page_count = {pages}")
    size, answer = 5, None
    while size < 600:
        answer = witness.add_checkpoint(trunk.request(size, size + 1))
        if answer.status != 200:
            break
        size += 1
    assert answer.status == 503
    assert open_at().store.latest(trunk.signer.name).checkpoint.size == size


def test_state_is_readable_by_its_owner_alone(witness, trunk, tmp_path):
    witness.add_checkpoint(trunk.request(0, 5))
    files = [path for path in (tmp_path / "police").rglob("*") if path.is_file()]
    assert len(files) > 4
    assert {path.name for path in files if path.stat().st_mode & 0o077} == set()


def test_keys_are_made_once_and_a_damaged_file_is_refused(tmp_path):
    keys = Home(tmp_path).keys
    made = create_witness_keys(keys, "police/witness")
    assert [signer.key for signer in create_witness_keys(keys, "other")] == [
        signer.key for signer in made
    ]
    path = keys / WITNESS_KEY
    whole = path.read_text()
    for text in ["", whole + whole, whole[:-9], whole.replace("police", "polica", 1), "x"]:
        path.write_text(text)
        with pytest.raises(KeyStoreError):
            load_witness_keys(keys)
    path.write_text(whole)
    assert [signer.key for signer in load_witness_keys(keys)] == [signer.key for signer in made]
    path.chmod(0o640)
    with pytest.raises(KeyStoreError, match="readable by others"):
        open_witness(tmp_path)


def test_pins_refuse_another_key_for_a_known_log(tmp_path, log_signer):
    pins = Pins(tmp_path)
    other = Signer.from_seed("hub.example/audit/2027", KeyKind.ED25519, b"o" * 32).key
    same = Signer("hub.example/audit/2027", log_signer.kind, log_signer.private).key
    assert pins.add(Pin(log_signer.key, every_year=False, silence_s=9, pinned_at=1))
    assert pins.add(Pin(log_signer.key, every_year=True, silence_s=9, pinned_at=1))
    assert not pins.add(Pin(same, every_year=True, silence_s=9, pinned_at=2))
    assert not pins.add(Pin(same, every_year=False, silence_s=9, pinned_at=2))
    assert len(pins.all()) == 1
    for every_year in (False, True):
        with pytest.raises(ConfigError, match="another key"):
            pins.add(Pin(other, every_year, 9, 2))
    assert pins.keys_of(same.name) == [same]


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '{"logs": {}}',
        '{"logs": [1]}',
        '{"logs": [{"key": "x"}]}',
        '{"logs": [{"every_year": 1, "key": "x", "pinned_at": 1, "silence_s": 1}]}',
        '{"logs": [{"every_year": true, "key": "x", "pinned_at": 1, "silence_s": 1}]}',
    ],
)
def test_wrong_pins_are_told_and_nothing_is_cosigned(open_at, trunk, tmp_path, text):
    witness = open_at()
    path = tmp_path / "police" / "witness" / "logs.json"
    path.write_text(text)
    with pytest.raises(ConfigError):
        witness.pins.all()
    assert witness.add_checkpoint(trunk.request(0, 3)).status == 503


def test_key_of_a_witness_cannot_be_pinned_as_a_log(witness):
    key = parse_log_key(witness.keys[0].format())
    with pytest.raises(ConfigError, match="of the log"):
        Pin(key, every_year=False, silence_s=9, pinned_at=1)
    with pytest.raises(ConfigError, match="no year"):
        Pin(Signer.from_seed("a.example", KeyKind.ED25519, b"a" * 32).key, True, 9, 1)
