"""Whom this node believes: pinned identities, and manifests that all holders signed.

    lookup/manifests/<epoch>.json   the signed manifest in force, as it came and was verified
                     <digest>.tlog-proof   its entry in the hub's log (`logged`)

The hub hands manifests and tables out and is believed in neither. A manifest counts when
every holder in it has signed it with its pinned key, when it fits the manifest that this node
has seen for the epoch before, the same one or a refresh of its shares, and when it stands in
the hub's log. Holders that signed two truths are an alarm; no question is asked under either.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from clients.keys import load_keys
from clients.lookup.alarms import ALARMS, Alarm, AlarmKind, Alarms
from clients.lookup.api import HubApi, TableList
from clients.lookup.logged import PAUSES_S, LoggedEpochs, NotLoggedError
from clients.node.files import exclusive, make_private_directory
from clients.node.home import Home
from compliance.configuration import ConfigError
from compliance.errors import NotPermittedError
from compliance.files import write_atomically
from protocols.epoch.manifest import EpochManifest, SignedManifest, verify_manifest
from protocols.epoch.succession import verify_succession
from protocols.errors import InvalidProofError
from protocols.oprf.errors import WrongEpochError

__all__ = ["ALARMS", "ForkedEpochError", "NotLoggedError", "Trust"]

HUB = "hub"


class ForkedEpochError(NotPermittedError):
    """A second manifest for an epoch: ask nothing more, and call the other partners."""

    code: ClassVar[str] = "forked_epoch"


class Trust:
    """What one node has pinned and what it has verified.

    Args:
        pauses_s, sleep: of waiting for the hub's log, as `LoggedEpochs`.
    """

    def __init__(
        self,
        home: Home,
        *,
        pauses_s: Sequence[float] = PAUSES_S,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
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
        self._logged = LoggedEpochs(home, self.hub_identity, pauses_s=pauses_s, sleep=sleep)

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

    def manifest(self, api: HubApi, now: int, *, patient: bool = True) -> EpochManifest:
        """Fetch, verify and keep the manifest in force.

        Args:
            patient: whether to wait some seconds if the hub's log does not show it yet.

        Raises:
            InvalidProofError: a holder's signature is missing or does not hold.
            ForkedEpochError: it contradicts the one that was kept; an alarm is raised.
            NotLoggedError: the hub does not show that it is in its log.
            LogKeyChangedError: the hub's log has another key than before; an alarm is raised.
            WrongEpochError: it is not in force.
        """
        return self.admit(api.current_manifest(), api, now, patient=patient)

    def admit(
        self, signed: SignedManifest, api: HubApi, now: int, *, patient: bool = True
    ) -> EpochManifest:
        """Verify a manifest from anywhere, and keep it; evidence is asked of the hub once."""
        manifest = verify_manifest(signed, self.identities, now=now)
        self._check_known(manifest, now)
        # Outside of the lock: waiting for the log must not hold off those who read.
        self._logged.require(api, manifest, now, patient=patient)
        with exclusive(self._folder):
            if self._check_known(manifest, now):
                write_atomically(self._folder / f"{manifest.epoch}.json", signed.format())
        return manifest

    def _check_known(self, manifest: EpochManifest, now: int) -> bool:
        """Tell whether a manifest is new here; refuse one that does not follow what is known."""
        known = self.known(manifest.epoch)
        if known is not None and known.digest == manifest.digest:
            return False
        self._require_succession(known, manifest, now)
        return True

    def known(self, epoch: int) -> EpochManifest | None:
        """Return the manifest that was kept for an epoch."""
        path = self._folder / f"{epoch}.json"
        if not path.exists():
            return None
        return verify_manifest(SignedManifest.parse(path.read_bytes()), self.identities)

    def in_force(self, now: int) -> EpochManifest | None:
        """Return the kept manifest that is in force: for work while the hub is away."""
        found = [self.known(int(path.stem)) for path in self._folder.glob("*.json")]
        serving = [
            item
            for item in found
            if item is not None and item.serves(now) and self._logged.holds(item)
        ]
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
