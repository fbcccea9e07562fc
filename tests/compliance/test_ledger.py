"""The budget ledger: never above a cap, whatever crashes, and nothing lost."""

import contextlib
import itertools
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compliance.entries import Scope, decode_entry
from compliance.errors import BudgetExhaustedError, LogCorruptError, NotPermittedError
from compliance.journal import Journal
from compliance.ledger import Cap, Ledger
from protocols.dp.accounting import epsilon
from protocols.dp.calibrate import noise_multiplier_for
from protocols.dp.events import Composed, Gaussian, SampledGaussian
from protocols.dp.neighbours import Neighbours
from protocols.errors import OutOfTurnError, UnsupportedParameterError

ZERO_OUT = Neighbours.ZERO_OUT_ONE_PERSON
INSURER = Scope("subscribers", "traffic", "insurer")
POLICE = Scope("subscribers", "traffic", "police")
TOTAL = INSURER.over_recipients
CAPS = {INSURER: Cap(1.0, 1e-5), POLICE: Cap(1.0, 1e-5), TOTAL: Cap(1.2, 1e-5)}


def price(*events, delta=1e-5) -> float:
    return epsilon(Composed(events), delta=delta, neighbours=ZERO_OUT)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger"


@pytest.fixture
def ledger(path):
    opened = Ledger(path, CAPS)
    yield opened
    opened.close()


def standing(ledger: Ledger) -> tuple:
    figures = [(ledger.spent(scope), ledger.committed(scope)) for scope in CAPS]
    return (*figures, sorted(ledger.open_runs()))


def test_charges_add_up_as_one_composition(ledger):
    plan = Composed((Gaussian(20.0, 10), Gaussian(30.0)))
    ledger.reserve("run 1", [INSURER], plan, 1)
    assert ledger.spent(INSURER) == 0
    for step in range(4):
        ledger.charge("run 1", f"step {step}", Gaussian(20.0), 2)
    assert ledger.spent(INSURER) == price(Gaussian(20.0, 4))
    assert ledger.committed(INSURER) == price(plan)
    assert ledger.spent(TOTAL) == ledger.spent(INSURER)
    assert ledger.spent(POLICE) == 0
    assert ledger.remaining(INSURER) == 1.0 - price(plan)


def test_plan_is_spent_to_its_last_step_and_no_further(ledger):
    noise = noise_multiplier_for(epsilon=1.0, delta=1e-5, count=40)
    ledger.reserve("run 1", [INSURER], Gaussian(noise, 40), 1)
    for step in range(40):
        ledger.charge("run 1", f"step {step}", Gaussian(noise), 2)
    with pytest.raises(BudgetExhaustedError) as caught:
        ledger.charge("run 1", "step 40", Gaussian(1e9), 2)
    assert caught.value.partner == "insurer"
    assert 0.999 < ledger.spent(INSURER) <= 1.0


def test_closed_run_gives_back_what_it_did_not_pay(ledger):
    ledger.reserve("run 1", [INSURER], Gaussian(5.0, 1), 1)
    with pytest.raises(BudgetExhaustedError):
        ledger.reserve("run 2", [INSURER], Gaussian(5.0, 1), 1)
    ledger.close_run("run 1", 2)
    assert ledger.committed(INSURER) == 0
    ledger.reserve("run 2", [INSURER], Gaussian(5.0, 1), 3)
    ledger.charge("run 2", "all", Gaussian(5.0), 3)
    ledger.close_run("run 2", 4)
    assert ledger.committed(INSURER) == ledger.spent(INSURER) == price(Gaussian(5.0))


def test_recipients_share_the_total(ledger):
    ledger.reserve("run 1", [INSURER], Gaussian(5.0), 1)
    before = standing(ledger)
    with pytest.raises(BudgetExhaustedError) as caught:
        ledger.reserve("run 2", [POLICE], Gaussian(4.0), 1)
    assert caught.value.partner == "*"
    assert standing(ledger) == before
    # One release that two recipients see is one release in the total.
    ledger.close_run("run 1", 2)
    ledger.reserve("run 3", [INSURER, POLICE], Gaussian(5.0), 1)
    assert ledger.committed(TOTAL) == price(Gaussian(5.0))


