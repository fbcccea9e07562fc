"""The keys of an organisation's log, ROOT/log: made with it, restored with it from a backup.

    log.key       Ed25519: signs checkpoints and nothing else, not the hub's identity key
    parts.key     96 random bytes: private parts, their index, pseudonyms; 32 each

The files stand beside the log's storage, not in it: the database alone opens no private part.
Without `log.key` the log of the year ends; without `parts.key` its private parts are lost.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from compliance.atrest.secrets import create_secret, read_secret
from compliance.configuration import ConfigError
from compliance.files import DIRECTORY_MODE
from compliance.log.yearly import signer_of
from protocols.tlog.note import KeyKind, Signer
from protocols.tlog.private import KEY_SIZE

LOG_KEY = "log.key"
PARTS_KEY = "parts.key"
_RESTORE = "restore the directory log/ from a backup"


@dataclass(frozen=True, slots=True)
class LogKeys:
    """What signs the log, and what opens its private parts."""

    signing: Ed25519PrivateKey = field(repr=False)
    master: bytes = field(repr=False)
    index: bytes = field(repr=False)
    pseudonyms: bytes = field(repr=False)

    @classmethod
    def draw(cls, random: Callable[[int], bytes]) -> LogKeys:
        """Draw new keys."""
        signing, *others = (random(KEY_SIZE) for _ in range(4))
        return cls(Ed25519PrivateKey.from_private_bytes(signing), *others)

    def signer(self, origin: str) -> Signer:
        """Return the log's key under the name of the log of one year."""
        return signer_of(origin, Signer(origin, KeyKind.ED25519, self.signing))


def open_keys(folder: Path, *, begun: bool) -> LogKeys:
    """Read the keys; made if the log has not begun. Several processes may do so at once.

    Args:
        begun: whether there are entries, so that a key that is missing was lost.

    Raises:
        ConfigError: a key is missing or damaged; names the cure.
    """
    if not begun:
        folder.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        drawn = LogKeys.draw(os.urandom)
        pem = drawn.signing.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        create_secret(folder / LOG_KEY, pem)
        create_secret(folder / PARTS_KEY, drawn.master + drawn.index + drawn.pseudonyms)
    try:
        key = load_pem_private_key(read_secret(folder / LOG_KEY), password=None)
        parts = read_secret(folder / PARTS_KEY)
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{LOG_KEY}, {PARTS_KEY}: cannot be read; {_RESTORE}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{LOG_KEY}: not an Ed25519 key; {_RESTORE}")
    if len(parts) != 3 * KEY_SIZE:
        raise ConfigError(f"{PARTS_KEY}: {len(parts)} bytes, needs {3 * KEY_SIZE}; {_RESTORE}")
    master, index, pseudonyms = (parts[at : at + KEY_SIZE] for at in range(0, 96, KEY_SIZE))
    return LogKeys(key, master, index, pseudonyms)
