"""The desk's own word on each look at a person: decided before it, entered after it.

One entry for each identifier that was looked up: `subject` of its private part is the token
by which this organisation finds the person again (`compliance.rights.tokens`), so that it can
tell whom it looked up when, and erase that. The entry itself says what was done for which
purpose, and whether something was found.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from clients.lookup.api import HubRefusedError
from clients.node.home import Home
from compliance.agreement.coverage import Lookup
from compliance.errors import ComplianceError
from compliance.office.about import About
from compliance.office.office import Office
from compliance.policy.actors import Facts, Principal, hour_at
from compliance.policy.decision import Decision
from compliance.policy.judge import require
from compliance.rights.tokens import canonical_token, subject_key
from protocols.errors import ProtocolError
from protocols.link import TransportError
from protocols.lookup.light import Colour, Light
from protocols.lookup.request import Purpose
from protocols.tlog.entry import Outcome, Verb

MATTER = "fraud-reports"
GREY = "light.grey"
HUB_REFUSED = "hub_refused"
_OUTCOMES = {Colour.RED: Outcome.HIT, Colour.YELLOW: Outcome.HIT, Colour.GREEN: Outcome.MISS}


@dataclass(frozen=True, slots=True)
class Permission:
    """A look that is permitted, and what its entries will say."""

    decision: Decision
    abouts: tuple[About, ...] = field(repr=False)


class Permitting:
    """Decides and enters what a desk does; for one thread."""

    def __init__(self, office: Office, home: Home) -> None:
        self._office = office
        self._key = subject_key(home.root, os.urandom)

    def check(
        self,
        canonical: Sequence[bytes],
        *,
        purpose: Purpose,
        case: str,
        by: Principal | None,
        glass_broken: bool,
    ) -> Permission:
        """Decide whether a customer may be looked up.

        Args:
            by: who looks; the organisation's own program if None.

        Raises:
            NotPermittedError: agreement or policies stand against it; that is entered.
        """
        plain = About(Verb.CONSULT, MATTER, count=1, case=case)
        abouts = tuple(
            replace(plain, subject=canonical_token(self._key, item))
            for item in dict.fromkeys(canonical)
        )
        facts = Facts(
            hour=self._hour(),
            channel=purpose.value,
            case_present=bool(case),
            glass_broken=glass_broken,
        )
        question = Lookup(self._office.name, purpose)
        decision = self._office.decide("check", by=by, facts=facts, question=question)
        if not decision.allowed:
            for about in abouts:
                self._office.enter(decision, about, Outcome.REFUSED)
        return Permission(require(decision), abouts)

    def screening(self, *, by: Principal | None, approved_by: str) -> Permission:
        """Decide whether the customer base may be screened.

        Raises:
            NotPermittedError: agreement or policies stand against it; that is entered.
        """
        about = About(Verb.CONSULT, MATTER, reason=approved_by)
        decision = self._office.permit(
            "screen",
            about,
            by=by,
            facts=Facts(hour=self._hour(), channel=Purpose.SCREENING.value),
            question=Lookup(self._office.name, Purpose.SCREENING),
        )
        return Permission(decision, (about,))

    def seen(self, permission: Permission, light: Light | None) -> None:
        """Enter what a check came to, before it is shown."""
        for about in permission.abouts:
            if light is not None and light.colour is Colour.GREY:
                self._office.enter_failure(permission.decision, about, GREY)
                continue
            outcome = Outcome.DONE if light is None else _OUTCOMES[light.colour]
            self._office.enter(permission.decision, about, outcome)

    def screened(self, permission: Permission, count: int) -> None:
        """Enter that so many customers were screened, before the result is written."""
        (about,) = permission.abouts
        self._office.enter(permission.decision, replace(about, count=count))

    @contextmanager
    def told(self, permission: Permission) -> Iterator[None]:
        """Enter a look that ends in an error, whatever it is."""
        try:
            yield
        except (ProtocolError, ComplianceError, HubRefusedError, TransportError) as error:
            for about in permission.abouts:
                # A code from elsewhere is another organisation's word: it stays out.
                code = HUB_REFUSED if isinstance(error, HubRefusedError) else error.code
                self._office.enter_failure(permission.decision, about, code)
            raise

    def _hour(self) -> int:
        return hour_at(self._office.clock.now())
