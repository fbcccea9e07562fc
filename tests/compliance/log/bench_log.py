"""Rates of the audit log on this disk, against what the disk allows.

    python tests/compliance/log/bench_log.py [entries=70000] [threads=16] [address] [--linear]

Durable entries a second with group commit, with and without private parts, beside bare
fsyncs of one page, before and after; then export, verification and proofs of so long a log.
`--linear` repeats the latter from 10^4 to 10^6. Not a test: nothing depends on the figures.
"""

import os
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

from compliance.clock import SystemClock
from compliance.log.export import export_log
from compliance.log.log import Log
from compliance.log.private import PrivateParts
from compliance.log.second import FileCheckpoints
from compliance.log.sqlstore import SqlStorage
from compliance.log.storage import Batch
from compliance.log.tree import grow, load_tip
from compliance.log.verify import verify_export
from protocols.tlog.entry import Agreement, Decision, Entry, Outcome, Verb
from protocols.tlog.note import KeyKind, Signer
from protocols.tlog.policy import NONE, Policy
from protocols.tlog.policy import Log as KnownLog
from protocols.tlog.private import PrivatePart

ENTRY = Entry(
    sequence=0,
    time=1_795_305_600,
    organisation="insurer",
    actor=bytes(16),
    verb=Verb.CONSULT,
    purpose="https://w3id.org/dpv#FraudPreventionAndDetection",
    basis="tw.fraud-act.art-7-ii",
    agreement=Agreement("tri-party-2026", bytes(32)),
    policy_set=bytes(32),
    policies=("lookup.within-purpose",),
    decision=Decision.PERMIT,
    outcome=Outcome.DONE,
    subject_matter="fraud-reports",
    recipients=("insurer",),
    count=1,
    document=None,
    charge=None,
    commitment=bytes(32),
)


def bare_fsyncs(directory, count=200):
    """Seconds of one write and fsync of a page: to a file that grows, and over its old pages.

    They differ several times: growth has the file system commit its own journal too. The
    write-ahead log of a database grows at first and is then written over.
    """
    path, found = directory / "bare", []
    path.unlink(missing_ok=True)
    for _ in ("growing", "in place"):
        file = os.open(path, os.O_WRONLY | os.O_CREAT)
        times = []
        for _ in range(count):
            started = time.perf_counter()
            os.write(file, bytes(4096))
            os.fsync(file)
            times.append(time.perf_counter() - started)
        os.close(file)
        found.append(statistics.fmean(times))
    return found


def open_log(address, directory, year=2026):
    """A log without witnesses."""
    signer = Signer.from_seed(f"hub.example/audit/{year}", KeyKind.ED25519, bytes(32))
    policy = Policy((KnownLog(signer.key),), (), (), NONE)
    storage = SqlStorage.open(address)
    places = (storage, FileCheckpoints(directory / "second"), signer)
    log = Log(*places, policy=policy, cosign=lambda note, prove: [], clock=SystemClock())
    return log, storage, policy


def appending(log, threads, seconds, parts=None):
    """Durable entries a second from so many threads, and their latencies."""
    latencies = []
    stop = time.perf_counter() + seconds

    def work():
        while (started := time.perf_counter()) < stop:
            if parts is None:
                log.append(replace(ENTRY, commitment=os.urandom(32)))
            else:
                sealed = parts.seal(PrivatePart(os.urandom(8).hex(), "case", "a reason"))
                log.append(replace(ENTRY, commitment=sealed.commitment), sealed)
            latencies.append(time.perf_counter() - started)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    started = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    latencies.sort()
    return len(latencies) / (time.perf_counter() - started), latencies


def show_rate(name, rate, latencies, bare):
    """Print one line; the ratios are to fsyncs one after the other, growing and in place."""
    middle, late = latencies[len(latencies) // 2], latencies[len(latencies) * 99 // 100]
    growing, in_place = (rate * seconds for seconds in bare)
    print(  # noqa: T201 - its output is its purpose
        f"{name:34}{rate:7,.0f} /s = {growing:6.2f} x growing, {in_place:5.2f} x in place"
        f"   p50 {middle * 1e3:5.1f} ms  p99 {late * 1e3:5.1f} ms"
    )


def fill(log, storage, size):
    """Append many entries in large batches: only the time of reading is of interest."""
    while (done := storage.edge(log.origin).size) < size:
        numbers = range(done, min(size, done + 10_000))
        entries = [
            replace(ENTRY, sequence=number, commitment=os.urandom(32)).encode()
            for number in numbers
        ]
        tip = load_tip(storage, log.origin)
        after, tiles = grow(tip, entries, storage, log.origin)
        with storage.exclusive(log.origin) as turn:
            turn.append(Batch(tip.edge, after.edge, tuple(entries), tuple(tiles)))


def reading(address, directory, size):
    """Times over a log of so many entries."""
    log, storage, policy = open_log(address, directory, 2000 + len(str(size)))
    fill(log, storage, size)
    times = {}

    def timed(name, call, rounds=1):
        started = time.perf_counter()
        for number in range(rounds):
            found = call(number)
        times[name] = (time.perf_counter() - started) / rounds
        return found

    timed("checkpoint", lambda _: log.checkpoint())
    place = directory / f"export{size}"
    timed("export", lambda _: export_log(storage, log.origin, place))
    report = timed("verify", lambda _: verify_export(place, policy))
    assert report.is_whole, report.fault
    assert report.entries == size
    timed("proof", lambda number: log.prove(number * 7919 % size), 50)
    timed("open", lambda _: open_log(address, directory, 2000 + len(str(size))))
    print(f"{size:9,} entries  " + "  ".join(f"{n} {t * 1e3:,.1f} ms" for n, t in times.items()))  # noqa: T201 - as above


def main(arguments):
    """Run everything on a directory beside the present one's disk."""
    linear = "--linear" in arguments
    given = [argument for argument in arguments if argument != "--linear"]
    size = int(given[0]) if given else 70_000
    threads = int(given[1]) if given[1:] else 16
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        address = given[2] if given[2:] else f"sqlite:///{directory}/log.db"
        log, storage, _ = open_log(address, directory)
        parts = PrivateParts(storage, master_key=bytes(32), index_key=bytes(32), random=os.urandom)
        before = bare_fsyncs(directory)
        alone = appending(log, 1, 2.0)
        many = appending(log, threads, 5.0)
        sealed = appending(log, threads, 5.0, parts)
        wide = appending(log, 4 * threads, 5.0)
        # The same two measures before and after, each averaged with its own kind.
        after = bare_fsyncs(directory)
        bare = [statistics.fmean(pair) for pair in zip(before, after, strict=True)]
        for kind, *pair in zip(("growing", "in place"), before, after, strict=True):
            shown = ", ".join(f"{seconds * 1e3:.2f} ms" for seconds in pair)
            print(f"bare fsync of a page, {kind}: {shown}")  # noqa: T201 - as above
        show_rate("1 thread", *alone, bare)
        show_rate(f"{threads} threads", *many, bare)
        show_rate(f"{threads} threads, with private parts", *sealed, bare)
        show_rate(f"{4 * threads} threads", *wide, bare)
        for count in (10_000, 100_000, 1_000_000) if linear else (size,):
            reading(address, directory, count)


if __name__ == "__main__":
    main(sys.argv[1:])
