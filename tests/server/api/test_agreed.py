"""Nothing at the hub happens without an agreement that covers it, and every no is on record."""

from dataclasses import replace

import pytest

from compliance.agreement.drafting import DATABASE, FRAUD
from compliance.agreement.vocabulary import Channel, What
from compliance.policy.decision import Decision
from compliance.policy.replay import replay
from protocols.lookup.request import NO_CASE, Purpose
from protocols.tlog.entry import Outcome, Verb

BASE = "/v1/epochs/5/tables"
FORBIDDEN = ("no-agreement-no-act", "no-basis-no-flow")


def asked(world, inputs=(b"one", b"two"), **changes):
    return world.sign(world.query(inputs).request, **changes)


@pytest.fixture
def lone(make_world):
    """A hub at which nobody has agreed to anything."""
    return make_world(under=None)


@pytest.fixture(scope="session")
def without_flow(make_agreed, agreed):
    """Make the agreement without flows of one kind in one direction."""

    def make(what, source, recipient):
        gone = (what, source, recipient)
        kept = [f for f in agreed.agreement.flows if (f.what, f.source, f.recipient) != gone]
        return make_agreed(flows=tuple(kept))

    return make


def test_without_an_agreement_nothing_is_evaluated(lone, problem):
    request = asked(lone)
    for _ in range(2):
        problem(lone.post(request), 403, "not_permitted")
    (entry,) = lone.entries()
    assert (entry.act, entry.outcome, entry.agreement) == ("evaluate", Outcome.REFUSED, None)
    assert entry.policies == (*FORBIDDEN, "agreement.agreement")
    assert (entry.basis, entry.count, entry.recipients) == ("none", 0, ())
    assert [lone.used(holder) for holder in lone.books] == [0, 0, 0]
    assert lone.others.asked == []


def test_without_an_agreement_no_table_comes_or_goes(lone, make_world, problem):
    delta = lone.delta(lone.records(5))
    problem(lone.send_delta(delta), 403, "not_permitted")
    assert not (lone.directory / "tables").exists()
    (entry,) = lone.entries()
    assert (entry.act, entry.organisation, entry.policies[0]) == ("publish", "police", FORBIDDEN[0])
    world = make_world()
    world.publish(world.delta(world.records(5)))
    world.revoke("insurer")
    problem(world.client("insurer").get(f"{BASE}/police/1"), 403, "not_permitted")
    # Who may not have a table is not told which versions there are.
    problem(world.client("insurer").get(f"{BASE}/police/2"), 403, "not_permitted")
    for name in ("insurer", "police"):
        assert world.client(name).get(BASE).json()["tables"] == []


def test_revocation_counts_at_once_also_for_what_was_answered_before(world, problem):
    request = asked(world)
    assert world.post(request).status_code == 200
    world.revoke("telecom")
    problem(world.post(request), 403, "not_permitted")
    problem(world.post(asked(world)), 403, "not_permitted")
    problem(world.send_delta(world.delta(world.records(1))), 403, "not_permitted")
    done, *refused = world.entries()
    assert done.outcome is Outcome.DONE
    assert [entry.act for entry in refused] == ["evaluate", "evaluate", "publish"]
    assert {entry.policies[0] for entry in refused} == {FORBIDDEN[0]}
    assert world.used() == 2


def test_asker_without_the_channel_is_refused(make_world, make_agreed, problem):
    world = make_world(under=make_agreed(channels={"insurer": [Channel.COUNTER]}))
    assert world.post(asked(world)).status_code == 200
    online = asked(world, purpose=Purpose.ONLINE)
    problem(world.post(online), 403, "not_permitted")
    entry = world.entries()[-1]
    assert entry.subject_matter == "epoch-5/online"
    assert entry.policies[-1] == "agreement.channels"
    assert world.used() == 2


def test_party_that_asks_nothing_is_refused(make_world, make_agreed, problem):
    world = make_world(under=make_agreed(channels={"telecom": []}))
    request = asked(world, asker="telecom", purpose=Purpose.ALIGNMENT, case=NO_CASE)
    problem(world.post(request, name="telecom"), 403, "not_permitted")
    assert world.entries()[-1].policies[-1] == "agreement.askers"


