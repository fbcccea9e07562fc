"""Keys that a node makes for its own files, and the sealing of those files.

    keys/cache.key     seals cached outputs and queries, and names identifiers inside them
    keys/opening.key   derives the blinds of openable queries; kept as long as audits may come

Both are 32 random bytes, mode 0600, and never leave the node. Who has the disk without
`keys/` reads nothing; destroying `cache.key` erases every cached output and query.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from clients.keys import KeyStoreError
from compliance.atrest.secrets import read_secret, write_secret

CACHE_KEY = "cache.key"
OPENING_KEY = "opening.key"
KEY_SIZE = 32
NONCE_SIZE = 12
TAG_SIZE = 16
_OTHERS = 0o077

Random = Callable[[int], bytes]


class SealBrokenError(KeyStoreError):
    """A sealed file is damaged or belongs to another key; restore it, or remove it."""


def keep_secret(path: Path, random: Random) -> bytes:
    """Return the key of a file, which is made if there is none.

    Raises:
        KeyStoreError: the file is readable by others or is no key.
    """
    if not path.exists():
        write_secret(path, random(KEY_SIZE))
    if path.stat().st_mode & _OTHERS:
        raise KeyStoreError(f"{path}: readable by others; run chmod 600 and replace the key")
    key = read_secret(path)
    if len(key) != KEY_SIZE:
        raise KeyStoreError(f"{path}: {len(key)} bytes, need {KEY_SIZE}; restore it from a backup")
    return key


def derive_key(key: bytes, label: bytes) -> bytes:
    """Return a key for one use; keys of different labels tell nothing of each other."""
    return hmac.digest(key, b"lianfang/node/" + label, "sha256")


def seal(key: bytes, data: bytes, bound: bytes, random: Random) -> bytes:
    """Return `nonce || ciphertext`, readable only with the key and the same `bound`."""
    nonce = random(NONCE_SIZE)
    return nonce + ChaCha20Poly1305(key).encrypt(nonce, data, bound)


def unseal(key: bytes, sealed: bytes, bound: bytes, subject: str) -> bytes:
    """Return what was sealed.

    Raises:
        SealBrokenError: damaged, cut short, put in another's place, or of another key.
    """
    try:
        return ChaCha20Poly1305(key).decrypt(sealed[:NONCE_SIZE], sealed[NONCE_SIZE:], bound)
    except (InvalidTag, ValueError) as error:
        raise SealBrokenError(f"{subject}: does not open with this node's cache.key") from error
