"""Set-ups among honest holders, and with one that cheats in every way the wire allows.

A cheat is an honest program whose outgoing messages are changed on the way, so that it
knows exactly as much as a real one would. Messages of one holder to two others come in
this order: 2 hashes, 2 openings, 2 shares, 2 verdicts.
"""

import random
from dataclasses import replace
from hashlib import sha512

import pytest

from protocols.errors import InvalidProofError, MalformedMessageError, UnsupportedParameterError
from protocols.group.encoding import encode_scalar
from protocols.group.interface import GENERATOR, IDENTITY
from protocols.oprf import client, threshold
from protocols.oprf.errors import RogueHolderError, WrongEpochError, WrongShareError
from protocols.oprf.keygen import generate_key, refresh_share
from protocols.oprf.setup import Setup, next_epoch, refresh_of
from protocols.program import Send, run_together

NAMES = ("hub", "police", "telecom")
SETUP = Setup(5, 2, NAMES, b"session-for-test")
HASHES, OPENINGS, SHARES, VERDICTS = range(2), range(2, 4), range(4, 6), range(6, 8)


def cheating(program, change):
    """Drive `program`, but send `change(number, payload)` instead of each payload."""
    answer, number = None, 0
    while True:
        try:
            request = program.send(answer)
        except StopIteration as stop:
            return stop.value
        if isinstance(request, Send):
            request = Send(request.to, change(number, request.payload))
            number += 1
        answer = yield request


def run_with_cheat(suite, change, *, cheat="telecom", setup=SETUP):
    source = random.Random(3).randbytes
    programs = {name: generate_key(suite, setup, name, source) for name in NAMES}
    programs[cheat] = cheating(programs[cheat], change)
    return run_together(programs)


def outputs(suite, record, shares, randomness, inputs=(b"x", b"y")):
    blinds = client.random_blinds(suite, len(inputs), randomness)
    query = threshold.Query(suite, record, inputs, blinds, bytes(16))
    for share in shares:
        query.receive(threshold.answer_request(suite, share, query.request, randomness))
    return query.finish()


def refreshed(suite, shares, session=b"session-refresh1"):
    setup = refresh_of(shares["hub"].record, session)
    source = random.Random(11).randbytes
    return run_together({n: refresh_share(suite, setup, s, source) for n, s in shares.items()})


def test_all_holders_agree_on_one_record(suite, shared_key):
    records = {share.record for share in shared_key.shares.values()}
    assert records == {shared_key.record}
    assert (shared_key.record.epoch, shared_key.record.generation) == (5, 0)
    threshold.verify_record(suite.group, shared_key.record)
    for share in shared_key.shares.values():
        assert threshold.load_share(suite.group, share.encode()) == share


def test_refresh_keeps_the_key_and_changes_every_share(suite, shared_key, randomness):
    fresh = refreshed(suite, shared_key.shares)
    record = fresh["hub"].record
    assert record.public == shared_key.record.public
    assert (record.epoch, record.generation) == (5, 1)
    threshold.verify_record(suite.group, record)
    for name, share in fresh.items():
        assert share.scalar != shared_key.shares[name].scalar
        assert record.public_shares[share.index - 1] not in shared_key.record.public_shares
    before = outputs(suite, shared_key.record, list(shared_key.shares.values())[:2], randomness)
    after = outputs(suite, record, list(fresh.values())[1:], randomness)
    assert before == after


def test_shares_of_two_generations_do_not_mix(suite, shared_key, randomness):
    fresh = refreshed(suite, shared_key.shares)
    record = fresh["hub"].record
    with pytest.raises(WrongEpochError, match="generation of shares"):
        outputs(suite, record, [fresh["hub"], shared_key.shares["police"]], randomness)
    # Even combined by a thief, one old and one new share give another function.
    element = suite.group.map_to_group(sha512(b"x").digest())
    mixed = {
        1: suite.group.multiply(fresh["hub"].scalar, element, "e"),
        2: suite.group.multiply(shared_key.shares["police"].scalar, element, "e"),
    }
    whole = {
        s.index: suite.group.multiply(s.scalar, element, "e") for s in list(fresh.values())[:2]
    }
    assert threshold.combine(suite.group, mixed) != threshold.combine(suite.group, whole)


