"""The wraps of one data key as JSON: the keyring of a directory, or the head of an archive."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from compliance.atrest.envelope import (
    DEFAULT_COST,
    ID_SIZE,
    Cost,
    DataKey,
    Kind,
    Material,
    Random,
    Wrap,
)
from compliance.atrest.errors import SealedKeysError

FORMAT = "lianfang-keyring"
VERSION = 1
MAX_WRAPS = 16


@dataclass(frozen=True, slots=True)
class Ring:
    """Who can open a data key, and how; holds no secret in clear."""

    id: bytes
    wraps: tuple[Wrap, ...]

    @classmethod
    def make(
        cls, material: Material, random: Random, cost: Cost = DEFAULT_COST
    ) -> tuple[Ring, DataKey]:
        """Draw a data key and wrap it once."""
        key = DataKey.draw(random)
        return cls(key.ring, (Wrap.make(key, material, cost, random),)), key

    def open(self, material: Material, subject: str) -> DataKey:
        """Return the data key.

        Raises:
            SealedKeysError: no wrap opens with it.
        """
        for wrap in self.wraps:
            key = wrap.open(self.id, material)
            if key is not None:
                return key
        raise SealedKeysError(
            f"{subject}: what was given does not open it; give the passphrase or the key file "
            "that it was sealed with"
        )

    def rewrapped(
        self, key: DataKey, material: Material, random: Random, *, cost: Cost = DEFAULT_COST,
        keeps: frozenset[Kind],
    ) -> Ring:  # fmt: skip
        """Return the ring with one more wrap, and of the former ones those of these kinds.

        Raises:
            SealedKeysError: there are too many.
        """
        kept = tuple(wrap for wrap in self.wraps if wrap.kind in keeps)
        if len(kept) >= MAX_WRAPS:
            raise SealedKeysError(f"keyring: holds {MAX_WRAPS} wraps; replace one of them")
        return replace(self, wraps=(*kept, Wrap.make(key, material, cost, random)))

    def encode(self) -> bytes:
        """Write the ring as JSON."""
        value = {
            "format": FORMAT,
            "version": VERSION,
            "id": self.id.hex(),
            "wraps": [wrap.fields() for wrap in self.wraps],
        }
        return json.dumps(value, indent=1).encode() + b"\n"

    @classmethod
    def parse(cls, data: bytes, subject: str) -> Ring:
        """Read a ring.

        Raises:
            SealedKeysError: it is none, or of a later version.
        """
        try:
            value: dict[str, Any] = json.loads(data)
            version = value["version"] if value["format"] == FORMAT else 0
            names = set(value)
            ring = cls(bytes.fromhex(value["id"]), tuple(map(Wrap.parse, value["wraps"])))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise SealedKeysError(f"{subject}: not a keyring; restore it from a backup") from error
        if (
            version != VERSION
            or names != {"format", "version", "id", "wraps"}
            or len(ring.id) != ID_SIZE
            or not 1 <= len(ring.wraps) <= MAX_WRAPS
        ):
            raise SealedKeysError(
                f"{subject}: not a keyring of version {VERSION}; restore it from a backup, or "
                "upgrade Lianfang"
            )
        return ring
