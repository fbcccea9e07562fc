import threading
import time

import pytest

from protocols.errors import MalformedMessageError
from protocols.link import Envelope, Kind, TransportError
from server.link import Relay

PARTIES = ("hub", "insurer", "telecom")


@pytest.fixture
def relay():
    relay = Relay(queue_bytes=10_000)
    relay.open_run("run-1", PARTIES)
    return relay


def endpoint(relay, party, **change):
    values = {"run": "run-1", "phase": "train", "deadline_s": 5.0} | change
    return relay.local(party=party, **values)


def data(to, body, run="run-1", phase="train.1"):
    return Envelope(run, phase, Kind.DATA, to, body).encode()


def queued(relay):
    return relay.status("run-1")["queued_bytes"]


def test_payloads_arrive_in_order_per_sender(relay):
    insurer, telecom, hub = (endpoint(relay, name) for name in ("insurer", "telecom", "hub"))
    for number in range(5):
        insurer.send("hub", bytes([number]))
        telecom.send("hub", bytes([100 + number]))
    assert [hub.receive("telecom")[0] for _ in range(5)] == [100, 101, 102, 103, 104]
    assert [hub.receive("insurer")[0] for _ in range(5)] == [0, 1, 2, 3, 4]
    assert hub.bytes_received == {"insurer": 5, "telecom": 5}
    assert insurer.bytes_sent == {"hub": 5}


def test_frame_waits_for_a_late_party(relay):
    insurer = endpoint(relay, "insurer")
    insurer.send("telecom", b"early")
    insurer.close()
    assert endpoint(relay, "telecom").receive("insurer") == b"early"


def test_sender_is_who_the_relay_knows(relay):
    # The envelope says "hub" as loudly as it can: in its only name field and in its body.
    telecom = relay.attach("run-1", "train.1", "telecom")
    telecom.accept(data("insurer", b"from hub"))
    frame = relay.attach("run-1", "train.1", "insurer").next_frame(0)
    assert Envelope.decode(frame).party == "telecom"


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x01\x03",
        data("police", b"x"),
        data("telecom", b"x"),
        data("insurer", b"x", run="run-2"),
        data("insurer", b"x", phase="train.2"),
        Envelope("run-1", "train.1", Kind.GONE, "insurer", b"x").encode(),
        Envelope("run-1", "train.1", Kind.CLOSED, body=b"x").encode(),
        Envelope("run-1", "train.1", Kind.HELLO).encode(),
    ],
)
def test_frame_that_no_party_may_send_is_malformed(relay, frame):
    with pytest.raises(MalformedMessageError):
        relay.attach("run-1", "train.1", "telecom").accept(frame)
    assert queued(relay) == 0


def test_outsider_and_unknown_run_look_alike(relay):
    answers = []
    for run in ("run-1", "run-9"):
        with pytest.raises(TransportError) as caught:
            relay.attach(run, "train.1", "police")
        answers.append((str(caught.value).replace(run, "RUN"), caught.value.retryable))
    assert answers[0] == answers[1]


def test_second_attachment_is_refused_for_a_while(relay):
    relay.attach("run-1", "train.1", "telecom")
    with pytest.raises(TransportError) as caught:
        relay.attach("run-1", "train.1", "telecom")
    assert caught.value.retryable


def test_lost_party_is_named_to_the_others(relay):
    insurer, telecom = endpoint(relay, "insurer"), endpoint(relay, "telecom")
    telecom.send("insurer", b"never read")
    telecom.abort("killed")
    for use in (lambda: insurer.receive("hub"), lambda: insurer.send("hub", b"x")):
        with pytest.raises(TransportError, match="telecom broke off") as caught:
            use()
        assert caught.value.retryable
        assert caught.value.party == "telecom"


def test_waiting_party_hears_of_a_loss_at_once(relay):
    insurer, telecom = endpoint(relay, "insurer", deadline_s=30), endpoint(relay, "telecom")
    threading.Timer(0.05, telecom.abort, ["killed"]).start()
    start = time.monotonic()
    with pytest.raises(TransportError, match="telecom broke off"):
        insurer.receive("telecom")
    assert time.monotonic() - start < 5


def test_broken_phase_needs_a_new_attempt(relay):
    endpoint(relay, "telecom").abort("killed")
    with pytest.raises(TransportError, match="new attempt") as caught:
        endpoint(relay, "insurer")
    assert not caught.value.retryable
    again = endpoint(relay, "telecom", attempt=2)
    again.send("insurer", b"second attempt")
    assert endpoint(relay, "insurer", attempt=2).receive("telecom") == b"second attempt"


def test_broken_phase_frees_its_memory(relay):
    telecom = endpoint(relay, "telecom")
    telecom.send("insurer", bytes(9_000))
    telecom.abort("killed")
    assert queued(relay) < 200


def test_party_that_left_is_not_waited_for(relay):
    insurer, telecom = endpoint(relay, "insurer", deadline_s=30), endpoint(relay, "telecom")
    telecom.send("insurer", b"last")
    telecom.close()
    assert insurer.receive("telecom") == b"last"
    with pytest.raises(TransportError, match="telecom left"):
        insurer.receive("telecom")
    before = queued(relay)
    insurer.send("telecom", b"nobody reads this")
    assert queued(relay) == before


