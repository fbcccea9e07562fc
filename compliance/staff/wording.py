"""The register in words and as JSON, as both command lines show it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from compliance.staff.accounts import Account
from compliance.staff.consents import Request
from compliance.staff.emergencies import Emergency

Told = tuple[dict[str, Any], str]
"""One thing as JSON and as a line."""


def tell_account(account: Account, shut_until: int = 0, now: int = 0) -> Told:
    """Tell of an account all but its password.

    Args:
        shut_until: until when it is shut after failed logins; 0 leaves it out.
    """
    roles = sorted(account.roles)
    value: dict[str, Any] = {
        "account": account.name,
        "display": account.display,
        "roles": roles,
        "state": account.state.value,
        "created": account.created,
        "changed": account.changed,
    }
    is_shut = now < shut_until
    line = f"{account.name}: {account.display}, {', '.join(roles)}, {account.state}"
    if is_shut:
        value["shut_until"] = shut_until
        line += f", shut until {time_of(shut_until)} after failed logins"
    return value, line


def tell_request(request: Request) -> Told:
    """Tell of what waits for a second person, or was decided."""
    value = {
        "request": request.number,
        "act": request.act,
        "what": request.what,
        "asker": request.asker,
        "asked": request.asked,
        "expires": request.expires,
        "stage": request.stage.value,
        "by": request.by,
        "reason": request.reason,
    }
    line = (
        f"request {request.number}, {request.stage}: {request.what} ({request.act}, asked by "
        f"{request.asker}, until {time_of(request.expires)})"
    )
    if request.by:
        line += f"; {request.by}{f': {request.reason}' if request.reason else ''}"
    return value, line


def tell_emergency(emergency: Emergency, now: int) -> Told:
    """Tell of an emergency, without what is sealed."""
    is_overdue, lasts = emergency.is_overdue(now), emergency.lasts(now)
    value = {
        "emergency": emergency.number,
        "account": emergency.account,
        "declared": emergency.declared,
        "ends": emergency.ends,
        "lasts": lasts,
        "reviewed": emergency.reviewed,
        "overdue": is_overdue,
    }
    state = "reviewed" if emergency.reviewed is not None else "not reviewed"
    line = (
        f"emergency {emergency.number} of {emergency.account}: "
        f"{'lasts' if lasts else 'over'}, {time_of(emergency.declared)} to "
        f"{time_of(emergency.ends)}, {state}{', OVERDUE' if is_overdue else ''}"
    )
    return value, line


def tell_waiting(requests: Iterable[Request], emergencies: Iterable[Emergency], now: int) -> Told:
    """Tell of everything that somebody else has to do."""
    asked = [tell_request(item) for item in requests]
    broken = [tell_emergency(item, now) for item in emergencies]
    value = {
        "requests": [item for item, _ in asked],
        "emergencies": [item for item, _ in broken],
    }
    return value, "\n".join(line for _, line in asked + broken) or "Nothing waits."


def time_of(seconds: int) -> str:
    """Write a time for people."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
