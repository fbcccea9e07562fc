"""What the hub's log leaves out is found: evaluations by a holder's book, budget by the ledger."""

import json
from contextlib import closing
from dataclasses import replace

import pytest
import typer
from typer.testing import CliRunner

from clients.audit.cli_fetch import fetch
from clients.audit.cli_reconcile import reconcile
from clients.audit.reconciling import (
    Period,
    Request,
    compare_books,
    compare_budgets,
    requests_of,
)
from clients.lookup.session import Lookup
from clients.output import explain
from compliance.entries import Charged, Closed, Opened, Reserved, Scope
from compliance.evaluations.evidence import evidence_of
from compliance.journal import Journal
from compliance.ledger import Cap, Ledger
from protocols.dp.events import Composed, Gaussian
from protocols.dp.neighbours import Neighbours
from protocols.lookup.request import Purpose
from protocols.tlog.entry import Agreement, Charge, Decision, Entry, Outcome, Verb

NOW = 1_795_305_600
HOUR = 3_600
PERIOD = Period(NOW - 100 * HOUR, NOW + 100 * HOUR)
FRAUD = "https://w3id.org/dpv#FraudPreventionAndDetection"
ENTRY = Entry(
    0, NOW, "insurer", b"a" * 16, Verb.CONSULT, "evaluate", FRAUD, "tw/pdpa-20-4",
    Agreement("joint-defence", b"a" * 32), b"p" * 32, ("evaluations",), Decision.PERMIT,
    Outcome.DONE, "epoch-5/call-centre", ("insurer",), 3, None, None, b"c" * 32,
)  # fmt: skip

app = typer.Typer()
app.command()(fetch)
app.command()(reconcile)


def run(*words, code=0):
    done = CliRunner().invoke(app, [*map(str, words), "--format", "json"])
    ended, error = done.exit_code, done.exception
    if error is not None and not isinstance(error, SystemExit):
        ended = explain(error)
    assert ended == code, (done.output, error)
    return json.loads(done.stdout) if done.stdout else str(error)


def asked(at=NOW, count=3, **changes):
    fields = {"asker": "insurer", "epoch": 5, "purpose": Purpose.CALL_CENTRE}
    return Request(**(fields | {"at": at, "count": count} | changes))


def entered(at=NOW, count=3, **changes):
    return replace(ENTRY, time=at, count=count, **changes)


def compared(requests, entries, **options):
    return compare_books(requests, entries, PERIOD, **options)


def test_request_with_an_entry_is_no_finding():
    found = compared([asked(), asked(NOW + 5)], [entered(NOW + 1), entered(NOW + 2)])
    assert (found.missing, found.elsewhere, found.open) == ((), 0, 0)
    (row,) = found.rows
    assert (row.day, row.asker, row.purpose) == ("2026-11-22", "insurer", "call-centre")
    assert (row.book, row.log, row.late, row.missing) == ([2, 6], [2, 6], [0, 0], [0, 0])


@pytest.mark.parametrize(
    "changes",
    [
        {"count": 2},
        {"organisation": "telecom"},
        {"subject_matter": "epoch-6/call-centre"},
        {"subject_matter": "epoch-5/counter"},
        {"outcome": Outcome.FAILED},
        {"act": "answer_evaluation"},
        {"decision": Decision.DENY, "outcome": Outcome.REFUSED, "recipients": ()},
    ],
)
def test_entry_about_something_else_hides_nothing(changes):
    assert compared([asked()], [entered(**changes)]).missing == (asked(),)


def test_equal_requests_are_counted():
    requests = [asked(NOW + at) for at in (0, 10, 20)]
    found = compared(requests, [entered(NOW + 1), entered(NOW + 21)])
    assert len(found.missing) == 1
    found = compared(requests, [entered(NOW + at) for at in range(5)])
    assert (found.missing, found.elsewhere) == ((), 2)


def test_times_are_paired_as_many_as_can_be():
    # The later entry fits both requests, the earlier one the first alone.
    requests = [asked(NOW + 100), asked(NOW + 109)]
    entries = [entered(NOW + 108), entered(NOW + 95)]
    found = compared(requests, entries, tolerance_s=10)
    assert (found.missing, [row.late for row in found.rows]) == ((), [[0, 0]])


def test_entry_at_another_time_is_told_apart():
    found = compared([asked(NOW + 5 * HOUR)], [entered()])
    assert found.missing == ()
    assert sum(row.late[0] for row in found.rows) == 1
    assert compared([asked(NOW + 5 * HOUR)], [entered()], tolerance_s=6 * HOUR).rows[0].late[0] == 0


def test_what_lies_outside_of_the_log_is_not_judged():
    after, before = asked(PERIOD.until + 1), asked(PERIOD.since - 1)
    # At the very end the hub may not have entered it when the checkpoint was made.
    at_the_end = asked(PERIOD.until - 5)
    found = compared([before, at_the_end, after], [])
    assert (found.missing, found.open) == ((), 2)


def test_books_of_other_holders_make_the_comparison_exact(town, people):
    """Another holder's requests fill up what would otherwise hide one of ours."""
    with Lookup(town.home(), clock=town.clock) as lookup:
        for start in range(12):
            lookup.evaluate(people(1, start), purpose=Purpose.SCREENING)
    books = {name: town.entries(name) for name in ("police", "telecom")}
    assert len(books["police"]) + len(books["telecom"]) == 12
    assert min(map(len, books.values())) > 0
    log = town.log
    size = log.storage.edge(log.yearly.origin()).size
    entries = [Entry.decode(data) for data in log.storage.entries(log.yearly.origin(), 0, size)]
    period = Period(town.clock.now() - 9, town.clock.now() + 100)
    whole = requests_of(books["police"], [evidence_of("telecom", "insurer", 5, books["telecom"])])
    assert len(whole) == 12
    assert compare_books(whole, entries, period).missing == ()
    answered = [entry for entry in entries if entry.act == "evaluate"]
    hidden = [entry for entry in entries if entry is not answered[0]]
    assert compare_books(requests_of(books["police"]), hidden, period).missing == ()
    assert len(compare_books(whole, hidden, period).missing) == 1