def test_closed_run_tells_why_and_stays_closed(relay):
    insurer = endpoint(relay, "insurer")
    relay.close_run("run-1", "budget is spent")
    with pytest.raises(TransportError, match="budget is spent"):
        insurer.receive("telecom")
    with pytest.raises(TransportError, match="budget is spent"):
        insurer.send("telecom", b"x")
    with pytest.raises(TransportError, match="budget is spent"):
        endpoint(relay, "telecom")
    with pytest.raises(TransportError, match="stays so"):
        relay.open_run("run-1", PARTIES)


def test_deadline_ends_a_receive(relay):
    insurer = endpoint(relay, "insurer", deadline_s=0.05)
    endpoint(relay, "telecom")
    with pytest.raises(TransportError, match=r"nothing from telecom within 0\.05 s") as caught:
        insurer.receive("telecom")
    assert caught.value.retryable


def test_queue_never_exceeds_its_bound(relay):
    insurer = endpoint(relay, "insurer", deadline_s=0.05)
    for _ in range(10):
        insurer.send("telecom", bytes(900))
    before = queued(relay)
    assert 9_000 < before <= 10_000
    with pytest.raises(TransportError, match="no space for telecom"):
        insurer.send("telecom", bytes(900))
    assert queued(relay) == before


def test_single_frame_over_the_bound_passes_alone(relay):
    insurer = endpoint(relay, "insurer")
    insurer.send("telecom", bytes(50_000))
    assert len(endpoint(relay, "telecom").receive("insurer")) == 50_000


def test_sender_goes_on_when_space_is_made(relay):
    insurer, telecom = endpoint(relay, "insurer"), endpoint(relay, "telecom")
    payloads = [bytes([i]) * 3_000 for i in range(50)]
    sender = threading.Thread(target=lambda: [insurer.send("telecom", p) for p in payloads])
    sender.start()
    assert [telecom.receive("insurer") for _ in payloads] == payloads
    sender.join(5)
    assert not sender.is_alive()


def test_full_queue_does_not_block_the_awaited_party(relay):
    # The bound is full of telecom's frames to the hub, which waits for the insurer first.
    telecom, insurer, hub = (endpoint(relay, name) for name in ("telecom", "insurer", "hub"))
    for _ in range(3):
        telecom.send("hub", bytes(3_000))
    sender = threading.Thread(target=insurer.send, args=("hub", bytes(3_000)))
    sender.start()
    assert len(hub.receive("insurer")) == 3_000
    assert len(hub.receive("telecom")) == 3_000
    sender.join(5)


def test_blocked_sender_is_freed_by_the_end_of_the_run(relay):
    insurer = endpoint(relay, "insurer", deadline_s=30)
    errors = []

    def fill():
        try:
            while True:
                insurer.send("telecom", bytes(3_000))
        except TransportError as error:
            errors.append(str(error))

    sender = threading.Thread(target=fill)
    sender.start()
    relay.close_run("run-1", "operator said so")
    sender.join(5)
    assert errors == ["run run-1 is closed: operator said so"]


def test_traffic_is_counted_both_ways(relay):
    insurer, telecom = endpoint(relay, "insurer"), endpoint(relay, "telecom")
    insurer.send("telecom", bytes(1_000))
    sent = {(t.party, t.direction): t.size_bytes for t in relay.traffic("run-1")}
    assert set(sent) == {("insurer", "sent")}
    telecom.receive("insurer")
    found = {(t.party, t.phase, t.direction): t.size_bytes for t in relay.traffic("run-1")}
    size = len(data("insurer", bytes(1_000)))
    assert found == {
        ("insurer", "train.1", "sent"): size,
        ("telecom", "train.1", "received"): size,
    }


def test_phases_per_run_are_limited():
    relay = Relay(max_phases=2)
    relay.open_run("run-1", PARTIES)
    for attempt in (1, 2):
        endpoint(relay, "hub", attempt=attempt)
    with pytest.raises(TransportError, match="no more"):
        endpoint(relay, "hub", attempt=3)


def test_opening_a_run_again_for_others_is_refused(relay):
    relay.open_run("run-1", reversed(PARTIES))
    with pytest.raises(TransportError):
        relay.open_run("run-1", ("hub", "police"))
    with pytest.raises(MalformedMessageError):
        relay.open_run("run-2", ("hub",))


def test_stopped_relay_opens_nothing(relay):
    relay.close()
    with pytest.raises(TransportError):
        relay.open_run("run-2", PARTIES)


def test_endpoint_is_silent_after_leaving(relay):
    insurer = endpoint(relay, "insurer")
    insurer.close()
    insurer.close()
    with pytest.raises(TransportError, match="has left"):
        insurer.receive("telecom")
    with pytest.raises(TransportError, match="has left"):
        insurer.send("telecom", b"x")


def test_exception_in_a_program_breaks_the_phase(relay):
    telecom = endpoint(relay, "telecom")
    with pytest.raises(ZeroDivisionError), endpoint(relay, "insurer"):
        raise ZeroDivisionError
    with pytest.raises(TransportError, match=r"insurer broke off.*ZeroDivisionError"):
        telecom.receive("insurer")
