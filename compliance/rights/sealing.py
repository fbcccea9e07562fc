"""Texts about persons in the file of requests: one key per request, erasable for ever.

    wrapped = nonce || ChaCha20-Poly1305(rights.key; key of the request)   bound to its number
    sealed  = nonce || ChaCha20-Poly1305(key of the request; text || zeros)

Destroying the wrapped key makes all texts of the request unreadable, also in backups that
hold the file without `rights/rights.key`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from compliance.errors import LogCorruptError
from compliance.rights.tokens import KEY_SIZE, Random, keep_key, rights_folder

RIGHTS_KEY = "rights.key"
_NONCE_SIZE = 12
_PAD = 256
_LENGTH = 4


@dataclass(frozen=True, slots=True)
class RightsKey:
    """Wraps and opens the keys of requests."""

    secret: bytes = field(repr=False)
    random: Random = field(repr=False)

    @classmethod
    def load(cls, root: Path, random: Random) -> RightsKey:
        """Read the key of an organisation's directory, made at the first time."""
        return cls(keep_key(rights_folder(root) / RIGHTS_KEY, random), random)

    def new(self, number: str) -> bytes:
        """Draw the key of a request and return it wrapped."""
        return self._encrypt(self.secret, self.random(KEY_SIZE), number.encode())

    def seal(self, wrapped: bytes, number: str, text: bytes) -> bytes:
        """Encrypt a text of a request, padded so that its length says little."""
        plain = len(text).to_bytes(_LENGTH, "big") + text
        plain += bytes(-len(plain) % _PAD)
        return self._encrypt(self._unwrap(wrapped, number), plain, number.encode())

    def open(self, wrapped: bytes, number: str, sealed: bytes) -> bytes:
        """Decrypt a text of a request.

        Raises:
            LogCorruptError: altered, of another request, or under another key.
        """
        plain = _decrypt(self._unwrap(wrapped, number), sealed, number.encode())
        size = int.from_bytes(plain[:_LENGTH], "big")
        return plain[_LENGTH : _LENGTH + size]

    def _unwrap(self, wrapped: bytes, number: str) -> bytes:
        return _decrypt(self.secret, wrapped, number.encode())

    def _encrypt(self, key: bytes, plain: bytes, bound: bytes) -> bytes:
        nonce = self.random(_NONCE_SIZE)
        return nonce + ChaCha20Poly1305(key).encrypt(nonce, plain, bound)


def _decrypt(key: bytes, sealed: bytes, bound: bytes) -> bytes:
    try:
        return ChaCha20Poly1305(key).decrypt(sealed[:_NONCE_SIZE], sealed[_NONCE_SIZE:], bound)
    except (InvalidTag, ValueError) as error:
        raise LogCorruptError(
            "requests: a text does not open with rights/rights.key; restore both from one backup"
        ) from error
