"""A hub with its API and three key holders on loopback, and nodes that have joined it."""

import os
import random
import select
import shutil
import socket
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from clients.keys import (
    certificate_request,
    create_keys,
    credentials,
    load_keys,
    store_certificate,
)
from clients.lookup.api import HubApi
from clients.node.files import store_json
from clients.node.home import Home
from compliance.clock import FixedClock
from compliance.errors import ComplianceError
from compliance.evaluations.book import EvaluationBook
from compliance.evaluations.holder import KeyHolder
from compliance.evaluations.store import EpochStore
from compliance.log.memory import MemoryStorage
from compliance.log.second import FileCheckpoints
from compliance.office.keys import LogKeys
from compliance.office.opening import agreements_in, policies_in
from protocols.epoch.grants import Grant
from protocols.epoch.manifest import NO_PREVIOUS, EpochManifest, SignedManifest, sign_manifest
from protocols.errors import ProtocolError
from protocols.group.interface import ORDER
from protocols.group.select import load_group
from protocols.identifiers import IdentifierKind, canonicalize, national_checksum
from protocols.lookup.delta import make_delta, merge
from protocols.lookup.derivation import derive_root, derive_tags
from protocols.lookup.payload import Category, Payload, Slot, SourceClass, Status, Use, month_of
from protocols.lookup.record import seal_record
from protocols.lookup.request import Purpose
from protocols.oprf import holder as whole
from protocols.oprf.keygen import generate_key, refresh_share
from protocols.oprf.setup import Setup, refresh_of
from protocols.oprf.suite import Suite
from protocols.program import run_together
from protocols.tlog.entry import Agreement, Decision, Entry, Outcome, Verb
from server.agreements.service import Agreements
from server.api.app import create_app
from server.api.parts import Parts
from server.api.running import ApiServer
from server.identity import create_authority, issue_node, issue_server
from server.log.opening import assemble
from server.lookup.service import Evaluations
from server.standing.registry import HolderRefusedError
from server.tables.store import Tables

HUB, EPOCH = "lianfang", 5
HOLDERS = ("hub", "police", "telecom")
PARTNERS = ("police", "telecom", "insurer")
CONTRIBUTORS = {"police": 1, "telecom": 2}
NOW = int(time.time())


def combined_scalar(shares):
    """The key that nobody holds, for tests that need many outputs at once."""
    first, second = (int.from_bytes(shares[name].scalar, "little") for name in HOLDERS[:2])
    return ((2 * first - second) % ORDER).to_bytes(32, "little")


class DirectHolders:
    """Holders in this process behind the interface of the standing streams."""

    def __init__(self, holders):
        self.holders = dict(holders)

    def connected(self):
        return frozenset(self.holders)

    def ask(self, holder, kind, body, timeout_s):
        assert kind == "evaluate"
        try:
            return self.holders[holder].answer(body).answer.encode()
        except (ProtocolError, ComplianceError) as error:
            raise HolderRefusedError(holder, error.code, str(error)) from None


class Proxy:
    """Passes TCP on, and breaks connections off after so many bytes in a direction."""

    def __init__(self, port):
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.up_left = self.down_left = None  # bytes until the cut; None for never
        self.is_down = False
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._listener.close()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with client:
            if self.is_down:
                return
            with socket.create_connection(("127.0.0.1", self._port)) as server:
                while not self.is_down:
                    ready, _, _ = select.select([client, server], [], [], 0.05)
                    for source in ready:
                        data = source.recv(1 << 16)
                        if self.is_down or not data:
                            return
                        if not self._allows(source is client, len(data)):
                            return
                        (server if source is client else client).sendall(data)

    def _allows(self, is_up, size):
        name = "up_left" if is_up else "down_left"
        left = getattr(self, name)
        if left is None:
            return True
        setattr(self, name, left - size if left > size else None)
        return left > size


