"""Set-ups that fail: whoever is at fault is named, the former epoch stays, a retry works."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clients.node.files import load_json, store_json
from compliance.errors import NotPermittedError
from protocols.epoch.orders import RUN, SignedRecord
from protocols.program import Send

# Steps of a dealer among three holders: two payloads each of hash, opening, share, verdict.
SHARES = range(4, 6)

# A holder of its own process that says so when it is in the middle, and stands still there.
STUCK = """
import sys, threading, time
from pathlib import Path
from clients.holder.home import HolderHome
from clients.holder.service import HolderService
from clients.node.home import Home
from protocols.program import Receive

def stuck(program):
    answer, received = None, 0
    while True:
        request = program.send(answer)
        if isinstance(request, Receive):
            received += 1
            if received == 4:
                print("in the middle", flush=True)
                threading.Event().wait()
        answer = yield request

service = HolderService(HolderHome(Home(Path(sys.argv[1]))))
honest = service._setups._program
service._setups._program = lambda terms: stuck(honest(terms))
service.start()
threading.Event().wait()
"""


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


def cheat(service, change):
    honest = service._setups._program
    service._setups._program = lambda terms: cheating(honest(terms), change)


def told(progress):
    return [(item["holder"], item["code"]) for item in progress["failures"]]


def unchanged(place, before):
    """Whether every holder is as it was before the set-up, drafts of nobody aside."""
    names = ("hub", "police", "telecom")
    return before == {name: place.share(name).encode() for name in names}


def shares(place):
    return {name: place.share(name).encode() for name in ("hub", "police", "telecom")}


def test_policy_that_refuses_is_read_by_the_operator(holders, make_agreed):
    holders.begin()
    holders.agree_otherwise(make_agreed(quota=1_200_000))
    before = shares(holders)
    holders.set_policy("telecom", max_quota=1000)
    progress = holders.begin(quotas={"insurer": 1200000})
    assert progress["state"] == "failed"
    assert sorted(told(progress)) == [("police", "not_permitted"), ("telecom", "not_permitted")]
    texts = {item["holder"]: item["text"] for item in progress["failures"]}
    assert "1200000 for insurer is over this holder's 200000" in texts["police"]
    assert "over this holder's 1000" in texts["telecom"]
    assert unchanged(holders, before)
    assert holders.holding.store.epochs() == (1,)
    for name in ("police", "telecom"):
        holders.set_policy(name, max_quota=2000000)
    assert holders.begin(quotas={"insurer": 1200000})["state"] == "done"


def test_holder_that_takes_part_in_none_says_so(holders):
    holders.set_policy("police", decide="never")
    progress = holders.begin()
    assert told(progress) == [("police", "not_permitted")]
    assert "takes part in no new epoch" in progress["failures"][0]["text"]


def test_broken_policy_file_is_a_refusal_with_its_cure(holders):
    holders.set_policy("police", decide="perhaps")
    progress = holders.begin()
    assert told(progress) == [("police", "config_error")]
    assert "decide must be policy or never" in progress["failures"][0]["text"]


@pytest.mark.parametrize(
    ("shown", "code", "text"),
    [
        # It stands by its wrong share, which anyone can check.
        (range(8, 10), "wrong_share", "telecom: share for hub breaks its commitments"),
        # It shows a right one: then it is one word against another, and both are named.
        ((), "rogue_holder", "telecom shows a right share and hub complains of a wrong one"),
    ],
)
def test_rogue_dealer_is_named_and_excluded_next_time(holders, shown, code, text):
    holders.begin()
    before = shares(holders)

    def wrong_share(number, payload):
        wrong = number in SHARES or number in shown
        return bytes([payload[0] ^ 1]) + payload[1:] if wrong else payload

    cheat(holders.services["telecom"], wrong_share)
    progress = holders.begin()
    assert progress["state"] == "failed"
    assert told(progress)[0] == ("hub", code)
    assert text in progress["failures"][0]["text"]
    assert ("police", code) in told(progress)
    assert unchanged(holders, before)
    assert holders.begin(holders=["hub", "police"])["state"] == "done"


def test_holder_that_signs_something_else_is_named(holders):
    holders.begin()
    before = shares(holders)
    service = holders.services["telecom"]
    honest = service._answers[RUN]

    def unsigned(body):
        found = SignedRecord.decode(honest(body))
        return SignedRecord(found.record, bytes(64)).encode()

    service._answers[RUN] = unsigned
    progress = holders.begin()
    assert told(progress) == [("hub", "invalid_proof")]
    assert "signature of telecom" in progress["failures"][0]["text"]
    assert unchanged(holders, before)


def test_garbage_of_a_holder_is_named(holders):
    cheat(holders.services["police"], lambda number, payload: b"garbage")
    progress = holders.begin()
    assert progress["state"] == "failed"
    assert progress["failures"][0]["holder"] == "hub"
    assert progress["failures"][0]["code"] in {"rogue_holder", "malformed_message"}


def test_rogue_refresh_leaves_the_old_shares_in_use(holders, suite):
    holders.begin()
    before = shares(holders)
    cheat(holders.services["telecom"], lambda number, payload: payload[:-1] + b"\x01")
    assert holders.followed(action="refresh_epoch", epoch=1)["state"] == "failed"
    assert unchanged(holders, before)
    signed, _ = holders.request((b"A800000014",))
    assert holders.standing.ask("police", "evaluate", signed.encode(), 10)
    holders.stop("telecom")
    holders.start("telecom")
    assert holders.followed(action="refresh_epoch", epoch=1)["state"] == "done"


def test_frames_changed_on_the_relay_are_noticed(holders):
    relay, forward = holders.relay, type(holders.relay).attach

    def attach(run, label, party, resumption=None):
        attachment = forward(relay, run, label, party, resumption)
        accept = attachment.accept

        def altered(frame, timeout_s=None):
            frame = bytes(frame)
            changed = frame[:-1] + bytes([frame[-1] ^ 1]) if len(frame) > 100 else frame
            accept(changed, timeout_s)

        attachment.accept = altered
        return attachment

    relay.attach = attach
    progress = holders.begin()
    assert progress["state"] == "failed"
    assert {code for _, code in told(progress)} == {"invalid_proof"}


def test_other_key_under_a_known_name_is_refused(holders):
    path = holders.root / "telecom/node.json"
    config = load_json(path)
    config["peers"]["police"] = "11" * 32
    store_json(path, config)
    started = time.monotonic()
    progress = holders.begin()
    # It never came to the relay: the others must not wait for it until their deadline.
    assert time.monotonic() - started < 5
    # Under that key the agreement that it has is not signed by all.
    assert told(progress)[0] == ("telecom", "not_permitted")
    assert "hold_share: denied: agreement" in progress["failures"][0]["text"]


def test_hub_with_another_identity_is_refused(holders):
    for name in ("telecom", "police"):
        path = holders.root / name / "node.json"
        config = load_json(path)
        config["hub"]["identity"] = "22" * 32
        store_json(path, config)
    progress = holders.begin()
    assert set(told(progress)) == {("telecom", "not_permitted"), ("police", "not_permitted")}


def test_partner_that_is_not_pinned_at_a_holder_is_named(holders):
    path = holders.root / "telecom/node.json"
    config = load_json(path)
    del config["peers"]["insurer"]
    store_json(path, config)
    progress = holders.begin()
    assert told(progress) == [("telecom", "not_permitted")]
    assert "insurer: its identity key is not pinned" in progress["failures"][0]["text"]


def test_second_set_up_waits_for_the_first(holders):
    release = []

    def slow(program):
        answer = None
        while True:
            try:
                request = program.send(answer)
            except StopIteration as stop:
                return stop.value
            if not release:
                with pytest.raises(Exception, match="is running"):
                    holders.ask(action="begin_epoch")
                release.append(True)
            answer = yield request

    service = holders.services["telecom"]
    honest = service._setups._program
    service._setups._program = lambda terms: slow(honest(terms))
    assert holders.begin()["state"] == "done"
    assert release


def test_holder_lost_before_its_activation_gets_it_later(holders, wait_until):
    def lose(body):
        raise NotPermittedError("its disk is full")

    holders.services["telecom"]._answers["epoch.activate"] = lose
    progress = holders.begin()
    assert (progress["state"], progress["done"], progress["total"]) == ("done", 1, 2)
    (epoch,) = holders.ask(action="epoch_status")["epochs"]
    assert epoch["waiting"] == {"telecom": "its disk is full"}
    holders.stop("telecom")
    holders.start("telecom")
    holders.clock.advance(61)
    wait_until(lambda: not holders.ask(action="epoch_status")["epochs"][0]["waiting"])
    assert holders.share("telecom").record == holders.share("hub").record


def test_activation_that_is_repeated_changes_nothing(holders):
    holders.begin()
    before = shares(holders)
    body = holders.holding.store.signed(1).format()
    digest = holders.standing.ask("telecom", "epoch.activate", body, 10)
    assert digest == holders.holding.store.manifest(1).digest
    assert unchanged(holders, before)


def test_unknown_question_is_refused(holders):
    with pytest.raises(Exception, match="answers no keygen"):
        holders.standing.ask("telecom", "keygen.steal", b"", 10)


@pytest.mark.parametrize("kind", ["evaluate", "keygen.announce", "keygen.run", "epoch.activate",
                                  "epoch.end"])  # fmt: skip
def test_nonsense_of_the_hub_is_refused_as_such(holders, kind):
    with pytest.raises(Exception, match="malformed_message"):
        holders.standing.ask("telecom", kind, b"\x00nonsense", 10)


def test_killed_holder_is_named_and_a_repeat_works(place, wait_until):
    place.start("police")
    stuck = subprocess.Popen(
        [sys.executable, "-c", STUCK, str(place.root / "telecom")],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    try:
        wait_until(lambda: "telecom" in place.standing.connected())
        place.ask(action="begin_epoch")
        assert stuck.stdout.readline() == b"in the middle\n"
        os.kill(stuck.pid, signal.SIGKILL)
        wait_until(lambda: place.ask(action="epoch_progress")["state"] != "running")
    finally:
        stuck.kill()
        stuck.wait()
        stuck.stdout.close()
    progress = place.ask(action="epoch_progress")
    assert progress["state"] == "failed"
    assert all("telecom" in item["text"] for item in progress["failures"])
    assert place.holding.store.epochs() == ()
    wait_until(lambda: "telecom" not in place.standing.connected())
    place.start("telecom")
    assert place.begin()["state"] == "done"
