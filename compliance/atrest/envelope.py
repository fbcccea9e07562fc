"""Envelope encryption: one random data key, wrapped as often as there are ways to open it.

    data key    256 random bits, made once; changing a passphrase wraps it anew and no more
    wrap        AES-256-GCM(key-encryption key; data key), bound to the ring's id and its kind
    sealed      magic (16) || ring id (16) || salt (32) || AES-256-GCM(HKDF(data key, salt); data)
                bound to all before it and to the name under which it lies

Every key-encryption key comes from a fresh salt, and so does the key of every sealed file:
each is used for one message, so the nonce is zero and no two messages can ever share one.

A passphrase becomes a key by Argon2id; the contents of a key file, which are random already,
by HKDF. What does not open raises `SealedKeysError`, whatever the reason: which of passphrase,
file and name is wrong cannot be told apart, and is not.

Source:
    RFC 9106 (Argon2), section 4, second recommended option: 64 MiB, 3 passes, 4 lanes.
    RFC 5869 (HKDF). NIST SP 800-38D (GCM).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from compliance.atrest.errors import SealedKeysError

MAGIC = b"LIANFANG-SEALED\x01"
KEY_SIZE = 32
SALT_SIZE = 32
ID_SIZE = 16
TAG_SIZE = 16
MIN_PASSPHRASE = 12
HEAD_SIZE = len(MAGIC) + ID_SIZE + SALT_SIZE
NONCE = bytes(12)
_WRAP_LABEL = b"lianfang/atrest/wrap/v1"
_FILE_LABEL = b"lianfang/atrest/file/v1"
# A damaged file must not make an unlocking take all memory or all day.
_MAX_MEMORY_KIB, _MAX_PASSES, _MAX_LANES = 4 << 20, 64, 64

Random = Callable[[int], bytes]


class Kind(StrEnum):
    """What opens a wrap."""

    PASSPHRASE = "passphrase"  # noqa: S105  # the name of a kind, not a passphrase
    KEY = "key"


@dataclass(frozen=True, slots=True)
class Cost:
    """What one guess at a passphrase costs."""

    memory_kib: int = 65_536
    passes: int = 3
    lanes: int = 4


DEFAULT_COST = Cost()


@dataclass(frozen=True, slots=True)
class Material:
    """What somebody gives to open a ring: a passphrase, or the contents of a key file."""

    kind: Kind
    secret: bytes = field(repr=False)

    @classmethod
    def of_passphrase(cls, text: str) -> Material:
        """Return a passphrase as it is hashed: the same characters, however they were typed.

        Raises:
            SealedKeysError: it is shorter than anyone should choose.
        """
        if len(text) < MIN_PASSPHRASE:
            raise SealedKeysError(
                f"passphrase: {len(text)} characters, needs {MIN_PASSPHRASE}; choose a longer one"
            )
        typed = unicodedata.normalize("NFC", text)
        return cls(Kind.PASSPHRASE, typed.encode("utf-8", "surrogatepass"))

    @classmethod
    def of_key(cls, data: bytes) -> Material:
        """Return the contents of a key file; a line end after a text does not count.

        Raises:
            SealedKeysError: it holds too little to be a random key.
        """
        found = data if len(data) == KEY_SIZE else data.rstrip(b"\r\n")
        if len(found) < KEY_SIZE:
            raise SealedKeysError(
                f"key file: {len(found)} bytes, needs {KEY_SIZE} random ones; make it by "
                "`openssl rand -hex 32`, or name it as passphrase-file:"
            )
        return cls(Kind.KEY, found)


@dataclass(frozen=True, slots=True)
class Wrap:
    """The data key, encrypted for one who has a passphrase or a key file.

    Args:
        cost: of a guess at the passphrase; None for a key file.
    """

    kind: Kind
    cost: Cost | None
    salt: bytes
    sealed: bytes

    @classmethod
    def make(cls, key: DataKey, material: Material, cost: Cost, random: Random) -> Wrap:
        """Wrap a data key for one more who may open it."""
        salt = random(SALT_SIZE)
        chosen = cost if material.kind is Kind.PASSPHRASE else None
        sealed = AESGCM(_wrapping_key(material, salt, chosen)).encrypt(
            NONCE, key.secret, _bound(key.ring, material.kind)
        )
        return cls(material.kind, chosen, salt, sealed)

    def open(self, ring: bytes, material: Material) -> DataKey | None:
        """Return the data key, or None if this is not what opens it."""
        if material.kind is not self.kind:
            return None
        try:
            secret = AESGCM(_wrapping_key(material, self.salt, self.cost)).decrypt(
                NONCE, self.sealed, _bound(ring, self.kind)
            )
        except InvalidTag:
            return None
        return DataKey(ring, secret)

    def fields(self) -> dict[str, Any]:
        """Return the JSON form."""
        value: dict[str, Any] = {"kind": self.kind.value}
        if self.cost is not None:
            cost = self.cost
            value |= {"memory_kib": cost.memory_kib, "passes": cost.passes, "lanes": cost.lanes}
        return value | {"salt": self.salt.hex(), "sealed": self.sealed.hex()}

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Wrap:
        """Read the JSON form.

        Raises:
            ValueError, KeyError, TypeError: it is none, or of a cost that nobody would choose.
        """
        kind = Kind(value["kind"])
        names = {"kind", "salt", "sealed"}
        cost = None
        if kind is Kind.PASSPHRASE:
            names |= {"memory_kib", "passes", "lanes"}
            lanes = _whole(value["lanes"], 1, _MAX_LANES)
            cost = Cost(
                _whole(value["memory_kib"], 8 * lanes, _MAX_MEMORY_KIB),
                _whole(value["passes"], 1, _MAX_PASSES),
                lanes,
            )
        salt, sealed = bytes.fromhex(value["salt"]), bytes.fromhex(value["sealed"])
        if set(value) != names or len(salt) != SALT_SIZE or len(sealed) != KEY_SIZE + TAG_SIZE:
            raise ValueError("not a wrap")
        return cls(kind, cost, salt, sealed)


@dataclass(frozen=True, slots=True)
class DataKey:
    """The key of one ring, in memory only."""

    ring: bytes
    secret: bytes = field(repr=False)

    @classmethod
    def draw(cls, random: Random) -> DataKey:
        """Make a new one, with the id of its ring."""
        return cls(random(ID_SIZE), random(KEY_SIZE))

    def seal(self, name: str, data: bytes, random: Random) -> bytes:
        """Return a file that opens under this key and this name alone."""
        head = MAGIC + self.ring + random(SALT_SIZE)
        key = self.derive(head[-SALT_SIZE:], _FILE_LABEL)
        return head + AESGCM(key).encrypt(NONCE, data, head + name.encode())

    def open(self, name: str, sealed: bytes) -> bytes:
        """Return what was sealed under this name.

        Raises:
            SealedKeysError: of another ring, under another name, or damaged.
        """
        head, rest = sealed[:HEAD_SIZE], sealed[HEAD_SIZE:]
        key = self.derive(head[-SALT_SIZE:], _FILE_LABEL)
        try:
            # The head is bound: one of another ring, or a shorter file, fails like a damaged one.
            bound = MAGIC + self.ring + head[-SALT_SIZE:] + name.encode()
            return AESGCM(key).decrypt(NONCE, rest, bound)
        except (InvalidTag, ValueError) as error:
            raise SealedKeysError(
                f"{name}: does not open: damaged, moved from another place, or of another "
                "keyring; restore it with keyring.json from one backup"
            ) from error

    def derive(self, salt: bytes, label: bytes) -> bytes:
        """Return a key for one use."""
        return HKDF(SHA256(), KEY_SIZE, salt, label).derive(self.secret)


def is_sealed(data: bytes) -> bool:
    """Whether these are the bytes of a sealed file, by its beginning."""
    return data.startswith(MAGIC)


def _wrapping_key(material: Material, salt: bytes, cost: Cost | None) -> bytes:
    if cost is None:
        return HKDF(SHA256(), KEY_SIZE, salt, _WRAP_LABEL).derive(material.secret)
    kdf = Argon2id(
        salt=salt,
        length=KEY_SIZE,
        iterations=cost.passes,
        lanes=cost.lanes,
        memory_cost=cost.memory_kib,
    )
    return kdf.derive(material.secret)


def _bound(ring: bytes, kind: Kind) -> bytes:
    return _WRAP_LABEL + ring + kind.value.encode()


def _whole(value: object, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError("not a whole number in its range")
    return value
