"""Epochs over real links: made, used, refreshed, followed by the next, ended."""

import os

import pytest

from clients.node.files import load_json
from compliance.errors import UnknownEpochError
from protocols.epoch.manifest import verify_manifest
from protocols.errors import InvalidProofError, ProtocolError
from protocols.group.encoding import encode_scalar
from protocols.group.interface import ORDER
from protocols.link import TransportError
from protocols.oprf.holder import evaluate, load_key
from protocols.oprf.messages import EvaluationAnswer
from protocols.oprf.shares import lagrange_weights
from protocols.oprf.threshold import answer_request
from server.epochs.holding import identities_of
from server.standing import HolderRefusedError

INPUTS = (b"A800000014", b"+886900000001")
DAY_S = 24 * 3600


def whole_key(suite, shares):
    """Rebuild the key from a threshold of shares, which no one in the system ever does."""
    indices = [share.index for share in shares]
    weights, denominator = lagrange_weights(indices)
    total = sum(
        weight * int.from_bytes(share.scalar, "little")
        for weight, share in zip(weights, shares, strict=True)
    )
    return load_key(suite, encode_scalar(total * pow(denominator, -1, ORDER) % ORDER))


def over_the_link(place, query, signed, name):
    """Have a holder answer over its standing link."""
    data = place.standing.ask(name, "evaluate", signed.encode(), 10)
    query.receive(EvaluationAnswer.decode(data))


def test_begun_epoch_is_signed_by_all_and_in_force_everywhere(holders):
    found = holders.begin()
    assert (found["state"], found["failures"]) == ("done", [])
    store = holders.holding.store
    manifest = store.current(holders.clock.now())
    identities = identities_of(holders.hub)
    pinned = {name: identities(name) for name in manifest.record.holders}
    assert verify_manifest(store.signed(1), pinned) == manifest
    assert manifest.record.holders == ("hub", "police", "telecom")
    assert set(manifest.askers) == {"insurer", "telecom", "police"}
    assert manifest.contributors == {"insurer": 1, "police": 2, "telecom": 3}
    for name in ("police", "telecom"):
        assert holders.node(name).store().signed(1).format() == store.signed(1).format()
    assert len({holders.share(name).scalar for name in manifest.record.holders}) == 3
    (described,) = holders.ask(action="epoch_status")["epochs"]
    assert (described["state"], described["waiting"]) == ("in force", {})


@pytest.mark.parametrize("pair", [("police", "telecom"), ("hub", "telecom")])
def test_two_holders_over_the_link_give_what_the_whole_key_gives(holders, suite, pair):
    holders.begin()
    key = whole_key(suite, [holders.share("hub"), holders.share("police")])
    signed, query = holders.request(INPUTS)
    for name in pair:
        if name == "hub":
            query.receive(holders.holding.holder.answer(signed.encode()).answer)
        else:
            over_the_link(holders, query, signed, name)
    assert query.finish() == [evaluate(suite, key, item) for item in INPUTS]


def test_holder_charges_and_logs_a_repeated_request_once(holders):
    holders.begin()
    signed, _ = holders.request(INPUTS)
    for _ in range(2):
        holders.standing.ask("telecom", "evaluate", signed.encode(), 10)
    book = holders.services["telecom"]._book
    assert book.used(1, "insurer") == len(INPUTS)
    assert len(book.entries(1)) == 1


def test_holder_refuses_what_its_own_rules_refuse(holders):
    holders.begin(quotas={"insurer": 1})
    signed, _ = holders.request(INPUTS)
    with pytest.raises(HolderRefusedError) as caught:
        holders.standing.ask("telecom", "evaluate", signed.encode(), 10)
    assert caught.value.code == "quota_exhausted"
    altered = bytearray(signed.encode())
    altered[-1] ^= 1
    with pytest.raises(HolderRefusedError) as caught:
        holders.standing.ask("telecom", "evaluate", bytes(altered), 10)
    assert caught.value.code == "invalid_proof"


def test_stranger_and_unpermitted_asker_look_alike(holders):
    holders.begin(quotas={"insurer": 5}, purposes={"insurer": ["screening"]})
    signed, _ = holders.request(INPUTS)
    answers = []
    for changed in (signed.encode(), signed.encode().replace(b"insurer", b"outsidr")):
        with pytest.raises(HolderRefusedError) as caught:
            holders.standing.ask("telecom", "evaluate", changed, 10)
        answers.append((caught.value.code, caught.value.text))
    assert answers[0][0] == answers[1][0] == "not_permitted"


def test_refresh_changes_shares_and_keeps_outputs(holders, suite):
    holders.begin()
    old = {name: holders.share(name) for name in ("hub", "police", "telecom")}
    before = holders.holding.store.manifest(1)
    assert holders.followed(action="refresh_epoch", epoch=0)["state"] == "done"
    after = holders.holding.store.manifest(1)
    assert after.record.public == before.record.public
    assert (after.record.generation, after.previous) == (1, before.digest)
    for name, share in old.items():
        assert holders.share(name).scalar != share.scalar
    key = whole_key(suite, [old["hub"], old["telecom"]])
    signed, query = holders.request(INPUTS)
    for name in ("police", "telecom"):
        over_the_link(holders, query, signed, name)
    assert query.finish() == [evaluate(suite, key, item) for item in INPUTS]


