"""Evaluation over a real hub: right outputs, nothing charged twice, whatever breaks."""

import os
import random
from dataclasses import replace

import pytest

from clients.keys import credentials
from clients.lookup.api import HubApi, HubRefusedError
from clients.lookup.evaluating import Evaluator
from clients.lookup.trust import Trust
from compliance.errors import NotPermittedError
from protocols.errors import InvalidProofError
from protocols.link import TransportError
from protocols.lookup.request import NO_CASE, Purpose
from protocols.oprf.threshold import answer_request


def evaluator_of(town, home, batch=16):
    api = HubApi(home.config().api, credentials(home.keys), timeout_s=10, pauses_s=(0.01, 0.02))
    manifest = Trust(home).manifest(api, town.clock.now())
    return Evaluator(home, api, manifest, town.suite, town.clock, os.urandom, batch=batch), api


def test_outputs_are_those_of_the_whole_key(town, people):
    evaluator, api = evaluator_of(town, town.home())
    wanted = people(40)
    with api:
        found = evaluator.run([*wanted, wanted[3]], purpose=Purpose.SCREENING)
    assert found.outputs[:40] == [town.output(item) for item in wanted]
    assert found.outputs[40] == found.outputs[3]
    assert [receipt.count for receipt in found.receipts] == [16, 16, 8]
    assert town.used() == 40  # the repeated one is asked once
    assert {entry.purpose for entry in town.entries()} == {Purpose.SCREENING}
    assert {entry.case for entry in town.entries()} == {NO_CASE}


def test_order_in_batches_is_not_the_order_asked(town, people):
    evaluator, api = evaluator_of(town, town.home(), batch=64)
    seen = []
    with api:
        evaluator.evaluate(
            people(64), purpose=Purpose.SCREENING, on_outputs=lambda inputs, _: seen.extend(inputs)
        )
    assert sorted(seen) == sorted(people(64))
    assert seen != people(64)


def test_purpose_that_serves_a_customer_needs_a_case(town, people):
    evaluator, api = evaluator_of(town, town.home())
    with api, pytest.raises(NotPermittedError, match="needs the case"):
        evaluator.evaluate(people(1), purpose=Purpose.COUNTER)
    assert town.used() == 0


@pytest.mark.parametrize("up", [True, False])
def test_cut_connections_charge_nothing_twice(town, proxied, people, up):
    home, proxy = proxied
    evaluator, api = evaluator_of(town, home, batch=8)
    source = random.Random(3)
    progress = []

    def cut_again(done, count):
        progress.append((done, count))
        # Somewhere in the next exchange, which is some hundred bytes long.
        setattr(proxy, "up_left" if up else "down_left", source.randrange(100, 700))

    with api:
        cut_again(0, 48)
        found = evaluator.evaluate(people(48), purpose=Purpose.SCREENING, on_progress=cut_again)
    assert found == [town.output(item) for item in people(48)]
    assert town.used() == 48
    assert max(town.used("police"), town.used("telecom")) <= 48
    assert progress[-1] == (48, 48)
    assert proxy.connections > 3  # it was cut indeed


def test_later_call_goes_on_where_the_network_ended(town, proxied, people):
    home, proxy = proxied
    evaluator, api = evaluator_of(town, home, batch=8)
    kept = {}

    def keep(inputs, outputs):
        kept.update(zip(inputs, outputs, strict=True))
        if len(kept) == 16:
            proxy.is_down = True

    with api, pytest.raises(TransportError):
        evaluator.evaluate(people(32), purpose=Purpose.SCREENING, on_outputs=keep)
    assert town.used() == 16
    proxy.is_down = False
    # Another process of the same node, after a while.
    town.clock.advance(3600)
    again, api = evaluator_of(town, home, batch=8)
    with api:
        missing = [item for item in people(32) if item not in kept]
        again.evaluate(missing, purpose=Purpose.SCREENING, on_outputs=keep)
    assert kept == {item: town.output(item) for item in people(32)}
    assert town.used() == 32


