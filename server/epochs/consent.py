"""The second person for an act on an epoch, which another process decides: the one that serves.

The operator's command cannot ask the policies itself: what is decided on are terms, and the
serving process draws them. So a consent that was given for this very wish goes with the
order, used up before it is sent; and where policies want one that nobody gave, the request
for it is filed after their refusal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from compliance.errors import NotPermittedError
from compliance.office.office import Office
from compliance.policy.actors import Person
from compliance.staff.acting import Acting, person_of
from compliance.staff.consents import MAX_WHAT, Request, Stage, digest_of

FOUR_EYES = "four-eyes"  # the policy that names itself in a refusal


def second_person(who: Acting, office: Office, wish: Mapping[str, Any]) -> Person | None:
    """Return who agrees: at once, or by a consent, which is used up; None if nobody did."""
    if who.second is not None or who.staff is None:
        return who.second
    act, now = str(wish["action"]), office.clock.now()
    found = who.staff.consents.find(act, _digest(wish), who.account, now=now)
    if found is None or found.stage is not Stage.AGREED:
        return None
    agreed = who.staff.find(found.by)
    if agreed is None or not agreed.is_active:
        return None
    used = who.staff.consents.consume(found.number, now=now)
    return None if used is None else person_of(office, agreed)


def told(who: Acting, office: Office, wish: Mapping[str, Any], refusal: str) -> str:
    """Return a refusal as it was told, and how a second person agrees if one is missing.

    Raises:
        NotPermittedError: the second person has declined.
    """
    if FOUR_EYES not in refusal or who.second is not None or who.staff is None:
        return refusal
    act, now = str(wish["action"]), office.clock.now()
    request = who.staff.consents.file(act, _words(wish), _digest(wish), who.account, now=now)
    if request.stage is Stage.DECLINED:
        raise NotPermittedError(f"request {request.number} was declined: {request.reason}")
    return f"{refusal}; {_how(who, request)}"


def _how(who: Acting, request: Request) -> str:
    how = who.agree.format(number=request.number)
    return f"request {request.number} waits for a second person: {how}, then repeat this command"


def _digest(wish: Mapping[str, Any]) -> bytes:
    return digest_of(str(wish["action"]), _words(wish), dict(wish))


def _words(wish: Mapping[str, Any]) -> str:
    """Say what is wished for; what is as the agreement has it is left out."""
    chosen = [
        f"{name} {item if isinstance(item, int) else json.dumps(item)}"
        for name, item in wish.items()
        if name != "action" and item
    ]
    return f"{str(wish['action']).replace('_', ' ')}: {', '.join(chosen)}"[:MAX_WHAT]
