"""The book counts exactly: whoever writes it, however often one asks, and whoever is killed."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compliance.errors import LogCorruptError, QuotaExhaustedError
from compliance.evaluations.book import BookEntry, EvaluationBook
from compliance.frames import MAGIC, Position, encode_frame, read_frame
from compliance.journal import Journal
from protocols.lookup.request import NO_CASE, Purpose, sign_request
from protocols.oprf.errors import ReplayedMessageError
from protocols.oprf.messages import EvaluationRequest

KEY = Ed25519PrivateKey.from_private_bytes(b"i" * 32)
ROOT = Path(__file__).resolve().parents[3]


def request(number, count=1, **change):
    evaluation = EvaluationRequest(5, b"k" * 16, number.to_bytes(16, "big"), b"e" * 32 * count)
    fields = {
        "hub": "hub-taipei",
        "asker": "insurer",
        "purpose": Purpose.SCREENING,
        "case": NO_CASE,
        "asked_at": 100,
        "evaluation": evaluation,
    }
    return sign_request(KEY, **fields | change)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "book.journal"


@pytest.fixture
def book(path):
    opened = EvaluationBook(path)
    yield opened
    opened.close()


def test_admitted_request_is_charged_and_logged(book, path):
    admission = book.admit(request(1, count=3), quota=10, now=200)
    assert (admission.repeated, admission.used) == (False, 3)
    assert book.used(5, "insurer") == 3
    (entry,) = book.entries(5)
    assert (entry.asker, entry.purpose, entry.count, entry.at) == (
        "insurer",
        Purpose.SCREENING,
        3,
        200,
    )
    assert entry.digest == request(1, count=3).digest
    assert path.stat().st_mode & 0o777 == 0o600


def test_repeated_request_costs_nothing_even_after_a_restart(book, path):
    book.admit(request(1, count=3), quota=3, now=200)
    size = path.stat().st_size
    for opened in (book, EvaluationBook(path)):
        admission = opened.admit(request(1, count=3), quota=3, now=900)
        assert (admission.repeated, admission.used) == (True, 3)
        opened.close()
    assert path.stat().st_size == size


def test_request_signed_anew_is_the_same_request(book):
    book.admit(request(1), quota=9, now=200)
    assert book.holds(request(1, asked_at=90_000))
    assert book.admit(request(1, asked_at=90_000), quota=9, now=90_000).repeated


def test_id_with_other_content_is_refused(book, path):
    book.admit(request(1), quota=100, now=200)
    size = path.stat().st_size
    others = [
        request(1, count=2),
        request(1, purpose=Purpose.ONLINE),
        request(1, case=b"c" * 32),
        request(1, evaluation=replace(request(1).evaluation, epoch=6)),
    ]
    for other in others:
        for attempt in (book.holds, lambda asked: book.admit(asked, quota=100, now=200)):
            with pytest.raises(ReplayedMessageError, match="insurer"):
                attempt(other)
    assert path.stat().st_size == size


def test_askers_do_not_take_each_others_ids_or_quota(book):
    book.admit(request(1, count=2), quota=2, now=200)
    assert book.admit(request(1, count=2, asker="telecom"), quota=2, now=200).used == 2


def test_batch_over_quota_writes_nothing(book, path):
    book.admit(request(1, count=8), quota=10, now=200)
    before = path.read_bytes()
    with pytest.raises(QuotaExhaustedError) as refused:
        book.admit(request(2, count=3), quota=10, now=200)
    assert (refused.value.used, refused.value.quota, refused.value.code) == (
        8,
        10,
        "quota_exhausted",
    )
    assert path.read_bytes() == before
    # Refused, it is no request that was made: its id is free, and what fits is admitted.
    assert not book.holds(request(2, count=3))
    assert book.admit(request(2, count=2), quota=10, now=200).used == 10


def test_each_epoch_has_a_count_of_its_own(book):
    book.admit(request(1, count=5), quota=5, now=200)
    later = replace(request(2, count=5).evaluation, epoch=6)
    assert book.admit(request(2, evaluation=later), quota=5, now=200).used == 5
    assert (book.used(5, "insurer"), book.used(6, "insurer")) == (5, 5)
    assert [entry.epoch for entry in book.entries(6)] == [6]


def test_entry_survives_the_journal_and_holds_no_element(book, path):
    book.admit(request(1, count=4), quota=9, now=200)
    (entry,) = book.entries(5)
    assert BookEntry.decode(entry.encode()) == entry
    assert b"e" * 32 not in path.read_bytes()


def test_foreign_or_repeated_record_is_an_alarm(book, path):
    book.admit(request(1), quota=9, now=200)
    good = book.entries(5)[0].encode()
    for record in (good, b"\x01", b"\x02" + good[1:]):
        copy = path.with_name("copy.journal")
        copy.write_bytes(path.read_bytes())
        journal = Journal(copy)
        with journal.exclusive():
            journal.append(record)
        journal.close()
        with pytest.raises(LogCorruptError):
            EvaluationBook(copy)


def test_threads_share_one_quota(book):
    outcomes = []

    def work(first):
        for number in range(first, first + 10):
            try:
                outcomes.append(book.admit(request(number, count=3), quota=60, now=200).used)
            except QuotaExhaustedError:
                outcomes.append(None)

    threads = [threading.Thread(target=work, args=(10 * k,)) for k in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(used for used in outcomes if used) == list(range(3, 61, 3))
    assert outcomes.count(None) == 20
    assert book.used(5, "insurer") == 60


WORKER = textwrap.dedent(
    """
    import os, sys, time
    from pathlib import Path
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from compliance.errors import QuotaExhaustedError
    from compliance.evaluations.book import EvaluationBook
    from protocols.lookup.request import NO_CASE, Purpose, sign_request
    from protocols.oprf.messages import EvaluationRequest

    path, first, victim = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "victim"
    key = Ed25519PrivateKey.from_private_bytes(b"i" * 32)
    book = EvaluationBook(path)
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(first, first + (10**6 if victim else 60)):
        evaluation = EvaluationRequest(5, b"k" * 16, number.to_bytes(16, "big"), b"e" * 96)
        request = sign_request(
            key, hub="hub-taipei", asker="victim" if victim else "insurer",
            purpose=Purpose.SCREENING, case=NO_CASE, asked_at=100, evaluation=evaluation,
        )
        try:
            book.admit(request, quota=3 * 10**6 if victim else 300, now=200)
        except QuotaExhaustedError:
            print("refused", flush=True)
        else:
            print("admitted", flush=True)
    """
)


def test_processes_count_exactly_though_one_is_killed(path):
    # Three ask 180 times 3 elements of a quota of 300; a fourth is killed while it writes.
    marks = [(1_000_000, "victim"), (1, "asker"), (1001, "asker"), (2001, "asker")]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(path), str(first), role],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for first, role in marks
    ]
    for process in running:
        assert process.stdout.readline() == "ready\n"
    for process in running:
        process.stdin.write("go\n")
        process.stdin.flush()
    victim, *askers = running
    told = [victim.stdout.readline() for _ in range(20)]
    victim.send_signal(signal.SIGKILL)
    told += victim.communicate()[0].splitlines()
    outcomes = [line for process in askers for line in process.communicate()[0].split()]
    assert all(process.returncode == 0 for process in askers)
    assert victim.returncode == -signal.SIGKILL
    assert (outcomes.count("admitted"), outcomes.count("refused")) == (100, 80)
    book = EvaluationBook(path)
    assert book.used(5, "insurer") == 300
    entries = book.entries(5)
    assert sum(entry.count for entry in entries if entry.asker == "insurer") == 300
    # What the victim was told is in the book; at most one more was admitted and not told.
    whole = sum(line.strip() == "admitted" for line in told)
    assert book.used(5, "victim") // 3 - whole in (0, 1)
    book.close()


def test_entry_cut_short_by_a_crash_was_never_charged(book, path):
    book.admit(request(1), quota=9, now=200)
    kept = path.stat().st_size
    book.admit(request(2), quota=9, now=200)
    book.close()
    os.truncate(path, (kept + path.stat().st_size) // 2)
    again = EvaluationBook(path)
    assert again.used(5, "insurer") == 1
    assert not again.admit(request(2), quota=9, now=200).repeated
    again.close()


def test_long_book_stays_fast(path):
    count, at = 100_000, Position()
    entry = BookEntry(5, "insurer", Purpose.ONLINE, NO_CASE, bytes(16), bytes(32), bytes(32), 1, 9)
    frames = [MAGIC]
    for number in range(count):
        numbered = replace(entry, request_id=number.to_bytes(16, "big"))
        frame = encode_frame(numbered.encode(), at)
        read_frame(frame, 0, at)
        frames.append(frame)
    path.write_bytes(b"".join(frames))
    book = EvaluationBook(path)
    assert book.used(5, "insurer") == count
    began = time.perf_counter()
    for number in range(count, count + 20):
        book.admit(request(number), quota=2 * count, now=200)
    # Going through all entries again would take about a second each time.
    assert (time.perf_counter() - began) / 20 < 0.2
    assert book.used(5, "insurer") == count + 20
    book.close()
