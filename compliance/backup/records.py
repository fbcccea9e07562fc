"""The records in a backup's stream: parts in pieces, then the manifest, then nothing.

    part       1 || length of name (2) || name || (length (4) || piece) ... || 0 (4)
    manifest   2 || length (4) || JSON

A part is written in pieces, since nobody knows the length of a growing file or of a table
before it was read. Names are checked before anything is written under them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Protocol

from compliance.atrest.errors import SealedKeysError
from compliance.backup.manifest import Manifest, Part

PIECE = 1 << 20
TABLE = "database:"
_PART, _MANIFEST = 1, 2
_MAX_NAME = 4_096
_MAX_MANIFEST = 1 << 30
_TABLE = re.compile(r"database:[A-Za-z_][A-Za-z0-9_]{0,62}", re.ASCII)


class Sink(Protocol):
    """Takes the stream."""

    def write(self, data: bytes) -> None:
        """Take more of it."""
        ...


class Source(Protocol):
    """Gives the stream."""

    def read(self, size: int) -> bytes:
        """Return exactly so many bytes, verified."""
        ...

    def finish(self) -> None:
        """Check that this was all."""
        ...


def write_part(sink: Sink, name: str, pieces: Iterable[bytes], mode: int = 0o600) -> Part:
    """Write one file or table; return what the manifest says of it."""
    encoded = name.encode()
    sink.write(bytes([_PART]) + len(encoded).to_bytes(2, "big") + encoded)
    digest, size = sha256(), 0
    for whole in pieces:
        for at in range(0, len(whole), PIECE):
            piece = bytes(whole[at : at + PIECE])
            digest.update(piece)
            size += len(piece)
            sink.write(len(piece).to_bytes(4, "big") + piece)
    sink.write(bytes(4))
    return Part(name, size, digest.hexdigest(), mode)


def write_manifest(sink: Sink, manifest: Manifest) -> None:
    """Write the end."""
    data = manifest.encode()
    sink.write(bytes([_MANIFEST]) + len(data).to_bytes(4, "big") + data)


def read_records(source: Source) -> Iterator[tuple[str, Iterator[bytes]] | Manifest]:
    """Give every part with its pieces, which must be read before the next, and the manifest.

    Raises:
        SealedKeysError: it is not what was written.
    """
    while True:
        kind = source.read(1)[0]
        if kind == _PART:
            name = source.read(int.from_bytes(source.read(2), "big")).decode("utf-8", "replace")
            check_name(name)
            yield name, _pieces(source)
        elif kind == _MANIFEST:
            size = int.from_bytes(source.read(4), "big")
            if size > _MAX_MANIFEST:
                raise SealedKeysError("backup: its manifest is too long; take another")
            yield Manifest.parse(source.read(size))
            source.finish()
            return
        else:
            raise SealedKeysError("backup: a record of an unknown kind; upgrade Lianfang")


def check_name(name: str) -> None:
    """Refuse a name that leads anywhere but below the directory.

    Raises:
        SealedKeysError: it does.
    """
    if name.startswith(TABLE):
        good = _TABLE.fullmatch(name) is not None
    else:
        path = PurePosixPath(name)
        good = path.as_posix() == name and not path.is_absolute() and ".." not in path.parts
        good = good and "\0" not in name and name not in ("", ".")
    if not good or len(name) > _MAX_NAME:
        raise SealedKeysError("backup: names a file outside of the directory; take another")


def _pieces(source: Source) -> Iterator[bytes]:
    while size := int.from_bytes(source.read(4), "big"):
        if size > PIECE:
            raise SealedKeysError("backup: a piece that is too long; take another")
        yield source.read(size)
