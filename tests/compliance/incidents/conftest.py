"""An office of an insurer with an agreement in force, and who may do what with incidents."""

from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from compliance.agreement.profile import shipped_profile
from compliance.clock import FixedClock
from compliance.incidents.acts import IncidentDesk, Opening
from compliance.incidents.book import Incidents
from compliance.office.opening import open_office
from compliance.policy.actors import StaffRole
from compliance.staff.acting import Acting

NOW = 1_795_305_600  # 2026-11-22 00:00 UTC, 8 o'clock in Taipei
HOUR = 3_600


@pytest.fixture(scope="session")
def agreed(agree):
    keys = {
        name: Ed25519PrivateKey.from_private_bytes(name.ljust(32).encode())
        for name in ("hub", "insurer", "police", "telecom")
    }
    return agree(keys)


@pytest.fixture
def world(tmp_path, agreed):
    """One organisation's directory with its office, and desks of its people."""
    agreed.keep(tmp_path)
    clock = FixedClock(NOW)
    with open_office(
        tmp_path, "insurer", "insurer/audit", agreed.identities, clock=clock
    ) as office:
        book = Incidents(tmp_path)

        def desk(*roles, second=(), name="one"):
            other = office.person("two", second) if second else None
            who = Acting(office.person(name, roles), other) if roles else Acting(office.own, None)
            return IncidentDesk(book, office, who)

        yield SimpleNamespace(
            root=tmp_path, clock=clock, office=office, book=book, desk=desk,
            officer=desk(StaffRole.COMPLIANCE, second=(StaffRole.APPROVER,)),
        )  # fmt: skip


@pytest.fixture
def opening():
    """What is said at the beginning; changes by name."""

    def make(**changes):
        given = {
            "profile": shipped_profile("tw"), "sector": "life-insurance", "noticed": NOW - HOUR,
            "text": "a table of reports was sent to the wrong partner",
        } | changes  # fmt: skip
        return Opening(**given)

    return make
