"""The keyring of a directory, ROOT/keyring.json, and the data key while this process runs.

A secret belongs to the nearest keyring above it. Where there is none, secrets lie in clear.
The data key is opened once a process: with it in memory a passphrase is asked for once, and
whoever can read this process's memory has the keys anyhow.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from compliance.atrest.envelope import DataKey, Material
from compliance.atrest.errors import SealedKeysError
from compliance.atrest.ring import Ring
from compliance.atrest.unlocking import FORMS, UNLOCK, held_key, material_of, spec_of
from compliance.files import write_atomically

KEYRING = "keyring.json"
_MAX_SIZE = 1 << 16

_open: dict[bytes, DataKey] = {}
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Keyring:
    """One directory's keyring."""

    root: Path
    ring: Ring

    def name_of(self, path: Path) -> str:
        """Return the name that a sealed file is bound to: its place below the keyring."""
        return _absolute(path).relative_to(_absolute(self.root)).as_posix()

    def unlock(self, environment: Mapping[str, str] | None = None) -> DataKey:
        """Return the data key; what opens it is read once a process.

        Args:
            environment: see `compliance.atrest.unlocking`; the process's own if None.

        Raises:
            SealedKeysError: nothing was given, or not what opens it.
        """
        with _lock:
            found = _open.get(self.ring.id)
            if found is None:
                found = _open[self.ring.id] = self._unlock(environment)
            return found

    def open_with(self, material: Material) -> DataKey:
        """Return the data key by what was given just now, and keep it for this process.

        Raises:
            SealedKeysError: it is not what opens it.
        """
        found = self.ring.open(material, str(self.root / KEYRING))
        with _lock:
            _open[found.ring] = found
        return found

    def _unlock(self, environment: Mapping[str, str] | None) -> DataKey:
        spec = spec_of(os.environ if environment is None else environment)
        subject = str(self.root / KEYRING)
        if not spec:
            raise SealedKeysError(
                f"{self.root}: its keys are sealed; set {UNLOCK} to {FORMS}, or give the systemd "
                "credential lianfang-unlock"
            )
        held = held_key(spec)
        if held is None:
            return self.ring.open(material_of(spec, prompt=f"Passphrase of {self.root}"), subject)
        if held.ring != self.ring.id:
            raise SealedKeysError(f"{subject}: {UNLOCK} hands over the key of another keyring")
        return held


def keyring_of(path: Path) -> Keyring | None:
    """Return the nearest keyring above a file, or None: then secrets there lie in clear.

    Raises:
        SealedKeysError: there is one, and it is damaged.
    """
    for folder in _absolute(path).parents:
        found = load_keyring(folder)
        if found is not None:
            return found
    return None


def load_keyring(root: Path) -> Keyring | None:
    """Return the keyring of this very directory, or None.

    Raises:
        SealedKeysError: it is damaged.
    """
    path = root / KEYRING
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_SIZE + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SealedKeysError(f"{path}: cannot be read; correct its mode") from error
    return Keyring(root, Ring.parse(data, str(path)))


def store_keyring(keyring: Keyring) -> None:
    """Write a keyring; durable on return, and the former one is gone."""
    write_atomically(keyring.root / KEYRING, keyring.ring.encode())


def forget_keys() -> None:
    """Forget all data keys that this process has opened."""
    with _lock:
        _open.clear()


def _absolute(path: Path) -> Path:
    # Links are not followed: a folder that lies on another disk belongs to the directory still.
    return path.resolve() if ".." in path.parts else path.absolute()
