"""A sealed program speaks to its peers through seals and to everybody else in the open."""

from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from protocols.dp.events import Gaussian
from protocols.errors import InvalidProofError
from protocols.program import Charge, Checkpoint, Progress, Receive, Send, run_together
from protocols.seal import derive_pair
from protocols.seal.program import sealed

KEYS = {
    name: X25519PrivateKey.from_private_bytes(name[:1] * 32) for name in (b"police", b"telecom")
}


def pair(ours, theirs, phase="epoch"):
    peer = KEYS[theirs.encode()].public_key().public_bytes_raw()
    return derive_pair(
        KEYS[ours.encode()],
        peer,
        run="run-1",
        plan_hash=bytes(32),
        ours=ours,
        theirs=theirs,
        phase=phase,
        attempt=1,
    )


def speaker():
    yield Send("telecom", b"secret")
    yield Send("hub", b"open")
    yield Send("telecom", b"secret")
    answer = yield Receive("telecom")
    note = yield Receive("hub")
    return answer, note


def listener():
    first = yield Receive("police")
    second = yield Receive("police")
    yield Send("police", first + second)
    return second


def relay():
    heard = yield Receive("police")
    yield Send("police", heard.upper())


def test_payloads_reach_the_peer_and_nobody_else_reads_them():
    seen = []
    results = run_together(
        {
            "police": sealed(speaker(), {"telecom": pair("police", "telecom")}),
            "telecom": sealed(listener(), {"police": pair("telecom", "police")}),
            "hub": relay(),
        },
        watch=lambda name, asked: seen.append((name, asked)),
    )
    assert results["police"] == (b"secretsecret", b"OPEN")
    assert results["telecom"] == b"secret"
    sent = [asked.payload for name, asked in seen if isinstance(asked, Send)]
    assert not any(b"secret" in payload for payload in sent)
    # Equal payloads do not look equal, and what goes to the hub is open.
    assert len(set(sent)) == len(sent)
    assert b"open" in sent


def test_other_requests_pass_as_they_are():
    asked = [Charge("a", Gaussian(1.0, 1)), Checkpoint(1, b"s"), Progress("p", 1, 2)]

    def program():
        first = yield asked[0]
        second = yield asked[1]
        third = yield asked[2]
        return [first, second, third]

    wrapped = sealed(program(), {"telecom": pair("police", "telecom")})
    assert next(wrapped) is asked[0]
    assert wrapped.send(None) is asked[1]
    assert wrapped.send(None) is asked[2]
    with pytest.raises(StopIteration) as stop:
        wrapped.send(None)
    assert stop.value.value == [None, None, None]


def test_frame_of_another_phase_ends_the_program_and_closes_it():
    state = SimpleNamespace(closed=False)

    def program():
        try:
            yield Receive("telecom")
        finally:
            state.closed = True

    wrapped = sealed(program(), {"telecom": pair("police", "telecom")})
    next(wrapped)
    with pytest.raises(InvalidProofError):
        wrapped.send(pair("telecom", "police", phase="train").sealer.seal(b"x"))
    assert state.closed


def test_closing_the_wrapper_closes_the_program():
    state = SimpleNamespace(closed=False)

    def program():
        try:
            yield Send("telecom", b"x")
        finally:
            state.closed = True

    wrapped = sealed(program(), {})
    next(wrapped)
    wrapped.close()
    assert state.closed