@dataclass
class Town:
    """A served hub, the homes of its partners, and what the tests may look at behind it."""

    directory: Path
    suite: Suite
    shares: dict
    identities: dict
    agreed: object
    kit: Path
    clock: FixedClock
    manifest: EpochManifest = None
    signed: SignedManifest = None
    holders: dict = field(default_factory=dict)
    books: dict = field(default_factory=dict)
    parts: object = None
    port: int = 0
    tables: dict = field(default_factory=dict)
    source: random.Random = field(default_factory=lambda: random.Random(1))

    def home(self, name="insurer", address=None):
        """Return the directory of a node that has joined the hub."""
        root = self.directory / name
        if not (root / "node.json").exists():
            self._join(root, name)
        if address is not None:
            value = Home(root).config()
            self._write(root, value.name, address)
        return Home(root)

    def _join(self, root, name):
        (root / "keys").mkdir(parents=True, mode=0o700)
        for path in (self.kit / name / "keys").iterdir():
            shutil.copy(path, root / "keys")
        self._write(root, name, f"127.0.0.1:{self.port}")
        self.agreed.keep(root)

    def _write(self, root, name, address):
        public = {who: key.public_key().public_bytes_raw().hex() for who, key in
                  self.identities.items()}  # fmt: skip
        store_json(
            root / "node.json",
            {
                "name": name,
                "hub": {"link": "", "flower": "", "api": address, "identity": public["hub"]},
                "table": "t.csv",
                "contract": "c.json",
                "peers": {who: public[who] for who in PARTNERS if who != name},
                "held_out_column": None,
            },
        )

    def output(self, canonical):
        key = whole.load_key(self.suite, combined_scalar(self.shares))
        return whole.evaluate(self.suite, key, canonical)

    def root(self, kind, value):
        return derive_root(EPOCH, self.output(canonicalize(kind, value)))

    def payload(self, contributor="police", **changes):
        month = month_of(self.clock.now())
        fields = {
            "category": Category.MULE_ACCOUNT,
            "source": SourceClass.POLICE,
            "status": Status.CONFIRMED,
            "use": Use.COUNTER | Use.SCREENING,
            "slot": Slot.SUSPECT,
            "contributor": CONTRIBUTORS[contributor],
            "first": month - 3,
            "last": month,
            "expires": month + 6,
            "reference": bytes(12),
        }
        if changes.get("slot") is Slot.VICTIM:
            fields["use"] = Use.CARE
        return Payload(**(fields | changes))

    def publish(self, records=(), removed=(), *, contributor="police", now=None):
        """Publish (kind, value, payload changes) as the next version of a table."""
        sealed, tags = [], []
        for kind, value, changes in records:
            payload = self.payload(contributor, **changes)
            nonce = self.source.randbytes(12)
            sealed.append(seal_record(self.root(kind, value), EPOCH, payload, nonce))
        for kind, value, slot in removed:
            number = CONTRIBUTORS[contributor]
            tags.append(derive_tags(self.root(kind, value), number)[slot])
        return self.publish_records(sealed, tags, contributor=contributor, now=now)

    def publish_records(self, sealed, tags=(), *, contributor="police", now=None):
        data, signed = self.tables.get(contributor, (b"", None))
        delta = make_delta(
            self.identities[contributor], data, signed, hub=HUB, epoch=EPOCH,
            contributor=contributor, number=CONTRIBUTORS[contributor], removed=tags,
            upserted=sealed, now=self.clock.now() if now is None else now,
        )  # fmt: skip
        home = self.home(contributor)
        with HubApi(home.config().api, credentials(home.keys)) as api:
            api.publish(EPOCH, contributor, delta)
        self.tables[contributor] = (b"".join(merge(data, delta)), delta.after)
        return delta.after

    def refresh_shares(self):
        """Give the holders new shares of the same key, and a manifest that says so."""
        record = self.shares["hub"].record
        setup = refresh_of(record, b"session-refresh.")
        source = random.Random(8).randbytes
        self.shares = run_together(
            {n: refresh_share(self.suite, setup, self.shares[n], source) for n in HOLDERS}
        )
        self.put_in_force(self.signed_manifest(previous=self.manifest.digest))

    def signed_manifest(self, previous=NO_PREVIOUS, **changes):
        fields = {
            "hub": HUB,
            "record": self.shares["hub"].record,
            "not_before": NOW - 86_400,
            "not_after": NOW + 86_400 * 20,
            "grace_s": 3600,
            "contributors": CONTRIBUTORS,
            "askers": {name: Grant(self.quota, frozenset(Purpose)) for name in PARTNERS},
            "previous": previous,
        }
        manifest = EpochManifest(**(fields | changes))
        signatures = {name: sign_manifest(self.identities[name], manifest) for name in HOLDERS}
        return SignedManifest(manifest.encode(), signatures)

    quota: int = 100_000

    def put_in_force(self, signed):
        public = {name: key.public_key() for name, key in self.identities.items()}
        for name in HOLDERS:
            store = self.holders[name].store
            store.keep_draft(b"session-for-test", self.shares[name])
            store.activate(signed, public)
        self.signed = signed
        self.manifest = EpochManifest.decode(signed.manifest_bytes)

        if self.parts is not None:
            self.put_on_record()

    def put_on_record(self, *, publish=True, **changes):
        """Enter the manifest in the hub's log, as beginning its epoch does."""
        entry = Entry(
            sequence=0, time=self.clock.now(), organisation="hub", actor=b"a" * 16,
            verb=Verb.ALTER, act="begin_epoch", basis="none",
            purpose="https://w3id.org/dpv#FraudPreventionAndDetection",
            agreement=Agreement("joint-defence-1", b"a" * 32), policy_set=b"p" * 32,
            policies=("epochs",), decision=Decision.PERMIT, outcome=Outcome.DONE,
            subject_matter=f"epoch-{EPOCH}/key", recipients=HOLDERS[1:], count=0,
            document=self.manifest.digest, charge=None, commitment=self.source.randbytes(32),
        )  # fmt: skip
        place = self.log.yearly.append(replace(entry, **changes))
        if publish:
            self.log.yearly.checkpoint()
        return place

    @property
    def log(self):
        """The hub's log."""
        return self.parts.log

    def used(self, holder="hub", asker="insurer"):
        return self.books[holder].used(EPOCH, asker)

    def entries(self, holder="hub"):
        return self.books[holder].entries(EPOCH)


