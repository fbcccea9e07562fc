"""Entering sign-ins, failures, locks, sign-outs and passkeys into the organisation's own log.

The entry has the account's pseudonym, as all acts have; the account's name lies in the private
part. Where no account of the name exists, the organisation's own program is who acts, and the
name is nowhere: people type passwords into the wrong field. No policy decides about who someone
is, so the entries name the rule by which it was found out (`compliance.office.about.RULES`).
"""

from __future__ import annotations

from dataclasses import replace

from compliance.office.about import SIGN_IN_RULE, About
from compliance.office.office import Office
from compliance.policy.actors import Principal
from compliance.staff.accounts import Account
from compliance.staff.acting import person_of
from protocols.tlog.entry import Verb

SIGN_IN, SIGN_OUT, PROVE = "sign_in", "sign_out", "prove_again"
ADD_PASSKEY, REMOVE_PASSKEY, END_SESSIONS = "add_passkey", "remove_passkey", "end_sessions"
_CHANGES = {ADD_PASSKEY, REMOVE_PASSKEY, END_SESSIONS}


class Entering:
    """Writes what happens at the door; every method returns when it is durable.

    Raises:
        StorageError, LogCorruptError: from every method; then nothing may be done.
    """

    def __init__(self, office: Office) -> None:
        self._office = office

    def done(
        self, act: str, account: Account, matter: str, *, rule: str = SIGN_IN_RULE, count: int = 0
    ) -> None:
        """Enter what somebody did, once it was proved who it is.

        Args:
            matter: what it was about, such as `staff/password`.
        """
        by = person_of(self._office, account)
        decision = self._office.decide(act, by=by)
        allowed = replace(decision, allowed=True, policies=(rule,), errors=())
        self._office.enter(allowed, _about(act, account, matter, count))

    def refused(self, act: str, account: Account | None, matter: str, code: str) -> None:
        """Enter that somebody was not let in.

        Args:
            account: of whom it was tried; None if there is none of the name.
            code: why, for those who read the log.
        """
        by: Principal = self._office.own if account is None else person_of(self._office, account)
        decision = replace(self._office.decide(act, by=by), allowed=False)
        self._office.enter_refusal(decision, _about(act, account, matter, 0), f"signin.{code}")


def _about(act: str, account: Account | None, matter: str, count: int) -> About:
    subject = "" if account is None else f"account {account.name}"
    verb = Verb.ALTER if act in _CHANGES else Verb.CONSULT
    return About(verb, f"staff/{matter}", subject=subject, count=count)
