"""Requests that come at once share a commit, and are counted as if they had come in turn."""

import threading
import time
from contextlib import contextmanager

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compliance.errors import LogCorruptError, QuotaExhaustedError
from compliance.evaluations.book import EvaluationBook
from compliance.evaluations.known import KnownRequests
from compliance.journal import Journal
from compliance.log.errors import StorageError
from protocols.lookup.request import NO_CASE, Purpose, sign_request
from protocols.oprf.errors import ReplayedMessageError
from protocols.oprf.messages import EvaluationRequest

KEY = Ed25519PrivateKey.from_private_bytes(b"i" * 32)
WAIT_S = 10


class Gated:
    """A journal whose first commit waits, so that others gather behind it; it may fail then."""

    def __init__(self, path):
        self._journal = Journal(path)
        self.begun, self.gate = threading.Event(), threading.Event()
        self.commits = []
        self.error = None

    @contextmanager
    def exclusive(self):
        with self._journal.exclusive() as records:
            yield records

    def append_all(self, records):
        self.commits.append(len(records))
        self.begun.set()
        assert self.gate.wait(WAIT_S)
        if self.error is not None and len(self.commits) > 1:
            raise self.error
        self._journal.append_all(records)

    def close(self):
        self._journal.close()


@pytest.fixture
def journal(tmp_path):
    return Gated(tmp_path / "book.journal")


@pytest.fixture
def book(journal, tmp_path):
    first = iter([journal])
    opened = EvaluationBook(lambda: next(first, None) or Journal(tmp_path / "book.journal"))
    yield opened
    opened.close()


def request(number, count=1, asker="insurer", case=NO_CASE):
    evaluation = EvaluationRequest(5, b"k" * 16, number.to_bytes(16, "big"), b"e" * 32 * count)
    return sign_request(
        KEY, hub="hub-taipei", asker=asker, purpose=Purpose.SCREENING, case=case,
        asked_at=100, evaluation=evaluation,
    )  # fmt: skip


def admit_at_once(book, journal, requests, quota):
    """Admit one request, and all others while it is being committed; return what each was told."""
    told = {}

    def admit(place, asked):
        try:
            told[place] = book.admit(asked, quota=quota, now=200)
        except (QuotaExhaustedError, ReplayedMessageError, StorageError, LogCorruptError) as error:
            told[place] = error

    threads = [
        threading.Thread(target=admit, args=(place, asked)) for place, asked in enumerate(requests)
    ]
    threads[0].start()
    assert journal.begun.wait(WAIT_S)
    for waiting, thread in enumerate(threads[1:], start=1):
        thread.start()
        ends_at = time.monotonic() + WAIT_S
        while len(book._group._waiting) < waiting:  # they queue up in this order
            assert time.monotonic() < ends_at
            time.sleep(0.001)
    journal.gate.set()
    for thread in threads:
        thread.join(WAIT_S)
    return [told[place] for place in range(len(requests))]


def test_requests_that_come_together_share_a_commit(book, journal):
    told = admit_at_once(book, journal, [request(n, count=2) for n in range(1, 9)], quota=100)
    assert journal.commits == [1, 7]
    assert [found.used for found in told] == list(range(2, 17, 2))
    assert [entry.request_id[-1] for entry in book.entries(5)] == list(range(1, 9))


def test_quota_is_exact_within_a_commit(book, journal):
    asked = [request(1, count=4), *(request(n, count=3) for n in (2, 3, 4)), request(5, count=1)]
    first, second, third, fourth, last = admit_at_once(book, journal, asked, quota=8)
    assert (first.used, second.used, last.used) == (4, 7, 8)
    assert isinstance(third, QuotaExhaustedError)
    assert isinstance(fourth, QuotaExhaustedError)
    assert third.used == 7
    assert book.used(5, "insurer") == 8


def test_same_request_twice_in_a_commit_is_charged_once(book, journal):
    other = request(2, case=b"c" * 32)
    told = admit_at_once(book, journal, [request(1), request(2), request(2), other], quota=9)
    assert [found.repeated for found in told[:3]] == [False, False, True]
    assert isinstance(told[3], ReplayedMessageError)
    assert book.used(5, "insurer") == 2
    assert journal.commits == [1, 1]


def test_failed_commit_admits_nobody_of_it(book, journal):
    journal.error = StorageError("full")
    first, *others = admit_at_once(book, journal, [request(n) for n in range(1, 5)], quota=9)
    assert first.used == 1
    assert all(isinstance(found, StorageError) for found in others)
    assert book.used(5, "insurer") == 1
    journal.error = None
    assert not book.admit(request(2), quota=9, now=200).repeated


def test_known_request_is_told_from_another_of_its_id():
    known = KnownRequests()
    known.add(b"i" * 16, b"d" * 32)
    assert known.same(b"i" * 16, b"d" * 32) is True
    assert known.same(b"i" * 16, b"e" * 32) is False
    assert known.same(b"j" * 16, b"d" * 32) is None
    assert b"i" * 16 in known
    assert b"j" * 16 not in known


def test_tag_that_lies_across_two_requests_is_not_found(monkeypatch):
    monkeypatch.setattr("compliance.evaluations.known._BUCKETS", 1)
    known = KnownRequests()
    known.add(b"i" * 16, b"d" * 32)
    known.add(b"k" * 16, b"e" * 32)
    (bucket,) = known._buckets.values()
    _, absent = known._place(b"j" * 16)
    # Once across the digest of the first and the id of the second, once in its place.
    bucket[13 : 13 + len(absent)] = absent
    assert b"j" * 16 not in known
    known.add(b"j" * 16, b"f" * 32)
    assert known.same(b"j" * 16, b"f" * 32) is True


def test_processes_keep_other_tags_of_the_same_request():
    kept = []
    for key in (b"a" * 32, b"b" * 32):
        known = KnownRequests(random=lambda size, key=key: key[:size])
        known.add(b"i" * 16, b"d" * 32)
        kept.append(b"".join(known._buckets.values()))
    assert kept[0] != kept[1]
    assert b"iiii" not in kept[0]


def test_many_known_requests_take_little_memory_each():
    known = KnownRequests()
    for number in range(50_000):
        known.add(number.to_bytes(16, "big"), number.to_bytes(32, "little"))
    assert all(
        known.same(number.to_bytes(16, "big"), number.to_bytes(32, "little"))
        for number in range(0, 50_000, 997)
    )
    assert (50_000).to_bytes(16, "big") not in known
    size = sum(bucket.__sizeof__() for bucket in known._buckets.values())
    assert size / 50_000 < 24
