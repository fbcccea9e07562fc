"""Policy sets on disk: every set that ever decided is kept, so that it can decide again.

    <digest>.json   the whole set, schema included; never rewritten
    current         the hash of the set in force, replaced as a whole

Adopting a set keeps it first and puts it in force then: a crash between leaves the old one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from compliance.errors import LogCorruptError, NotPermittedError
from compliance.files import write_atomically
from compliance.policy.errors import PolicyError
from compliance.policy.policyset import PolicySet, shipped_policies
from protocols.errors import MalformedMessageError

CURRENT = "current"


@dataclass(slots=True)
class PolicyStore:
    """The policy sets of one organisation, in one directory."""

    directory: Path
    _loaded: dict[bytes, PolicySet] = field(default_factory=dict, repr=False)

    def adopt(self, policies: PolicySet) -> bytes:
        """Keep a set and put it in force; returns its hash."""
        digest = self.keep(policies)
        write_atomically(self.directory / CURRENT, digest.hex().encode())
        return digest

    def keep(self, policies: PolicySet) -> bytes:
        """Keep a set without putting it in force, such as one that a record names."""
        path = self._path(policies.digest)
        if not path.exists():
            write_atomically(path, policies.encode())
        return policies.digest

    def current(self) -> PolicySet:
        """Return the set in force; at the first call, the one that comes with the program.

        Raises:
            LogCorruptError: it is damaged or gone; nothing may be decided until it is restored.
        """
        path = self.directory / CURRENT
        if not path.exists():
            self.adopt(shipped_policies())
        text = path.read_text(encoding="utf-8")
        try:
            return self.load(bytes.fromhex(text))
        except (ValueError, NotPermittedError) as error:
            raise LogCorruptError(f"{CURRENT}: names no set that is kept; restore it") from error

    def load(self, digest: bytes) -> PolicySet:
        """Return a set by its hash.

        Raises:
            NotPermittedError: it was never kept here. LogCorruptError: it is damaged.
        """
        if (known := self._loaded.get(digest)) is not None:
            return known
        path = self._path(digest)
        try:
            found = PolicySet.decode(path.read_bytes())
        except FileNotFoundError as error:
            raise NotPermittedError(
                f"policies: the set {digest.hex()[:12]} was never kept here"
            ) from error
        except (MalformedMessageError, PolicyError) as error:
            raise LogCorruptError(f"{path.name}: {error}") from error
        if found.digest != digest:
            raise LogCorruptError(f"{path.name}: is not the set of its name; restore it")
        self._loaded[digest] = found
        return found

    def digests(self) -> tuple[bytes, ...]:
        """Return the hashes of all sets that are kept."""
        return tuple(bytes.fromhex(path.stem) for path in sorted(self.directory.glob("*.json")))

    def _path(self, digest: bytes) -> Path:
        return self.directory / f"{digest.hex()}.json"
