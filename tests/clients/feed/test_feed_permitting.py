"""Reports come in, go out and are taken back by permission, and each is entered."""

import pytest

from clients.feed.intake import take_in
from clients.feed.permitting import Permitting
from clients.feed.withdrawing import withdraw_reports
from clients.office import node_office
from compliance.errors import NotPermittedError
from compliance.policy.actors import StaffRole
from protocols.tlog.entry import Entry, Outcome, Verb


def entries(office):
    origin = office.yearly.origin()
    size = office.storage.edge(origin).size
    return [Entry.decode(data) for data in office.storage.entries(origin, 0, size)]


@pytest.fixture
def office(town):
    with node_office(town.node, clock=town.clock) as made:
        yield made


def take(town, rows, enter):
    settings = town.home.settings()
    source = town.source(rows, settings.defaults(town.clock.now()))
    return take_in(town.register(), source, settings, None, town.actor(), enter=enter)


def test_an_intake_is_entered_with_its_count(town, office, given):
    take(town, [given(1), given(2), given(3, kind="x")], Permitting(office).intake())
    (entry,) = entries(office)
    assert (entry.act, entry.verb, entry.count) == ("enter_report", Verb.COLLECT, 2)
    assert entry.agreement.digest == town.agreed.agreement.digest


def test_an_intake_that_cannot_be_entered_leaves_nothing(town, given):
    def enter(_count):
        raise OSError("the log is away")

    with pytest.raises(OSError, match="away"):
        take(town, [given(1)], enter)
    assert take(town, [given(1)], lambda _count: None).effects


def test_a_publication_is_entered_before_it_is_sent(town, office, given):
    town.take_in([given(1)])
    publisher = town.publisher()
    publisher._permit = Permitting(office).publication
    publisher.publish(town.actor())
    (entry,) = entries(office)
    assert (entry.act, entry.verb, entry.count) == ("publish", Verb.DISCLOSE, town.publish().count)
    assert "insurer" in entry.recipients
    assert entry.document is not None


def test_without_an_agreement_nothing_goes_out(town, office, given):
    town.take_in([given(1)])
    revocation = town.agreed.revocation("telecom", now=town.clock.now())
    office.agreements.keep_revocation(revocation, now=town.clock.now())
    publisher = town.publisher()
    publisher._permit = Permitting(office).publication
    with pytest.raises(NotPermittedError, match="no-agreement-no-act"):
        publisher.publish(town.actor())
    assert town.hub.version() == 0
    assert [entry.outcome for entry in entries(office)] == [Outcome.REFUSED]
    with pytest.raises(NotPermittedError):
        Permitting(office).intake()


def test_reports_are_taken_back_without_an_agreement_but_not_without_a_reason(town, office, given):
    town.take_in([given(1)])
    revocation = town.agreed.revocation("telecom", now=town.clock.now())
    office.agreements.keep_revocation(revocation, now=town.clock.now())
    with pytest.raises(NotPermittedError, match="say-why"):
        Permitting(office).withdrawal(" ")
    enter = Permitting(office).withdrawal("mistaken identity")
    found = withdraw_reports(town.register(), ["R1"], town.actor("mistaken"), enter=enter)
    assert found.withdrawn == 1
    refused, done = entries(office)
    assert refused.outcome is Outcome.REFUSED
    assert (done.act, done.verb, done.count) == ("withdraw", Verb.ALTER, 1)
    part = office.parts.read(office.parts.find_subject("")[-1], done.commitment)
    assert part.reason == "mistaken identity"


def test_who_is_no_analyst_enters_nothing(town, office):
    clerk = office.person("lin", [StaffRole.DESK])
    with pytest.raises(NotPermittedError, match="no policy permits"):
        Permitting(office, clerk).intake()
    Permitting(office, office.person("chen", [StaffRole.ANALYST])).intake()
