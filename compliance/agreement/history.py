"""How a version of an agreement stood at an earlier moment, by what was kept here at that time.

A later version may have begun before it had all its signatures here, and a revocation may bear
a date before the day on which it came. Neither counted here until it was kept, so a decision
of the time between was right. `kept/` in the store says when that was:

    kept/<digest>.<party>.signature    Unix seconds, decimal
    kept/<digest>.<party>.revocation

What was kept before there were such notes has none. Of a version like that both is possible,
that it counted and that it did not, until a decision was made by it. A revocation like that
counts from its date.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from compliance.agreement.revocation import Revocation
from compliance.agreement.standing import State, Version

# The time of a decision is taken before the agreements are read, and the time of a word before
# it is on the disk: so close together either may have been first.
MOMENT_S = 10


@dataclass(frozen=True, slots=True)
class History:
    """All versions, and when what belongs to them was kept.

    Args:
        kept: Unix seconds by the name of the document.
    """

    versions: Mapping[bytes, Version]
    kept: Mapping[str, int]

    def states(self, digest: bytes, at: int, used: Mapping[bytes, int]) -> tuple[State, State]:
        """Return how a version stood at a moment: with all that may have been here, and without.

        Args:
            used: the first moments at which versions are known to have been decided by.
        """
        with_all = [self._with_all(version, at) for version in self.versions.values()]
        without = [
            self._without(version, at, is_known=self._is_known(version, digest, at, used))
            for version in self.versions.values()
        ]
        return _state(digest, with_all, at), _state(digest, without, at)

    def _with_all(self, version: Version, at: int) -> Version:
        """Return a version with everything that may have been here."""
        latest = at + MOMENT_S
        return replace(
            version,
            signers=tuple(
                name for name in version.signers if self._signed(version, name, latest) <= latest
            ),
            revocations=tuple(
                word for word in version.revocations if self._revoked(word, latest) <= latest
            ),
        )

    def _without(self, version: Version, at: int, *, is_known: bool) -> Version:
        """Return a version with what was surely here.

        Args:
            is_known: signatures of which nobody knows since when they are here were.
        """
        latest = at - MOMENT_S
        unknown = latest if is_known else at
        return replace(
            version,
            signers=tuple(
                name for name in version.signers if self._signed(version, name, unknown) <= latest
            ),
            revocations=tuple(
                word
                for word in version.revocations
                if self._revoked(word, word.at - MOMENT_S) <= latest
            ),
        )

    def _is_known(
        self, version: Version, digest: bytes, at: int, used: Mapping[bytes, int]
    ) -> bool:
        own = version.agreement.digest
        return own == digest or (own in used and used[own] <= at - MOMENT_S)

    def _signed(self, version: Version, name: str, otherwise: int) -> int:
        return self.kept.get(f"{version.agreement.digest.hex()}.{name}.signature", otherwise)

    def _revoked(self, word: Revocation, otherwise: int) -> int:
        return self.kept.get(f"{word.agreement.hex()}.{word.party}.revocation", otherwise)


def _state(digest: bytes, versions: list[Version], at: int) -> State:
    (found,) = (item for item in versions if item.agreement.digest == digest)
    return found.state(versions, at)
