"""`lianfang bench log`: durable entries a second, beside what the disk allows, and reading.

Threads append through the log as the hub does, group commit and all; the same disk is
measured by bare fsyncs of one page before and after, of a file that grows and in place. The
two differ several times: growth has the file system commit its own journal too, and the
write-ahead log of a database grows at first and is then written over.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

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

TARGET_PER_S, TARGET_VERIFY_S = 2_000, 2.0
_PAGE, _FSYNCS, _PROOFS, _BATCH = 4096, 200, 50, 10_000
_GROWING, _IN_PLACE = "growing", "in_place"
_ENTRY = Entry(
    sequence=0,
    time=1_795_305_600,
    organisation="insurer",
    actor=bytes(16),
    verb=Verb.CONSULT,
    act="evaluate",
    purpose="https://w3id.org/dpv#FraudPreventionAndDetection",
    basis="bench",
    agreement=Agreement("bench", bytes(32)),
    policy_set=bytes(32),
    policies=("bench",),
    decision=Decision.PERMIT,
    outcome=Outcome.DONE,
    subject_matter="fraud-reports",
    recipients=("insurer",),
    count=1,
    document=None,
    charge=None,
    commitment=bytes(32),
)


def measure_log(
    *, entries: int, threads: int, seconds: float, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Return rates of appending, ratios to bare fsyncs, and times over so many entries."""
    with tempfile.TemporaryDirectory(prefix="lianfang-bench-") as name:
        directory = Path(name)
        log, storage, _ = _open(directory, 2026)
        parts = PrivateParts(storage, master_key=bytes(32), index_key=bytes(32), random=os.urandom)
        tell("bare fsyncs")
        before = _bare_fsyncs(directory)
        appended = {}
        for what, count, sealing in (
            ("1_thread", 1, None),
            ("threads", threads, None),
            ("with_private_parts", threads, parts),
            ("four_times_the_threads", 4 * threads, None),
        ):
            tell(f"appending: {what.replace('_', ' ')}")
            appended[what] = _appending(log, count, seconds, sealing)
        after = _bare_fsyncs(directory)
        bare = {kind: statistics.fmean((before[kind], after[kind])) for kind in before}
        for rate in appended.values():
            rate["of_fsync"] = {k: round(rate["per_s"] * bare[k], 2) for k in bare}
        tell(f"reading {entries:,} entries")
        read = _reading(directory, entries)
    return {
        "entries": entries,
        "threads": threads,
        "fsync_ms": {kind: round(1e3 * value, 3) for kind, value in bare.items()},
        "append": appended,
        "read_s": read,
        "targets": {
            "append_2000_per_s": appended["threads"]["per_s"] >= TARGET_PER_S,
            "verify_70000_in_2_s": read["verify"] / entries * 70_000 <= TARGET_VERIFY_S,
        },
    }


def log_text(figures: dict[str, Any]) -> str:
    """Write the figures for people."""
    lines = [
        f"{figures['threads']} threads; bare fsync of a page: "
        f"{figures['fsync_ms'][_GROWING]} ms growing, "
        f"{figures['fsync_ms'][_IN_PLACE]} ms in place"
    ]
    lines += [
        f"  {name.replace('_', ' '):<24} {rate['per_s']:>8,.0f} durable entries/s, "
        f"{rate['of_fsync'][_GROWING]:.1f} x fsync   p50 {rate['p50_ms']:.1f} ms  "
        f"p99 {rate['p99_ms']:.1f} ms"
        for name, rate in figures["append"].items()
    ]
    times = ", ".join(f"{name} {1e3 * value:,.1f} ms" for name, value in figures["read_s"].items())
    lines.append(f"  {figures['entries']:,} entries: {times}")
    return "\n".join(lines)


def _open(directory: Path, year: int) -> tuple[Log, SqlStorage, Policy]:
    """Open a log without witnesses, on the disk that is measured."""
    signer = Signer.from_seed(f"hub.example/audit/{year}", KeyKind.ED25519, bytes(32))
    policy = Policy((KnownLog(signer.key),), (), (), NONE)
    storage = SqlStorage.open(f"sqlite:///{directory}/log.sqlite")
    second = FileCheckpoints(directory / "second")
    log = Log(
        storage, second, signer, policy=policy, cosign=lambda _note, _prove: [], clock=SystemClock()
    )
    return log, storage, policy


def _bare_fsyncs(directory: Path) -> dict[str, float]:
    """Return the seconds of one write and fsync of a page, as the file grows and in place."""
    path = directory / "bare"
    path.unlink(missing_ok=True)
    found = {}
    for kind in (_GROWING, _IN_PLACE):
        file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        times = []
        for _ in range(_FSYNCS):
            started = time.perf_counter()
            os.write(file, bytes(_PAGE))
            os.fsync(file)
            times.append(time.perf_counter() - started)
        os.close(file)
        found[kind] = statistics.fmean(times)
    return found


def _appending(
    log: Log, threads: int, seconds: float, parts: PrivateParts | None
) -> dict[str, Any]:
    """Append from so many threads for a while."""
    latencies: list[float] = []
    stop = time.perf_counter() + seconds

    def work() -> None:
        while (began := time.perf_counter()) < stop:
            if parts is None:
                log.append(replace(_ENTRY, commitment=os.urandom(32)))
            else:
                sealed = parts.seal(PrivatePart(os.urandom(8).hex(), "case", "a reason"))
                log.append(replace(_ENTRY, commitment=sealed.commitment), sealed)
            latencies.append(time.perf_counter() - began)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    started = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    took = time.perf_counter() - started
    latencies.sort()
    return {
        "per_s": round(len(latencies) / took, 1),
        "p50_ms": round(1e3 * latencies[len(latencies) // 2], 2),
        "p99_ms": round(1e3 * latencies[len(latencies) * 99 // 100], 2),
    }


def _reading(directory: Path, size: int) -> dict[str, float]:
    """Return the seconds of what is done over a log of so many entries."""
    log, storage, policy = _open(directory, 2027)
    _fill(log, storage, size)
    place = directory / "export"
    times = {}
    for name, step, rounds in (
        ("checkpoint", lambda _number: log.checkpoint(), 1),
        ("export", lambda _number: export_log(storage, log.origin, place), 1),
        ("verify", lambda _number: _verify(place, policy, size), 1),
        ("proof", lambda number: log.prove(number * 7919 % size), _PROOFS),
    ):
        started = time.perf_counter()
        for number in range(rounds):
            step(number)
        times[name] = round((time.perf_counter() - started) / rounds, 5)
    return times


def _verify(place: Path, policy: Policy, size: int) -> None:
    report = verify_export(place, policy)
    if not report.is_whole or report.entries != size:
        raise RuntimeError(f"the log that was just written does not verify: {report.fault}")


def _fill(log: Log, storage: SqlStorage, size: int) -> None:
    """Append in large batches: only the time of reading is of interest."""
    while (done := storage.edge(log.origin).size) < size:
        numbers = range(done, min(size, done + _BATCH))
        entries = tuple(
            replace(_ENTRY, sequence=number, commitment=os.urandom(32)).encode()
            for number in numbers
        )
        tip = load_tip(storage, log.origin)
        after, tiles = grow(tip, entries, storage, log.origin)
        with storage.exclusive(log.origin) as turn:
            turn.append(Batch(tip.edge, after.edge, entries, tuple(tiles)))
