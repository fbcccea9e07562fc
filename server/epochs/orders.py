"""Who at the hub wants something done to an epoch, and why: part of every control request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from compliance.policy.actors import Person, Principal, parse_principal
from protocols.errors import MalformedMessageError

# What says nothing about the epoch itself.
_FIELDS = ("by", "second", "reason")


@dataclass(frozen=True, slots=True)
class Order:
    """An act of somebody at the hub.

    Args:
        by: who acts; policies want a person, not the hub's own program.
        second: who agreed to it beside; None if nobody did.
    """

    by: Principal
    second: Person | None
    reason: str

    @classmethod
    def take(cls, request: Mapping[str, Any]) -> tuple[Order, dict[str, Any]]:
        """Read who and why from a control request; returns the rest of it too.

        Raises:
            MalformedMessageError: it does not say who acts.
        """
        rest = {name: item for name, item in request.items() if name not in _FIELDS}
        match {name: request.get(name) for name in _FIELDS}:
            case {"by": Mapping() as by, "second": Mapping() | None as second, "reason": str(why)}:
                other = None if second is None else Person.parse(second, "control.second")
                return cls(parse_principal(by, "control.by"), other, why), rest
        raise MalformedMessageError(
            "control: an act on an epoch needs by, second and reason; use lianfang-hub epoch"
        )

    def fields(self) -> dict[str, Any]:
        """Return the fields of a control request."""
        second = None if self.second is None else self.second.fields()
        return {"by": self.by.fields(), "second": second, "reason": self.reason}
