"""A hub's API on loopback: real certificates, a real 2-of-3 key, holders that keep the rules."""

import json
import os
import random
import shutil
import socket
import sqlite3
import ssl
import time
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fastapi import FastAPI

from compliance.clock import FixedClock
from compliance.errors import ComplianceError
from compliance.evaluations.book import EvaluationBook
from compliance.evaluations.holder import KeyHolder
from compliance.evaluations.store import EpochStore
from compliance.log.second import FileCheckpoints
from compliance.log.sqlstore import SqlStorage
from compliance.log.storage import Place
from compliance.office.keys import LogKeys
from compliance.office.opening import agreements_in, policies_in
from protocols.epoch.grants import Grant
from protocols.epoch.manifest import NO_PREVIOUS, EpochManifest, SignedManifest, sign_manifest
from protocols.errors import ProtocolError
from protocols.group.select import load_group
from protocols.link import TransportError
from protocols.lookup.acknowledgement import Acknowledgement, sign_acknowledgement
from protocols.lookup.delta import make_delta, merge
from protocols.lookup.record import RECORD_SIZE
from protocols.lookup.request import Purpose, sign_request
from protocols.oprf import client
from protocols.oprf.keygen import generate_key
from protocols.oprf.setup import Setup
from protocols.oprf.suite import Mode, Suite
from protocols.oprf.threshold import Query
from protocols.program import run_together
from protocols.tlog.entry import Entry
from server.agreements.service import Agreements
from server.api.app import create_app
from server.api.parts import Parts
from server.api.running import ApiServer
from server.enrolment.service import Enrolment
from server.home import HubHome
from server.identity import create_authority, issue_node, issue_server
from server.log.opening import assemble
from server.lookup.service import Evaluations
from server.standing.registry import HolderRefusedError
from server.tables.store import Tables
from server.tokens.signing import TokenKey
from server.tokens.tokens import Tokens

HUB, EPOCH = "lianfang", 5
HOLDERS = ("hub", "police", "telecom")
PARTNERS = (*HOLDERS, "insurer", "outsider")
QUOTA = 100
CASE = sha256(b"case").digest()
NOW = int(time.time())


