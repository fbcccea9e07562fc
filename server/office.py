"""The hub's compliance office: what hub, partners and staff may do here."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from compliance.agreement.store import AgreementStore
from compliance.office.opening import AGREEMENTS, POLICIES
from compliance.policy.store import PolicyStore
from server.epochs.holding import HUB
from server.home import HubHome
from server.keeping.place import keeping_of


def agreements_of(home: HubHome) -> AgreementStore:
    """Return the agreements that a hub keeps, under the keys of its partners."""
    return AgreementStore(keeping_of(home.root).shelf(AGREEMENTS), PartnerKeys(home))


def policies_of(home: HubHome) -> PolicyStore:
    """Return the policies that a hub keeps."""
    return PolicyStore(keeping_of(home.root).shelf(POLICIES))


class PartnerKeys(Mapping[str, Ed25519PublicKey]):
    """The identity keys of the hub and of the partners that joined; who joins later counts too.

    Those of revoked partners stay: what they signed while they took part still verifies.
    """

    def __init__(self, home: HubHome) -> None:
        self._home = home
        self._known: dict[str, Ed25519PublicKey] = {}
        self._seen: object = None  # the partners' mark, as far as they were read

    def __getitem__(self, name: str) -> Ed25519PublicKey:
        return self._keys()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._keys()))

    def __len__(self) -> int:
        return len(self._keys())

    def items(self) -> ItemsView[str, Ed25519PublicKey]:
        """Return all at once: one by one, the partners would be looked at for each."""
        return self._keys().copy().items()

    def _keys(self) -> dict[str, Ed25519PublicKey]:
        """Return the keys; a partner's is read once, since it never changes."""
        partners = keeping_of(self._home.root).partners
        mark = partners.mark()
        if mark == self._seen:
            return self._known
        known = {name: self._known.get(name) or self._read(name) for name in partners.names()}
        self._known = {HUB: self._known.get(HUB) or self._read(HUB)} | known
        self._seen = mark
        return self._known

    def _read(self, name: str) -> Ed25519PublicKey:
        if name == HUB:
            return self._home.identity_key().public_key()
        text = self._home.known()[name]["identity"]
        return Ed25519PublicKey.from_public_bytes(bytes.fromhex(text))