def test_old_share_and_new_share_do_not_combine(holders, suite):
    holders.begin()
    old = holders.share("police")
    signed, query = holders.request(INPUTS)
    assert holders.followed(action="refresh_epoch", epoch=1)["state"] == "done"
    # A request under the former shares is refused, and so is an answer by a former share.
    with pytest.raises(HolderRefusedError) as caught:
        holders.standing.ask("telecom", "evaluate", signed.encode(), 10)
    assert caught.value.code == "wrong_epoch"
    _, fresh = holders.request(INPUTS)
    with pytest.raises(ProtocolError):
        fresh.receive(answer_request(suite, old, query.request, os.urandom))
    mixed = whole_key(suite, [old, holders.share("telecom")])
    right = whole_key(suite, [holders.share("police"), holders.share("telecom")])
    assert mixed.public != right.public == old.record.public


def test_old_shares_are_gone_after_a_refresh(holders):
    holders.begin()
    old = {name: holders.share(name).encode()[-32:] for name in ("hub", "police", "telecom")}
    holders.followed(action="refresh_epoch", epoch=1)
    for name, scalar in old.items():
        for path in (holders.root / name).rglob("*"):
            assert not path.is_file() or scalar not in path.read_bytes(), path


def test_next_epoch_has_another_key_and_follows_the_first(holders):
    holders.begin()
    holders.clock.advance(20 * DAY_S)
    assert holders.begin(starts_in_hours=24)["state"] == "done"
    store = holders.holding.store
    first, second = store.manifest(1), store.manifest(2)
    assert second.previous == first.digest
    assert second.record.public != first.record.public
    assert store.current(holders.clock.now()) == first
    holders.clock.advance(2 * DAY_S)
    assert store.current(holders.clock.now()) == second
    states = [item["state"] for item in holders.ask(action="epoch_status")["epochs"]]
    assert states == ["in force", "in force"]


def test_shares_are_destroyed_when_the_grace_is_over(holders, wait_until):
    holders.begin(days=10, grace_days=2)
    holders.stop("telecom")
    holders.clock.advance(12 * DAY_S)
    holders.start("telecom")
    wait_until(lambda: not list((holders.root / "telecom/holder/shares").iterdir()))
    with pytest.raises(UnknownEpochError):
        holders.share("telecom")
    holders.stop_hub()
    holders.serve()
    wait_until(lambda: not list((holders.root / "hub/holder/shares").iterdir()))
    assert holders.ask(action="epoch_status")["epochs"][0]["state"] == "over"
    with pytest.raises(UnknownEpochError):
        holders.share("hub")


def test_ended_epoch_is_destroyed_at_every_holder_even_later(holders, wait_until):
    holders.begin()
    holders.stop("telecom")
    assert holders.ask(action="end_epoch", epoch=1) == {"epoch": 1, "waiting": ["telecom"]}
    for name in ("hub", "police"):
        with pytest.raises(UnknownEpochError):
            holders.share(name)
    assert holders.share("telecom")
    holders.start("telecom")
    wait_until(lambda: not holders.ask(action="epoch_status")["epochs"][0]["waiting"])
    with pytest.raises(UnknownEpochError):
        holders.share("telecom")


def test_absent_holder_is_named_before_anything_begins(place):
    place.start("police")
    with pytest.raises(TransportError, match="telecom: not connected"):
        place.ask(action="begin_epoch")
    assert place.ask(action="epoch_progress")["state"] == "none"


def test_threshold_and_holders_are_configuration(holders, suite):
    assert holders.begin(threshold=3)["state"] == "done"
    manifest = holders.holding.store.manifest(1)
    assert manifest.record.threshold == 3
    assert holders.begin(holders=["hub", "telecom"])["state"] == "done"
    assert holders.holding.store.manifest(2).record.holders == ("hub", "telecom")
    with pytest.raises(UnknownEpochError):
        holders.share("police", 2)


@pytest.mark.parametrize(
    ("wishes", "reason"),
    [
        ({"threshold": 1}, "threshold"),
        ({"holders": ["police", "telecom"]}, "must include hub"),
        ({"holders": ["hub", "stranger"]}, "no such partner"),
        ({"quotas": {"stranger": 5}}, "no such partner"),
        ({"quotas": {"insurer": 0}}, "quota"),
        ({"purposes": {"insurer": ["curiosity"]}}, "purposes of insurer"),
        ({"days": 0}, "at least 1"),
        ({"days": "31"}, "unknown or wrong"),
        ({"colour": 1}, "unknown or wrong"),
    ],
)
def test_wish_that_cannot_be_is_refused_at_once(holders, wishes, reason):
    with pytest.raises(ProtocolError, match=reason):
        holders.ask(action="begin_epoch", **wishes)


def test_forged_answer_is_told_from_a_true_one(holders):
    holders.begin()
    signed, query = holders.request(INPUTS)
    data = bytearray(holders.standing.ask("telecom", "evaluate", signed.encode(), 10))
    data[-1] ^= 1
    with pytest.raises((InvalidProofError, ProtocolError)):
        query.receive(EvaluationAnswer.decode(bytes(data)))


def test_holders_come_back_to_a_hub_that_was_restarted(holders, wait_until):
    holders.begin()
    holders.stop_hub()
    status = holders.root / "telecom/holder/status.json"
    wait_until(lambda: not load_json(status)["connected"])
    assert load_json(status)["reason"]
    holders.serve()
    wait_until(lambda: holders.standing.connected() == {"police", "telecom"})
    signed, query = holders.request(INPUTS)
    for name in ("police", "telecom"):
        over_the_link(holders, query, signed, name)
    assert len(query.finish()) == len(INPUTS)
