"""The hub's compliance office: what hub, partners and staff may do here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from server.epochs.holding import HUB, identities_of
from server.home import HubHome


class PartnerKeys(Mapping[str, Ed25519PublicKey]):
    """The identity keys of the hub and of the partners that joined; who joins later counts too."""

    def __init__(self, home: HubHome) -> None:
        self._home = home
        self._find = identities_of(home)
        self._known: dict[str, Ed25519PublicKey] = {}

    def __getitem__(self, name: str) -> Ed25519PublicKey:
        return self._keys()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._keys()))

    def __len__(self) -> int:
        return len(self._keys())

    def _keys(self) -> dict[str, Ed25519PublicKey]:
        """Return the keys; a partner's is read once, since it never changes."""
        for name in (HUB, *(path.stem for path in (self._home.root / "partners").glob("*.json"))):
            if name not in self._known and (key := self._find(name)) is not None:
                self._known[name] = key
        return self._known
