"""The feed's own word on each act: reports are taken in, published and withdrawn by permission.

An intake and a withdrawal are entered inside the register's transaction, before it ends: what
stands in the register stands in the log. A process that is killed between the two has entered
what did not happen, and the same command enters it again.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from compliance.agreement.coverage import Publication
from compliance.office.about import DATABASE, About
from compliance.office.office import Office
from compliance.policy.actors import Facts, Principal, hour_at
from protocols.lookup.header import SignedHeader
from protocols.tlog.entry import Verb

MATTER = "fraud-reports"

Enter = Callable[[int], object]
"""Enters an act on so many reports, durably."""


class Permitting:
    """Decides and enters what a feed does.

    Args:
        by: who acts; the organisation's own program if None.
    """

    def __init__(self, office: Office, by: Principal | None = None) -> None:
        self._office = office
        self._by = by

    def intake(self) -> Enter:
        """Decide whether reports may be entered into the register.

        Raises:
            NotPermittedError: agreement or policies stand against it; that is entered.
        """
        about = About(Verb.COLLECT, MATTER, purpose=DATABASE)
        question = Publication(self._office.name)
        decision = self._office.permit("enter_report", about, by=self._by, question=question)
        return lambda count: self._office.enter(
            decision, About(Verb.COLLECT, MATTER, count=count, purpose=DATABASE)
        )

    def withdrawal(self, reason: str) -> Enter:
        """Decide whether reports may be withdrawn.

        Raises:
            NotPermittedError: policies stand against it, or no reason is given; it is entered.
        """
        about = About(Verb.ALTER, MATTER, purpose=DATABASE, reason=reason)
        facts = Facts(hour=hour_at(self._office.clock.now()), reason_given=bool(reason.strip()))
        decision = self._office.permit("withdraw", about, by=self._by, facts=facts)
        return lambda count: self._office.enter(
            decision,
            About(Verb.ALTER, MATTER, count=count, purpose=DATABASE, reason=reason),
        )

    def publication(self, signed: SignedHeader) -> None:
        """Decide whether a table may be handed to the hub, and enter that it is.

        Raises:
            NotPermittedError: agreement or policies stand against it; that is entered.
        """
        header = signed.header
        digest = sha256(signed.encode()).digest()
        question = Publication(self._office.name)
        agreement = self._office.agreement()
        readers = () if agreement is None else question.ask(agreement).recipients
        about = About(
            Verb.DISCLOSE,
            f"epoch-{header.epoch}/table",
            recipients=readers,
            count=header.count,
            document=digest,
            purpose=DATABASE,
            subject=f"table {digest.hex()}",
            once=True,
        )
        self._office.perform("publish", about, by=self._by, question=question)
