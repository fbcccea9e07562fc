"""A police node with its feed, three real key holders and a hub's own table store, in memory.

The hub answers method calls instead of HTTP and keeps the rules of the API: the same table
store, the same evaluations, the same problem codes. It remembers every body that it was sent.
"""

import csv
import io
import random
import shutil
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clients.feed.drafts import Drafter
from clients.feed.home import FeedHome
from clients.feed.intake import open_input, take_in
from clients.feed.publishing import Publisher
from clients.feed.register import Actor
from clients.keys import load_keys
from clients.lookup.api import TableEntry, TableList
from clients.lookup.evaluating import Evaluator
from clients.lookup.https import HubRefusedError
from clients.node.files import load_json, store_json
from clients.node.home import Home
from clients.node.joining import make_node
from compliance.clock import FixedClock
from compliance.errors import QuotaExhaustedError
from compliance.evaluations.book import EvaluationBook
from compliance.evaluations.holder import KeyHolder
from compliance.evaluations.store import EpochStore
from compliance.log.memory import MemoryStorage
from compliance.log.second import FileCheckpoints
from compliance.office.keys import LogKeys
from compliance.office.opening import agreements_in, policies_in
from protocols.epoch.grants import Grant
from protocols.epoch.manifest import SignedManifest, sign_manifest
from protocols.epoch.setup import KeygenTerms
from protocols.group.select import load_group
from protocols.identifiers import IdentifierKind, canonicalize, national_checksum
from protocols.link import TransportError
from protocols.lookup.derivation import derive_root, derive_tags
from protocols.lookup.payload import Slot
from protocols.lookup.record import open_record
from protocols.lookup.request import Purpose
from protocols.lookup.table import find
from protocols.oprf import client
from protocols.oprf.keygen import generate_key
from protocols.oprf.shares import interpolate
from protocols.oprf.suite import Suite
from protocols.program import run_together
from server.log.opening import assemble
from server.lookup.service import Evaluations
from server.tables.errors import VersionConflictError
from server.tables.folder import Part
from server.tables.store import Tables

HOLDERS = ("hub", "police", "telecom")
NOW = int(datetime(2026, 11, 15, 4, tzinfo=UTC).timestamp())
DAY = 86_400
FIRST = KeygenTerms(
    hub="hub-taipei",
    epoch=5,
    threshold=2,
    holders=HOLDERS,
    session=b"session-of-5....",
    not_before=NOW - 30 * DAY,
    not_after=NOW + 30 * DAY,
    grace_s=DAY,
    contributors={"police": 7},
    askers={"police": Grant(1000, frozenset({Purpose.PUBLISH}))},
    previous=bytes(32),
)


class Killed(BaseException):
    """The process dies here: nothing after it runs, as far as files are concerned."""


class Bridge:
    """The other holders, asked without a link between."""

    def __init__(self, holders):
        self.holders = holders
        self.away = False

    def connected(self):
        return frozenset() if self.away else frozenset(self.holders)

    def ask(self, holder, kind, body, timeout_s):
        return self.holders[holder].answer(body).answer.encode()


@dataclass
class Hub:
    """The hub's API, called directly."""

    signed: SignedManifest
    manifest: object
    tables_store: Tables
    evaluations: Evaluations
    bridge: Bridge
    bodies: list[bytes] = field(default_factory=list)

    def current_manifest(self):
        return self.signed

    def publish(self, epoch, contributor, delta):
        assert epoch == self.manifest.epoch
        data = delta.encode()
        self.bodies.append(data)
        try:
            self.tables_store.publish(self.manifest, contributor, data)
        except VersionConflictError as error:
            raise HubRefusedError(error.code, "conflict", str(error)) from error

    def evaluate(self, request):
        if self.bridge.away:
            raise TransportError("too few holders", retryable=True)
        self.bodies.append(request.encode())
        try:
            reply = self.evaluations.answer(request.asker, request).reply
        except QuotaExhaustedError as error:
            raise HubRefusedError(error.code, "quota", str(error)) from error
        return reply

    def used(self):
        """How many elements the police were charged for in this epoch."""
        return self.evaluations.usage("police").used

    def tables(self, epoch):
        found = self.tables_store.current(epoch, "police")
        entries = ()
        if found is not None:
            header = found.signed.header
            entries = (TableEntry("police", header.version, header.count, found.signed),)
        return TableList("hub-taipei", epoch, NOW, entries, b"", b"")

    def table(self, epoch, contributor, version, sink):
        path = self.tables_store.snapshot(epoch, contributor, version).path(Part.TABLE)
        sink.write(path.read_bytes())

    def records(self):
        """The table in force, as any asker gets it."""
        found = self.tables_store.current(self.manifest.epoch, "police")
        return b"" if found is None else found.path(Part.TABLE).read_bytes()

    def version(self):
        found = self.tables_store.current(self.manifest.epoch, "police")
        return 0 if found is None else found.version


