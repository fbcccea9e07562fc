"""How a version of an agreement stands among the others, at a moment.

In force is a version that all parties signed, whose time has come and not run out, that no
party revoked, and that no later version supersedes. A later version is one that names the
hash of this one, or one of the same series with a higher number: whoever is shown an old
version again, without those between, does not go back to its terms. It counts once all have
signed it and its time has come, and it counts for good, even where it is revoked itself: old
terms return only if all parties sign them again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from compliance.agreement.document import Agreement
from compliance.agreement.revocation import Revocation
from compliance.agreement.signing import SignedAgreement
from compliance.errors import NotPermittedError


class State(StrEnum):
    """How a version stands at a moment."""

    DRAFT = "draft"
    AWAITED = "awaited"
    IN_FORCE = "in_force"
    SUPERSEDED = "superseded"
    ENDED = "ended"
    REVOKED = "revoked"


_LIVE = frozenset({State.AWAITED, State.IN_FORCE})


@dataclass(frozen=True, slots=True)
class Version:
    """One version as the disk has it, verified.

    Args:
        signers: whose signature is there and holds.
    """

    signed: SignedAgreement
    signers: tuple[str, ...]
    revocations: tuple[Revocation, ...]

    @property
    def agreement(self) -> Agreement:
        """Return the document."""
        return self.signed.agreement

    @property
    def is_whole(self) -> bool:
        """Whether all parties have signed."""
        return len(self.signers) == len(self.agreement.parties)

    def state(self, versions: Iterable[Version], now: int) -> State:
        """Tell how it stands among all versions at `now`."""
        if any(item.applies(now) for item in self.revocations):
            return State.REVOKED
        if not self.is_whole:
            return State.DRAFT
        if any(
            other.is_whole and other.agreement.not_before <= now and other.follows(self.agreement)
            for other in versions
        ):
            return State.SUPERSEDED
        if now < self.agreement.not_before:
            return State.AWAITED
        return State.IN_FORCE if self.agreement.covers(now) else State.ENDED

    def follows(self, former: Agreement) -> bool:
        """Report whether it is a later version than `former`."""
        return follows(self.agreement, former)


def follows(later: Agreement, former: Agreement) -> bool:
    """Report whether one document is a later version than another."""
    if later.supersedes == former.digest:
        return True
    series = (later.hub, later.name) == (former.hub, former.name)
    return series and later.version > former.version


def check_succession(agreement: Agreement, versions: Iterable[Version], now: int) -> None:
    """Return only if an agreement could be in force without another one beside it.

    Raises:
        NotPermittedError: names the one that would be in force at the same time.
    """
    known = list(versions)
    for version in known:
        other = version.agreement
        if other.digest == agreement.digest or version.state(known, now) not in _LIVE:
            continue
        if follows(agreement, other) or follows(other, agreement):
            continue
        if agreement.not_before < other.not_after and other.not_before < agreement.not_after:
            raise NotPermittedError(
                f"agreement: would be in force beside {other.digest.hex()[:12]}; "
                "draft it as the next version of that one, or revoke that one first"
            )
