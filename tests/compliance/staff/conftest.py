"""An insurer's office under an agreement, its staff, and passwords that cost next to nothing."""

import random
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compliance.clock import FixedClock
from compliance.log.storage import Place
from compliance.office.office import Office
from compliance.office.opening import open_office
from compliance.policy.actors import StaffRole
from compliance.staff.accounts import Account, State
from compliance.staff.acting import identify
from compliance.staff.changes import add_account
from compliance.staff.passwords import Cost, PasswordHash
from compliance.staff.staff import Staff
from protocols.tlog.entry import Entry

CHEAP = Cost(memory_kib=64, passes=1, lanes=1)
# 02:00 UTC is ten in the morning where the staff works.
NOW = 1_800_064_800
PASSWORD = "a long enough secret of {}"
NAMES = ("hub", "insurer", "police", "telecom")


@dataclass
class People:
    """An office with its staff, and what tests want to know of both."""

    staff: Staff
    office: Office
    clock: FixedClock

    def who(self, name="", second=""):
        return identify(
            self.staff, self.office, name=name, second=second,
            ask=PASSWORD.format, agree="agree to {number}",
        )  # fmt: skip

    def add(self, name, *roles, by="", second="", reason="new colleague"):
        return add_account(
            self.staff, self.office, self.who(by, second), name, display=name.title(),
            roles=[StaffRole(role) for role in roles], password=PASSWORD.format(name),
            reason=reason,
        )  # fmt: skip

    def entries(self):
        log = self.office.yearly.log(self.office.yearly.origin())
        data = self.office.storage.entries(log.origin, 0, self.office.storage.edge(log.origin).size)
        return [Entry.decode(item) for item in data]

    def part(self, entry):
        """The private part of an entry, opened."""
        return self.office.parts.read(
            Place(self.office.yearly.origin(), entry.sequence), entry.commitment
        )


@pytest.fixture(scope="session")
def cheap():
    return CHEAP


@pytest.fixture
def staff(tmp_path):
    return Staff(tmp_path / "insurer", cost=CHEAP)


@pytest.fixture
def account():
    """Make an account that stands in no file."""

    def make(name, *roles, state=State.ACTIVE):
        kept = PasswordHash.of(PASSWORD.format(name), CHEAP, random.Random(1).randbytes)
        found = frozenset(StaffRole(role) for role in roles)
        return Account(name, name.title(), found, state, kept, NOW, NOW)

    return make


@pytest.fixture
def hire(staff, account):
    """Put accounts into the register, as if they had been decided about."""

    def put(**roles):
        with staff.exclusive() as (accounts, store):
            made = {name: account(name, *words.split()) for name, words in roles.items()}
            store({**accounts, **made})
        return staff

    return put


@pytest.fixture(scope="session")
def agreed(agree):
    return agree({name: Ed25519PrivateKey.generate() for name in NAMES})


@pytest.fixture(scope="session")
def identities(agreed):
    """The pinned keys as words of a command line."""
    found = agreed.identities.items()
    return [f"{name}={key.public_bytes_raw().hex()}" for name, key in found]


@pytest.fixture
def people(tmp_path, staff, agreed):
    """An office whose register is empty."""
    agreed.keep(tmp_path / "insurer")
    clock = FixedClock(NOW)
    with open_office(
        tmp_path / "insurer", "insurer", "insurer/audit", agreed.identities, clock=clock
    ) as office:
        yield People(staff, office, clock)


@pytest.fixture
def manned(people, hire):
    """The same with an approver, an officer, a clerk and an analyst."""
    hire(amy="approver", otto="compliance", dora="desk", anna="analyst")
    return people
