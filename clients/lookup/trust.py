"""Whom this node believes: pinned identities, and manifests that all holders signed.

    lookup/manifests/<epoch>.json   the signed manifest in force, as it came and was verified

The hub hands manifests and tables out and is believed in neither. A manifest counts when
every holder in it has signed it with its pinned key, and when it fits the manifest that
this node has seen for the epoch before: the same one, or a refresh of its shares. Anything
else means that holders signed two truths: an alarm, and no question is asked under it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from clients.keys import load_keys
from clients.lookup.alarms import Alarm, AlarmKind, Alarms
from clients.lookup.api import HubApi, TableList
from clients.node.files import exclusive, make_private_directory
from clients.node.home import Home
from compliance.configuration import ConfigError
from compliance.errors import NotPermittedError
from compliance.files import write_atomically
from protocols.epoch.manifest import EpochManifest, SignedManifest, verify_manifest
from protocols.epoch.succession import verify_succession
from protocols.errors import InvalidProofError
from protocols.oprf.errors import WrongEpochError

HUB = "hub"
ALARMS = "lookup/alarms.journal"


class ForkedEpochError(NotPermittedError):
    """A second manifest for an epoch: ask nothing more, and call the other partners."""

    code: ClassVar[str] = "forked_epoch"


class Trust:
    """What one node has pinned and what it has verified."""

    def __init__(self, home: Home) -> None:
        self._home = home
        config = home.config()
        self.name = config.name
        if not config.hub_identity:
            raise ConfigError("node.json: no identity of the hub; run `lianfang node join` first")
        own = load_keys(home.keys).identity.public_key()
        keys = config.peers | {HUB: config.hub_identity}
        self.identities: Mapping[str, Ed25519PublicKey] = {
            name: Ed25519PublicKey.from_public_bytes(bytes.fromhex(key))
            for name, key in keys.items()
        } | {config.name: own}
        self._folder = make_private_directory(home.root / "lookup" / "manifests")

    @property
    def hub_identity(self) -> Ed25519PublicKey:
        """The key with which the hub signs receipts and lists."""
        return self.identities[HUB]

    def identity(self, name: str) -> Ed25519PublicKey:
        """Return a partner's pinned key.

        Raises:
            ConfigError: none is pinned; names the command.
        """
        if name not in self.identities:
            raise ConfigError(
                f"node.json: no identity key of {name}; run `lianfang node trust` with the key "
                f"that {name} reads out"
            )
        return self.identities[name]

    def manifest(self, api: HubApi, now: int) -> EpochManifest:
        """Fetch, verify and keep the manifest in force.

        Raises:
            InvalidProofError: a holder's signature is missing or does not hold.
            ForkedEpochError: it contradicts the one that was kept; an alarm is raised.
            WrongEpochError: it is not in force.
        """
        return self.admit(api.current_manifest(), now)

    def admit(self, signed: SignedManifest, now: int) -> EpochManifest:
        """Verify a manifest from anywhere, and keep it."""
        manifest = verify_manifest(signed, self.identities, now=now)
        with exclusive(self._folder):
            known = self.known(manifest.epoch)
            if known is None or known.digest != manifest.digest:
                self._require_succession(known, manifest, now)
                write_atomically(self._folder / f"{manifest.epoch}.json", signed.format())
        return manifest

    def known(self, epoch: int) -> EpochManifest | None:
        """Return the manifest that was kept for an epoch."""
        path = self._folder / f"{epoch}.json"
        if not path.exists():
            return None
        return verify_manifest(SignedManifest.parse(path.read_bytes()), self.identities)

    def in_force(self, now: int) -> EpochManifest | None:
        """Return the kept manifest that is in force: for work while the hub is away."""
        found = [self.known(int(path.stem)) for path in self._folder.glob("*.json")]
        serving = [item for item in found if item is not None and item.serves(now)]
        fresh = [item for item in serving if item.covers(now)] or serving
        return max(fresh, key=lambda item: item.epoch, default=None)

    def over(self, now: int) -> list[int]:
        """Return the kept epochs that no holder serves any more."""
        found = [self.known(int(path.stem)) for path in self._folder.glob("*.json")]
        return [
            item.epoch
            for item in found
            if item is not None and item.not_after + item.grace_s <= now
        ]

    def verify_list(self, tables: TableList, manifest: EpochManifest) -> None:
        """Check that the hub signed this list for this epoch.

        Raises:
            InvalidProofError: it did not.
            WrongEpochError: it is for another hub or epoch.
        """
        try:
            self.hub_identity.verify(tables.signature, tables.signed)
        except InvalidSignature as error:
            raise InvalidProofError("list of tables: the hub's signature does not hold") from error
        if (tables.hub, tables.epoch) != (manifest.hub, manifest.epoch):
            raise WrongEpochError("list of tables: for another hub or epoch")

    def _require_succession(
        self, known: EpochManifest | None, manifest: EpochManifest, now: int
    ) -> None:
        before = known or self._latest_before(manifest.epoch)
        if before is None:
            return
        try:
            verify_succession(before, manifest)
        except InvalidProofError as error:
            text = f"epoch {manifest.epoch}: {error}"
            alarms = Alarms(self._home.root / ALARMS)
            alarms.raise_alarm(Alarm(AlarmKind.FORKED_EPOCH, now, str(manifest.epoch), text))
            alarms.close()
            raise ForkedEpochError(f"{text}; ask nothing until the holders explain it") from error

    def _latest_before(self, epoch: int) -> EpochManifest | None:
        earlier = [int(path.stem) for path in self._folder.glob("*.json") if int(path.stem) < epoch]
        return self.known(max(earlier)) if earlier else None
