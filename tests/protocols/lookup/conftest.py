import random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols.lookup.delta import make_delta

IDENTITY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NAME = {"hub": "hub", "epoch": 5, "contributor": "police", "number": 2}


def random_records(count, seed=0):
    """Records as a table holds them: sorted, one a tag. The contents are noise."""
    source = random.Random(seed)
    return sorted(source.randbytes(76) for _ in range(count))


def step(data, before, removed=(), upserted=(), now=1_800_000_000):
    """Sign the next version of the table of this folder's contributor."""
    return make_delta(IDENTITY, data, before, removed=removed, upserted=upserted, now=now, **NAME)


@pytest.fixture(scope="session")
def identity():
    return IDENTITY


@pytest.fixture(scope="session")
def records():
    """Make records by count and seed."""
    return random_records


@pytest.fixture(scope="session")
def next_version():
    """Make a signed delta from a table and its header."""
    return step


@pytest.fixture(scope="session")
def published():
    """Make a table of so many records: its signed header and its bytes."""

    def publish(count, seed=0):
        data = b"".join(random_records(count, seed))
        return step(b"", None, upserted=random_records(count, seed)).after, data

    return publish
