"""Handing the opened data key to programs that this one starts, such as Flower's.

They get a reduced environment, have no terminal, and are started through other programs, so
a passphrase cannot be typed for them and descriptors are not inherited. They are given the
path of a file in this process's memory: programs of the same user may read it while this
process runs; it is on no disk and gone with the process, also when that is killed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from compliance.atrest.errors import SealedKeysError
from compliance.atrest.keyring import KEYRING, keyring_of
from compliance.atrest.secrets import memory_file
from compliance.atrest.unlocking import CREDENTIALS, UNLOCK

_INHERITABLE = ("file:", "passphrase-file:", "env:", "held:")


class Handover:
    """What a started program needs to open this directory's secrets; close it once it ended.

    Raises:
        SealedKeysError: the directory is sealed, and does not open.
    """

    def __init__(self, root: Path) -> None:
        self._descriptor = -1
        self.environment: Mapping[str, str] = {}
        keyring = keyring_of(root / KEYRING)
        if keyring is None:
            return
        key = keyring.unlock()
        if hasattr(os, "memfd_create"):
            self._descriptor = memory_file(KEYRING, key.ring + key.secret)
            held = f"held:/proc/{os.getpid()}/fd/{self._descriptor}"
            self.environment = {UNLOCK: held}
        else:
            self.environment = _inherited()

    def close(self) -> None:
        """Take the key back; programs that have opened it keep what they have."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _inherited() -> dict[str, str]:
    found = {name: os.environ[name] for name in (UNLOCK, CREDENTIALS) if name in os.environ}
    if UNLOCK in found and not found[UNLOCK].startswith(_INHERITABLE):
        raise SealedKeysError(
            f"{UNLOCK}: on this system the programs that this one starts need a file; name one"
        )
    return found
