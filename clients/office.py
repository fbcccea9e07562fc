"""A node's compliance office: what its people and programs may do, and its own log of it."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from clients.audit.home import AuditHome
from clients.node.home import Home
from compliance.clock import Clock
from compliance.office.office import Office
from compliance.office.opening import AUDIT, open_office


def node_office(home: Home, *, clock: Clock | None = None) -> Office:
    """Open the office of a node; close it after use.

    Raises:
        ConfigError: the node's files, or the keys of its log, cannot be used.
        LogCorruptError: its log is not what was written. StorageError: it cannot be reached.
    """
    name = home.config().name
    return open_office(home.root, name, f"{name}/{AUDIT}", PinnedKeys(home), clock=clock)


class PinnedKeys(Mapping[str, Ed25519PublicKey]):
    """The identity keys that a node has pinned; what is pinned later counts too."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._known: tuple[object, dict[str, Ed25519PublicKey]] = (None, {})

    def __getitem__(self, name: str) -> Ed25519PublicKey:
        return self._keys()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._keys()))

    def __len__(self) -> int:
        return len(self._keys())

    def items(self) -> ItemsView[str, Ed25519PublicKey]:
        """Return all at once: one by one, the file would be looked at for each."""
        return self._keys().items()

    def _keys(self) -> dict[str, Ed25519PublicKey]:
        """Return the keys, read again when node.json is another file than before."""
        found = (self._home.root / "node.json").stat()
        stamp = (found.st_ino, found.st_size, found.st_mtime_ns)
        seen, known = self._known
        if stamp != seen:
            known = {
                name: Ed25519PublicKey.from_public_bytes(key)
                for name, key in AuditHome(self._home).identities().items()
            }
            self._known = stamp, known
        return known