def test_next_epoch_has_another_key(suite, shared_key, randomness):
    setup = next_epoch(shared_key.record, b"session-epoch-06")
    source = random.Random(12).randbytes
    shares = run_together({n: generate_key(suite, setup, n, source) for n in NAMES})
    record = shares["hub"].record
    assert record.epoch == 6
    assert record.public != shared_key.record.public
    old = outputs(suite, shared_key.record, list(shared_key.shares.values())[:2], randomness)
    assert outputs(suite, record, list(shares.values())[:2], randomness) != old


def test_opening_chosen_after_the_others_is_refused(suite):
    def change(number, payload):
        return payload[:1] + GENERATOR + payload[33:] if number in OPENINGS else payload

    with pytest.raises(RogueHolderError, match="telecom: opening differs from its hash"):
        run_with_cheat(suite, change)


def rogue(suite, first_commitment, setup=SETUP):
    """Announce and open a first commitment whose scalar the cheat does not know."""
    kept = {}

    def change(number, payload):
        if number in HASHES:
            return kept["hash"]
        return kept["opening"] if number in OPENINGS else payload

    honest = generate_key(suite, setup, "telecom", random.Random(4).randbytes)
    sent = [honest.send(None), honest.send(None)]
    assert all(isinstance(item, Send) for item in sent)
    # The honest opening is what the program would send after all hashes have come in.
    for _ in range(2):
        honest.send(None)
    opening = honest.send(b"").payload
    kept["opening"] = opening[:1] + first_commitment + opening[33:]
    label = setup.context + bytes([3])
    kept["hash"] = sha512(b"lianfang/oprf/opening/v1" + label + kept["opening"]).digest()
    return change


def test_rogue_share_without_possession_is_refused(suite):
    target = suite.group.multiply_base(encode_scalar(7))
    with pytest.raises(RogueHolderError, match="telecom: does not prove that it knows"):
        run_with_cheat(suite, rogue(suite, target))


def test_identity_as_commitment_is_refused(suite):
    with pytest.raises(MalformedMessageError, match="opening of telecom: item 0"):
        run_with_cheat(suite, rogue(suite, IDENTITY))


def test_copied_opening_is_refused(suite):
    """The proof names its place, so that nobody can pass off another's opening."""
    seen = []
    source = random.Random(3).randbytes
    programs = {name: generate_key(suite, SETUP, name, source) for name in NAMES}
    run_together(programs, lambda name, item: seen.append((name, item)))
    sent = [item.payload for name, item in seen if name == "hub" and isinstance(item, Send)]
    label = SETUP.context + bytes([3])
    copied = sent[2]
    seal = sha512(b"lianfang/oprf/opening/v1" + label + copied).digest()

    def change(number, payload):
        return seal if number in HASHES else copied if number in OPENINGS else payload

    with pytest.raises(RogueHolderError, match="telecom: does not prove"):
        run_with_cheat(suite, change)


@pytest.mark.parametrize("bad", [encode_scalar(9), bytes(32), b"\xff" * 32, b"", b"x" * 33])
def test_wrong_share_is_complained_of_and_named(suite, bad):
    def change(number, payload):
        # Wrong to one holder only, and again when asked to show it.
        return bad if number == SHARES[0] or number > VERDICTS[-1] else payload

    with pytest.raises(WrongShareError, match="telecom: share for hub breaks its commitments"):
        run_with_cheat(suite, change)


def test_false_complaint_names_both(suite):
    def change(number, payload):
        return payload[:-1] + bytes([1, 1]) if number in VERDICTS else payload

    with pytest.raises(RogueHolderError, match="hub shows a right share and telecom complains"):
        run_with_cheat(suite, change)