def test_sampled_steps_are_admitted_and_charged(ledger):
    training = SampledGaussian(4.0, 0.01, 300)
    ledger.reserve("run 1", [INSURER], Composed((training, Gaussian(9.0, 2))), 1)
    ledger.charge("run 1", "encoder", SampledGaussian(4.0, 0.01, 299), 2)
    ledger.charge("run 1", "encoder", SampledGaussian(4.0, 0.01, 1), 2)
    ledger.charge("run 1", "head", Gaussian(9.0, 2), 2)
    assert ledger.spent(INSURER) == price(training, Gaussian(9.0, 2))
    for event in (SampledGaussian(4.0, 0.01, 1), SampledGaussian(5.0, 0.01, 1), Gaussian(99.0)):
        with pytest.raises(BudgetExhaustedError):
            ledger.charge("run 1", "more", event, 2)


@pytest.mark.parametrize(
    ("act", "error"),
    [
        (lambda x: x.reserve("run 2", [INSURER], Gaussian(0.5), 1), BudgetExhaustedError),
        (lambda x: x.reserve("run 1", [INSURER], Gaussian(99.0), 1), OutOfTurnError),
        (
            lambda x: x.reserve("run 2", [INSURER, Scope("a", "b", "c")], Gaussian(99.0), 1),
            NotPermittedError,
        ),
        (lambda x: x.reserve("run 2", [], Gaussian(99.0), 1), UnsupportedParameterError),
        (
            lambda x: x.reserve("run 2", [INSURER, INSURER], Gaussian(99.0), 1),
            UnsupportedParameterError,
        ),
        (lambda x: x.reserve("run 2", [TOTAL], Gaussian(99.0), 1), UnsupportedParameterError),
        (lambda x: x.reserve("", [INSURER], Gaussian(99.0), 1), UnsupportedParameterError),
        (lambda x: x.reserve("run 2", [INSURER], Gaussian(99.0), -1), UnsupportedParameterError),
        (lambda x: x.reserve("run 2", [INSURER], Gaussian(99.0), 1.5), UnsupportedParameterError),
        (lambda x: x.reserve("run 2", [INSURER], Gaussian(99.0, -1), 1), UnsupportedParameterError),
        (
            lambda x: x.reserve("run 2", [INSURER], Gaussian(float("nan")), 1),
            UnsupportedParameterError,
        ),
        (lambda x: x.charge("run 1", "step", Gaussian(19.0), 1), BudgetExhaustedError),
        (
            lambda x: x.charge("run 1", "step", SampledGaussian(9.0, 0.1, 1), 1),
            BudgetExhaustedError,
        ),
        (lambda x: x.charge("run 1", "line\nbreak", Gaussian(99.0), 1), UnsupportedParameterError),
        (lambda x: x.charge("run 2", "step", Gaussian(99.0), 1), OutOfTurnError),
        (lambda x: x.charge("run 0", "step", Gaussian(99.0), 1), OutOfTurnError),
        (lambda x: x.close_run("run 0", 1), OutOfTurnError),
        (lambda x: x.reserve("run 0", [INSURER], Gaussian(99.0), 1), OutOfTurnError),
    ],
)
def test_refused_act_leaves_everything_untouched(ledger, path, act, error):
    ledger.reserve("run 0", [INSURER], Gaussian(50.0), 1)
    ledger.close_run("run 0", 1)
    ledger.reserve("run 1", [INSURER], Gaussian(20.0), 1)
    before, written = standing(ledger), path.read_bytes()
    with pytest.raises(error):
        act(ledger)
    assert standing(ledger) == before
    assert path.read_bytes() == written


def test_preview_writes_nothing(ledger, path):
    written = path.read_bytes()
    good = ledger.preview([INSURER], Gaussian(5.0))
    assert [forecast.scope for forecast in good] == [TOTAL, INSURER]
    assert all(forecast.fits for forecast in good)
    assert good[1].epsilon == price(Gaussian(5.0))
    assert not any(forecast.fits for forecast in ledger.preview([INSURER], Gaussian(1.0)))
    with pytest.raises(NotPermittedError):
        ledger.preview([Scope("a", "b", "c")], Gaussian(5.0))
    assert path.read_bytes() == written


