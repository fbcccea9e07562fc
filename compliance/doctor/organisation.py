"""Who may act here and under what: staff, agreement, policies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from compliance.agreement.standing import State
from compliance.agreement.store import AgreementStore
from compliance.doctor.seen import DAY_S, FAIL, PASS, WARN, Seen, lasting, worse
from compliance.policy.actors import StaffRole
from compliance.policy.policyset import shipped_policies
from compliance.policy.store import CURRENT, PolicyStore
from compliance.staff.accounts import Account
from compliance.staff.staff import Staff

_AGREEMENT_SOON_S = 30 * DAY_S
_SHOWN = 12
_EYES = 2
_LEADING = {
    StaffRole.COMPLIANCE: "an officer (compliance)",
    StaffRole.APPROVER: "an approver",
}


def staff_can_decide(root: Path) -> Seen:
    """Whether there is an officer, an approver, and a second pair of eyes beside each other."""
    accounts = {name: one for name, one in Staff(root).accounts().items() if one.is_active}
    if not accounts:
        return Seen(WARN, "nobody has an account, so only programs act")
    missing = [told for role, told in _LEADING.items() if not _with(accounts, role)]
    if missing:
        return Seen(FAIL, f"{len(accounts)} accounts, without {' and '.join(missing)}")
    seconds = sum(one.may_agree for one in accounts.values())
    if len(accounts) < _EYES or seconds < _EYES:
        return Seen(FAIL, "nobody can agree to what the other does: one pair of eyes")
    told = ", ".join(
        f"{_with(accounts, role)} {role.value}" for role in StaffRole if _with(accounts, role)
    )
    return Seen(PASS, told)


def agreement_in_force(store: AgreementStore, now: int) -> Seen:
    """Whether an agreement is in force and for how long; and whose signatures others wait for."""
    versions = store.versions()
    known = list(versions.values())
    waiting = [
        Seen(WARN, f"{_named(digest)} waits for {', '.join(version.signed.missing[:_SHOWN])}")
        for digest, version in versions.items()
        if version.state(known, now) is State.DRAFT and not version.is_whole
    ]
    found = store.in_force(now)
    if found is None:
        # Before the first one nothing is wrong yet; where one has ended, something is.
        ended = any(version.is_whole for version in known)
        level = FAIL if ended else WARN
        return worse(Seen(level, "none is in force, so every act is refused"), *waiting)
    left = lasting(found.not_after - now, warn_s=_AGREEMENT_SOON_S)
    return worse(Seen(left.level, f"{found.name} {_named(found.digest)}: {left.found}"), *waiting)


def policies_hold(store: PolicyStore) -> Seen:
    """Whether the policies in force are whole, and whether they are those of this version."""
    if store.shelf.get(CURRENT) is None:
        # The store would write at the first question; a doctor does not.
        return Seen(PASS, "as they came with this version; nothing was decided yet")
    digest = store.current().digest
    if digest != shipped_policies().digest:
        return Seen(WARN, f"{_named(digest)}, which are not those that came with this version")
    return Seen(PASS, f"{_named(digest)}, as they came with this version")


def _with(accounts: Mapping[str, Account], role: StaffRole) -> int:
    return sum(role in one.roles for one in accounts.values())


def _named(digest: bytes) -> str:
    return digest.hex()[:_SHOWN]
