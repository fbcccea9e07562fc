"""The feed's own key: what the register keeps of a person is a token or sealed.

    token    HMAC-SHA256, 16 bytes: finds the row of an identifier or a report number again
    seal     ChaCha20-Poly1305 over the text, padded to blocks of 64 bytes; the associated
             data are the table's name and the row's token, so that no row passes for another

A register that is copied without `keys/feed.key` shows counts and times, and no identifier
can be tested against it. The nonces are random: one key bears 2^32 rows, far beyond any register.
"""

from __future__ import annotations

import hmac
import os
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from clients.keys import KeyStoreError
from compliance.atrest.secrets import read_secret, write_secret
from compliance.errors import LogCorruptError
from protocols.oprf.suite import Random

KEY_SIZE = 32
TOKEN_SIZE = 16
_NONCE_SIZE = 12
_BLOCK = 64
_LENGTH_SIZE = 2
_OTHERS = 0o077
_TOKEN_LABEL = b"lianfang/feed/token/v1"
_SEAL_LABEL = b"lianfang/feed/seal/v1"


@dataclass(frozen=True, slots=True)
class FeedKey:
    """Makes tokens, seals and opens, for one register."""

    _token: bytes = field(repr=False)
    _cipher: ChaCha20Poly1305 = field(repr=False)
    _random: Random = field(repr=False)

    @classmethod
    def derive(cls, secret: bytes, random: Random) -> FeedKey:
        """Derive the two keys from the secret of the key file."""
        token = hmac.digest(secret, _TOKEN_LABEL, "sha256")
        seal = hmac.digest(secret, _SEAL_LABEL, "sha256")
        return cls(token, ChaCha20Poly1305(seal), random)

    def token(self, label: bytes, *parts: bytes) -> bytes:
        """Return the token of some parts, which differ by label, number and length."""
        framed = (len(part).to_bytes(4, "big") + part for part in (label, *parts))
        return hmac.digest(self._token, b"".join(framed), "sha256")[:TOKEN_SIZE]

    def seal(self, context: bytes, plain: bytes) -> bytes:
        """Encrypt for one place in the register, padded so that lengths tell no kind."""
        framed = len(plain).to_bytes(_LENGTH_SIZE, "big") + plain
        framed += bytes(-len(framed) % _BLOCK)
        nonce = self._random(_NONCE_SIZE)
        return nonce + self._cipher.encrypt(nonce, framed, context)

    def open(self, context: bytes, sealed: bytes) -> bytes:
        """Decrypt what was sealed for this place.

        Raises:
            LogCorruptError: altered, moved, or sealed under another key.
        """
        try:
            framed = self._cipher.decrypt(sealed[:_NONCE_SIZE], sealed[_NONCE_SIZE:], context)
        except (InvalidTag, ValueError) as error:
            raise LogCorruptError(
                "feed register: an entry does not open with keys/feed.key; restore both from "
                "the same backup"
            ) from error
        size = int.from_bytes(framed[:_LENGTH_SIZE], "big")
        return framed[_LENGTH_SIZE : _LENGTH_SIZE + size]


def load_feed_key(path: Path, *, create: bool, random: Random = os.urandom) -> FeedKey:
    """Read the key of a register, or make it for a register that does not exist yet.

    Raises:
        KeyStoreError: missing, readable by others, or of another size.
    """
    if create and not path.exists():
        write_secret(path, random(KEY_SIZE))
    try:
        if path.stat().st_mode & _OTHERS:
            raise KeyStoreError(f"{path}: readable by others; run chmod 600 {path.name}")
        secret = read_secret(path)
    except OSError as error:
        raise KeyStoreError(
            f"{path}: cannot be read; restore it, without it the register tells nothing"
        ) from error
    if len(secret) != KEY_SIZE:
        raise KeyStoreError(f"{path}: not a feed key; restore it from a backup")
    return FeedKey.derive(secret, random)
