"""A hub's keeping over each database, and a second process's view of it."""

import pytest

from compliance.state.database import open_state
from server.home import HubHome
from server.keeping.locks import DatabaseLocks, FileLocks
from server.keeping.place import Keeping, keeping_of

NOW = 1_800_000_000


@pytest.fixture(params=["sqlite", "postgres"])
def hub(request, tmp_path):
    """A hub that keeps what changes in a file, or in PostgreSQL."""
    address = "" if request.param == "sqlite" else request.getfixturevalue("postgres")()
    home = HubHome(tmp_path / "hub")
    home.create(
        name="lianfang", host="127.0.0.1", link_port=0, fleet_port=0, api_port=0, now=NOW,
        database=address,
    )  # fmt: skip
    return home


@pytest.fixture
def keeping(hub):
    made = keeping_of(hub.root)
    yield made
    made.close()


@pytest.fixture
def other(hub, tmp_path):
    """What another process of the same hub has open; with a directory of its own if it may."""
    address = hub.settings().database
    if address:
        made = Keeping(
            tmp_path / "copy", open_state(address), DatabaseLocks(address), is_shared=True
        )
    else:
        database = open_state(hub.root / "state.sqlite")
        made = Keeping(hub.root, database, FileLocks(hub.root / "locks"), is_shared=False)
    yield made
    made.close()
