"""Epochs in the hub's audit log, and its cosignatures over the partners' standing links."""

import sqlite3

import pytest

from clients.node.home import Home
from clients.witness.keys import create_witness_keys
from clients.witness.pins import Pin, Pins
from clients.witness.service import witness_folder
from protocols.errors import OutOfTurnError
from protocols.tlog.asking import ADD_CHECKPOINT
from protocols.tlog.entry import Outcome, Verb
from server.log.status import describe
from server.log.witnesses import Listed, Witnesses
from server.standing import HolderRefusedError


def break_log(place):
    connection = sqlite3.connect(place.hub.root / "log" / "log.sqlite")
    connection.execute("ALTER TABLE tlog_entry RENAME TO gone")
    connection.commit()
    connection.close()


def test_life_of_an_epoch_is_entered(holders):
    holders.begin()
    holders.followed(action="refresh_epoch", epoch=1)
    holders.ask(action="end_epoch", epoch=1)
    found = holders.entries()
    assert [e.act for e in found] == ["begin_epoch", "refresh_epoch", "end_epoch"]
    for entry in found:
        assert (entry.organisation, entry.verb) == ("hub", Verb.ALTER)
        assert (entry.policies, entry.outcome) == (("hub-operators",), Outcome.DONE)
        assert (entry.subject_matter, entry.recipients) == ("epoch-1/key", ("police", "telecom"))
        assert entry.agreement.digest == holders.agreed.agreement.digest
    assert {entry.actor for entry in found} == {holders.person("olga").pseudonym}
    current = holders.holding.store.manifest(1)
    assert found[0].document == current.previous
    assert found[1].document == found[2].document == current.digest


def test_without_the_log_no_epoch_begins_and_none_ends(holders):
    holders.begin()
    break_log(holders)
    failed = holders.begin(starts_in_hours=24)
    assert failed["state"] == "failed"
    assert failed["failures"][0]["code"] == "storage_failed"
    assert holders.holding.store.epochs() == (1,)
    with pytest.raises(OutOfTurnError, match="storage failed"):
        holders.ask(action="end_epoch", epoch=1)
    assert holders.share("hub")
    assert holders.ask(action="epoch_status")["epochs"][0]["state"] == "in force"


def test_partners_cosign_over_their_own_links(holders):
    place = holders
    with pytest.raises(HolderRefusedError) as caught:
        place.standing.ask("police", ADD_CHECKPOINT, b"", 5)
    assert caught.value.code == "no_witness"
    listed = []
    for name in ("police", "telecom"):
        # Made while the holder runs, as a compliance office does that joins later.
        keys = create_witness_keys(Home(place.root / name).keys, f"{name}/witness")
        Pins(witness_folder(place.root / name)).add(
            Pin(place.log.key, True, 3600, place.clock.now())
        )
        listed.append(Listed(name, tuple(signer.key for signer in keys)))
    Witnesses(2, tuple(listed)).store(place.hub.root / "log" / "witnesses.json")
    place.stop_hub()
    place.serve()
    place.stop("police", "telecom")
    place.start("police", "telecom")
    place.begin()
    assert place.log.publishing.publish()
    state = place.log.publishing.state()
    assert {item.name: str(item.standing) for item in state.witnesses} == {
        "police": "cosigned", "telecom": "cosigned",
    }  # fmt: skip
    (year,) = describe(place.hub)["years"]
    assert (year["published"], year["cosigned"]) == (1, ["police", "telecom"])
    # Both are the quorum: without one of them the log goes on, and nothing more is published.
    place.stop("telecom")
    place.ask(action="end_epoch", epoch=1)
    assert not place.log.publishing.publish()
    (year,) = describe(place.hub)["years"]
    assert (year["entries"], year["published"]) == (2, 1)