@dataclass
class Shop:
    """The hub's authority and what it issued, once for all tests."""

    directory: object
    authority: object
    credentials: dict = field(default_factory=dict)

    def issue(self, name, *, authority=None, now=NOW):
        """Return certificate and key of a node; of another authority or time if given."""
        key = ec.generate_private_key(ec.SECP256R1())
        request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        signed = request.sign(key, SHA256()).public_bytes(Encoding.PEM)
        pem = issue_node(authority or self.authority, signed, name, now)
        return self.keep(pem, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    def keep(self, certificate, key):
        stem = sha256(certificate).hexdigest()[:16]
        paths = self.directory / f"{stem}.pem", self.directory / f"{stem}.key"
        for path, data in zip(paths, (certificate, key), strict=True):
            path.write_bytes(data)
        return paths

    def context(self, credentials=None):
        """Return a client's TLS, with or without a certificate."""
        context = ssl.create_default_context(cafile=str(self.directory / "ca.crt"))
        if credentials is not None:
            context.load_cert_chain(*map(str, credentials))
        return context


@pytest.fixture(scope="session")
def shop(tmp_path_factory):
    directory = tmp_path_factory.mktemp("authority")
    made = Shop(directory, create_authority(directory, HUB, NOW))
    issue_server(made.authority, directory, ["127.0.0.1", "localhost"], NOW)
    for name in PARTNERS:
        made.credentials[name] = (
            made.issue(name) if name != "hub" else (directory / "hub.pem", directory / "hub.key")
        )
    return made


@pytest.fixture(scope="session")
def suite():
    return Suite(load_group(), Mode.VOPRF)


@pytest.fixture(scope="session")
def shares(suite):
    """Return the suite and every holder's share of one key."""
    source = random.Random(7).randbytes
    setup = Setup(EPOCH, 2, HOLDERS, b"session-for-test")
    dealt = run_together({name: generate_key(suite, setup, name, source) for name in HOLDERS})
    return suite, dealt


@pytest.fixture(scope="session")
def identities():
    return {name: Ed25519PrivateKey.generate() for name in PARTNERS}


class Others:
    """Holders in this process behind the interface of the standing streams.

    A refusal arrives as `HolderRefusedError` with the holder's code and nothing else of it;
    who is `silent` is connected and never answers in time.
    """

    def __init__(self, holders):
        self.holders = dict(holders)
        self.silent = set()
        self.asked = []

    def connected(self):
        return frozenset(self.holders)

    def ask(self, holder, kind, body, timeout_s):
        self.asked.append(holder)
        if holder not in self.holders or kind != "evaluate":
            raise TransportError(f"{holder}: not connected", retryable=True, party=holder)
        if holder in self.silent:
            time.sleep(min(timeout_s, 0.05))
            raise TransportError(f"{holder}: silent", retryable=True, party=holder)
        try:
            return self.holders[holder].answer(body).answer.encode()
        except (ProtocolError, ComplianceError) as error:
            raise HolderRefusedError(holder, error.code, str(error)) from None


@dataclass
class World:
    """A served hub, and what its partners have."""

    shop: Shop
    suite: Suite
    manifest: EpochManifest
    signed: SignedManifest
    identities: dict
    clock: FixedClock
    others: Others
    books: dict
    parts: Parts
    served: "Served"
    directory: Path
    agreed: object
    home: HubHome
    tables: dict = field(default_factory=dict)
    source: random.Random = field(default_factory=lambda: random.Random(1))

    @property
    def port(self):
        return self.served.port

    def client(self, name=None, credentials=None):
        """Return an HTTP client with a partner's certificate, another one, or none."""
        chosen = self.shop.credentials[name] if name else credentials
        kept = self.served.clients
        if chosen not in kept:
            kept[chosen] = httpx.Client(
                base_url=f"https://127.0.0.1:{self.port}",
                verify=self.shop.context(chosen),
                trust_env=False,
                timeout=30,
            )
        return kept[chosen]

    def raw(self, name=None):
        context = self.shop.context(self.shop.credentials[name] if name else None)
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        return context.wrap_socket(plain, server_hostname="127.0.0.1")

    def query(self, inputs, request_id=None):
        blinds = client.random_blinds(self.suite, len(inputs), self.source.randbytes)
        request_id = request_id or self.source.randbytes(16)
        return Query(self.suite, self.manifest.record, inputs, blinds, request_id)

    def sign(self, evaluation, asker="insurer", **changes):
        fields = {"purpose": Purpose.COUNTER, "case": CASE, "asked_at": self.clock.now()}
        return sign_request(
            self.identities[asker], hub=HUB, asker=asker, evaluation=evaluation,
            **(fields | changes),
        )  # fmt: skip

    def post(self, request, *, name="insurer", key=None, data=None, headers=()):
        sent = {
            "Content-Type": "application/vnd.lianfang.evaluation-request",
            "Idempotency-Key": request.request_id.hex() if key is None else key,
        }
        content = request.encode() if data is None else data
        return self.client(name).post(
            "/v1/evaluations", content=content, headers=sent | dict(headers)
        )

    def used(self, holder="hub", asker="insurer"):
        return self.books[holder].used(EPOCH, asker)

    def entries(self, origin=None):
        """Read all entries of the hub's log."""
        log = self.parts.log
        origin = origin or log.yearly.origin()
        if origin not in log.storage.origins():
            return []
        size = log.storage.edge(origin).size
        return [Entry.decode(data) for data in log.storage.entries(origin, 0, size)]

    def part_of(self, entry):
        """What the hub alone can read of an entry."""
        origin = self.parts.log.yearly.origin()
        return self.parts.log.office.parts.read(Place(origin, entry.sequence), entry.commitment)

    def revoke(self, party="police"):
        """One party ends the agreement."""
        word = self.agreed.revocation(party, now=self.clock.now())
        self.parts.log.office.agreements.keep_revocation(word, now=self.clock.now())

    def records(self, count):
        return [self.source.randbytes(RECORD_SIZE) for _ in range(count)]

    def delta(self, upserted=(), removed=(), name="police"):
        """The next delta of a contributor's table; its own copy stays as it is."""
        data, signed = self.tables.get(name, (b"", None))
        return make_delta(
            self.identities[name], data, signed, hub=HUB, epoch=EPOCH, contributor=name,
            number=self.manifest.contributors[name], removed=removed, upserted=upserted,
            now=self.clock.now(),
        )  # fmt: skip

    def send_delta(self, delta, name="police"):
        return self.client(name).post(
            f"/v1/epochs/{EPOCH}/tables/{name}",
            content=delta.encode(),
            headers={"Content-Type": "application/octet-stream"},
        )

    def applied(self, table="police", *, reader="insurer", signer=None, **changes):
        """A reader's acknowledgement of the version in force."""
        header = self.tables[table][1].header
        said = Acknowledgement.of(header, reader=reader, now=self.clock.now())
        return sign_acknowledgement(self.identities[signer or reader], replace(said, **changes))

    def acknowledge(self, signed, *, name="insurer", contributor="police"):
        return self.client(name).post(
            f"/v1/epochs/{EPOCH}/tables/{contributor}/acknowledgements",
            content=signed.encode(),
            headers={"Content-Type": "application/vnd.lianfang.table-acknowledgement"},
        )

    def publish(self, delta, name="police"):
        answer = self.send_delta(delta, name)
        if answer.status_code == 200:
            data, _ = self.tables.get(name, (b"", None))
            self.tables[name] = (b"".join(merge(data, delta)), delta.after)
        return answer


@dataclass
class Served:
    """A server and its clients, which last longer than the services behind it."""

    shop: Shop
    server: ApiServer
    app: FastAPI
    port: int
    clients: dict = field(default_factory=dict)

    def close(self):
        for made in self.clients.values():
            made.close()
        self.server.stop()


OF_CONNECTIONS = {"head_timeout_s", "reading_timeout_s", "connections_each"}


def start_server(shop, **limits):
    of_server = {name: limits.pop(name) for name in OF_CONNECTIONS & set(limits)}
    app = create_app(None, **limits)
    server = ApiServer(app, hub=HUB, **of_server)
    names = {"authority": "ca.crt", "certificate": "server.pem", "key": "server.key"}
    paths = {name: shop.directory / file for name, file in names.items()}
    return Served(shop, server, app, server.start("127.0.0.1", 0, **paths))


def open_log(root, clock, public):
    """Open the hub's audit log and its compliance office, on disk and without witnesses."""
    directory = root / "log"
    directory.mkdir(parents=True, exist_ok=True)
    return assemble(
        f"{HUB}/audit",
        SqlStorage.open(f"sqlite:///{directory}/log.sqlite"),
        FileCheckpoints(directory / "second"),
        LogKeys.draw(os.urandom),
        clock=clock,
        folder=directory,
        agreements=agreements_in(root, public),
        policies=policies_in(root),
    )


def make_home(root, shop, identities):
    """A hub's directory with the authority of all tests, in which everybody has joined."""
    home = HubHome(root / "hub-home")
    home.create(name=HUB, host="127.0.0.1", link_port=4001, fleet_port=4002, api_port=4003, now=NOW)
    for name in ("ca.crt", "ca.key"):
        shutil.copy(shop.directory / name, home.authority / name)
    (home.root / "partners").mkdir()
    for name in set(PARTNERS) - {"hub"}:
        kept = {
            "name": name,
            "identity": identities[name].public_key().public_bytes_raw().hex(),
            "flower_public": name,
            "contract": {},
        }
        (home.root / "partners" / f"{name}.json").write_text(json.dumps(kept))
    return home


@pytest.fixture(scope="session")
def make_agreed(agree, identities):
    """Make agreements of all but the outsider, which has joined and signed nothing."""
    keys = {name: identities[name] for name in PARTNERS if name != "outsider"}
    return lambda **terms: agree(keys, hub=HUB, **terms)


@pytest.fixture(scope="session")
def agreed(make_agreed):
    """The agreement under which everybody may do what its role lets it."""
    return make_agreed()


@pytest.fixture(scope="session")
def served(shop):
    made = start_server(shop)
    yield made
    made.close()


@pytest.fixture
def make_world(tmp_path, served, shares, identities, agreed):
    """Build hubs; one server serves them all unless it is to have limits of its own."""
    shop = served.shop
    public = {name: identity.public_key() for name, identity in identities.items()}
    suite, dealt = shares
    worlds, servers = [], []

    def make(quota=QUOTA, *, under=agreed, **limits):
        root = tmp_path / str(len(worlds))
        if under is not None:
            under.keep(root)
        clock = FixedClock(NOW)
        manifest = EpochManifest(
            hub=HUB,
            record=dealt["hub"].record,
            not_before=NOW - 86_400,
            not_after=NOW + 86_400,
            grace_s=3600,
            contributors={"police": 1, "telecom": 2},
            askers={n: Grant(quota, frozenset(Purpose)) for n in ("insurer", "police", "telecom")},
            previous=NO_PREVIOUS,
        )
        signed = SignedManifest(
            manifest.encode(), {name: sign_manifest(identities[name], manifest) for name in HOLDERS}
        )
        holders, books = {}, {}
        for name in HOLDERS:
            directory = root / name
            store = EpochStore(directory / "epochs", suite.group)
            store.keep_draft(b"session-for-test", dealt[name])
            store.activate(signed, public)
            books[name] = EvaluationBook(directory / "book.journal")
            source = random.Random(name).randbytes
            holders[name] = KeyHolder(name, suite, store, books[name], public.get, clock, source)
        others = Others({name: holders[name] for name in ("police", "telecom")})
        log = open_log(root, clock, public)
        home = make_home(root, shop, identities)
        enrolment = Enrolment(home, log.office, clock=clock)
        parts = Parts(
            hub=HUB,
            evaluations=Evaluations(
                holder=holders["hub"],
                holders=others,
                store=holders["hub"].store,
                book=books["hub"],
                journal=log.journal,
                identity=identities["hub"],
                clock=clock,
            ),
            epochs=holders["hub"].store,
            tables=Tables(root / "tables", hub=HUB, identities=public.get),
            agreements=Agreements(log.office.agreements, hub=HUB, clock=clock),
            log=log,
            holders=others,
            identities=public.get,
            identity=identities["hub"],
            clock=clock,
            enrolment=enrolment,
            tokens=Tokens(
                TokenKey(home.authority),
                issuer="https://hub.example",
                clock=clock,
                is_superseded=enrolment.admission.is_superseded,
            ),
        )
        server = served
        if limits:
            servers.append(server := start_server(shop, **limits))
        server.app.state.parts = parts
        world = World(
            shop, suite, manifest, signed, identities, clock, others, books, parts, server,
            root, under, home,
        )  # fmt: skip
        worlds.append(world)
        return world

    yield make
    for server in servers:
        server.close()
    for world in worlds:
        world.parts.close()
        world.parts.log.close()
        for book in world.books.values():
            book.close()


@pytest.fixture
def world(make_world):
    """A hub as it is by default."""
    return make_world()


@pytest.fixture(scope="session")
def problem():
    """Check that an answer is this problem, and return its document."""

    def check(answer, status, code):
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        value = answer.json()
        assert (value["type"], value["code"]) == (f"urn:lianfang:problem:{code}", code)
        assert value["status"] == status
        return value

    return check


@pytest.fixture(scope="session")
def break_log():
    """Leave a database in which nothing can be entered."""

    def broken(world):
        connection = sqlite3.connect(world.directory / "log" / "log.sqlite")
        connection.execute("ALTER TABLE tlog_entry RENAME TO gone")
        connection.commit()
        connection.close()

    return broken
