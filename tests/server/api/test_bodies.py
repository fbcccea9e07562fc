"""Bodies that come in pieces, by a request whose client is a list of pauses and pieces."""

import asyncio

import pytest
from fastapi import Request

from server.api.bodies import read_body
from server.api.errors import BodyIncompleteError, BodyTooLargeError, BodyTooSlowError

KIND = "application/x"


def read(pieces, *, limit=100, patience_s=10.0, ends=True):
    """Read a body of `(pause_s, piece)`; without its end the client hangs up instead."""
    left = list(pieces)

    async def receive():
        if not left:
            return {"type": "http.disconnect"}
        pause_s, piece = left.pop(0)
        await asyncio.sleep(pause_s)
        return {"type": "http.request", "body": piece, "more_body": bool(left) or not ends}

    scope = {"type": "http", "headers": [(b"content-type", KIND.encode())]}
    request = Request(scope, receive)
    reading = read_body(request, media_type=KIND, limit=limit, patience_s=patience_s)
    return asyncio.run(reading), len(left)


def test_body_of_exactly_the_limit_is_read():
    assert read([(0, b"x" * 60), (0, b"y" * 40)])[0] == b"x" * 60 + b"y" * 40


def test_reading_ends_at_the_limit():
    pieces = [(0, bytes(60))] * 1000
    with pytest.raises(BodyTooLargeError):
        read(pieces)


def test_slow_body_is_given_up():
    with pytest.raises(BodyTooSlowError):
        read([(0.05, b"x")] * 50, patience_s=0.2)


def test_large_body_may_take_its_time():
    body, _ = read([(0.03, bytes(8 << 10))] * 10, limit=1 << 20, patience_s=0.15)
    assert len(body) == 80 << 10


def test_client_that_hangs_up_leaves_no_body():
    with pytest.raises(BodyIncompleteError):
        read([(0, b"x")], ends=False)