@dataclass
class Town:
    """A node's directory, its hub, and the clock that both read."""

    node: Home
    clock: FixedClock
    epochs: dict
    path: Path
    keys: dict
    agreed: object
    hub: Hub = None
    opened: list = field(default_factory=list)

    @property
    def home(self):
        return FeedHome(self.node)

    def register(self):
        register = self.home.register()
        self.opened.append(register)
        return register

    def actor(self, reason=""):
        return Actor("officer", self.clock.now(), reason)

    def take_in(self, rows, register=None, **options):
        """Enter rows given as dictionaries."""
        settings = self.home.settings()
        source = self.source(rows, settings.defaults(self.clock.now()))
        register = register or self.register()
        return take_in(
            register,
            source,
            settings,
            self.home.benign(),
            self.actor(),
            enter=lambda _count: None,
            **options,
        )

    def source(self, rows, defaults):
        path = self.path / "given.csv"
        path.write_text(csv_text(rows), encoding="utf-8")
        return open_input(path, defaults)

    def drafter(self, register=None):
        return Drafter(
            register=register or self.register(),
            folder=self.home.tables,
            identity=load_keys(self.node.keys).identity,
            manifest=self.hub.manifest,
            contributor="police",
            random=random.SystemRandom().randbytes,
        )

    def publisher(self, register=None, **options):
        drafter = self.drafter(register)
        evaluator = Evaluator(
            self.node, self.hub, self.hub.manifest, Suite(load_group()), self.clock,
            random.SystemRandom().randbytes, **options,
        )  # fmt: skip
        return Publisher(
            self.home, drafter, api=self.hub, evaluator=evaluator, permit=lambda _signed: None
        )

    def publish(self, register=None, **options):
        return self.publisher(register, **options).publish(self.actor())

    def begin(self, epoch):
        """Let the hub serve an epoch."""
        made = self.epochs[epoch]
        holders = {}
        for name in HOLDERS:
            store = EpochStore(self.path / name / f"epochs-{epoch}")
            store.keep_draft(made.terms.session, made.shares[name])
            identities = {n: key.public_key() for n, key in self.keys.items()}
            store.activate(made.signed, identities)
            book = EvaluationBook(self.path / name / f"book-{epoch}.journal")
            self.opened.append(book)
            holders[name] = KeyHolder(
                name, Suite(load_group()), store, book, identities.get, self.clock,
                random.Random(3).randbytes,
            )  # fmt: skip
        own = holders.pop("hub")
        bridge = Bridge(holders)
        log = assemble(
            "hub-taipei/audit", MemoryStorage(), FileCheckpoints(self.path / "hub" / "log-second"),
            LogKeys.draw(random.Random(4).randbytes), clock=self.clock, folder=self.path / "hub",
            agreements=agreements_in(self.path / "hub", self.agreed.identities),
            policies=policies_in(self.path / "hub"),
        )  # fmt: skip
        evaluations = Evaluations(
            journal=log.journal, holder=own, holders=bridge, store=own.store, book=own.book,
            identity=self.keys["hub"], clock=self.clock,
        )  # fmt: skip
        self.opened.append(evaluations)
        police = {"police": self.keys["police"].public_key()}
        tables = Tables(self.path / "hub" / "tables", hub="hub-taipei", identities=police.get)
        self.hub = Hub(made.signed, made.manifest, tables, evaluations, bridge)

    def payload(self, kind, value, slot=Slot.SUSPECT):
        """What an asker who may evaluate `value` reads in the table, or None."""
        made = self.epochs[self.hub.manifest.epoch]
        canonical = canonicalize(IdentifierKind(kind), value)
        suite = Suite(load_group())
        blinds = client.random_blinds(suite, 1, random.Random(9).randbytes)
        blinded = client.blind(suite, [canonical], blinds)
        two = [made.shares[name] for name in ("hub", "telecom")]
        parts = [suite.group.multiply(share.scalar, blinded, "blinded") for share in two]
        evaluated = interpolate(suite.group, [share.index for share in two], b"".join(parts))
        (output,) = client.finalize(suite, [canonical], blinds, evaluated)
        root = derive_root(self.hub.manifest.epoch, output)
        record = find(self.hub.records(), derive_tags(root, 7)[slot])
        if record is None:
            return None
        return open_record(root, self.hub.manifest.epoch, 7, slot, record)

    def close(self):
        for item in self.opened:
            item.close()


