"""A holder answers what it may, once charged, and refuses the rest without a trace in its book."""

import os
import random
from dataclasses import replace

import pytest

from compliance.clock import FixedClock
from compliance.errors import (
    NotPermittedError,
    QuotaExhaustedError,
    UnknownEpochError,
    UnknownPartnerError,
)
from compliance.evaluations.holder import KeyHolder
from protocols.errors import InvalidProofError, MalformedMessageError
from protocols.lookup.request import NO_CASE, Purpose
from protocols.oprf import client
from protocols.oprf.errors import ReplayedMessageError, WrongEpochError
from protocols.oprf.messages import EvaluationAnswer
from protocols.oprf.threshold import Query, answer_request


def refused(holder, request, error, match):
    """Check that a request is refused and leaves no entry."""
    before = holder.book.entries(5)
    with pytest.raises(error, match=match):
        holder.answer(request.encode())
    assert holder.book.entries(5) == before


def test_answer_is_one_that_the_asker_can_use(holder, town, fifth):
    inputs = [b"synthetic 0", b"synthetic 1"]
    blinds = client.random_blinds(town.suite, 2, random.Random(1).randbytes)
    query = Query(town.suite, fifth.manifest.record, inputs, blinds, b"request of test.")
    request = town.request(fifth.manifest, evaluation=query.request)
    given = holder.answer(request.encode())
    assert (given.admission.used, given.admission.repeated, given.quota) == (2, False, 100)
    assert query.receive(EvaluationAnswer.decode(given.answer.encode())) == "police"
    share = fifth.shares["hub"]
    query.receive(answer_request(town.suite, share, query.request, random.Random(9).randbytes))
    outputs = query.finish()
    assert len(set(outputs)) == 2
    (entry,) = holder.book.entries(5)
    assert (entry.asker, entry.count, entry.case) == ("insurer", 2, request.case)


def test_repeated_request_is_answered_without_charge(holder, town, fifth):
    request = town.request(fifth.manifest, count=3)
    first = holder.answer(request.encode())
    second = holder.answer(request.encode())
    assert (second.admission.repeated, second.admission.used) == (True, 3)
    assert second.answer.evaluated == first.answer.evaluated
    assert len(holder.book.entries(5)) == 1


def test_death_between_charge_and_answer_costs_no_second_charge(holder, town, fifth):
    def dies(_size):
        raise KeyboardInterrupt

    dying = replace(holder, random=dies)
    request = town.request(fifth.manifest, count=3)
    with pytest.raises(KeyboardInterrupt):
        dying.answer(request.encode())
    # The charge was durable before anything was computed.
    assert holder.book.used(5, "insurer") == 3
    given = holder.answer(request.encode())
    assert (given.admission.repeated, given.admission.used) == (True, 3)


def test_charge_is_written_before_anything_is_evaluated(holder, town, fifth):
    seen = []

    def watching(size):
        seen.append(len(holder.book.entries(5)))
        return random.Random(1).randbytes(size)

    replace(holder, random=watching).answer(town.request(fifth.manifest).encode())
    assert seen == [1]


def test_unknown_asker_is_refused(holder, town, fifth):
    refused(holder, town.request(fifth.manifest, asker="stranger"), UnknownPartnerError, "stranger")


def test_request_signed_by_another_partner_is_refused(holder, town, fifth):
    request = town.request(fifth.manifest, signer="telecom")
    refused(holder, request, InvalidProofError, "request of insurer")


@pytest.mark.parametrize(
    "change",
    [
        {"hub": "hub-tainan"},
        {"purpose": Purpose.SCREENING},
        {"asker": "telecom"},
        {"case": NO_CASE},
    ],
)
def test_altered_request_is_refused(holder, town, fifth, change):
    altered = replace(town.request(fifth.manifest), **change)
    refused(holder, altered, InvalidProofError, "signature does not hold")


def test_request_for_another_hub_is_refused(holder, town, fifth):
    request = town.request(fifth.manifest, hub="hub-tainan")
    refused(holder, request, NotPermittedError, "another hub")


def test_asker_without_a_grant_is_refused(holder, town, fifth):
    request = town.request(fifth.manifest, asker="police")
    refused(holder, request, NotPermittedError, "police: has no grant")


def test_purpose_outside_the_grant_is_refused(holder, town, fifth):
    request = town.request(fifth.manifest, purpose=Purpose.PUBLISH)
    refused(holder, request, NotPermittedError, "does not cover the purpose publish")


def test_case_is_needed_where_a_person_is_present(holder, town, fifth):
    refused(holder, town.request(fifth.manifest, case=NO_CASE), NotPermittedError, "needs a case")
    screening = town.request(fifth.manifest, case=NO_CASE, purpose=Purpose.SCREENING)
    assert holder.answer(screening.encode()).admission.used == 1


@pytest.mark.parametrize("asked_at", [14_699, 15_301])
def test_stale_request_is_refused(holder, town, fifth, asked_at):
    request = town.request(fifth.manifest, asked_at=asked_at)
    refused(holder, request, NotPermittedError, "more than 300 seconds")


@pytest.mark.parametrize("asked_at", [14_700, 15_300])
def test_request_within_five_minutes_is_answered(holder, town, fifth, asked_at):
    holder.answer(town.request(fifth.manifest, asked_at=asked_at).encode())