def test_scope_without_total_cap_is_refused(path):
    opened = Ledger(path, {INSURER: Cap(1.0, 1e-5)})
    with pytest.raises(NotPermittedError):
        opened.reserve("run 1", [INSURER], Gaussian(99.0), 1)
    opened.close()


@pytest.mark.parametrize(("epsilon_cap", "delta"), [(float("nan"), 1e-5), (-1.0, 1e-5), (1.0, 0.0)])
def test_impossible_cap_is_refused(epsilon_cap, delta):
    with pytest.raises(UnsupportedParameterError):
        Cap(epsilon_cap, delta)


def test_crash_keeps_charges_and_shows_the_open_run(ledger, path):
    ledger.reserve("run 1", [INSURER], Gaussian(20.0, 10), 7)
    ledger.charge("run 1", "step 0", Gaussian(20.0), 8)
    after = Ledger(path, CAPS)
    assert standing(after) == standing(ledger)
    run = after.open_runs()["run 1"]
    assert (run.since, run.scopes) == (7, (INSURER,))
    assert run.charged == Counter({Gaussian(20.0): 1})
    after.charge("run 1", "step 1", Gaussian(20.0), 9)
    assert ledger.spent(INSURER) == price(Gaussian(20.0, 2))
    after.close()


def test_crash_within_a_charge_keeps_all_before(ledger, path):
    ledger.reserve("run 1", [INSURER], Gaussian(20.0, 10), 1)
    before = path.read_bytes()
    ledger.charge("run 1", "step 0", Gaussian(20.0), 1)
    whole = path.read_bytes()
    ledger.close()
    for size in (len(before), len(before) + 1, len(before) + 20, len(whole) - 1, len(whole)):
        path.write_bytes(whole[:size])
        after = Ledger(path, CAPS)
        paid = 1 if size == len(whole) else 0
        assert after.open_runs()["run 1"].charged.total() == paid
        after.charge("run 1", "step 1", Gaussian(20.0), 1)
        assert after.spent(INSURER) == price(Gaussian(20.0, paid + 1))
        after.close()


def test_other_relation_is_refused(ledger, path):
    with pytest.raises(LogCorruptError):
        Ledger(path, CAPS, neighbours=Neighbours.REPLACE_ONE)


@pytest.mark.parametrize(
    "record",
    [
        b"not json",
        b'{"kind":"open","neighbours":"zero_out_one_person"}',
        b'{"kind":"refund","now":1,"run":"run 1"}',
        b'{"kind":"close","now":1,"run":"run 9"}',
        b'{"kind":"close","now":1,"run":"run 1","why":"x"}',
        b'{"kind":"close","now":1}',
        b'{"event":{"count":2,"kind":"gaussian","noise_multiplier":20.0},"kind":"charge",'
        b'"label":"x","now":1,"run":"run 1"}',
    ],
)
def test_impossible_entry_stops_the_ledger(ledger, path, record):
    ledger.reserve("run 1", [INSURER], Gaussian(20.0), 1)
    journal = Journal(path)
    with journal.exclusive():
        journal.append(record)
    journal.close()
    with pytest.raises(LogCorruptError):
        Ledger(path, CAPS)
    with pytest.raises(LogCorruptError):
        ledger.spent(INSURER)
    with pytest.raises(RuntimeError):  # and it decides nothing afterwards
        ledger.charge("run 1", "step", Gaussian(99.0), 1)


