"""Who may open a page: everybody, whoever is signed in, or some roles."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from compliance.policy.actors import StaffRole


@dataclass(frozen=True, slots=True)
class Access:
    """A page's rule; there is no page without one.

    What a person may *do* the policies decide, when it is done. This says what is shown.

    Args:
        signed_in: whether anybody must have proved who they are.
        roles: of which one is needed; any if empty.
    """

    signed_in: bool
    roles: frozenset[StaffRole] = frozenset()

    def admits(self, roles: Iterable[StaffRole] | None) -> bool:
        """Report whether it lets in somebody with these roles; None is nobody in particular."""
        if not self.signed_in:
            return True
        if roles is None:
            return False
        return not self.roles or not self.roles.isdisjoint(roles)


EVERYBODY = Access(signed_in=False)
SIGNED_IN = Access(signed_in=True)


def only(*roles: StaffRole) -> Access:
    """Return the rule of a page for these roles."""
    if not roles:
        raise ValueError("access: name a role, or take SIGNED_IN")
    return Access(signed_in=True, roles=frozenset(roles))