def test_right_share_shown_after_a_wrong_one_ends_the_set_up(suite):
    """No one else can see whether dealer or complainant lies, so neither is cleared."""

    def change(number, payload):
        return encode_scalar(9) if number == SHARES[0] else payload

    with pytest.raises(RogueHolderError, match="telecom shows a right share and hub complains"):
        run_with_cheat(suite, change)


def test_different_stories_are_found(suite):
    """Police is told of another polynomial than hub, with a matching hash and share."""
    second = {}
    program = generate_key(suite, SETUP, "telecom", random.Random(4).randbytes)
    for step in range(9):
        item = program.send(b"" if step == 4 else None)
        if isinstance(item, Send) and item.to == "police":
            second[step] = item.payload
        if step == 5:
            break

    def change(number, payload):
        # Message 1 is the hash to police, message 3 its opening.
        return second[1] if number == 1 else second[5] if number == 3 else payload

    # Police also has a share that does not fit, but the two stories are found first.
    with pytest.raises(RogueHolderError, match="was told other commitments"):
        run_with_cheat(suite, change)


@pytest.mark.parametrize(
    "verdict",
    [
        b"",
        bytes(64),
        bytes(64) + b"\x01",
        bytes(64) + b"\x01\x00",
        bytes(64) + b"\x02\x01\x01",
        bytes(64) + b"\x01\x04",
    ],
)
def test_malformed_verdict_is_refused(suite, verdict):
    with pytest.raises(MalformedMessageError):
        run_with_cheat(suite, lambda number, payload: verdict if number in VERDICTS else payload)


def test_messages_of_another_session_are_refused(suite):
    other = Setup(5, 2, NAMES, b"another-session!")
    source = random.Random(3).randbytes
    programs = {name: generate_key(suite, SETUP, name, source) for name in NAMES}
    programs["telecom"] = generate_key(suite, other, "telecom", source)
    with pytest.raises(RogueHolderError, match="opening differs from its hash"):
        run_together(programs)


def test_cheat_in_a_refresh_is_named(suite, shared_key):
    setup = refresh_of(shared_key.record, b"session-refresh2")
    source = random.Random(5).randbytes
    programs = {n: refresh_share(suite, setup, s, source) for n, s in shared_key.shares.items()}

    def change(number, payload):
        return encode_scalar(9) if number == SHARES[0] or number > VERDICTS[-1] else payload

    programs["telecom"] = cheating(programs["telecom"], change)
    with pytest.raises(WrongShareError, match="telecom: share for hub"):
        run_together(programs)


def test_refresh_of_a_stale_share_is_refused(suite, shared_key):
    fresh = refreshed(suite, shared_key.shares)
    setup = refresh_of(fresh["hub"].record, b"session-refresh3")
    with pytest.raises(UnsupportedParameterError, match="another key or generation"):
        refresh_share(suite, setup, shared_key.shares["hub"], bytes)


def test_refresh_finds_a_spoilt_share_of_our_own(suite, shared_key):
    spoilt = dict(shared_key.shares)
    spoilt["police"] = replace(spoilt["police"], scalar=encode_scalar(9))
    with pytest.raises(WrongShareError, match="our own share is not the one on record"):
        refreshed(suite, spoilt)


@pytest.mark.parametrize(
    ("holders", "threshold_", "session"),
    [
        (("a", "b"), 1, bytes(16)),
        (("a", "a"), 2, bytes(16)),
        (("a", "b"), 2, bytes(15)),
        (("a",), 1, bytes(16)),
    ],
)
def test_senseless_set_up_is_refused(holders, threshold_, session):
    with pytest.raises(UnsupportedParameterError):
        Setup(1, threshold_, holders, session)


def test_refusals_have_their_own_codes():
    kinds = (RogueHolderError, WrongShareError, WrongEpochError, InvalidProofError)
    assert len({kind.code for kind in kinds}) == len(kinds)
