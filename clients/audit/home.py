"""The parts of a node's directory that are about agreements and policies.

agreements/       every version, signature and revocation (`compliance.agreement.store`)
policies/         every set of policies that ever decided here (`compliance.policy.store`)
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from clients.keys import load_keys
from clients.node.files import make_private_directory
from clients.node.home import Home
from compliance.agreement.finding import find_agreement, read_agreement
from compliance.agreement.signing import SignedAgreement
from compliance.agreement.store import AgreementStore
from compliance.policy.store import PolicyStore
from protocols.vertical.plan import HUB

__all__ = ["AuditHome", "read_agreement"]


@dataclass(frozen=True, slots=True)
class AuditHome:
    """What one node knows of agreements."""

    node: Home

    @property
    def name(self) -> str:
        """Return the node's name."""
        return self.node.config().name

    def identity(self) -> Ed25519PrivateKey:
        """Return the key with which the node signs."""
        return load_keys(self.node.keys).identity

    def identities(self) -> dict[str, bytes]:
        """Return the pinned identity keys by name: our own, the peers' and the hub's."""
        config = self.node.config()
        found = {name: bytes.fromhex(key) for name, key in config.peers.items()}
        if config.hub_identity:
            found[HUB] = bytes.fromhex(config.hub_identity)
        return found | {config.name: self.identity().public_key().public_bytes_raw()}

    def agreements(self) -> AgreementStore:
        """Return the agreements that are kept here."""
        pinned = {
            name: Ed25519PublicKey.from_public_bytes(key) for name, key in self.identities().items()
        }
        return AgreementStore(make_private_directory(self.node.root / "agreements"), pinned)

    def policies(self) -> PolicyStore:
        """Return the policies that are kept here."""
        return PolicyStore(make_private_directory(self.node.root / "policies"))

    def find(self, text: str) -> SignedAgreement:
        """Return an agreement by file, or by the beginning of its hash; the newest if empty.

        Raises:
            ConfigError: there is none, or several begin so.
        """
        return find_agreement(self.agreements(), text, first="lianfang audit agreement draft")