def test_request_in_two_books_counts_once():
    class Item:
        request_id, count, purpose, at, epoch, asker = b"r" * 16, 3, Purpose.COUNTER, NOW, 5, "a"
        batch_digest = case = bytes(32)

    paper = evidence_of("telecom", "a", 5, [Item])
    assert len(requests_of([Item], [paper])) == 1


GAUSSIAN = Gaussian(20.0)
SCOPES = (Scope("people", "insurer", "police"), Scope("people", "insurer", "telecom"))


def ledger(charges=3, *, closed=True):
    yield Opened(Neighbours.ZERO_OUT_ONE_PERSON)
    yield Reserved("r1", SCOPES, Composed((replace(GAUSSIAN, count=5),)), NOW)
    for number in range(charges):
        yield Charged("r1", f"step {number}", GAUSSIAN, NOW)
    if closed:
        yield Closed("r1", NOW)


def charged(count=3, scopes=SCOPES, run_name="r1"):
    names = tuple((scope.cohort, scope.dataset, scope.recipient) for scope in scopes)
    charge = Charge(run_name, "run", names, Composed((replace(GAUSSIAN, count=count),)))
    return entered(act="compute", verb=Verb.COMBINE, charge=charge)


def budgets(own, entries):
    found, running = compare_budgets(own, entries, "insurer", delta=1e-5)
    return {item.scope.recipient: (item.runs, item.ledger, item.log) for item in found}, running


def test_ledger_and_log_that_agree_are_no_finding():
    found, running = budgets(ledger(), [charged(), entered()])
    assert set(found) == {"*", "police", "telecom"}
    assert all(runs == () and ours == theirs > 0 for runs, ours, theirs in found.values())
    assert running == ()


@pytest.mark.parametrize(
    ("own", "entries", "different"),
    [
        (ledger(3), [charged(2)], {"*", "police", "telecom"}),
        (ledger(3), [charged(4)], {"*", "police", "telecom"}),
        (ledger(3), [], {"*", "police", "telecom"}),
        (ledger(3), [charged(), charged(run_name="r2")], {"*", "police", "telecom"}),
        (ledger(3), [charged(scopes=SCOPES[:1])], {"telecom"}),
        (iter(()), [charged()], {"*", "police", "telecom"}),
    ],
)
def test_more_or_less_in_the_log_is_a_finding(own, entries, different):
    found, _ = budgets(own, entries)
    assert {name for name, (runs, _, _) in found.items() if runs} == different


def test_open_runs_and_other_peoples_charges_are_not_judged():
    found, running = budgets(ledger(closed=False), [])
    assert (found, running) == ({}, ("r1",))
    others = charged(scopes=(Scope("people", "telecom", "insurer"),))
    found, _ = budgets(ledger(), [charged(), others])
    assert all(runs == () for runs, _, _ in found.values())


def test_command_finds_what_the_hub_hid(town, people, tmp_path):
    with Lookup(town.home(), clock=town.clock) as lookup:
        for start in range(8):
            lookup.evaluate(people(1, start), purpose=Purpose.SCREENING)
    # The police's own directory with the book that its holder kept.
    police = town.home("police")
    (police.root / "holder").mkdir()
    (police.root / "holder" / "book.journal").symlink_to(
        town.directory / "holders" / "police" / "book.journal"
    )
    caps = dict.fromkeys((*SCOPES, SCOPES[0].over_recipients), Cap(9.0, 1e-5))
    with closing(Ledger(police.ledger, caps)):
        pass
    out = tmp_path / "copy"
    refused = run("reconcile", police.root, out, code=4)
    assert "audit fetch" in refused
    town.clock.advance(600)
    town.put_on_record(document=None)
    run("fetch", police.root, "--out", out)
    told = run("reconcile", police.root, out)
    count = len(town.entries("police"))
    assert (told["agrees"], told["missing"], told["holder"]) == (True, [], True)
    assert told["elsewhere"] == 8 - count
    assert sum(day["book"]["requests"] for day in told["days"]) == count > 0
    # A request that the hub answered together with us and did not enter.
    entry = replace(town.entries("police")[0], request_id=b"h" * 16, count=77)
    path = town.directory / "holders" / "police" / "book.journal"
    with closing(Journal(path)) as book, book.exclusive():
        book.append(entry.encode())
    told = run("reconcile", police.root, out, code=3)
    assert [item["count"] for item in told["missing"]] == [77]
    shown = CliRunner().invoke(app, ["reconcile", str(police.root), str(out)])
    assert "NOT IN THE HUB'S LOG: insurer, 77 for screening in epoch 5" in shown.stdout


def test_command_refuses_a_log_that_does_not_hold(town, tmp_path):
    home, out = town.home(), tmp_path / "copy"
    run("fetch", home.root, "--out", out)
    (bundle,) = (out / "tile" / "entries").rglob("000.p/*")
    bundle.write_bytes(bundle.read_bytes().replace(b"hub", b"bub"))
    assert "does not hold" in run("reconcile", home.root, out, code=1)