@pytest.fixture(scope="session")
def key_shares():
    source = random.Random(7).randbytes
    setup = Setup(EPOCH, 2, HOLDERS, b"session-for-test")
    suite = Suite(load_group())
    return run_together({name: generate_key(suite, setup, name, source) for name in HOLDERS})


@pytest.fixture(scope="session")
def identities():
    return {
        name: Ed25519PrivateKey.from_private_bytes(name[:4].ljust(4).encode() * 8)
        for name in (*HOLDERS, "insurer")
    }


@pytest.fixture(scope="session")
def agreed(agree, identities):
    """An agreement of all parties that permits what these tests do."""
    return agree(identities)


@pytest.fixture(scope="session")
def kit(tmp_path_factory, identities):
    """A directory with the hub's authority, and the keys and certificates of every partner."""
    made = tmp_path_factory.mktemp("kit")
    authority = create_authority(made / "authority", HUB, NOW)
    issue_server(authority, made / "authority", ["127.0.0.1"], NOW)
    for name in PARTNERS:
        keys = made / name / "keys"
        keys.mkdir(parents=True, mode=0o700)
        pem = identities[name].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (keys / "identity.key").write_bytes(pem)
        (keys / "identity.key").chmod(0o600)
        create_keys(keys)
        certificate = issue_node(authority, certificate_request(load_keys(keys), name), name, NOW)
        store_certificate(keys, certificate, (made / "authority" / "ca.crt").read_bytes())
    return made


