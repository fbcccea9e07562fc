"""What a backup says of itself: what is in it, when it was made, how far the logs had come."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from compliance.atrest.errors import SealedKeysError

FORMAT = "lianfang-backup"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Part:
    """One file or table in a backup.

    Args:
        name: of a file its path below the directory; of a table `database:<name>`.
        mode: of a file; the owner's bits alone.
    """

    name: str
    size: int
    sha256: str
    mode: int = 0o600


@dataclass(frozen=True, slots=True)
class LogState:
    """How far a log had come.

    Args:
        checkpoint: the last signed one, as a note; empty if there was none.
    """

    origin: str
    size: int
    root: str
    checkpoint: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """The last record of a backup.

    Args:
        kind: `hub` or `node`.
        made_at: when the copying began, Unix seconds.
        tables: columns by table, where the state lies in a database server.
    """

    kind: str
    name: str
    made_at: int
    parts: tuple[Part, ...]
    logs: tuple[LogState, ...]
    tables: Mapping[str, list[str]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many bytes of content there are."""
        return sum(part.size for part in self.parts)

    def encode(self) -> bytes:
        """Write the manifest as JSON."""
        return json.dumps({"format": FORMAT, "version": VERSION, **asdict(self)}).encode()

    @classmethod
    def parse(cls, data: bytes) -> Manifest:
        """Read a manifest.

        Raises:
            SealedKeysError: it is none that this program knows.
        """
        try:
            value: dict[str, Any] = json.loads(data)
            known = (value.pop("format"), value.pop("version")) == (FORMAT, VERSION)
            parts = tuple(Part(**item) for item in value.pop("parts"))
            logs = tuple(LogState(**item) for item in value.pop("logs"))
            found = cls(parts=parts, logs=logs, **value)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SealedKeysError("backup: its manifest cannot be read; take another") from error
        if not known:
            raise SealedKeysError("backup: made by a later program; upgrade Lianfang")
        return found
