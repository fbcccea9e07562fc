"""The hub's compliance office: what hub, partners and staff may do here."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from compliance.configuration import read_object
from server.epochs.holding import HUB
from server.home import HubHome


class PartnerKeys(Mapping[str, Ed25519PublicKey]):
    """The identity keys of the hub and of the partners that joined; who joins later counts too.

    Those of revoked partners stay: what they signed while they took part still verifies.
    """

    def __init__(self, home: HubHome) -> None:
        self._home = home
        self._known: dict[str, Ed25519PublicKey] = {}
        self._seen = -1  # when the directory was changed last, as far as it was read

    def __getitem__(self, name: str) -> Ed25519PublicKey:
        return self._keys()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._keys()))

    def __len__(self) -> int:
        return len(self._keys())

    def items(self) -> ItemsView[str, Ed25519PublicKey]:
        """Return all at once: one by one, the directory would be looked at for each."""
        return self._keys().copy().items()

    def _keys(self) -> dict[str, Ed25519PublicKey]:
        """Return the keys; a partner's is read once, since it never changes."""
        folder = self._home.root / "partners"
        changed = folder.stat().st_mtime_ns if folder.exists() else 0
        if changed == self._seen:
            return self._known
        for name in (HUB, *(path.stem for path in (self._home.root / "partners").glob("*.json"))):
            if name not in self._known:
                self._known[name] = self._read(name)
        self._seen = changed
        return self._known

    def _read(self, name: str) -> Ed25519PublicKey:
        if name == HUB:
            return self._home.identity_key().public_key()
        text = read_object(self._home.root / "partners" / f"{name}.json")["identity"]
        return Ed25519PublicKey.from_public_bytes(bytes.fromhex(text))
