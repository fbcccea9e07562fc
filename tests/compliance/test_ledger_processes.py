"""Real processes on one ledger, killed at any moment: the sum is exact and never above the cap.

The journal is read again here with no code of ours, and priced by the closed form of Balle
and Wang 2018, Theorem 8, so that a fault of the ledger cannot hide itself.
"""

import hashlib
import json
import math
import shutil
import signal
import struct
import subprocess
import sys
import zlib
from fractions import Fraction
from pathlib import Path

import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from compliance.entries import Scope
from compliance.errors import BudgetExhaustedError
from compliance.ledger import Cap, Ledger
from protocols.dp.events import Gaussian

WORKER = Path(__file__).with_name("ledger_worker.py")
MAGIC = b"lianfang-log-v1\n"
CAP, DELTA = 1.0, 1e-5
SCOPE = Scope("people", "telecom", "police")
CAPS = {scope: Cap(CAP, DELTA) for scope in (SCOPE, SCOPE.over_recipients)}
SMALL = Gaussian(20.0)
FITTING = 28  # releases of this noise under the cap, see the first test


def epsilon_of(mu_squared):
    """The exact epsilon of Gaussian releases whose mu^2 add up to this."""
    mu = math.sqrt(mu_squared)

    def excess(epsilon):
        tail = math.exp(epsilon) * norm.cdf(-epsilon / mu - mu / 2)
        return norm.cdf(-epsilon / mu + mu / 2) - tail - DELTA

    return brentq(excess, 0.0, 100.0) if mu_squared else 0.0


def read_journal(path):
    """Return the records of a journal file; nothing may be wrong or left over."""
    data = path.read_bytes()
    assert data.startswith(MAGIC)
    at, chain, found = len(MAGIC), hashlib.sha256(MAGIC).digest(), []
    while at < len(data):
        length, sequence, check = struct.unpack_from(">IQI", data, at)
        assert sequence == len(found)
        assert check == zlib.crc32(data[at : at + 12])
        end = at + 16 + length
        chain = hashlib.sha256(chain + data[at:end]).digest()
        assert data[end : end + 32] == chain
        found.append(json.loads(data[at + 16 : end]))
        at = end + 32
    assert at == len(data)
    return found


def mu_squared(event):
    return event["count"] / Fraction(event["noise_multiplier"]) ** 2


def replay(records):
    """Add up a journal; after every record: charged <= committed <= cap."""
    held, paid, is_open = {}, {}, {}
    assert records[0] == {"kind": "open", "neighbours": "zero_out_one_person"}
    for record in records[1:]:
        run = record["run"]
        match record["kind"]:
            case "reserve":
                assert run not in held
                held[run], paid[run], is_open[run] = mu_squared(record["event"]), 0, True
            case "charge":
                assert is_open[run]
                paid[run] += mu_squared(record["event"])
                assert paid[run] <= held[run]
            case "close":
                assert is_open[run]
                is_open[run] = False
        committed = sum(held[name] if is_open[name] else paid[name] for name in held)
        assert committed <= MOST
    return sum(paid.values()), {name for name, still in is_open.items() if still}


# The largest mu^2 under the cap, once and for all: the records are then compared exactly.
MOST = Fraction(brentq(lambda value: epsilon_of(value) - CAP, 1e-6, 1.0))


