"""A holder that is paused, or has left, answers nothing and takes no share; that is entered."""

import os

import pytest

from clients.holder.permitting import Permitting
from clients.node.standing_state import (
    LeftError,
    PausedError,
    Standing,
    State,
    keep_state,
    state_of,
)
from clients.office import node_office
from compliance.evaluations.book import EvaluationBook
from compliance.evaluations.holder import KeyHolder
from protocols.epoch.setup import KeygenTerms
from protocols.group.select import load_group
from protocols.lookup.request import Purpose, sign_request
from protocols.oprf import client
from protocols.oprf.messages import EvaluationRequest
from protocols.oprf.suite import Suite
from protocols.tlog.entry import Entry, Outcome


@pytest.fixture
def office(town):
    with node_office(town.home("police"), clock=town.clock) as made:
        yield made


@pytest.fixture
def permitting(town, office):
    return Permitting(office, lambda: state_of(town.home("police")).holder_objection())


@pytest.fixture
def holder(town, permitting, tmp_path):
    book = EvaluationBook(tmp_path / "book.journal")
    public = {name: key.public_key() for name, key in town.identities.items()}
    yield KeyHolder(
        "police", town.suite, town.holders["police"].store, book, public.get, town.clock,
        os.urandom, permit=permitting.evaluation,
    )  # fmt: skip
    book.close()


def request(town):
    suite, manifest = Suite(load_group()), town.manifest
    blinded = client.blind(suite, [b"synthetic"], client.random_blinds(suite, 1, os.urandom))
    return sign_request(
        town.identities["insurer"], hub=manifest.hub, asker="insurer",
        purpose=Purpose.SCREENING, case=bytes(32), asked_at=town.clock.now(),
        evaluation=EvaluationRequest(
            manifest.epoch, manifest.record.key_id, b"request of test.", blinded
        ),
    ).encode()  # fmt: skip


def outcomes(office):
    origin = office.yearly.origin()
    found = office.storage.entries(origin, 0, office.storage.edge(origin).size)
    return [(entry.outcome, entry.policies) for entry in map(Entry.decode, found)]


@pytest.mark.parametrize(
    ("state", "error"),
    [
        (State(Standing.PAUSED, "audit", 1, holder=True), PausedError),
        (State(Standing.LEFT, "over", 1, holder=True), LeftError),
    ],
)
def test_nothing_is_answered_or_charged(town, office, holder, state, error):
    data = request(town)
    keep_state(town.home("police"), state)
    with pytest.raises(error, match=state.reason):
        holder.answer(data)
    assert holder.book.used(town.manifest.epoch, "insurer") == 0
    assert outcomes(office) == [(Outcome.REFUSED, (error.code,))]
    keep_state(town.home("police"), State())
    holder.answer(data)
    assert outcomes(office)[-1][0] is Outcome.DONE


def test_pause_of_the_runs_alone_lets_the_holder_answer(town, holder):
    keep_state(town.home("police"), State(Standing.PAUSED, "audit", 1, holder=False))
    holder.answer(request(town))


def test_no_share_is_taken_meanwhile(town, office, permitting):
    manifest = town.manifest
    terms = KeygenTerms(
        hub=manifest.hub, epoch=manifest.epoch + 1, session=b"session-of-test.", refresh=False,
        holders=manifest.record.holders, threshold=2, not_before=manifest.not_before,
        not_after=manifest.not_after, grace_s=manifest.grace_s,
        contributors=dict(manifest.contributors), askers=dict(manifest.askers),
        previous=manifest.digest,
    )  # fmt: skip
    keep_state(town.home("police"), State(Standing.LEFT, "over", 1, holder=True))
    with pytest.raises(LeftError):
        permitting.share(terms)
    assert outcomes(office) == [(Outcome.REFUSED, ("left",))]
