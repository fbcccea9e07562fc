"""Sealing a stream of any length: nothing of it can be altered, reordered, cut or added to.

    archive   magic (16) || length of ring (4) || ring || salt (32) || chunk ...
    chunk     AES-256-GCM(key; nonce = 0^7 || number (4) || last (1); up to 262,144 bytes)
    key       HKDF(data key of the ring; salt, hash of all that stands before the chunks)

Every chunk but the last is full, and only the last carries the flag, so an archive that ends
early, or goes on behind its end, does not open. Each archive has a data key of its own.

Source:
    Hoang, Reyhanitabar, Rogaway, Vizar 2015, "Online Authenticated-Encryption and its
    Nonce-Reuse Misuse-Resistance", section 7, STREAM.
"""

from __future__ import annotations

from hashlib import sha256
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from compliance.atrest.envelope import (
    DEFAULT_COST,
    SALT_SIZE,
    TAG_SIZE,
    Cost,
    Material,
    Random,
)
from compliance.atrest.errors import SealedKeysError
from compliance.atrest.ring import Ring

MAGIC = b"LIANFANG-BACKUP\x01"
CHUNK = 1 << 18
_LABEL = b"lianfang/atrest/stream/v1"
_MAX_RING = 1 << 16
_MAX_CHUNKS = 1 << 32


class SealingStream:
    """Writes what it is given, sealed, to a file; nothing opens before `finish`."""

    def __init__(
        self, file: BinaryIO, material: Material, random: Random, cost: Cost = DEFAULT_COST
    ) -> None:
        ring, key = Ring.make(material, random, cost)
        encoded = ring.encode()
        head = MAGIC + len(encoded).to_bytes(4, "big") + encoded + random(SALT_SIZE)
        file.write(head)
        self._file = file
        self._cipher = AESGCM(key.derive(head[-SALT_SIZE:], _LABEL + sha256(head).digest()))
        self._waiting = bytearray()
        self._number = 0

    def write(self, data: bytes) -> None:
        """Take more of the stream."""
        self._waiting += data
        # One chunk stays behind: only at the end it is known to be the last.
        while len(self._waiting) > CHUNK:
            self._put(bytes(self._waiting[:CHUNK]), last=False)
            del self._waiting[:CHUNK]

    def finish(self) -> None:
        """Write the last chunk."""
        self._put(bytes(self._waiting), last=True)
        self._waiting.clear()

    def _put(self, data: bytes, *, last: bool) -> None:
        self._file.write(self._cipher.encrypt(_nonce(self._number, last=last), data, None))
        self._number += 1


class OpeningStream:
    """Reads what `SealingStream` wrote, verified chunk by chunk.

    Raises:
        SealedKeysError: not an archive, not opened by this, or damaged.
    """

    def __init__(self, file: BinaryIO, material: Material, subject: str) -> None:
        self._file = file
        self._subject = subject
        start = file.read(len(MAGIC) + 4)
        size = int.from_bytes(start[len(MAGIC) :], "big")
        if not start.startswith(MAGIC) or len(start) != len(MAGIC) + 4 or size > _MAX_RING:
            raise SealedKeysError(f"{subject}: not a backup of Lianfang; give the right file")
        encoded, salt = file.read(size), file.read(SALT_SIZE)
        key = Ring.parse(encoded, subject).open(material, subject)
        head = start + encoded + salt
        self._cipher = AESGCM(key.derive(salt, _LABEL + sha256(head).digest()))
        self._number = 0
        self._ahead = file.read(CHUNK + TAG_SIZE)
        self._had = bytearray()
        self._ended = False

    def read(self, size: int) -> bytes:
        """Return exactly so many bytes.

        Raises:
            SealedKeysError: there are not so many, or they were altered.
        """
        while len(self._had) < size:
            if self._ended:
                raise self._broken()
            self._had += self._next()
        data = bytes(self._had[:size])
        del self._had[:size]
        return data

    def finish(self) -> None:
        """Check that this was all.

        Raises:
            SealedKeysError: there is more, or the end is missing.
        """
        if self._had or (not self._ended and (self._next() or not self._ended)):
            raise self._broken()

    def _next(self) -> bytes:
        chunk, self._ahead = self._ahead, self._file.read(CHUNK + TAG_SIZE)
        self._ended = not self._ahead
        try:
            nonce = _nonce(self._number, last=self._ended)
            self._number += 1
            return self._cipher.decrypt(nonce, chunk, None)
        except (InvalidTag, ValueError, OverflowError) as error:
            raise self._broken() from error

    def _broken(self) -> SealedKeysError:
        return SealedKeysError(
            f"{self._subject}: damaged, cut short or altered; nothing of it was used; take "
            "another copy"
        )


def _nonce(number: int, *, last: bool) -> bytes:
    if number >= _MAX_CHUNKS:
        raise OverflowError("stream: over a pebibyte")
    return bytes(7) + number.to_bytes(4, "big") + bytes([last])
