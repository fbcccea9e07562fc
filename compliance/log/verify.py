"""Verifying an exported log offline: every entry, every tile, the checkpoint, the cosignatures.

    checkpoint         signed by a log of the policy, cosigned by a quorum of its witnesses
    entry <i>          canonical, of the known form, with sequence i
    bundles -> tiles   the leaf hashes of the entries make the tiles, byte for byte
    tiles -> root      and the root of the checkpoint

Reads a directory or a zip file with the same paths; trusts nothing but the policy. Files that
a log of the checkpoint's size does not have are not looked at: nothing vouches for them.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from compliance.log.export import CHECKPOINT
from compliance.log.form import EntryForms
from protocols.errors import InvalidProofError, MalformedMessageError
from protocols.tlog.lines import HASH_SIZE
from protocols.tlog.merkle import hash_leaf
from protocols.tlog.note import MAX_NOTE_SIZE, Note
from protocols.tlog.policy import Policy, Witnessed
from protocols.tlog.tiles import (
    FULL,
    MAX_ENTRY_SIZE,
    Bundle,
    Tile,
    TileBuilder,
    bundles_of,
    decode_bundle,
    decode_tile,
)

Read = Callable[[str, int], bytes]
"""Returns a file by its path; one that is longer than the limit is malformed."""

Progress = Callable[[int, int], None]
"""Told from time to time how many entries were looked at, and of how many."""

MAX_BUNDLE_SIZE = FULL * (2 + MAX_ENTRY_SIZE)
_UNSEEN: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Report:
    """What was verified, and the first fault.

    Args:
        entries, bundles, tiles: how many held, up to the fault.
        pruned: entries that are not in the export; their leaf hashes were used.
        cosigned: by the policy's name of each witness, when it saw the checkpoint.
        fault: empty if everything holds.
    """

    origin: str = ""
    size: int = 0
    entries: int = 0
    pruned: int = 0
    bundles: int = 0
    tiles: int = 0
    cosigned: Mapping[str, int] = field(default_factory=lambda: _UNSEEN)
    fault: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether every entry, tile and signature holds."""
        return not self.fault


def verify_export(path: Path, policy: Policy, *, minimum: int = 0) -> Report:
    """Verify an exported log, a directory or a zip file.

    Args:
        minimum: the index below which the retention policy allows entries to be missing.
    """
    try:
        if path.is_dir():
            return verify_files(directory_reader(path), policy, minimum=minimum)
        with zipfile.ZipFile(path) as archive:
            return verify_files(archive_reader(archive), policy, minimum=minimum)
    except (OSError, zipfile.BadZipFile):
        return Report(fault="export: neither a directory nor a zip file that can be read")


def verify_files(
    read: Read, policy: Policy, *, minimum: int = 0, progress: Progress | None = None
) -> Report:
    """Verify an exported log wherever its files lie; see `verify_export`."""
    return _Verifier(read, policy, minimum, progress or _unwatched).run()


def _unwatched(_done: int, _whole: int) -> None:
    """Tell nobody."""


class _Fault(Exception):  # noqa: N818 - never leaves the module: it ends the run with a report
    """The first thing that does not hold."""