def test_outputs_lost_after_the_answer_cost_nothing_to_get_again(town, people):
    home = town.home()
    evaluator, api = evaluator_of(town, home)

    def disk_is_full(inputs, outputs):
        raise OSError("no space left on device")

    with api:
        with pytest.raises(OSError, match="no space"):
            evaluator.evaluate(people(10), purpose=Purpose.SCREENING, on_outputs=disk_is_full)
        assert town.used() == 10
        town.clock.advance(600)
        found = evaluator.evaluate(people(10), purpose=Purpose.SCREENING)
        assert found == [town.output(item) for item in people(10)]
        assert town.used() == 10
        # Settled queries are not sent again: a new question is a new request.
        evaluator.evaluate(people(10), purpose=Purpose.SCREENING)
    assert town.used() == 20


def test_left_over_of_another_purpose_is_left_alone(town, people):
    home = town.home()
    evaluator, api = evaluator_of(town, home)

    def fail(inputs, outputs):
        raise OSError("no space left on device")

    with api:
        with pytest.raises(OSError, match="no space"):
            evaluator.evaluate(people(4), purpose=Purpose.COUNTER, case="C-1", on_outputs=fail)
        evaluator.evaluate(people(4), purpose=Purpose.COUNTER, case="C-2")
        assert town.used() == 8
        evaluator.evaluate(people(4), purpose=Purpose.COUNTER, case="C-1")
    assert town.used() == 8


def test_refreshed_shares_end_what_was_left_over(town, people):
    home = town.home()
    evaluator, api = evaluator_of(town, home)

    def fail(inputs, outputs):
        raise OSError("no space left on device")

    with api:
        with pytest.raises(OSError, match="no space"):
            evaluator.evaluate(people(4), purpose=Purpose.SCREENING, on_outputs=fail)
        town.refresh_shares()
        with pytest.raises(HubRefusedError) as refused:
            evaluator.evaluate(people(4), purpose=Purpose.SCREENING)
        assert refused.value.code == "wrong_epoch"
    again, api = evaluator_of(town, home)
    with api:
        found = again.evaluate(people(4), purpose=Purpose.SCREENING)
    assert found == [town.output(item) for item in people(4)]


def test_spent_quota_is_told_and_nothing_is_charged(make_town, people):
    town = make_town(quota=20)
    evaluator, api = evaluator_of(town, town.home())
    kept = []
    with api, pytest.raises(HubRefusedError) as refused:
        evaluator.evaluate(
            people(40), purpose=Purpose.SCREENING, on_outputs=lambda i, _: kept.extend(i)
        )
    assert refused.value.code == "quota_exhausted"
    assert len(kept) == town.used() == 16


def test_holder_with_another_share_is_found_out(town, people):
    evaluator, api = evaluator_of(town, town.home())
    service = town.parts.evaluations
    honest = service._holder

    class WithAnotherShare:
        """The hub's holder with a share that its record does not promise."""

        name, suite, store, book = honest.name, honest.suite, honest.store, honest.book

        def answer(self, data):
            found = honest.answer(data)
            request = found.request.evaluation
            share = replace(town.shares["hub"], scalar=b"\x07" + bytes(31))
            answer = answer_request(town.suite, share, request, os.urandom)
            return replace(found, answer=answer)

    service._holder = WithAnotherShare()
    with api, pytest.raises(InvalidProofError, match="answer of hub"):
        evaluator.evaluate(people(4), purpose=Purpose.SCREENING)


def test_finished_queries_are_put_away_with_their_receipts(town, people):
    home = town.home()
    evaluator, api = evaluator_of(town, home)
    with api:
        evaluator.evaluate(people(20), purpose=Purpose.SCREENING)
        evaluator.evaluate(people(20), purpose=Purpose.SCREENING, on_outputs=lambda i, o: None)
    folder = home.root / "lookup" / "queries"
    assert not list((folder / "open").iterdir())
    assert len(list((folder / "5").glob("*.query"))) == 4
    assert len(list((folder / "5").glob("*.receipt"))) == 4


@pytest.mark.parametrize("change", [{"used": 0}, {"count": 3}, {"signature": bytes(64)}])
def test_receipt_that_the_hub_did_not_sign_is_refused(town, people, change):
    evaluator, api = evaluator_of(town, town.home())
    genuine = api.evaluate

    def forging(request):
        reply = genuine(request)
        # A changed count would not fit the answers; it is put in behind the reply's back.
        forged = replace(reply.receipt, **change)
        object.__setattr__(reply, "receipt", forged)
        return reply

    api.evaluate = forging
    with api, pytest.raises(InvalidProofError, match="receipt"):
        evaluator.evaluate(people(2), purpose=Purpose.SCREENING)
