"""A hub and its partners' key holders: real directories, certificates and gRPC, one process."""

import os
import shutil
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from clients.holder.home import HolderHome
from clients.holder.service import HolderService
from clients.node.files import load_json, store_json
from clients.node.home import Home
from clients.node.joining import keep_welcome, make_node, pin_peer
from compliance.clock import FixedClock
from compliance.policy.actors import StaffRole
from compliance.staff.accounts import Account, State
from compliance.staff.passwords import Cost
from compliance.staff.staff import Staff
from protocols.group.select import load_group
from protocols.lookup.request import NO_CASE, Purpose, sign_request
from protocols.oprf import client
from protocols.oprf.suite import Mode, Suite
from protocols.oprf.threshold import Query
from protocols.tlog.entry import Entry
from server.epochs.holding import open_holding
from server.epochs.service import Epochs
from server.home import HubHome
from server.keeping.place import keeping_of
from server.keeping.shelves import FRESH_S
from server.link import Relay, Service
from server.log.opening import open_log
from server.standing import Standing

PARTNERS = ("insurer", "telecom", "police")
HOLDERS = ("police", "telecom")
# Accounts of the hub's staff, with what they do.
STAFF = {"olga": StaffRole.OPERATOR, "amy": StaffRole.APPROVER, "carl": StaffRole.COMPLIANCE}
ACTS = {"begin_epoch", "refresh_epoch", "end_epoch"}
CHEAP = Cost(64, 1, 1)
CONTRACT = {
    "identifier": {"column": "id", "kind": "opaque"},
    "label": None,
    "columns": [{"name": "calls", "kind": "numeric", "low": 0, "high": 9, "missing": False}],
}


def until(condition, timeout_s=15.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.01)


@dataclass
class Place:
    """A hub that is being served, and the holders that were started."""

    root: Path
    hub: HubHome
    clock: FixedClock
    suite: Suite
    agreed: object
    services: dict[str, HolderService] = field(default_factory=dict)

    def person(self, name):
        """A member of the hub's staff."""
        return self.log.office.person(name, [STAFF[name]])

    def node(self, name):
        return HolderHome(Home(self.root / name))

    def serve(self):
        """Start the hub's part; may be repeated after `stop_hub`."""
        settings = self.hub.settings()
        self.relay, self.standing = Relay(), Standing()
        self.holding = open_holding(self.hub, suite=self.suite, clock=self.clock)
        self.log = open_log(self.hub, clock=self.clock, links=self.standing)
        self.epochs = Epochs(
            self.relay, self.standing, self.holding, journal=self.log.journal, deadline_s=10,
            verdict_s=0.5,
        )  # fmt: skip
        self.service = Service(
            self.relay, hub=settings.name, on_control=self.epochs.control, standing=self.standing
        )
        self.service.start(
            f"127.0.0.1:{settings.link_port}",
            authority=self.hub.authority / "ca.crt",
            certificate=self.hub.authority / "server.pem",
            key=self.hub.authority / "server.key",
        )
        self.epochs.start()

    def stop_hub(self):
        self.epochs.stop()
        self.service.stop(grace_s=1)
        self.log.close()
        self.holding.close()

    def start(self, *names):
        """Start holders and wait until the hub can ask them."""
        for name in names:
            service = HolderService(
                self.node(name), suite=self.suite, clock=self.clock, deadline_s=10
            )
            self.services[name] = service
            service.start()
        until(lambda: set(names) <= self.standing.connected())

    def stop(self, *names):
        for name in names:
            self.services.pop(name).stop()
        until(lambda: not set(names) & self.standing.connected())

    def ask(self, *, by="olga", second="amy", reason="as planned", **request):
        """Send the hub a control request in process; an act by persons, none if empty."""
        if request["action"] in ACTS:
            who = {"by": self.person(by) if by else self.log.office.own, "second": None}
            who |= {"second": self.person(second)} if second else {}
            order = {name: one and one.fields() for name, one in who.items()}
            request = request | order | {"reason": reason}
        return self.epochs.control(request)

    def agree_otherwise(self, agreed):
        """Put another agreement in the place of the one that all have."""
        for name in PARTNERS:
            shutil.rmtree(self.root / name / "agreements")
        kept = keeping_of(self.hub.root).documents("agreements")
        for name in kept.names():
            kept.delete(name)
        time.sleep(FRESH_S)  # as another process would have done it
        if agreed is not None:
            agreed.keep(self.hub.root, *(self.root / name for name in PARTNERS))

    def entries(self):
        """What stands in the hub's log."""
        origin = self.log.yearly.origin()
        size = self.log.storage.edge(origin).size
        return [Entry.decode(data) for data in self.log.storage.entries(origin, 0, size)]

    def followed(self, **request):
        """Begin a set-up and return how it ended."""
        self.ask(**request)
        until(lambda: self.ask(action="epoch_progress")["state"] != "running")
        return self.ask(action="epoch_progress")

    def begin(self, **wishes):
        return self.followed(action="begin_epoch", **wishes)

    def share(self, name, epoch=1):
        store = self.holding.store if name == "hub" else self.node(name).store()
        return store.share(epoch)

    def request(self, inputs, *, epoch=1, manifest=None, asker="insurer", seed=1):
        """A signed request of the insurer, and the query that combines its answers."""
        manifest = manifest or self.holding.store.manifest(epoch)
        blinds = client.random_blinds(self.suite, len(inputs), os.urandom)
        query = Query(self.suite, manifest.record, inputs, blinds, bytes([seed]) * 16)
        signed = sign_request(
            self.node(asker).identity(),
            hub=manifest.hub,
            asker=asker,
            purpose=Purpose.ALIGNMENT,
            case=NO_CASE,
            asked_at=self.clock.now(),
            evaluation=query.request,
        )
        return signed, query

    def set_policy(self, name, **changes):
        home = self.node(name)
        home.policy()
        path = home.root / "policy.json"
        store_json(path, load_json(path) | changes)