class _Verifier:
    """One run over one export."""

    def __init__(self, read: Read, policy: Policy, minimum: int, progress: Progress) -> None:
        self._read_file = read
        self._policy = policy
        self._minimum = minimum
        self._progress = progress
        self._builder = TileBuilder()
        self._forms = EntryForms()
        self._entries = self._pruned = self._bundles = self._tiles = 0
        self._witnessed: Witnessed | None = None

    def run(self) -> Report:
        """Verify; the counts of the report end at the first fault."""
        try:
            self._check()
        except _Fault as fault:
            return self._report(str(fault))
        return self._report("")

    def _check(self) -> None:
        self._witnessed = self._checkpoint()
        checkpoint = self._witnessed.checkpoint
        for bundle in bundles_of(checkpoint.size):
            for tile, content in self._builder.extend(self._leaf_hashes(bundle)):
                self._check_tile(tile, content)
            self._progress(self._builder.size, checkpoint.size)
        for tile, content in self._builder.partial_tiles():
            self._check_tile(tile, content)
        if self._builder.root() != checkpoint.root:
            raise _Fault("checkpoint: its root is not that of the entries")

    def _checkpoint(self) -> Witnessed:
        data = self._read(CHECKPOINT, MAX_NOTE_SIZE)
        try:
            return self._policy.verify(Note.decode(data))
        except (InvalidProofError, MalformedMessageError) as error:
            raise _Fault(f"{CHECKPOINT}: {str(error).removeprefix('checkpoint: ')}") from error

    def _leaf_hashes(self, bundle: Bundle) -> list[bytes]:
        first = bundle.index * FULL
        if first + FULL <= self._minimum:
            # The entries may be gone; the tile of level 0 stands for them.
            tile = Tile(0, bundle.index, bundle.width)
            self._pruned += bundle.width
            return decode_tile(
                self._read_exactly(tile.path, bundle.width * HASH_SIZE), bundle.width
            )
        data = self._read(bundle.path, MAX_BUNDLE_SIZE)
        try:
            entries = decode_bundle(data, bundle.width)
        except MalformedMessageError as error:
            raise _Fault(f"{bundle.path}: {error}") from error
        for index, entry in enumerate(entries, start=first):
            self._check_entry(index, entry)
        self._bundles += 1
        return [hash_leaf(entry) for entry in entries]

    def _check_entry(self, index: int, data: bytes) -> None:
        try:
            sequence = self._forms.read_sequence(data)
        except MalformedMessageError as error:
            raise _Fault(f"entry {index}: {error}") from error
        if sequence != index:
            raise _Fault(f"entry {index}: says that it is entry {sequence}")
        self._entries += 1

    def _check_tile(self, tile: Tile, content: bytes) -> None:
        found = self._read_exactly(tile.path, len(content))
        if found != content:
            where = f", first at {_first_difference(tile, found, content)}"
            raise _Fault(f"{tile.path}: not what the entries hash to{where}")
        self._tiles += 1

    def _read_exactly(self, path: str, size: int) -> bytes:
        data = self._read(path, size)
        if len(data) != size:
            raise _Fault(f"{path}: {len(data)} bytes, expected {size}")
        return data

    def _read(self, path: str, limit: int) -> bytes:
        try:
            return self._read_file(path, limit)
        except (FileNotFoundError, KeyError) as error:
            raise _Fault(f"{path}: missing") from error
        except (OSError, MalformedMessageError, zipfile.BadZipFile, NotImplementedError) as error:
            raise _Fault(f"{path}: too long, or cannot be read") from error

    def _report(self, fault: str) -> Report:
        seen = self._witnessed
        return Report(
            origin=seen.checkpoint.origin if seen else "",
            size=seen.checkpoint.size if seen else 0,
            entries=self._entries,
            pruned=self._pruned,
            bundles=self._bundles,
            tiles=self._tiles,
            cosigned=seen.times if seen else _UNSEEN,
            fault=fault,
        )


def _first_difference(tile: Tile, found: bytes, content: bytes) -> str:
    pairs = zip(decode_tile(found, tile.width), decode_tile(content, tile.width), strict=True)
    at = next(number for number, (theirs, ours) in enumerate(pairs) if theirs != ours)
    return f"entry {tile.index * FULL + at}" if tile.level == 0 else f"hash {at}"


def directory_reader(path: Path) -> Read:
    """Return the reader of an export that is a directory."""

    def read(name: str, limit: int) -> bytes:
        with (path / name).open("rb") as file:
            return _limited(file.read(limit + 1), limit)

    return read


def archive_reader(archive: zipfile.ZipFile) -> Read:
    """Return the reader of an export that is a zip file."""

    def read(name: str, limit: int) -> bytes:
        try:
            with archive.open(name) as file:
                return _limited(file.read(limit + 1), limit)
        except (RuntimeError, EOFError, ValueError, zlib.error, zipfile.BadZipFile) as error:
            # Encrypted, packed in a way that is not known, or damaged.
            raise MalformedMessageError("cannot be unpacked") from error

    return read


def _limited(data: bytes, limit: int) -> bytes:
    if len(data) > limit:
        raise MalformedMessageError(f"over {limit} bytes")
    return data
