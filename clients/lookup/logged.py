"""Is this epoch in the hub's log? Evidence is fetched and verified once, and kept.

    log.policy                             C2SP tlog-policy from the node's officer; optional
    lookup/log-key.json                    the hub's signed word on its log's key, as first seen
    lookup/manifests/<digest>.tlog-proof   the entry of a manifest with its proof

A manifest that all holders signed still counts for nothing here until the hub has put it on
record where every partner and every witness sees it: holders and hub cannot have an epoch for
one asker alone. The log is the one whose key the hub's pinned identity signed; where the
officer gave a policy, its witnesses must have seen the checkpoint too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from clients.lookup.alarms import Alarm, AlarmKind, raise_once
from clients.lookup.api import HubApi, HubRefusedError
from clients.node.files import exclusive, make_private_directory
from clients.node.home import Home
from clients.witness.pins import Pins
from compliance.configuration import ConfigError
from compliance.errors import NotPermittedError
from compliance.files import write_atomically
from protocols.epoch.manifest import EpochManifest
from protocols.errors import InvalidProofError, MalformedMessageError
from protocols.tlog.entry import Entry, Outcome
from protocols.tlog.evidence import read_origin, verify_evidence
from protocols.tlog.logkey import SignedLogKey, policy_for, verify_log_key
from protocols.tlog.policy import Policy

POLICY = "log.policy"
KEY = "lookup/log-key.json"
WITNESS = "witness"  # `clients.witness.service` makes it; a desk does not load a witness for it
# The hub publishes every two seconds, and its witnesses have to be asked in between.
PAUSES_S = (0.2, 0.3, 0.5, 1.0, 1.0, 1.0, 1.0, 2.0)
_HUB = "hub"
_ACTS = frozenset({"begin_epoch", "refresh_epoch"})
_NOT_FOUND = "not_found"


class NotLoggedError(NotPermittedError):
    """The hub does not show that an epoch is in its log: ask nothing under it."""

    code: ClassVar[str] = "epoch_not_logged"


class LogKeyChangedError(NotPermittedError):
    """The hub names another key for its log than before: call the other partners."""

    code: ClassVar[str] = "log_key_changed"


class LogPin:
    """Whose log counts at one node: the hub's key, seen once, and the officer's policy."""

    def __init__(self, home: Home, hub_identity: Ed25519PublicKey) -> None:
        self._home = home
        self._identity = hub_identity
        self._path = home.root / KEY

    def pinned(self) -> SignedLogKey | None:
        """Return the hub's word on its log's key that was kept, if any."""
        if not self._path.exists():
            return None
        try:
            return SignedLogKey.parse(self._path.read_bytes())
        except MalformedMessageError as error:
            raise ConfigError(f"{KEY}: cannot be read; restore it from a backup") from error

    def pin(self, found: SignedLogKey, now: int) -> SignedLogKey:
        """Keep the hub's word on its log's key, or compare it with what was kept.

        Raises:
            InvalidProofError: the hub's identity key did not sign it.
            LogKeyChangedError: it says something else than before; an alarm is raised.
        """
        verify_log_key(found, self._identity)
        with exclusive(make_private_directory(self._path.parent)):
            kept = self.pinned()
            if kept is None:
                write_atomically(self._path, found.format())
            elif kept.signed != found.signed:
                self._refuse_key(f"{found.log} under another key than {kept.log} was before", now)
        return found

    def policy_of(self, origin: str, pinned: SignedLogKey, now: int) -> Policy:
        """Return by which policy checkpoints of one year's log are believed.

        Raises:
            InvalidProofError: the origin is not of the hub's log.
            LogKeyChangedError: this node's witness has pinned another key; an alarm is raised.
            ConfigError, MalformedMessageError: the officer's policy cannot be read.
        """
        key, alone = pinned.key_of(origin), pinned.policy_of(origin)
        if key is None or alone is None:
            raise InvalidProofError("checkpoint: of another log than the hub's")
        witness = self._home.root / WITNESS
        watched = Pins(witness).keys_of(origin) if witness.exists() else None
        if watched is not None and key not in watched:
            self._refuse_key(f"{origin} under another key than our witness has pinned", now)
        path = self._home.root / POLICY
        if not path.exists():
            return alone
        try:
            return policy_for(Policy.decode(path.read_bytes()), origin)
        except OSError as error:
            raise ConfigError(f"{POLICY}: cannot be read; correct its mode") from error

    def _refuse_key(self, text: str, now: int) -> None:
        text = f"the hub shows its log {text}"
        raise_once(self._home, Alarm(AlarmKind.LOG_KEY, now, _HUB, text))
        raise LogKeyChangedError(f"{text}; ask nothing until the hub's operator explains it")


class LoggedEpochs:
    """The evidence of one node for the epochs that it works in.

    Args:
        pauses_s: how long to wait before each further question for evidence that is not
            published yet.
    """

    def __init__(
        self,
        home: Home,
        hub_identity: Ed25519PublicKey,
        *,
        pauses_s: Sequence[float] = PAUSES_S,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._home = home
        self._pin = LogPin(home, hub_identity)
        self._folder = make_private_directory(home.root / "lookup" / "manifests")
        self._pauses_s = tuple(pauses_s)
        self._sleep = sleep

    def holds(self, manifest: EpochManifest) -> bool:
        """Whether evidence for this manifest was verified here."""
        return self._path(manifest).exists()

    def require(self, api: HubApi, manifest: EpochManifest, now: int, *, patient: bool) -> None:
        """Return only if the manifest is in the hub's log; what was verified is kept.

        Args:
            patient: whether to wait for the next checkpoint if it is not published yet.

        Raises:
            NotLoggedError: the hub shows no evidence, or some that does not hold.
            LogKeyChangedError: the hub's log has another key than before.
            InvalidProofError: what the hub says of its log's key is not signed by it.
        """
        if self.holds(manifest):
            return
        pinned = self._pin.pin(self._key_of(api, manifest), now)
        data = self._fetch(api, manifest, patient=patient)
        try:
            policy = self._pin.policy_of(read_origin(data), pinned, now)
            _check_entry(verify_evidence(data, manifest.digest, policy).entry)
        except (InvalidProofError, MalformedMessageError) as error:
            text = f"epoch {manifest.epoch}: the evidence for it does not hold: {error}"
            raise_once(self._home, Alarm(AlarmKind.UNLOGGED_EPOCH, now, str(manifest.epoch), text))
            raise NotLoggedError(
                f"{text}; ask nothing under it, and compare {POLICY}, if there is one, with the "
                "keys of the log and its witnesses"
            ) from error
        write_atomically(self._path(manifest), data)

    def _key_of(self, api: HubApi, manifest: EpochManifest) -> SignedLogKey:
        found = api.log_key()
        if found.hub != manifest.hub:
            raise InvalidProofError("key of the log: of another hub")
        return found

    def _fetch(self, api: HubApi, manifest: EpochManifest, *, patient: bool) -> bytes:
        for pause_s in (*(self._pauses_s if patient else ()), None):
            try:
                return api.evidence(manifest.digest)
            except HubRefusedError as error:
                if error.code != _NOT_FOUND:
                    raise
                if pause_s is None:
                    raise NotLoggedError(
                        f"epoch {manifest.epoch}: the hub's published log does not have it; try "
                        "again soon, and ask the hub's operator for `lianfang-hub log status`"
                    ) from error
            self._sleep(pause_s)
        raise AssertionError("unreachable: the last try returns or raises")

    def _path(self, manifest: EpochManifest) -> Path:
        return self._folder / f"{manifest.digest.hex()}.tlog-proof"


def _check_entry(entry: Entry) -> None:
    """Refuse an entry that names the manifest and does not put it in use."""
    if entry.act not in _ACTS or entry.outcome is not Outcome.DONE or entry.organisation != _HUB:
        raise InvalidProofError("evidence: the entry does not say that the hub began the epoch")