def test_flow_without_a_basis_is_refused(make_world, without_flow, problem):
    world = make_world(under=without_flow(What.LOOKUP, "insurer", "telecom"))
    problem(world.post(asked(world)), 403, "not_permitted")
    (entry,) = world.entries()
    assert entry.policies == (*FORBIDDEN, "agreement.flows")
    assert entry.agreement.digest == world.agreed.agreement.digest


def test_table_is_for_the_readers_of_the_agreement(make_world, without_flow, problem):
    world = make_world(under=without_flow(What.REPORT, "police", "telecom"))
    for name in ("police", "telecom"):
        assert world.publish(world.delta(world.records(4), name=name), name=name).is_success
    listed = {
        name: [item["contributor"] for item in world.client(name).get(BASE).json()["tables"]]
        for name in ("insurer", "telecom", "police")
    }
    assert listed == {
        "insurer": ["police", "telecom"], "telecom": ["telecom"], "police": ["police", "telecom"],
    }  # fmt: skip
    parts = ["", "/header", "/digests", "/filter", "/buckets/0"]
    for part in parts:
        problem(world.client("telecom").get(f"{BASE}/police/1{part}"), 403, "not_permitted")
    *_, entry = found = world.entries()
    assert len(found) == 3
    assert (entry.act, entry.organisation, entry.outcome) == (
        "fetch_table", "telecom", Outcome.REFUSED,
    )  # fmt: skip
    assert (entry.subject_matter, entry.recipients) == ("epoch-5/table/police", ())
    # A contributor has its own table back by what lets it publish one.
    assert world.client("police").get(f"{BASE}/police/1").is_success


def test_reader_is_entered_once_for_each_table_before_it_has_it(world):
    world.publish(world.delta(world.records(4)))
    world.publish(world.delta(world.records(2)))
    client = world.client("insurer")
    etag = client.get(f"{BASE}/police/2/header").headers["etag"]
    known = {"If-None-Match": client.get(f"{BASE}/police/2/digests").headers["etag"]}
    assert client.get(f"{BASE}/police/2", headers=known).status_code == 304
    assert etag
    assert [entry.act for entry in world.entries()] == ["publish", "publish"]
    for part in ("", "/delta?since=1", "/buckets/0", "/filter"):
        assert client.get(f"{BASE}/police/2{part}").is_success
    assert client.get(f"{BASE}/police/2", headers={"Range": "bytes=999999-"}).status_code == 416
    client.get(f"{BASE}/police/1")
    world.client("telecom").get(f"{BASE}/police/2/buckets/0")
    published, *fetched = world.entries()[1:]
    assert [(e.organisation, e.count) for e in fetched] == [
        ("insurer", 6), ("insurer", 4), ("telecom", 6),
    ]  # fmt: skip
    first = fetched[0]
    assert (first.verb, first.recipients, first.purpose) == (Verb.DISCLOSE, ("insurer",), FRAUD)
    assert first.basis == "tw/pdpa-16-4"
    assert first.document == published.document
    assert (published.purpose, published.recipients) == (DATABASE, ("insurer", "telecom"))


def test_table_is_not_given_where_the_log_cannot_be_written(world, problem, break_log):
    world.publish(world.delta(world.records(4)))
    break_log(world)
    for part in ("", "/buckets/0", "/filter"):
        answer = world.client("insurer").get(f"{BASE}/police/1{part}")
        problem(answer, 503, "storage_failed")


def test_record_of_a_decision_replays_to_the_same_answer(world):
    world.post(asked(world))
    world.post(asked(world, asker="police"))
    world.publish(world.delta(world.records(4)))
    world.client("telecom").get(f"{BASE}/police/1")
    # A revocation counts for those too whose clocks are some minutes behind.
    world.clock.advance(301)
    world.revoke()
    world.post(asked(world))
    office = world.parts.log.office
    found = world.entries()
    assert len(found) == 5
    for entry in found:
        record = Decision.decode(world.part_of(entry).decision.encode())
        assert replay(record, office.policies, office.agreements) == ()
        assert (record.act, record.principal.name) == (entry.act, entry.organisation)
    turned = replace(Decision.decode(world.part_of(found[-1]).decision.encode()), allowed=True)
    assert replay(turned, office.policies, office.agreements)