class Servers:
    """Servers on loopback that one test after the other puts its own hub behind."""

    def __init__(self, kit):
        self._keys = kit / "authority"
        self._running = []
        self._free = []

    def take(self, parts):
        if not self._free:
            app = create_app(parts)
            server = ApiServer(app, hub=HUB)
            port = server.start(
                "127.0.0.1",
                0,
                authority=self._keys / "ca.crt",
                certificate=self._keys / "server.pem",
                key=self._keys / "server.key",
            )
            self._running.append(server)
            self._free.append((app, port))
        app, port = self._free.pop()
        app.state.parts = parts
        return app, port

    def give_back(self, taken):
        self._free.append(taken)

    def stop(self):
        for server in self._running:
            server.stop()


@pytest.fixture(scope="session")
def servers(kit):
    made = Servers(kit)
    yield made
    made.stop()


@pytest.fixture
def make_town(tmp_path, key_shares, agreed, kit, servers):
    """Start hubs; every one is stopped at the end."""
    identities = agreed.keys
    public = {name: key.public_key() for name, key in identities.items()}
    started = []

    def make(quota=100_000, *, on_record=True):
        directory = tmp_path / f"town-{len(started)}"
        directory.mkdir()
        suite = Suite(load_group())
        clock = FixedClock(int(time.time()))  # a slow suite outlives the skew that is allowed
        town = Town(directory, suite, dict(key_shares), identities, agreed, kit, clock, quota=quota)
        for name in HOLDERS:
            store = EpochStore(directory / "holders" / name / "epochs")
            town.books[name] = EvaluationBook(directory / "holders" / name / "book.journal")
            town.holders[name] = KeyHolder(
                name, suite, store, town.books[name], public.get, clock, os.urandom
            )
        town.put_in_force(town.signed_manifest())
        others = DirectHolders({name: town.holders[name] for name in HOLDERS[1:]})
        hub = town.holders["hub"]
        agreed.keep(directory)
        log = assemble(
            f"{HUB}/audit", MemoryStorage(), FileCheckpoints(directory / "log-second"),
            LogKeys.draw(os.urandom), clock=clock, folder=directory,
            agreements=agreements_in(directory, public), policies=policies_in(directory),
        )  # fmt: skip
        evaluations = Evaluations(
            holder=hub,
            holders=others,
            store=hub.store,
            book=town.books["hub"],
            journal=log.journal,
            identity=identities["hub"],
            clock=clock,
        )
        town.parts = Parts(
            hub=HUB,
            evaluations=evaluations,
            epochs=hub.store,
            tables=Tables(directory / "tables", hub=HUB, identities=public.get),
            log=log,
            agreements=Agreements(log.office.agreements, hub=HUB, clock=clock),
            holders=others,
            identities=public.get,
            identity=identities["hub"],
            clock=clock,
        )
        if on_record:
            town.put_on_record()
        taken = servers.take(town.parts)
        town.port = taken[1]
        started.append((taken, town))
        return town

    yield make
    for taken, town in started:
        servers.give_back(taken)
        town.parts.close()
        for book in town.books.values():
            book.close()


@pytest.fixture
def town(make_town):
    """A hub with three holders, two contributors and an insurer that asks."""
    return make_town()


@pytest.fixture
def proxied(town):
    """Return the insurer's home, whose way to the hub leads over a proxy."""
    proxy = Proxy(town.port)
    yield town.home("insurer", address=proxy.address), proxy
    proxy.close()


def _person(number):
    """Return a synthetic national number with a right check digit."""
    letter, sex, serial = "ABCDEFGHJK"[number % 10], 1 + number // 10 % 2, number // 20 * 7919
    text = f"{letter}{sex}{serial % 10**7:07d}"
    total = national_checksum(letter, text[1:] + "0")
    return f"{text}{-total % 10}"


@pytest.fixture(scope="session")
def person():
    """Give synthetic national numbers that are spread like those of customers."""
    return _person


@pytest.fixture(scope="session")
def people(person):
    """Return canonical forms of so many synthetic persons."""

    def make(count, start=0):
        kind = IdentifierKind.TW_PERSON_ID
        return [canonicalize(kind, person(number)) for number in range(start, start + count)]

    return make
