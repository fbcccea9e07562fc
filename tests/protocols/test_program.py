import pytest

from protocols.dp.events import Gaussian
from protocols.errors import MalformedMessageError, OutOfTurnError
from protocols.program import (
    Charge,
    Checkpoint,
    Progress,
    Receive,
    Send,
    drive,
    run_together,
)


def ping(other):
    yield Send(other, b"1")
    yield Send(other, b"2")
    answer = yield Receive(other)
    return answer


def pong(other):
    first = yield Receive(other)
    second = yield Receive(other)
    yield Send(other, second + first)
    return first


def test_payloads_arrive_in_order():
    assert run_together({"a": ping("b"), "b": pong("a")}) == {"a": b"21", "b": b"1"}


def test_order_of_programs_does_not_matter():
    assert run_together({"b": pong("a"), "a": ping("b")}) == {"a": b"21", "b": b"1"}


def test_queues_of_two_senders_are_apart():
    def sender(payload):
        yield Send("c", payload)

    def receiver():
        from_b = yield Receive("b")
        from_a = yield Receive("a")
        return from_a, from_b

    programs = {"a": sender(b"a"), "b": sender(b"b"), "c": receiver()}
    assert run_together(programs)["c"] == (b"a", b"b")


def test_every_other_request_is_answered_with_none():
    def body():
        event = Gaussian(1.0)
        requests = [Charge("x", event), Checkpoint(1, b"s"), Progress("p", 1, 2), Send("b", b"")]
        answers = yield requests[0]
        return [answers, (yield requests[1]), (yield requests[2]), (yield requests[3])]

    def reader():
        yield Receive("a")

    assert run_together({"a": body(), "b": reader()})["a"] == [None] * 4


def test_watch_sees_each_request_once_in_order():
    seen = []
    run_together(
        {"a": ping("b"), "b": pong("a")}, lambda name, request: seen.append((name, request))
    )
    assert [request for name, request in seen if name == "a"] == [
        Send("b", b"1"),
        Send("b", b"2"),
        Receive("b"),
    ]
    assert [type(request) for name, request in seen if name == "b"] == [Receive, Receive, Send]


def test_watch_sees_a_request_before_it_is_performed():
    class StopError(Exception):
        pass

    arrived = []

    def receiver():
        arrived.append((yield Receive("a")))

    def watch(name, request):
        if isinstance(request, Send):
            raise StopError

    def sender():
        yield Send("b", b"late")

    with pytest.raises(StopError):
        run_together({"a": sender(), "b": receiver()}, watch)
    assert arrived == []


def test_waiting_in_a_circle_is_out_of_turn():
    def waiting(other):
        yield Receive(other)

    with pytest.raises(OutOfTurnError, match="all of a, b wait"):
        run_together({"a": waiting("b"), "b": waiting("a")})


def test_waiting_for_one_who_has_returned_is_out_of_turn():
    def quick():
        return 1
        yield

    def waiting():
        yield Receive("a")

    with pytest.raises(OutOfTurnError, match="all of b wait"):
        run_together({"a": quick(), "b": waiting()})


def test_error_of_a_program_comes_out():
    def failing():
        yield Receive("b")
        raise MalformedMessageError("x: wrong")

    with pytest.raises(MalformedMessageError, match="x: wrong"):
        run_together({"a": failing(), "b": ping("a")})


def test_program_without_requests_returns_at_once():
    def quick():
        return 7
        yield

    assert run_together({"a": quick()}) == {"a": 7}


def test_drive_performs_in_order_and_returns_the_result():
    performed = []

    def perform(request):
        performed.append(request)
        return b"payload" if isinstance(request, Receive) else None

    assert drive(ping("b"), perform) == b"payload"
    assert performed == [Send("b", b"1"), Send("b", b"2"), Receive("b")]


def test_failed_charge_stops_the_program_before_the_send():
    def body():
        yield Charge("step", Gaussian(1.0))
        yield Send("b", b"release")

    performed = []

    def perform(request):
        performed.append(request)
        raise OutOfTurnError("ledger: closed")

    with pytest.raises(OutOfTurnError):
        drive(body(), perform)
    assert [type(request) for request in performed] == [Charge]


def test_payloads_and_states_do_not_print():
    assert "secret" not in repr(Send("b", b"secret")) + repr(Checkpoint(1, b"secret"))
