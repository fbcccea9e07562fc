"""A worker that asks holders by way of the process that serves the link."""

import threading
import time

import pytest

from protocols.errors import MalformedMessageError
from protocols.link import TransportError
from protocols.standing import Answer, Ask, Refusal, decode_frame
from server.home import HubHome
from server.link.relay import Relay
from server.link.service import Service
from server.standing import HolderRefusedError, Standing
from server.standing.forwarding import Forwarding, answer_forwarded


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    made = HubHome(tmp_path_factory.mktemp("hub"))
    made.create(
        name="lianfang", host="127.0.0.1", link_port=0, fleet_port=0, api_port=0,
        now=int(time.time()),
    )  # fmt: skip
    return made


class Link:
    """The process that serves the link, in this one: it may be stopped and started again."""

    def __init__(self, home):
        self.home = home
        self.address = f"127.0.0.1:{home.settings().link_port}"

    def start(self):
        self.standing = Standing()
        self.service = Service(
            Relay(), hub="lianfang", standing=self.standing,
            on_control=lambda request: answer_forwarded(self.standing, request),
        )  # fmt: skip
        folder = self.home.authority
        self.service.start(
            self.address, authority=folder / "ca.crt", certificate=folder / "server.pem",
            key=folder / "server.key",
        )  # fmt: skip

    def stop(self):
        self.service.stop(grace_s=0.2)

    def hold(self, name, answer):
        """A node that answers every question by `answer(ask)`, None for silence."""
        stream = self.standing.join(name)

        def work():
            while (frame := stream.next_frame()) is not None:
                asked = decode_frame(frame)
                if isinstance(asked, Ask) and (made := answer(asked)) is not None:
                    stream.accept(made.encode())

        threading.Thread(target=work, daemon=True).start()


@pytest.fixture
def link(home):
    made = Link(home)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def worker(home, link):
    folder = home.authority
    made = Forwarding(
        link.address, authority=folder / "ca.crt", certificate=folder / "hub.pem",
        key=folder / "hub.key",
    )  # fmt: skip
    made.start()
    yield made
    made.close()
    made.close()


def until(condition):
    ends_at = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(0.02)


def test_answer_arrives_as_it_was_given(link, worker):
    link.hold("police", lambda ask: Answer(ask.number, ask.kind.encode() + ask.body[::-1]))
    until(lambda: worker.connected() == {"police"})
    assert worker.ask("police", "evaluate", bytes(range(256)), 5) == b"evaluate" + bytes(
        reversed(range(256))
    )


def test_refusal_keeps_its_code(link, worker):
    link.hold("police", lambda ask: Refusal(ask.number, "quota_exhausted", "5 of 5 used"))
    with pytest.raises(HolderRefusedError, match="police refuses: 5 of 5 used") as refused:
        worker.ask("police", "evaluate", b"", 5)
    assert (refused.value.holder, refused.value.code) == ("police", "quota_exhausted")


def test_absent_and_silent_holders_are_named(link, worker):
    link.hold("police", lambda _: None)
    for name in ("telecom", "police"):
        with pytest.raises(TransportError) as lost:
            worker.ask(name, "evaluate", b"", 0.1)
        assert (lost.value.party, lost.value.retryable) == (name, True)


def test_nobody_is_connected_while_the_link_is_away(link, worker):
    link.hold("police", lambda ask: Answer(ask.number, b"1"))
    until(lambda: worker.connected() == {"police"})
    link.stop()
    with pytest.raises(TransportError, match="serves the link is away") as lost:
        worker.ask("police", "evaluate", b"", 5)
    assert lost.value.party == "police"
    until(lambda: worker.connected() == frozenset())
    link.start()
    link.hold("police", lambda ask: Answer(ask.number, b"2"))
    until(lambda: worker.connected() == {"police"})
    assert worker.ask("police", "evaluate", b"", 5) == b"2"


@pytest.mark.parametrize(
    "request_",
    [
        {"action": "ask_holder"},
        {"action": "ask_holder", "holder": "police", "kind": "k", "body": "zz", "timeout_s": 1},
        {"action": "ask_holder", "holder": 1, "kind": "k", "body": "", "timeout_s": 1},
        {"action": "other"},
    ],
)
def test_what_is_no_such_request_is_refused(request_):
    with pytest.raises(MalformedMessageError):
        answer_forwarded(Standing(), request_)
