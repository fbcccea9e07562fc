"""What an officer reads out of a log: entries that fit, disclosures, budgets."""

import shutil

import pytest

from compliance.entries import EVERY_RECIPIENT, Scope
from compliance.exports.disclosures import disclosures
from compliance.exports.filters import Filter, parse_filter
from compliance.exports.source import open_source
from compliance.exports.statement import statement
from compliance.ledger import Cap, Ledger
from protocols.dp.events import Composed, Gaussian
from protocols.errors import MalformedMessageError
from protocols.tlog.entry import Outcome, Verb


def read(path, wanted=None):
    with open_source(path) as source:
        return [entry for entry in source.entries() if wanted is None or wanted.fits(entry)]


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (Filter(), range(600)),
        (Filter(since=1_795_305_600 + 598), (598, 599)),
        (Filter(until=1_795_305_600 + 2), (0, 1)),
        (Filter(verb=Verb.COMBINE), range(7, 100, 10)),
        (Filter(verb=Verb.ERASE), ()),
        (Filter(outcome=Outcome.REFUSED), range(3, 600, 10)),
        (Filter(organisation="telecom"), range(7, 100, 10)),
        (Filter(actor="61" * 16), range(600)),
        (Filter(actor="62"), ()),
        (Filter(recipient="police", verb=Verb.CONSULT), range(5, 600, 10)),
        (Filter(purpose="CommunicationForCustomerCare"), range(5, 600, 10)),
        (Filter(purpose="https://w3id.org/dpv#CommunicationForCustomerCare"), range(5, 600, 10)),
        (Filter(purpose="Communication"), ()),
        (Filter(agreement="joint-defence"), range(600)),
        (Filter(agreement="6161"), range(600)),
        (Filter(agreement="62"), ()),
        (Filter(run="run-1"), range(7, 100, 10)),
        (Filter(text="no-case"), range(3, 600, 10)),
        (Filter(text="release.17"), (17,)),
        (Filter(text="release.17", outcome=Outcome.REFUSED), ()),
    ],
)
def test_filters_find_exactly_what_fits(world, mixed, wanted, numbers):
    found = [n for n, entry in enumerate(mixed) if wanted.fits(entry)]
    assert found == list(numbers)
    assert wanted.is_empty is (wanted == Filter())
    assert parse_filter(wanted.fields()) == wanted


@pytest.mark.parametrize(
    "value",
    [None, [], {"subject": "x"}, {"since": "1"}, {"since": True}, {"verb": "steal"}, {"verb": 1},
     {"outcome": ""}, {"run": None}],
)  # fmt: skip
def test_filters_are_read_strictly(value):
    with pytest.raises(MalformedMessageError):
        parse_filter(value)


def test_entries_are_read_from_a_log_that_grew(world, mixed):
    opened = world.open()
    directory = world.publish(mixed[:300], opened=opened)
    assert [entry.sequence for entry in read(directory)] == list(range(300))
    assert world.publish(mixed[300:], opened=opened) == directory
    assert [entry.sequence for entry in read(directory)] == list(range(600))
    shutil.rmtree(directory / "tile/entries/002.p")
    with pytest.raises(MalformedMessageError, match="tile/entries/002: missing"):
        read(directory)


def test_pruned_beginnings_are_passed_over_and_gaps_are_not(world, mixed):
    directory = world.publish(mixed)
    (directory / "tile/entries/000").rename(world.directory / "kept")
    assert [entry.sequence for entry in read(directory)] == list(range(256, 600))
    (world.directory / "kept").rename(directory / "tile/entries/000")
    (directory / "tile/entries/001").unlink()
    with pytest.raises(MalformedMessageError, match="tile/entries/001: missing"):
        read(directory)


def test_reading_an_altered_entry_is_refused(world, mixed):
    directory = world.publish(mixed)
    path = directory / "tile/entries/000"
    path.write_bytes(path.read_bytes().replace(b'"sequence":5,', b'"sequence":6,'))
    with pytest.raises(MalformedMessageError, match="entry 5: says that it is 6"):
        read(directory)


def test_disclosures_add_up_by_purpose_and_recipient(tools, mixed):
    rows = {(row.purpose, row.source, row.recipient): row for row in disclosures(mixed)}
    own = rows[tools.FRAUD, "insurer", "insurer"]
    charged = rows[tools.FRAUD, "telecom", "police"]
    care = [rows[tools.CARE, "insurer", name] for name in ("insurer", "police")]
    assert len(rows) == 4
    assert (charged.acts, charged.items) == (10, 10)
    assert [row.acts for row in care] == [60, 60]
    assert own.acts == 600 - 60 - 60 - 10  # less refused, care and charges
    assert (own.first, own.last) == (tools.NOW, tools.NOW + 599)


def test_failed_disclosures_count_and_refused_ones_do_not(tools):
    failed = tools.make_entry(1, verb=Verb.DISCLOSE, outcome=Outcome.FAILED, count=7)
    rows = disclosures([failed, tools.refusal(2)])
    assert [(row.acts, row.items) for row in rows] == [(1, 7)]


def test_statement_agrees_with_the_ledger(tools, tmp_path):
    names = ("insurer", "police")
    scopes = {name: Scope("people", "telecom", name) for name in names}
    total = scopes["police"].over_recipients
    caps = {scope: Cap(9.0, 1e-5) for scope in (*scopes.values(), total)}
    ledger = Ledger(tmp_path / "ledger", caps)
    runs = {"run-1": ("police",), "run-2": names}
    entries = []
    for run, recipients in runs.items():
        plan = Composed((Gaussian(40.0, 20),))
        ledger.reserve(run, [scopes[name] for name in recipients], plan, 1)
    for number in range(20):
        run = "run-1" if number % 3 else "run-2"
        noise = 40.0 if number % 2 else 60.0
        ledger.charge(run, f"release.{number}", Gaussian(noise), 2)
        outcome = Outcome.FAILED if number == 4 else Outcome.DONE
        entries.append(
            tools.charge(number, run=run, recipients=runs[run], noise=noise, outcome=outcome)
        )
    for run in runs:
        ledger.close_run(run, 3)
    rows = {row.scope: row for row in statement(entries, delta=1e-5)}
    assert set(rows) == set(caps)
    for scope, row in rows.items():
        assert row.epsilon == pytest.approx(ledger.spent(scope), rel=1e-12)
        assert row.epsilon > 0
        assert (row.cap, row.left, row.is_over) == (None, None, False)
    assert rows[total].charges == 20
    assert rows[total].scope.recipient == EVERY_RECIPIENT
    assert rows[total].epsilon > rows[scopes["insurer"]].epsilon
    ledger.close()


def test_statement_takes_caps_from_the_agreement_and_tells_what_is_over(tools, agreement):
    few = [tools.charge(number, noise=300.0) for number in range(3)]
    many = [tools.charge(number, noise=0.5) for number in range(30)]
    caps = agreement.caps
    for entries, is_over in ((few, False), (many, True)):
        rows = {row.scope.recipient: row for row in statement(entries, delta=0.1,
                                                              agreement=agreement)}  # fmt: skip
        assert rows["police"].cap == caps.recipients["police"]
        assert rows["*"].cap == caps.total_epsilon
        assert rows["police"].delta == caps.delta
        assert [rows[name].is_over for name in ("police", "*")] == [is_over, is_over]
    assert rows["police"].left == 0.0
    assert statement([tools.make_entry(1)], delta=1e-6, agreement=agreement) == []