class Worker:
    """The script, and how to ask it for one line after the other."""

    def __init__(self, mode):
        self.process = subprocess.Popen(
            [sys.executable, WORKER, mode], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, *words):
        print(*words, file=self.process.stdin, flush=True)
        return [int(word) for word in self.process.stdout.readline().split()]

    def end(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.kill()
        self.process.wait()


@pytest.fixture
def worker():
    started = []

    def start(mode):
        started.append(Worker(mode))
        return started[-1]

    yield start
    for item in started:
        item.end()


def check_round(directory, codes):
    """Check what four processes left, of which the first may have been killed."""
    assert codes[0] in {0, -signal.SIGKILL}
    assert codes[1:] == [0, 0, 0]
    path = directory / "ledger"
    ledger = Ledger(path, CAPS)  # takes off what was cut short
    records = read_journal(path)
    charged, open_runs = replay(records)
    told = {line for name in range(4) for line in _lines(directory / f"acknowledged-{name}")}
    written = {f"{record['kind']} {record['run']}" for record in records[1:]}
    assert len(written) == len(records) - 1  # no act stands there twice
    # All that was told is there; of the killed one at most one act more.
    assert told <= written
    more = written - told
    assert len(more) <= (codes[0] != 0)
    assert all(act.split()[1].startswith("0-") for act in more)
    # As many as fit and not one further; the killed one may hold one that it never paid.
    reserved = sum(record["kind"] == "reserve" for record in records)
    payments = sum(record["kind"] == "charge" for record in records)
    assert reserved == FITTING
    assert payments in {FITTING, FITTING - (codes[0] != 0)}
    assert charged == payments * Fraction(1, 400)
    truth = epsilon_of(charged)
    for scope in CAPS:
        assert truth - 1e-9 <= ledger.spent(scope) <= truth * 1.000001
        assert ledger.spent(scope) <= ledger.committed(scope) <= CAP
    assert set(ledger.open_runs()) == open_runs
    with pytest.raises(BudgetExhaustedError):
        ledger.reserve("late", [SCOPE], SMALL, 2)
    check_freed(ledger, open_runs, payments)
    ledger.close()
    assert replay(read_journal(path))[0] == Fraction(FITTING, 400)


def check_freed(ledger, open_runs, payments):
    """End what is open: only what was never paid is free again, and fits once."""
    for run in open_runs:
        ledger.close_run(run, 2)
    assert ledger.spent(SCOPE) == ledger.committed(SCOPE)
    if payments < FITTING:
        ledger.reserve("after", [SCOPE], SMALL, 2)
        ledger.charge("after", "release", SMALL, 2)
    with pytest.raises(BudgetExhaustedError):
        ledger.reserve("last", [SCOPE], SMALL, 2)


def _lines(file):
    # A killed process may have been killed within a line: it acknowledged nothing by that.
    return file.read_text().splitlines() if file.exists() else []


def run_rounds(worker, tmp_path, count):
    """Run so many rounds; returns in how many of them the process was still alive."""
    asked, killed = worker("race"), 0
    for seed in range(count):
        directory = tmp_path / f"round-{seed}"
        directory.mkdir()
        codes = asked.ask(directory, seed)
        check_round(directory, codes)
        killed += codes[0] != 0
    return killed


def test_what_fits_under_the_cap_is_known_without_the_ledger():
    assert epsilon_of(Fraction(FITTING, 400)) <= CAP < epsilon_of(Fraction(FITTING + 1, 400))


def test_processes_that_are_killed_leave_an_exact_sum(worker, tmp_path):
    assert run_rounds(worker, tmp_path, 10) >= 2


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_processes_that_are_killed_leave_an_exact_sum_many_times(worker, tmp_path):
    assert run_rounds(worker, tmp_path, 150) >= 50


def start_ledger(path, kind):
    """Bring a ledger to where the act of this kind is next; returns the sums before and after."""
    if kind == "open":
        return (0.0, 0.0), (0.0, 0.0)
    ledger = Ledger(path, CAPS)
    ledger.reserve("a", [SCOPE], Gaussian(20.0, 2), 1)
    ledger.charge("a", "first", SMALL, 1)
    ledger.close()
    one, two, three = (epsilon_of(Fraction(count, 400)) for count in (1, 2, 3))
    after = {"reserve": (one, three), "charge": (two, two), "close": (one, one)}
    return (one, two), after[kind]


def standing(ledger):
    return ledger.spent(SCOPE), ledger.committed(SCOPE)


def check_reopened(path, before, after, *, is_whole):
    """A ledger that was cut anywhere opens as before the act or as after it, and goes on."""
    ledger = Ledger(path, CAPS)
    assert standing(ledger) == pytest.approx(after if is_whole else before, abs=1e-6)
    ledger.reserve("next", [SCOPE], SMALL, 3)
    ledger.charge("next", "release", SMALL, 3)
    spent = ledger.spent(SCOPE)
    ledger.close()
    charged, _ = replay(read_journal(path))
    assert spent == pytest.approx(epsilon_of(charged), abs=1e-6)


def act(path, kind):
    ledger = Ledger(path, CAPS)
    match kind:
        case "reserve":
            ledger.reserve("b", [SCOPE], SMALL, 1)
        case "charge":
            ledger.charge("a", "release", SMALL, 1)
        case "close":
            ledger.close_run("a", 1)
    ledger.close()


@pytest.mark.parametrize("kind", ["open", "reserve", "charge", "close"])
def test_record_cut_at_any_byte_is_whole_or_never_was(tmp_path, kind):
    path = tmp_path / "ledger"
    before, after = start_ledger(path, kind)
    size = path.stat().st_size if path.exists() else 0
    act(path, kind)
    whole = path.read_bytes()
    for length in range(size, len(whole) + 1):
        path.write_bytes(whole[:length])
        check_reopened(path, before, after, is_whole=length == len(whole))


@pytest.mark.parametrize("kind", ["open", "reserve", "charge", "close"])
def test_process_killed_at_any_byte_of_a_write_leaves_a_sane_ledger(worker, tmp_path, kind):
    check_deaths(worker("torn"), tmp_path, kind, step=9)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["open", "reserve", "charge", "close"])
def test_process_killed_at_every_byte_of_a_write_leaves_a_sane_ledger(worker, tmp_path, kind):
    check_deaths(worker("torn"), tmp_path, kind, step=1)


def check_deaths(asked, tmp_path, kind, step):
    path, kept = tmp_path / "ledger", tmp_path / "kept"
    before, after = start_ledger(kept, kind)
    size = kept.stat().st_size if kept.exists() else 0
    for more in range(0, 1_000, step):
        path.unlink(missing_ok=True)
        if kept.exists():
            shutil.copy(kept, path)
        (code,) = asked.ask(path, kind, more)
        if code == 0:
            check_reopened(path, before, after, is_whole=True)
            assert more > 40  # the act was written before it returned
            return
        # The first bytes of the file are written in one call, whose shortness is found at once.
        assert code == -signal.SIGXFSZ or (code == 1 and size + more < len(MAGIC))
        assert path.stat().st_size == size + more  # it ended within the write
        check_reopened(path, before, after, is_whole=False)
    pytest.fail("the act never came to its end")
