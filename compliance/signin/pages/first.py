"""The first page, which says what one's roles may do, and the list of all staff."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from starlette.responses import Response

from compliance.agreement.coverage import Coverage
from compliance.agreement.vocabulary import Channel, Role, Title
from compliance.office.about import DETECTION
from compliance.office.office import Office
from compliance.policy.actors import (
    PSEUDONYM_SIZE,
    Facts,
    Organisation,
    Person,
    Situation,
    StaffRole,
)
from compliance.policy.policyset import PolicySet
from compliance.signin.signin import SignIn
from compliance.staff.acting import person_of
from compliance.web.access import EVERYBODY, SIGNED_IN, only
from compliance.web.page import Page
from compliance.web.visit import Visit

ON_A_PAGE = 50
_CHANNELS = {"check": Channel.COUNTER, "screen": Channel.SCREENING}
_OTHER = "partner"


@dataclass(frozen=True, slots=True)
class FirstPages:
    """The first page, the staff, and what a load balancer asks."""

    door: SignIn
    office: Office

    def pages(self) -> list[Page]:
        """Return them."""
        officers = only(StaffRole.APPROVER, StaffRole.COMPLIANCE)
        return [
            Page("/", SIGNED_IN, show=self._home, menu="menu.home"),
            Page("/people", officers, show=self._people, menu="menu.people"),
            Page("/healthz", EVERYBODY, show=self._health),
        ]

    def _home(self, visit: Visit) -> Response:
        account = self.door.register.all()[visit.person.account]
        titles = titles_for(self.office.policies.current(), person_of(self.office, account))
        return visit.render(
            "home.html",
            rights=[title.text(visit.language) for title in titles],
            has_passkey=bool(self.door.store.passkeys(account.name)),
        )

    def _people(self, visit: Visit) -> Response:
        accounts = sorted(self.door.register.all().values(), key=lambda account: account.name)
        pages = max(1, ceil(len(accounts) / ON_A_PAGE))
        page = min(visit.number("page"), pages)
        shown = accounts[(page - 1) * ON_A_PAGE : page * ON_A_PAGE]
        sessions = {a.name: len(self.door.sessions.of(a, now=visit.now)) for a in shown}
        return visit.render(
            "people.html", people=shown, count=len(accounts), page=page, pages=pages,
            sessions=sessions,
        )  # fmt: skip

    def _health(self, visit: Visit) -> Response:
        return visit.json({"status": "ok"})


def titles_for(policies: PolicySet, person: Person) -> list[Title]:
    """Return what the policies say that somebody may do, where everything else is in order."""
    return _titles(policies, person.organisation, person.roles)


@lru_cache(maxsize=256)
def _titles(policies: PolicySet, own: Organisation, roles: frozenset[StaffRole]) -> list[Title]:
    """Ask for anybody with these roles; a set of policies never changes, another is another."""
    used: set[str] = set()
    person = Person(bytes(PSEUDONYM_SIZE), own, roles)
    for act in policies.acts:
        for resource in (own, Organisation(_OTHER, Role.TELECOM), Organisation("hub", Role.HUB)):
            decision = policies.decide(person, act, resource, _in_order(person, act), at=0)
            used |= set(decision.policies if decision.allowed else ())
    return [title for name, title in policies.titles.items() if name in used]


def _in_order(person: Person, act: str) -> Situation:
    roles = frozenset({StaffRole.APPROVER, StaffRole.COMPLIANCE})
    second = Person(b"\1" * PSEUDONYM_SIZE, person.organisation, roles)
    facts = Facts(
        hour=10, channel=_CHANNELS.get(act, ""), case_present=True, reason_given=True,
        second=second,
    )  # fmt: skip
    coverage = Coverage(purpose=DETECTION, bases=("in-order",))
    return Situation(facts, agreement_in_force=True, coverage=coverage)
