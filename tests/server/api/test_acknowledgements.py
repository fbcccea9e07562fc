"""Corrections reach every reader: who applies which version is signed, kept, entered, and told."""

from dataclasses import replace

import pytest

from protocols.lookup.acknowledgement import (
    Acknowledgement,
    SignedAcknowledgement,
    verify_acknowledgement,
)
from protocols.tlog.entry import Outcome, Verb

BASE = "/v1/epochs/5/tables"
ALL = f"{BASE}/police/acknowledgements"


@pytest.fixture
def published(world):
    """A world with two versions of the table of the police."""
    for count in (30, 4):
        assert world.publish(world.delta(world.records(count))).is_success
    return world


def told(world):
    """What the contributor is told, its acknowledgements by reader."""
    value = world.client("police").get(ALL).json()
    return value, {item["reader"]: item for item in value["acknowledgements"]}


def test_contributor_sees_who_applies_its_table_and_who_does_not(published):
    signed = published.applied()
    answer = published.acknowledge(signed)
    assert answer.json() == {
        "contributor": "police", "reader": "insurer", "version": 2, "is_new": True,
    }  # fmt: skip
    value, found = told(published)
    assert (value["epoch"], value["version"], value["contributor"]) == (5, 2, "police")
    assert value["readers"] == ["insurer", "telecom"]
    assert found.keys() == {"insurer"}
    header = published.tables["police"][1].header
    kept = SignedAcknowledgement.decode(bytes.fromhex(found["insurer"]["signed"]))
    said = verify_acknowledgement(published.identities["insurer"].public_key(), kept)
    assert kept == signed
    assert said.covers(header)
    assert found["insurer"]["header"] == header.digest.hex()
    assert found["insurer"]["applied_at"] == said.applied_at


def test_acknowledgement_is_entered_once_with_the_table(published):
    for later in (0, 60):
        published.clock.advance(later)
        assert published.acknowledge(published.applied()).is_success
    *_, version, entry = published.entries()
    assert (entry.act, entry.organisation, entry.verb, entry.outcome) == (
        "acknowledge", "insurer", Verb.DISCLOSE, Outcome.DONE,
    )  # fmt: skip
    assert (entry.subject_matter, entry.recipients) == ("epoch-5/table/police", ("police",))
    assert entry.document == version.document
    assert len(published.entries()) == 3
    # The first word stands.
    assert told(published)[1]["insurer"]["applied_at"] == published.clock.now() - 60


def test_later_version_replaces_and_an_earlier_one_does_not(published):
    early = published.applied()
    published.publish(published.delta(published.records(1)))
    assert published.acknowledge(published.applied()).json()["is_new"] is True
    assert published.acknowledge(early).json() == {
        "contributor": "police", "reader": "insurer", "version": 2, "is_new": False,
    }  # fmt: skip
    assert told(published)[1]["insurer"]["version"] == 3


def test_acknowledgements_survive_and_are_of_one_epoch_and_contributor(published):
    published.acknowledge(published.applied())
    published.publish(published.delta(published.records(1), name="telecom"), name="telecom")
    published.publish(published.delta(published.records(1)))
    assert told(published)[1].keys() == {"insurer"}
    other = published.client("telecom").get(f"{BASE}/telecom/acknowledgements").json()
    assert (other["acknowledgements"], other["readers"]) == ([], ["insurer", "police"])


def test_acknowledgements_are_for_the_contributor_alone(published, problem):
    for name in ("insurer", "telecom", "outsider"):
        problem(published.client(name).get(ALL), 403, "not_permitted")


def test_word_of_another_reader_is_refused(published, problem):
    problem(published.acknowledge(published.applied(reader="telecom")), 403, "not_permitted")
    problem(published.acknowledge(published.applied(signer="telecom")), 422, "invalid_proof")
    assert told(published)[1] == {}
    assert len(published.entries()) == 2


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"header": bytes(32)}, 400, "malformed_message"),
        ({"hub": "other"}, 400, "malformed_message"),
        ({"version": 1}, 400, "malformed_message"),
        ({"version": 3}, 404, "not_found"),
        ({"epoch": 6}, 403, "not_permitted"),
        ({"contributor": "telecom"}, 403, "not_permitted"),
        ({"applied_at": 2**40}, 403, "not_permitted"),
    ],
)
def test_word_about_another_table_is_refused(published, problem, change, status, code):
    problem(published.acknowledge(published.applied(**change)), status, code)
    assert told(published)[1] == {}


def test_reader_that_may_not_have_the_table_is_refused_and_entered(published, problem):
    signed = published.applied()
    published.revoke("insurer")
    problem(published.acknowledge(signed), 403, "not_permitted")
    entry = published.entries()[-1]
    assert (entry.act, entry.outcome) == ("acknowledge", Outcome.REFUSED)
    assert entry.policies[0] == "no-agreement-no-act"
    assert told(published)[0]["readers"] == []


def test_without_the_log_nothing_is_acknowledged(published, problem, break_log):
    signed = published.applied()
    break_log(published)
    problem(published.acknowledge(signed), 503, "storage_failed")
    assert not list(published.directory.rglob("*.signed"))


def test_broken_word_is_400(published, problem):
    data = published.applied().encode()
    for broken in (b"", data[:-1], data + b"\0", data[:40]):
        answer = published.client("insurer").post(
            ALL,
            content=broken,
            headers={"Content-Type": "application/vnd.lianfang.table-acknowledgement"},
        )
        problem(answer, 400, "malformed_message")


def test_statement_covers_its_own_header_alone(published):
    header = published.tables["police"][1].header
    said = Acknowledgement.of(header, reader="insurer", now=5)
    assert Acknowledgement.decode(said.encode()) == said
    assert said.covers(header)
    assert not said.covers(replace(header, count=header.count + 1))
