"""Who applies a table says so, and the contributor verifies it without believing the hub."""

import pytest

from clients.keys import credentials
from clients.lookup.acknowledging import Acknowledging, readership
from clients.lookup.api import HubApi
from clients.lookup.session import Lookup
from clients.lookup.trust import Trust
from protocols.identifiers import IdentifierKind
from protocols.lookup.acknowledgement import Acknowledgement, sign_acknowledgement

PHONE = IdentifierKind.PHONE


@pytest.fixture
def ask(town):
    """Ask as the police who applies their table."""
    home = town.home("police")

    def asked(version):
        with HubApi(home.config().api, credentials(home.keys)) as api:
            return readership(api, Trust(home), town.manifest.epoch, version)

    return asked


def test_a_sync_acknowledges_the_table_in_force(town, ask):
    signed = town.publish([(PHONE, "0912345678", {})])
    assert ask(1).behind == ["insurer", "telecom"]
    with Lookup(town.home(), clock=town.clock) as lookup:
        lookup.sync()
        assert lookup.unacknowledged == ""
    found = ask(1)
    assert found.behind == ["telecom"]
    assert found.applied["insurer"].header == signed.header.digest


def test_a_correction_is_seen_to_arrive(town, ask):
    town.publish([(PHONE, "0912345678", {})])
    with Lookup(town.home(), clock=town.clock) as lookup:
        lookup.sync()
        town.publish(removed=[(PHONE, "0912345678", 0)])
        assert "insurer" in ask(2).behind
        lookup.sync()
    assert ask(2).behind == ["telecom"]


def test_what_the_hub_makes_up_is_refused(town, ask, identities):
    signed = town.publish([(PHONE, "0912345678", {})])
    said = Acknowledgement.of(signed.header, reader="insurer", now=town.clock.now())
    forged = sign_acknowledgement(identities["hub"], said)
    place = town.directory / "tables" / str(town.manifest.epoch) / "police" / "acknowledgements"
    place.mkdir(parents=True, exist_ok=True)
    (place / "insurer.signed").write_bytes(forged.encode())
    found = ask(1)
    assert "insurer" in found.behind
    assert "insurer" in found.refused


def test_a_hub_that_is_away_is_told_next_time(town, proxied):
    home, proxy = proxied
    town.publish([(PHONE, "0912345678", {})])
    with Lookup(home, clock=town.clock) as lookup:
        lookup.sync()
        told = Acknowledging(home, lookup.trust)
        path = home.root / "lookup" / "acknowledged.json"
        path.unlink()
        headers = [table.header for table in lookup.tables(lookup.epoch()).values()]
        proxy.is_down = True
        assert told.tell(lookup.api, headers, town.clock.now())
        assert not path.exists()
        proxy.is_down = False
        assert told.tell(lookup.api, headers, town.clock.now()) == ""
        assert path.exists()
