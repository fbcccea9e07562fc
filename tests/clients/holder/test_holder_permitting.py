"""A holder decides each request by its own agreement, and enters it in its own log."""

import os
from dataclasses import replace

import pytest

from clients.holder.permitting import Permitting
from clients.office import node_office
from compliance.agreement.vocabulary import Channel
from compliance.errors import NotPermittedError
from compliance.evaluations.book import EvaluationBook
from compliance.evaluations.holder import KeyHolder
from protocols.epoch.setup import KeygenTerms
from protocols.group.select import load_group
from protocols.lookup.request import Purpose, sign_request
from protocols.oprf import client
from protocols.oprf.messages import EvaluationRequest
from protocols.oprf.suite import Suite
from protocols.tlog.entry import Entry, Outcome


def entries(office):
    origin = office.yearly.origin()
    size = office.storage.edge(origin).size
    return [Entry.decode(data) for data in office.storage.entries(origin, 0, size)]


@pytest.fixture
def office(town):
    with node_office(town.home("police"), clock=town.clock) as made:
        yield made


@pytest.fixture
def holder(town, office, tmp_path):
    """The police as a holder, with an empty book."""
    book = EvaluationBook(tmp_path / "book.journal")
    public = {name: key.public_key() for name, key in town.identities.items()}
    yield KeyHolder(
        "police", town.suite, town.holders["police"].store, book, public.get, town.clock,
        os.urandom, permit=Permitting(office).evaluation,
    )  # fmt: skip
    book.close()


def request(town, asker="insurer", purpose=Purpose.SCREENING, count=3, name=b"request of test."):
    suite = Suite(load_group())
    inputs = [b"synthetic %d" % number for number in range(count)]
    blinded = client.blind(suite, inputs, client.random_blinds(suite, count, os.urandom))
    manifest = town.manifest
    return sign_request(
        town.identities[asker], hub=manifest.hub, asker=asker, purpose=purpose, case=bytes(32),
        asked_at=town.clock.now(),
        evaluation=EvaluationRequest(manifest.epoch, manifest.record.key_id, name, blinded),
    ).encode()  # fmt: skip


def test_an_answered_request_is_entered_once(town, office, holder):
    data = request(town)
    holder.answer(data)
    holder.answer(data)
    (entry,) = entries(office)
    assert (entry.act, entry.organisation, entry.outcome) == (
        "answer_evaluation", "police", Outcome.DONE,
    )  # fmt: skip
    assert (entry.recipients, entry.count) == (("insurer",), 3)
    assert entry.subject_matter == f"epoch-{town.manifest.epoch}/screening"
    assert entry.agreement.digest == town.agreed.agreement.digest


def test_what_the_agreement_does_not_cover_costs_nothing(town, agree, identities, office, holder):
    for path in office.agreements.directory.glob("*.*"):
        path.unlink()
    agree(identities, channels={"insurer": [Channel.COUNTER]}).keep(town.home("police").root)
    with pytest.raises(NotPermittedError, match="channels"):
        holder.answer(request(town))
    assert holder.book.used(town.manifest.epoch, "insurer") == 0
    (entry,) = entries(office)
    assert entry.outcome is Outcome.REFUSED


def test_a_revocation_stops_the_holder_whatever_the_hub_says(town, office, holder):
    holder.answer(request(town))
    revocation = town.agreed.revocation("police", now=town.clock.now())
    office.agreements.keep_revocation(revocation, now=town.clock.now())
    with pytest.raises(NotPermittedError, match="no-agreement-no-act"):
        holder.answer(request(town, name=b"another request."))
    assert holder.book.used(town.manifest.epoch, "insurer") == 3


def test_no_share_is_held_beyond_the_agreement(town, office):
    manifest = town.manifest
    terms = KeygenTerms(
        hub=manifest.hub, epoch=manifest.epoch + 1, session=b"session-of-test.", refresh=False,
        holders=manifest.record.holders, threshold=2, not_before=manifest.not_before,
        not_after=manifest.not_after, grace_s=manifest.grace_s,
        contributors=dict(manifest.contributors), askers=dict(manifest.askers),
        previous=manifest.digest,
    )  # fmt: skip
    Permitting(office).share(terms)
    (entry,) = entries(office)
    assert (entry.act, entry.document) == ("hold_share", terms.digest)
    assert office.document(terms.digest) == terms.encode()
    late = replace(terms, not_after=office.agreement().not_after + 86_400)
    with pytest.raises(NotPermittedError, match="validity"):
        Permitting(office).share(late)
