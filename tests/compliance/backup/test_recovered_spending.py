"""What a restored ledger has forgotten is charged again: once, in full, whatever the caps say."""

from contextlib import closing

import pytest

from compliance.backup.spending import closed_runs, recover_run, spend_open_runs
from compliance.entries import Reserved, Scope, encode_entry
from compliance.journal import Journal
from compliance.ledger import Cap, Ledger
from protocols.dp.events import Composed, Gaussian

SCOPE = Scope("people", "insurer", "police")
CAPS = {SCOPE: Cap(3.0, 1e-5), SCOPE.over_recipients: Cap(3.0, 1e-5)}
EVENTS = [Gaussian(10.0, 4), Gaussian(12.0, 2)]
NOW = 1_780_000_000


@pytest.fixture
def path(tmp_path):
    found = tmp_path / "budget.journal"
    with closing(Ledger(found, CAPS)):
        pass
    return found


def spent(path):
    with closing(Ledger(path, CAPS)) as ledger:
        return ledger.spent(SCOPE)


def test_forgotten_run_is_charged_once(path):
    assert recover_run(path, "autumn", [SCOPE], EVENTS, NOW)
    first = spent(path)
    assert first > 0
    assert not recover_run(path, "autumn", [SCOPE], EVENTS, NOW + 5)
    assert spent(path) == first
    assert closed_runs(path) == {"autumn"}


def test_recovery_that_was_cut_short_is_finished(path):
    total = Composed((Gaussian(10.0, 4), Gaussian(12.0, 2)))
    with closing(Journal(path)) as journal, journal.exclusive():
        journal.append(encode_entry(Reserved("autumn", (SCOPE,), total, NOW)))
    assert recover_run(path, "autumn", [SCOPE], EVENTS, NOW + 5)
    assert closed_runs(path) == {"autumn"}
    assert spent(path) > 0


def test_caps_are_not_asked(path):
    recover_run(path, "autumn", [SCOPE], [Gaussian(0.5, 40)], NOW)
    assert spent(path) > CAPS[SCOPE].epsilon
    with closing(Ledger(path, CAPS)) as ledger:
        assert ledger.remaining(SCOPE) == 0


def test_run_that_the_ledger_knows_is_left_alone(path):
    with closing(Ledger(path, CAPS)) as ledger:
        ledger.reserve("spring", [SCOPE], Gaussian(10.0, 8), NOW)
        ledger.charge("spring", "step", Gaussian(10.0, 8), NOW)
        ledger.close_run("spring", NOW)
    before = spent(path)
    assert not recover_run(path, "spring", [SCOPE], EVENTS, NOW)
    assert spent(path) == before


def test_open_run_is_spent_in_full_and_cannot_go_on(path):
    with closing(Ledger(path, CAPS)) as ledger:
        ledger.reserve("spring", [SCOPE], Gaussian(10.0, 8), NOW)
        committed = ledger.committed(SCOPE)
    assert spend_open_runs(path, NOW) == ("spring",)
    assert spent(path) == pytest.approx(committed)
    assert spend_open_runs(path, NOW) == ()


def test_no_ledger_is_none(tmp_path):
    assert spend_open_runs(tmp_path / "none.journal", NOW) == ()
    assert closed_runs(tmp_path / "none.journal") == frozenset()
