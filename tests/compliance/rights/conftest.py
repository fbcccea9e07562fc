"""Offices of an insurer and of the police, their file of requests, and a store on disk."""

import json
import os
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compliance.agreement.vocabulary import Title
from compliance.clock import FixedClock
from compliance.office.about import About
from compliance.office.office import Office
from compliance.office.opening import open_office
from compliance.policy.actors import Facts, StaffRole
from compliance.rights.case import Identifier, Texts
from compliance.rights.casefile import CaseFile
from compliance.rights.certificate import Certificates
from compliance.rights.disputes import Disputes
from compliance.rights.erasure import Erasure
from compliance.rights.kinds import Kind
from compliance.rights.service import Rights, Who
from compliance.rights.stores import Finding
from compliance.staff.acting import Acting
from protocols.identifiers import IdentifierKind, canonicalize
from protocols.tlog.entry import Entry, Verb

# Monday, 2 November 2026, ten in the morning in Taipei.
NOW = 1_793_584_800
NAMES = ("hub", "insurer", "police", "telecom")
PHONE, OTHER, NATIONAL = "0912-345-678", "0987-654-321", "A123456789"


class Killed(BaseException):
    """The process dies here."""


@dataclass
class Shelf:
    """A store of canonical identifiers in one JSON file, which keeps the contract."""

    path: Path
    name: str = "test/shelf"
    what: ClassVar[Title] = Title("things on a shelf", "架上之物")
    method: ClassVar[Title] = Title("written anew", "重寫")
    dies: str = ""

    def put(self, *canonical):
        self.path.write_text(json.dumps([item.hex() for item in (*self.items(), *canonical)]))

    def items(self):
        if not self.path.exists():
            return []
        return [bytes.fromhex(item) for item in json.loads(self.path.read_text())]

    def find(self, subject):
        return [
            Finding(None, {Title("colour", "顏色"): "red"})
            for item in self.items()
            if item in subject.canonical
        ]

    def erase(self, subject):
        if self.dies == "before":
            raise Killed
        found = self.find(subject)
        kept = [item.hex() for item in self.items() if item not in subject.canonical]
        self.path.write_text(json.dumps(kept))
        if self.dies == "after":
            raise Killed
        return len(found)


@dataclass
class Place:
    """One organisation with officers, its file of requests and a store."""

    root: Path
    name: str
    identity: Ed25519PrivateKey
    clock: FixedClock
    office: Office
    file: CaseFile
    opened: list = field(default_factory=list)

    @property
    def rights(self):
        return Rights(self.office, self.file)

    @property
    def disputes(self):
        return Disputes(self.rights)

    @property
    def shelf(self):
        return Shelf(self.root / "shelf.json")

    @property
    def certificates(self):
        return Certificates(self.root)

    def again(self):
        """A second process on the same files."""
        file = CaseFile(self.root, os.urandom)
        self.opened.append(file)
        return Rights(self.office, file)

    def who(self, *roles, second=True, reason="the person wrote to us"):
        own = self.office.person("officer", [StaffRole(role) for role in roles or ["compliance"]])
        eye = self.office.person("chief", [StaffRole.APPROVER]) if second else None
        return Who(Acting(own, eye), reason)

    def texts(self, *numbers, wish="take me off the list"):
        found = tuple(
            Identifier(IdentifierKind.PHONE, canonicalize(IdentifierKind.PHONE, number))
            for number in numbers or [PHONE]
        )
        return Texts(found, contact="1 Example Road", wish=wish)

    def take(self, kind, *numbers, profile="tw"):
        """A request that is in work."""
        number = self.rights.open(kind, profile, self.texts(*numbers), self.who()).number
        self.rights.verify_identity(number, self.who(reason="passport was shown"))
        return self.rights.take_up(number, self.who()).number

    def erasure(self, shelf=None):
        return Erasure(self.rights, [shelf or self.shelf], self.certificates, self.identity)

    def erase(self, number, **options):
        return self.erasure(options.pop("shelf", None)).run(number, self.who(), **options)

    def looked_up(self, number, case="C-1", recipients=()):
        """Let an entry about a person stand in the log, as a desk's check makes it."""
        token = self.file.token(canonicalize(IdentifierKind.PHONE, number))
        about = About(Verb.CONSULT, "fraud-reports", recipients, 1, subject=token, case=case)
        # Any decision will do: what the entry is about is what counts here.
        decision = self.office.decide(
            "answer_rights_request", by=self.who().acting.by, facts=Facts(10, case_present=True)
        )
        return self.office.enter(decision, about)

    def entries(self):
        origin = self.office.yearly.origin()
        size = self.office.storage.edge(origin).size
        return [Entry.decode(data) for data in self.office.storage.entries(origin, 0, size)]

    def bytes(self):
        """Every byte of every file of the directory, write-ahead logs included."""
        return b"\x00".join(p.read_bytes() for p in sorted(self.root.rglob("*")) if p.is_file())

    def close(self):
        for item in [*self.opened, self.file, self.office]:
            item.close()


@pytest.fixture
def keys():
    return {
        name: Ed25519PrivateKey.from_private_bytes(name.ljust(32, "-").encode()) for name in NAMES
    }


@pytest.fixture
def public(keys):
    return {name: key.public_key() for name, key in keys.items()}


@pytest.fixture
def places(tmp_path, keys, public, agree):
    """Open organisations by name; all are closed at the end."""
    clock, opened, agreed = FixedClock(NOW), {}, agree(keys)

    def place(name):
        if name not in opened:
            root = tmp_path / name
            agreed.keep(root)
            office = open_office(root, name, f"{name}/audit", public, clock=clock)
            file = CaseFile(root, os.urandom)
            opened[name] = Place(root, name, keys[name], clock, office, file)
        return opened[name]

    yield place
    for item in opened.values():
        item.close()


@pytest.fixture
def insurer(places):
    return places("insurer")


@pytest.fixture
def numbers():
    """Telephone numbers that nobody has."""
    return PHONE, OTHER


@pytest.fixture
def killed():
    return Killed


@pytest.fixture
def sealed_phone():
    return canonicalize(IdentifierKind.PHONE, PHONE)


@pytest.fixture
def rows():
    """Read a table of a file of requests."""

    def read(place, statement):
        database = sqlite3.connect(place.root / "rights" / "requests.sqlite")
        try:
            return database.execute(statement).fetchall()
        finally:
            database.close()

    return read


@pytest.fixture
def kinds():
    return Kind
