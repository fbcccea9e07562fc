import random
from types import SimpleNamespace

import pytest

from protocols.group.select import load_group
from protocols.oprf.keygen import generate_key
from protocols.oprf.setup import Setup
from protocols.oprf.suite import Mode, Suite
from protocols.program import run_together

NAMES = ("hub", "police", "telecom", "regulator", "notary")
SESSION = b"session-for-test"


@pytest.fixture(scope="session")
def group():
    return load_group()


@pytest.fixture(scope="session")
def suite(group):
    return Suite(group, Mode.VOPRF)


@pytest.fixture
def randomness():
    """Repeatable bytes; nothing here guards a secret."""
    return random.Random(9497).randbytes


def deal(suite, threshold, holders, *, seed=7, epoch=5):
    """Run a whole set-up in memory; return its shares by holder name."""
    source = random.Random(seed).randbytes
    setup = Setup(epoch, threshold, NAMES[:holders], SESSION)
    programs = {name: generate_key(suite, setup, name, source) for name in setup.holders}
    return run_together(programs)


@pytest.fixture(scope="session")
def shared_key(suite):
    """A 2-of-3 key: its public record and its shares by holder name."""
    shares = deal(suite, 2, 3)
    return SimpleNamespace(record=shares["hub"].record, shares=shares)


@pytest.fixture(scope="session")
def larger_key(suite):
    """A 3-of-5 key."""
    shares = deal(suite, 3, 5)
    return SimpleNamespace(record=shares["hub"].record, shares=shares)