@pytest.fixture(scope="session")
def suite():
    return Suite(load_group(), Mode.VOPRF)


@pytest.fixture(scope="session")
def keys_of(template):
    """The private identity keys of all parties."""
    found = {name: Home(template / name) for name in PARTNERS}
    keys = {name: HolderHome(home).identity() for name, home in found.items()}
    return keys | {"hub": HubHome(template / "hub").identity_key()}


@pytest.fixture(scope="session")
def make_agreed(agree, keys_of):
    """Make agreements of the hub and its partners; the insurer holds no share."""

    def make(**terms):
        usual = {"holders": ("hub", *HOLDERS), "quota": 120_000}
        return agree(keys_of, hub="fraud-hub", **(usual | terms))

    return make


@pytest.fixture(scope="session")
def agreed(make_agreed):
    """The agreement that all have."""
    return make_agreed()


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """A hub and three partners that joined it and pinned one another; nothing runs."""
    root = tmp_path_factory.mktemp("epochs")
    now = int(time.time())
    hub = HubHome(root / "hub")
    hub.create(name="fraud-hub", host="127.0.0.1", link_port=0, fleet_port=0, api_port=0, now=now)
    contract, identities = root / "contract.json", {}
    store_json(contract, CONTRACT)
    for name in PARTNERS:
        request = load_json(
            make_node(
                root / name, name=name, table=root / "none.csv", contract=contract,
                held_out_column=None,
            )
        )  # fmt: skip
        keep_welcome(root / name, hub.approve(request, now))
        identities[name] = request["identity"]
    for name in PARTNERS:
        for other, identity in identities.items():
            if other != name:
                pin_peer(root / name, other, identity)
    accounts = {
        name: Account(
            name, name, frozenset({role}), State.ACTIVE,
            Staff(hub.root, cost=CHEAP).hash_of(f"a long enough secret of {name}"),
            created=now, changed=now,
        )
        for name, role in STAFF.items()
    }  # fmt: skip
    with Staff(hub.root).exclusive() as (_, store):
        store(accounts)
    return root


@pytest.fixture
def place(template, tmp_path, suite, agreed):
    """A copy of the template on a port of its own, with the hub served and no holder yet."""
    root = tmp_path / "place"
    shutil.copytree(template, root)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = load_json(root / "hub/hub.json")
    store_json(root / "hub/hub.json", settings | {"link_port": port})
    for name in PARTNERS:
        path = root / name / "node.json"
        config = load_json(path)
        config["hub"]["link"] = f"127.0.0.1:{port}"
        store_json(path, config)
    agreed.keep(root / "hub", *(root / name for name in PARTNERS))
    made = Place(root, HubHome(root / "hub"), FixedClock(int(time.time())), suite, agreed)
    made.serve()
    yield made
    for service in made.services.values():
        service.stop()
    made.stop_hub()
    assert not [t.name for t in threading.enumerate() if t.name.startswith(("holder", "epochs"))]


@pytest.fixture
def holders(place):
    """The place with both partners' holders connected."""
    place.start(*HOLDERS)
    return place


@pytest.fixture(scope="session")
def wait_until():
    return until