def test_admitted_request_may_be_repeated_hours_later(holder, town, fifth):
    request = town.request(fifth.manifest)
    holder.answer(request.encode())
    later = replace(holder, clock=FixedClock(19_000))
    signed_anew = town.request(fifth.manifest, asked_at=19_000)
    for again in (request, signed_anew):
        assert later.answer(again.encode()).admission.repeated


@pytest.mark.parametrize("now", [9_999, 21_000])
def test_epoch_that_is_not_served_gives_no_answer(holder, town, fifth, now):
    outside = replace(holder, clock=FixedClock(now))
    request = town.request(fifth.manifest, asked_at=now)
    refused(outside, request, WrongEpochError, "not served at this time")


def test_grace_is_served_while_the_next_epoch_is_in_force(holder, town, fifth, sixth):
    holder.store.keep_draft(sixth.terms.session, sixth.shares["police"])
    holder.store.activate(sixth.signed, town.identities)
    late = replace(holder, clock=FixedClock(20_500))
    assert holder.store.current(20_500).epoch == 6
    old = late.answer(town.request(fifth.manifest, asked_at=20_500).encode())
    new = late.answer(town.request(sixth.manifest, asked_at=20_500, name=bytes(16)).encode())
    assert (old.answer.epoch, new.answer.epoch) == (5, 6)
    assert (old.admission.used, new.admission.used) == (1, 1)


def test_replay_in_another_epoch_is_refused(holder, town, fifth, sixth):
    request = town.request(fifth.manifest)
    holder.answer(request.encode())
    holder.store.keep_draft(sixth.terms.session, sixth.shares["police"])
    holder.store.activate(sixth.signed, town.identities)
    late = replace(holder, clock=FixedClock(21_500))
    with pytest.raises(WrongEpochError, match="epoch 5 is not served"):
        late.answer(request.encode())
    moved = replace(request, evaluation=replace(request.evaluation, epoch=6))
    with pytest.raises(InvalidProofError):
        late.answer(moved.encode())
    # Even its own asker cannot use the id for the other key: equal blinds would link the two.
    own = town.request(sixth.manifest, asked_at=21_500)
    with pytest.raises(ReplayedMessageError):
        late.answer(own.encode())
    assert holder.book.used(6, "insurer") == 0


def test_epoch_that_nobody_knows_is_told_from_one_that_was(holder, town, sixth):
    with pytest.raises(WrongEpochError, match="epoch 6 is not known here"):
        holder.answer(town.request(sixth.manifest).encode())


def test_request_for_shares_before_a_refresh_is_refused(holder, town, fifth, refreshed):
    count = 7
    holder.answer(town.request(fifth.manifest, count=count).encode())
    holder.store.keep_draft(refreshed.terms.session, refreshed.shares["police"])
    holder.store.activate(refreshed.signed, town.identities)
    refused(holder, town.request(fifth.manifest), WrongEpochError, "another key or generation")
    fresh = holder.answer(town.request(refreshed.manifest, name=bytes(16)).encode())
    # A refresh keeps the epoch and so the count.
    assert fresh.admission.used == count + 1


def test_quota_is_of_the_epoch_and_exact(holder, town, fifth):
    holder.answer(town.request(fifth.manifest, count=60).encode())
    over = town.request(fifth.manifest, count=41, name=b"1" * 16)
    refused(holder, over, QuotaExhaustedError, "60 of 100 used, 41 more asked")
    fits = town.request(fifth.manifest, count=40, name=b"1" * 16)
    assert holder.answer(fits.encode()).admission.used == 100


def test_element_that_is_none_costs_nothing(holder, town, fifth):
    good = town.request(fifth.manifest).evaluation
    for element in (bytes(32), b"\xff" * 32):
        request = town.request(fifth.manifest, evaluation=replace(good, blinded=element))
        refused(holder, request, MalformedMessageError, "blinded elements")


def test_holder_without_its_share_charges_nothing(holder, town, fifth):
    holder.store.destroy_share(5)
    refused(holder, town.request(fifth.manifest), UnknownEpochError, "its share was destroyed")


def test_share_of_another_holder_is_not_used(holder, town, fifth):
    foreign = replace(holder, name="telecom")
    refused(foreign, town.request(fifth.manifest), UnknownEpochError, "that of police")


def test_garbage_is_malformed(holder):
    for data in (b"", b"\x01", random.Random(4).randbytes(300)):
        with pytest.raises(MalformedMessageError):
            holder.answer(data)


def test_repr_of_holder_and_answer_hides_secrets_and_elements(holder, town, fifth):
    given = holder.answer(town.request(fifth.manifest).encode())
    scalar = fifth.shares["police"].scalar
    for text in (repr(holder), repr(given)):
        assert repr(scalar)[2:-1] not in text
        assert repr(given.answer.evaluated)[2:-1] not in text
    assert isinstance(holder, KeyHolder)


def test_no_answer_leaves_when_the_disk_fails(holder, town, fifth, monkeypatch):
    def fail(_file):
        raise OSError("disk")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk"):
        holder.answer(town.request(fifth.manifest).encode())
    monkeypatch.undo()
    # Whether the entry is there is open, so the book must be opened again first.
    with pytest.raises(RuntimeError):
        holder.answer(town.request(fifth.manifest).encode())
