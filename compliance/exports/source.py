"""Reading an exported log, or a pack made of one: a directory or a zip file, as a stream.

    checkpoint, tile/...        the log itself (`compliance.log.export`)
    policy.txt                  whom to believe, if it lies there
    entries/<index>.json        in a pack of selected entries, instead of the bundles

What is read here is not verified: `check` does that, and whoever reports on a log says
whether it was done. Reading is strict all the same, and fails in one way only.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from compliance.configuration import ConfigError
from compliance.log.export import CHECKPOINT
from compliance.log.verify import MAX_BUNDLE_SIZE, Read, archive_reader, directory_reader
from protocols.errors import MalformedMessageError
from protocols.tlog.checkpoint import Checkpoint
from protocols.tlog.entry import Entry
from protocols.tlog.note import MAX_NOTE_SIZE, Note
from protocols.tlog.policy import MAX_POLICY_SIZE, Policy
from protocols.tlog.tiles import FULL, MAX_ENTRY_SIZE, Bundle, decode_bundle, parse_path

POLICY = "policy.txt"
ENTRIES, PROOFS = "entries/", "proofs/"
_ENTRY = re.compile(r"entries/((?:0|[1-9])[0-9]{0,15})\.json", re.ASCII)
_BUNDLES = "tile/entries/"

# A pack of ours holds JSON and hashes: it unpacks to some ten times its size.
MAX_RATIO = 100
_FREE_SIZE = 64 << 20
# A year of a log with ten million entries, and its tiles.
MAX_FILES = 200_000


@dataclass(frozen=True, slots=True)
class Source:
    """The files of one export.

    Args:
        read_file: returns a file by its path, as long as it is within a limit.
        names: the paths of all files, once for each time that they occur.
    """

    read_file: Read = field(repr=False)
    names: tuple[str, ...] = field(repr=False)

    def read(self, path: str, limit: int) -> bytes:
        """Return a file.

        Raises:
            MalformedMessageError: it is missing, longer than the limit, or cannot be read.
        """
        try:
            return self.read_file(path, limit)
        except (FileNotFoundError, KeyError) as error:
            raise MalformedMessageError(f"{path}: missing") from error
        except (OSError, MalformedMessageError) as error:
            raise MalformedMessageError(f"{path}: too long, or cannot be read") from error

    def note(self) -> Note:
        """Return the checkpoint with its signatures, which nobody has verified."""
        return Note.decode(self.read(CHECKPOINT, MAX_NOTE_SIZE))

    def checkpoint(self) -> Checkpoint:
        """Return what the checkpoint says."""
        return Checkpoint.parse(self.note().text)

    def policy(self) -> Policy | None:
        """Return the trust policy that lies in the export, if one does."""
        if POLICY not in self.names:
            return None
        return Policy.decode(self.read(POLICY, MAX_POLICY_SIZE))

    @property
    def selected(self) -> list[int]:
        """The indices of the entries that lie here one by one, in order."""
        found = (_ENTRY.fullmatch(name) for name in self.names)
        return sorted(int(match.group(1)) for match in found if match is not None)

    @property
    def has_bundles(self) -> bool:
        """Whether entries lie here in the bundles of the log."""
        return any(name.startswith(_BUNDLES) for name in self.names)

    def data(self) -> Iterator[tuple[int, bytes]]:
        """Yield every entry that is here with its index, in order, as it was logged.

        Raises:
            MalformedMessageError: a bundle is missing between others, or cannot be read.
        """
        if not self.has_bundles:
            for index in self.selected:
                yield index, self.read(entry_path(index), MAX_ENTRY_SIZE)
            return
        size = self.checkpoint().size
        bundles = self._bundles(size)
        # Those at the beginning may have been pruned; one that is missing later is a fault.
        after = [*(bundle.index for bundle in bundles[1:]), -(-size // FULL)]
        for bundle, following in zip(bundles, after, strict=True):
            if following != bundle.index + 1:
                raise MalformedMessageError(f"{Bundle(bundle.index + 1).path}: missing")
        for bundle in bundles:
            entries = decode_bundle(self.read(bundle.path, MAX_BUNDLE_SIZE), bundle.width)
            yield from enumerate(entries, start=bundle.index * FULL)

    def entries(self) -> Iterator[Entry]:
        """Yield every entry that is here, in order.

        Raises:
            MalformedMessageError: as `data`, or an entry does not decode or stands elsewhere
                than it says.
        """
        for index, data in self.data():
            try:
                entry = Entry.decode(data)
            except MalformedMessageError as error:
                raise MalformedMessageError(f"entry {index}: {error}") from error
            if entry.sequence != index:
                raise MalformedMessageError(f"entry {index}: says that it is {entry.sequence}")
            yield entry

    def _bundles(self, size: int) -> list[Bundle]:
        """Return the bundles that are here and belong to a log of this size, in order."""
        full, rest = divmod(size, FULL)
        found = []
        for name in self.names:
            if not name.startswith(_BUNDLES):
                continue
            try:
                place = parse_path(name)
            except MalformedMessageError:
                continue
            if isinstance(place, Bundle) and (
                (place.width == FULL and place.index < full)
                or (place.index, place.width) == (full, rest)
            ):
                found.append(place)
        return sorted(found)


def entry_path(index: int) -> str:
    """Return where a selected entry lies in a pack."""
    return f"{ENTRIES}{index}.json"


def proof_path(index: int) -> str:
    """Return where the proof of a selected entry lies in a pack."""
    return f"{PROOFS}{index}.tlog-proof"


@contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """Open an exported log or a pack.

    Raises:
        ConfigError: it is neither a directory nor a zip file that can be read, or one that
            was made to fill a machine.
    """
    if path.is_dir():
        files = (item for item in path.rglob("*") if item.is_file())
        names = tuple(sorted(item.relative_to(path).as_posix() for item in files))
        yield Source(directory_reader(path), names)
        return
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise ConfigError(
            f"{path.name}: neither a directory nor a zip file that can be read; correct the path"
        ) from error
    with archive:
        _check_expansion(path, archive)
        names = tuple(item.filename for item in archive.infolist() if not item.is_dir())
        yield Source(archive_reader(archive), names)


def _check_expansion(path: Path, archive: zipfile.ZipFile) -> None:
    """Refuse an archive that becomes far more than it is, before anything is unpacked.

    Every file is read up to a limit of its own; thousands of them would still take days. What
    an archive says of its sizes is the most that is ever read of it.
    """
    files = archive.infolist()
    if len(files) > MAX_FILES:
        raise ConfigError(f"{path.name}: {len(files)} files, at most {MAX_FILES}; it is no pack")
    unpacked = sum(item.file_size for item in files)
    packed = max(1, path.stat().st_size)
    if unpacked > _FREE_SIZE and unpacked > MAX_RATIO * packed:
        raise ConfigError(
            f"{path.name}: would unpack to {unpacked // packed} times its size, at most "
            f"{MAX_RATIO}; it is no pack of ours: ask who made it for another one"
        )
