"""A corked transport: everything is sent once and in order, and nothing waits for long."""

import asyncio

import pytest

from server.api.corking import MAX_HELD, Corked


class Sent(asyncio.Transport):
    """What was written, write by write."""

    def __init__(self):
        super().__init__({"peername": ("192.0.2.1", 1)})
        self.writes, self.ended = [], ""

    def write(self, data):
        self.writes.append(bytes(data))

    def close(self):
        self.ended = "closed"

    def abort(self):
        self.ended = "aborted"

    def is_closing(self):
        return bool(self.ended)


def written(use):
    """Return what a use has sent, at once and once the loop came round."""

    async def run():
        transport = Sent()
        use(Corked(transport, asyncio.get_running_loop()))
        at_once = list(transport.writes)
        await asyncio.sleep(0)
        return at_once, transport.writes, transport.ended

    return asyncio.run(run())


def test_head_and_body_go_together():
    def use(corked):
        for data in (b"head ", b"body", b""):
            corked.write(data)

    assert written(use) == ([b"head body"], [b"head body"], "")


def test_small_write_alone_waits_for_one_turn():
    assert written(lambda corked: corked.write(b"continue")) == ([], [b"continue"], "")


def test_large_write_does_not_wait():
    large = bytes(MAX_HELD + 1)
    assert written(lambda corked: corked.write(large)) == ([large], [large], "")


def test_order_is_kept_over_many_writes():
    pieces = [b"%d " % number for number in range(9)]
    _, sent, _ = written(lambda corked: [corked.write(piece) for piece in pieces])
    assert b"".join(sent) == b"".join(pieces)


@pytest.mark.parametrize(("end", "sent"), [("close", [b"last"]), ("abort", [])])
def test_end_sends_or_drops_what_is_kept(end, sent):
    def use(corked):
        corked.write(b"last")
        getattr(corked, end)()

    at_once, later, ended = written(use)
    assert at_once == later == sent
    assert ended.startswith(end)


def test_everything_else_is_the_transports():
    def use(corked):
        assert corked.get_extra_info("peername") == ("192.0.2.1", 1)
        assert not corked.is_closing()

    assert written(use) == ([], [], "")
