"""What the hub may change about a run that is open: end a phase for all, go on with fewer."""

import pytest

from protocols.errors import MalformedMessageError
from protocols.link import TransportError
from server.link import Relay

PARTIES = ("hub", "insurer", "police", "telecom")


@pytest.fixture
def relay():
    relay = Relay()
    relay.open_run("run-1", PARTIES)
    return relay


def endpoint(relay, party, phase="train"):
    return relay.local("run-1", phase, party=party, deadline_s=5.0)


def test_those_who_wait_hear_that_a_party_failed_before_it_came(relay):
    insurer = endpoint(relay, "insurer")
    relay.break_phase("run-1", "train", 1, "telecom", "it failed in the phase")
    with pytest.raises(
        TransportError, match=r"telecom broke off phase train\.1: it failed"
    ) as told:
        insurer.receive("telecom")
    assert told.value.party == "telecom"


def test_those_who_come_later_are_told_whose_failure_it_was(relay):
    relay.break_phase("run-1", "train", 1, "telecom", "it failed in the phase")
    with pytest.raises(TransportError, match="broken off by telecom") as told:
        endpoint(relay, "insurer")
    assert told.value.party == "telecom"


def test_phase_is_broken_once_and_by_the_first(relay):
    insurer = endpoint(relay, "insurer")
    relay.break_phase("run-1", "train", 1, "telecom", "first")
    relay.break_phase("run-1", "train", 1, "police", "second")
    with pytest.raises(TransportError, match="first") as told:
        insurer.receive("police")
    assert told.value.party == "telecom"


def test_only_a_party_of_an_open_run_breaks_a_phase(relay):
    with pytest.raises(MalformedMessageError, match="not in it"):
        relay.break_phase("run-1", "train", 1, "stranger", "why")
    with pytest.raises(TransportError, match="not open"):
        relay.break_phase("run-2", "train", 1, "telecom", "why")


def test_run_goes_on_with_some_of_its_parties(relay):
    gone = endpoint(relay, "telecom", "phases-telecom")
    relay.narrow_run("run-1", ("hub", "insurer", "police"))
    with pytest.raises(TransportError, match="goes on without you"):
        gone.receive("hub")
    with pytest.raises(TransportError, match="not open to telecom"):
        endpoint(relay, "telecom")
    insurer, police = endpoint(relay, "insurer"), endpoint(relay, "police")
    insurer.send("police", b"on we go")
    assert police.receive("insurer") == b"on we go"
    with pytest.raises(MalformedMessageError):
        insurer.send("telecom", b"still there?")


@pytest.mark.parametrize("parties", [("hub",), ("hub", "insurer", "stranger")])
def test_run_goes_on_with_parties_of_its_own_only(relay, parties):
    with pytest.raises(MalformedMessageError, match="two or more of its parties"):
        relay.narrow_run("run-1", parties)
    endpoint(relay, "telecom")


def test_last_words_are_heard_before_the_phase_ends(relay):
    hub, insurer = endpoint(relay, "hub"), endpoint(relay, "insurer")
    hub.send("insurer", b"refused: no overlap")
    relay.break_phase("run-1", "train", 1, "telecom", "it failed in the phase")
    assert insurer.receive("hub") == b"refused: no overlap"
    with pytest.raises(TransportError, match="broke off"):
        insurer.receive("hub")
