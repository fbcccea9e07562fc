"""A worker's copy of the shares: what ends at the hub ends there, what it lacks it tells."""

import shutil
import time

import pytest

from compliance.errors import UnknownEpochError
from server.epochs.following import FollowedEpochs
from server.epochs.holding import open_holding
from server.home import HubHome


@pytest.fixture
def worker(place):
    """A second holding over a copy of `holder/`, on the same database."""
    opened = []

    def make():
        root = place.root / f"copy-{len(opened)}"
        root.mkdir()
        for name in ("hub.json", "identity.key"):
            shutil.copy(place.hub.root / name, root / name)
        shutil.copytree(place.hub.root / "holder", root / "holder")
        shutil.copytree(place.hub.root / "authority", root / "authority")
        (root / "state.sqlite").symlink_to(place.hub.root / "state.sqlite")
        holding = open_holding(HubHome(root), suite=place.suite, clock=place.clock)
        opened.append(holding)
        return holding

    yield make
    for holding in opened:
        holding.close()


def test_share_of_an_ended_epoch_is_destroyed_in_the_copy(place, worker):
    place.start("police", "telecom")
    assert place.followed(action="begin_epoch")["state"] == "done"
    holding = worker()
    followed = FollowedEpochs(holding)
    followed.look()
    assert holding.store.share(1)
    place.ask(action="end_epoch", epoch=1)
    # What another process changed is seen within a tenth of a second.
    time.sleep(0.2)
    followed.look()
    with pytest.raises(UnknownEpochError):
        holding.store.share(1)


def test_share_of_an_epoch_that_is_over_is_destroyed(place, worker):
    place.start("police", "telecom")
    assert place.followed(action="begin_epoch")["state"] == "done"
    holding = worker()
    over = holding.store.manifest(1)
    place.clock.advance(over.not_after + over.grace_s - place.clock.now())
    FollowedEpochs(holding).look()
    with pytest.raises(UnknownEpochError):
        holding.store.share(1)


def test_what_the_copy_lacks_is_told_once(place, worker, caplog):
    holding = worker()
    followed = FollowedEpochs(holding)
    followed.look()
    place.start("police", "telecom")
    assert place.followed(action="begin_epoch")["state"] == "done"
    caplog.clear()
    followed.look()
    followed.look()
    told = [record for record in caplog.records if "copy holder/" in record.getMessage()]
    assert len(told) == 1
