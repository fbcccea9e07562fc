"""Policy sets as they are kept: every one that ever decided, so that it can decide again.

    <digest>.json   the whole set, schema included; never rewritten
    current         the hash of the set in force, replaced as a whole

Adopting a set keeps it first and puts it in force then: a crash between leaves the old one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from compliance.errors import LogCorruptError, NotPermittedError
from compliance.policy.errors import PolicyError
from compliance.policy.policyset import PolicySet, shipped_policies
from compliance.shelf import Shelf, shelf_of
from protocols.errors import MalformedMessageError

CURRENT = "current"
_SUFFIX = ".json"


@dataclass(slots=True)
class PolicyStore:
    """The policy sets of one organisation.

    Args:
        place: a shelf, or the directory that is one.
    """

    place: Path | Shelf
    _loaded: dict[bytes, PolicySet] = field(default_factory=dict, repr=False)

    @property
    def shelf(self) -> Shelf:
        """Return where the sets are kept."""
        return shelf_of(self.place)

    @property
    def directory(self) -> Path:
        """Return the directory of a node's own, which is a shelf of files."""
        if isinstance(self.place, Path):
            return self.place
        raise TypeError("directory: what is kept here lies in no directory")

    def adopt(self, policies: PolicySet) -> bytes:
        """Keep a set and put it in force; returns its hash."""
        digest = self.keep(policies)
        self.shelf.put(CURRENT, digest.hex().encode())
        return digest

    def keep(self, policies: PolicySet) -> bytes:
        """Keep a set without putting it in force, such as one that a record names."""
        self.shelf.put_new(_name(policies.digest), policies.encode())
        return policies.digest

    def current(self) -> PolicySet:
        """Return the set in force; at the first call, the one that comes with the program.

        Raises:
            LogCorruptError: it is damaged or gone; nothing may be decided until it is restored.
        """
        data = self.shelf.get(CURRENT)
        if data is None:
            shipped = self.keep(shipped_policies()).hex().encode()
            # Another process may have put a set in force meanwhile: that one counts.
            data = shipped if self.shelf.put_new(CURRENT, shipped) else self.shelf.get(CURRENT)
        try:
            return self.load(bytes.fromhex((data or b"").decode()))
        except (ValueError, NotPermittedError) as error:
            raise LogCorruptError(f"{CURRENT}: names no set that is kept; restore it") from error

    def load(self, digest: bytes) -> PolicySet:
        """Return a set by its hash.

        Raises:
            NotPermittedError: it was never kept here. LogCorruptError: it is damaged.
        """
        if (known := self._loaded.get(digest)) is not None:
            return known
        name = _name(digest)
        data = self.shelf.get(name)
        if data is None:
            raise NotPermittedError(f"policies: the set {digest.hex()[:12]} was never kept here")
        try:
            found = PolicySet.decode(data)
        except (MalformedMessageError, PolicyError) as error:
            raise LogCorruptError(f"{name}: {error}") from error
        if found.digest != digest:
            raise LogCorruptError(f"{name}: is not the set of its name; restore it")
        self._loaded[digest] = found
        return found

    def digests(self) -> tuple[bytes, ...]:
        """Return the hashes of all sets that are kept."""
        names = [name for name in self.shelf.names() if name.endswith(_SUFFIX)]
        return tuple(bytes.fromhex(name.removesuffix(_SUFFIX)) for name in names)


def _name(digest: bytes) -> str:
    return f"{digest.hex()}{_SUFFIX}"
