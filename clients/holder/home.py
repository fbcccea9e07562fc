"""A node's directory as key holder: NODE/holder.

    policy.json    this holder's own rules for new epochs
    manifests/, shares/, drafts/   epochs and our shares of their keys
    book.journal   every request that was admitted, charge and log in one
    status.json    whether the holder is connected, for people to read
    lock           held by the one process that serves this holder

Two processes for one node would take the stream to the hub from one another without end,
so the second is turned away.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from clients.holder.policy import HolderPolicy, load_policy
from clients.keys import AUTHORITY, KeyStoreError, hub_name, load_keys
from clients.node.files import load_json, make_private_directory, store_json
from clients.node.home import Config, Home
from compliance.configuration import ConfigError
from compliance.evaluations.book import BOOK, EvaluationBook
from compliance.evaluations.store import EpochStore

HUB = "hub"
_JOIN_FIRST = "no hub yet; run `lianfang node join` first"


@dataclass(frozen=True, slots=True)
class HolderHome:
    """One node's directory, as key holder."""

    node: Home

    @property
    def root(self) -> Path:
        """Return the holder's own directory."""
        return make_private_directory(self.node.root / "holder")

    def config(self) -> Config:
        """Read node.json of a node that has joined a hub.

        Raises:
            ConfigError: names the field and the cure.
        """
        config = self.node.config()
        if not config.link or not config.hub_identity:
            raise ConfigError(f"node.json: {_JOIN_FIRST}")
        return config

    def policy(self) -> HolderPolicy:
        """Read policy.json; at the first start, write a cautious one.

        Raises:
            ConfigError: names the field, the rule and the cure.
        """
        config = self.config()
        return load_policy(self.root / "policy.json", peers=config.peers, ours=config.name, hub=HUB)

    def store(self) -> EpochStore:
        """Open the epochs and our shares."""
        return EpochStore(self.root)

    def book(self) -> EvaluationBook:
        """Open the book of admitted requests."""
        return EvaluationBook(self.root / BOOK)

    def identity(self) -> Ed25519PrivateKey:
        """Read our identity key."""
        return load_keys(self.node.keys).identity

    def identities(self) -> Callable[[str], Ed25519PublicKey | None]:
        """Return a look-up of pinned identity keys by name; what is pinned later counts too."""
        ours = self.identity().public_key()
        # Asked for every lookup: node.json is read again when it is another file than before.
        seen: tuple[object, dict[str, Ed25519PublicKey]] = (None, {})

        def find(name: str) -> Ed25519PublicKey | None:
            nonlocal seen
            mark = self._mark()
            stamp, keys = seen
            if mark is None or mark != stamp:
                config = self.config()
                texts = {**config.peers, HUB: config.hub_identity}
                keys = {
                    other: Ed25519PublicKey.from_public_bytes(bytes.fromhex(text))
                    for other, text in texts.items()
                } | {config.name: ours}
                seen = mark, keys
            return keys.get(name)

        return find

    def _mark(self) -> object:
        """Return what is another once node.json is; None if there is none to be seen."""
        try:
            found = (self.node.root / "node.json").stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def known(self) -> frozenset[str]:
        """Return all names whose identity keys are pinned here."""
        config = self.config()
        return frozenset({HUB, config.name, *config.peers})

    def hub_name(self) -> str:
        """Read the hub's name from its authority: `spiffe://<hub>`.

        Raises:
            ConfigError: there is none, or none of a hub's.
        """
        try:
            return hub_name(self.node.keys)
        except KeyStoreError as error:
            raise ConfigError(f"{AUTHORITY}: {_JOIN_FIRST}") from error

    def note(self, status: dict[str, Any]) -> None:
        """Write how the holder stands."""
        store_json(self.root / "status.json", status)

    def noted(self) -> dict[str, Any] | None:
        """Return what the serving process noted last, or None if none is running."""
        path = self.root / "status.json"
        if not path.exists() or not self._is_held():
            return None
        status: dict[str, Any] = load_json(path)
        return status

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Serve this holder as its only process; a killed process lets go.

        Raises:
            ConfigError: another process serves it.
        """
        descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConfigError(
                    "holder: another process serves it, perhaps that of `lianfang node start`; "
                    "stop that one first"
                ) from error
            yield
        finally:
            os.close(descriptor)

    def _is_held(self) -> bool:
        try:
            with self.alone():
                return False
        except ConfigError:
            return True