@given(st.binary(max_size=60))
def test_any_bytes_are_an_entry_or_corrupt(data):
    with contextlib.suppress(LogCorruptError):
        decode_entry(data)


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "charge", "close", "reopen"]),
        st.integers(0, 3),
        st.sampled_from([[INSURER], [POLICE], [INSURER, POLICE]]),
        st.sampled_from([3.0, 6.0, 10.0, 40.0]),
        st.integers(1, 6),
    ),
    max_size=14,
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(operations=OPERATIONS)
def test_no_history_breaks_a_cap(tmp_path_factory, operations):
    """After any operations: spent <= committed <= cap, and spent is what was acknowledged."""
    path = tmp_path_factory.mktemp("ledger") / "journal"
    ledger = Ledger(path, CAPS)
    paid: list = []
    for kind, run, scopes, noise, count in operations:
        try:
            match kind:
                case "reserve":
                    ledger.reserve(f"run {run}", scopes, Gaussian(noise, count), 1)
                case "charge":
                    ledger.charge(f"run {run}", "step", Gaussian(noise), 1)
                    paid.append(Gaussian(noise))
                case "close":
                    ledger.close_run(f"run {run}", 1)
                case "reopen":
                    ledger.close()
                    ledger = Ledger(path, CAPS)
        except (BudgetExhaustedError, OutOfTurnError):
            pass
    for scope, cap in CAPS.items():
        assert ledger.spent(scope) <= ledger.committed(scope) <= cap.epsilon
    assert ledger.spent(TOTAL) == (price(*paid) if paid else 0.0)
    ledger.close()


WORKER = """
import sys
import time
from pathlib import Path
from compliance.entries import Scope
from compliance.errors import BudgetExhaustedError
from compliance.ledger import Cap, Ledger
from protocols.dp.events import Gaussian

name, path, acknowledged = sys.argv[1:]
scope = Scope("subscribers", "traffic", "insurer")
caps = {scope: Cap(1.0, 1e-5), scope.over_recipients: Cap(1.0, 1e-5)}
ledger = Ledger(Path(path), caps)
with open(acknowledged, "a", buffering=1) as out:
    out.write("ready\\n")
    sys.stdin.readline()
    try:
        for i in range(10):
            ledger.reserve(f"{name} {i}", [scope], Gaussian(20.0), 1)
            out.write("reserved\\n")
            time.sleep(0.002)
    except BudgetExhaustedError:
        pass
    try:
        while True:
            ledger.charge("shared", name, Gaussian(60.0), 1)
            out.write("charged\\n")
            time.sleep(0.002)
    except BudgetExhaustedError:
        pass
"""


def test_four_processes_share_one_ledger_exactly(path, tmp_path):
    caps = {INSURER: Cap(1.0, 1e-5), TOTAL: Cap(1.0, 1e-5)}
    ledger = Ledger(path, caps)
    ledger.reserve("shared", [INSURER], Gaussian(60.0, 120), 1)
    files = [tmp_path / f"acknowledged {k}" for k in range(4)]
    command = [sys.executable, "-c", WORKER]
    workers = [
        subprocess.Popen([*command, f"worker {k}", path, file], stdin=subprocess.PIPE)
        for k, file in enumerate(files)
    ]
    try:
        for file in files:
            wait_for_lines(file, 1)
        for worker in workers:
            worker.stdin.close()
        wait_for_lines(files[0], 4)
        workers[0].kill()
        codes = [worker.wait(timeout=60) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert codes == [-signal.SIGKILL, 0, 0, 0]
    lines = Counter(itertools.chain(*(file.read_text().split() for file in files)))
    # As many small runs as fit beside the shared one, and not one more.
    small = len(ledger.open_runs()) - 1
    fitting = max(n for n in range(1, 60) if price(Gaussian(60.0, 120), Gaussian(20.0, n)) <= 1.0)
    # The killed process may have written one act that it did not live to acknowledge.
    assert small == fitting
    assert small - lines["reserved"] in {0, 1}
    charged = ledger.open_runs()["shared"].charged
    assert charged == Counter({Gaussian(60.0): 120})
    assert 120 - lines["charged"] in {0, 1}
    assert ledger.committed(INSURER) <= 1.0
    ledger.close()


def wait_for_lines(file: Path, count: int) -> None:
    deadline = time.monotonic() + 60
    while not file.exists() or len(file.read_text().split()) < count:
        assert time.monotonic() < deadline, "the worker did not come so far"
        time.sleep(0.001)
