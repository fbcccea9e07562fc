"""Databases of both kinds: SQLite in a file, and a schema of a real PostgreSQL."""

from contextlib import contextmanager

import pytest

from compliance.state.database import open_state


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request):
    """The kind of database."""
    return request.param


@pytest.fixture
def make_address(kind, tmp_path, request):
    """Make addresses of fresh, empty databases."""

    def make(name="state"):
        if kind == "sqlite":
            return f"sqlite:///{tmp_path}/{name}.sqlite"
        return request.getfixturevalue("postgres")()

    return make


@pytest.fixture
def address(make_address):
    """The address of a fresh, empty database."""
    return make_address()


@pytest.fixture
def state(address):
    """A fresh database, opened."""
    with open_state(address) as found:
        yield found


@pytest.fixture
def undone(state):
    """A transaction that an error undoes."""

    @contextmanager
    def transaction():
        with pytest.raises(KeyError), state.transaction():  # noqa: PT012 - the block is the test's
            yield
            raise KeyError

    return transaction