def csv_text(rows):
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def national_id(number):
    """A synthetic national number with a right check digit."""
    stem = f"A1{number:07d}"
    return stem + next(x for x in "0123456789" if not national_checksum("A", stem[1:] + x))


def row_of(number, **changes):
    row = {
        "report_id": f"R{number}", "kind": "tw_national_id", "value": national_id(number),
        "category": "loan", "last": "2026-10",
    }  # fmt: skip
    return row | changes


@pytest.fixture(scope="session")
def ids():
    return national_id


@pytest.fixture(scope="session")
def given():
    """Make the row of one report."""
    return row_of


@pytest.fixture(scope="session")
def as_csv():
    return csv_text


@pytest.fixture(scope="session")
def killed():
    return Killed


@pytest.fixture(scope="session")
def template(tmp_path_factory, agree):
    """A node of the police, and two epochs that it and the other holders signed."""
    root = tmp_path_factory.mktemp("feed")
    contract = {
        "identifier": {"column": "id", "kind": "opaque"}, "label": None,
        "columns": [{"name": "n", "kind": "numeric", "low": 0, "high": 9, "missing": False}],
    }  # fmt: skip
    store_json(root / "contract.json", contract)
    pl.DataFrame({"id": ["a"], "n": [1]}).write_parquet(root / "table.parquet")
    make_node(
        root / "police", name="police", table=root / "table.parquet",
        contract=root / "contract.json", held_out_column=None,
    )  # fmt: skip
    node = Home(root / "police")
    keys = {
        "police": load_keys(node.keys).identity,
        "hub": Ed25519PrivateKey.generate(),
        "telecom": Ed25519PrivateKey.generate(),
    }
    hexed = {name: key.public_key().public_bytes_raw().hex() for name, key in keys.items()}
    value = load_json(node.root / "node.json")
    value["hub"] |= {"api": "hub.example:8444", "identity": hexed["hub"]}
    insurer = {"insurer": Ed25519PrivateKey.generate()}
    value["peers"] = {
        "telecom": hexed["telecom"],
        "insurer": insurer["insurer"].public_key().public_bytes_raw().hex(),
    }
    store_json(node.root / "node.json", value)
    fifth = make_epoch(FIRST, keys)
    terms = replace(FIRST, epoch=6, session=b"session-of-6....", previous=fifth.manifest.digest)
    agreed = agree(keys | insurer, hub="hub-taipei", holders=tuple(HOLDERS)).keep(node.root)
    return SimpleNamespace(
        node=node, keys=keys, agreed=agreed, epochs={5: fifth, 6: make_epoch(terms, keys)}
    )


def make_epoch(terms, keys):
    suite = Suite(load_group())
    source = random.Random(terms.session).randbytes
    setup = terms.setup()
    shares = run_together({name: generate_key(suite, setup, name, source) for name in HOLDERS})
    manifest = terms.manifest(shares["hub"].record)
    signatures = {name: sign_manifest(keys[name], manifest) for name in HOLDERS}
    signed = SignedManifest(manifest.encode(), signatures)

    return SimpleNamespace(terms=terms, shares=shares, manifest=manifest, signed=signed)


@pytest.fixture
def town(template, tmp_path):
    """A copy of the node that a test may change, with a hub in epoch 5."""
    shutil.copytree(template.node.root, tmp_path / "police-node")
    node = Home(tmp_path / "police-node")
    found = Town(node, FixedClock(NOW), template.epochs, tmp_path, template.keys, template.agreed)
    found.agreed.keep(tmp_path / "hub")
    found.begin(5)
    yield found
    found.close()
