"""Making an export pack: one zip file that a third party checks offline, with no code of ours.

    README.md  ro-crate-metadata.json  SHA256SUMS       for people, for machines, for transport
    checkpoint  tile/...  policy.txt  keys/             the log, as far as it is shown, and trust
    entries/<index>.json  proofs/<index>.tlog-proof     in a selection, each with its proof
    agreements/  profiles/  policies/                   what the entries rest on
    selection.json                                      what was asked for

Without a filter the bundles of the whole log take the place of entries and proofs. The same
log, filter and documents give the same bytes on every machine: no clock is read, files are in
one order, and nothing is compressed, since compressors differ.

The hashes of all entries are in every pack, and say nothing of those that were not selected:
each entry commits to 32 random bytes.
"""

from __future__ import annotations

import os
import secrets
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from compliance.configuration import ConfigError
from compliance.exports.crate import METADATA, write_metadata
from compliance.exports.filters import Filter
from compliance.exports.readme import pack_keys, write_readme
from compliance.exports.source import POLICY, Source, entry_path, proof_path
from compliance.log.export import CHECKPOINT
from compliance.log.verify import MAX_BUNDLE_SIZE
from protocols.jcs import encode_jcs
from protocols.tlog.entry import Entry
from protocols.tlog.lines import HASH_SIZE
from protocols.tlog.merkle import prove_inclusion
from protocols.tlog.policy import Policy
from protocols.tlog.proof import LogProof
from protocols.tlog.tiles import Bundle, Tile, TileNodes, bundles_of, decode_bundle, tiles_of

README, SUMS, SELECTION = "README.md", "SHA256SUMS", "selection.json"
FORMAT = "lianfang/exports/selection/v1"
MAX_SELECTED = 20_000  # each has a proof with a checkpoint of its own
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip file can say
_MODE = 0o100644 << 16
_UNIX = 3
DOCUMENTS = ("agreements/", "policies/", "profiles/")


@dataclass(frozen=True, slots=True)
class Packed:
    """What a pack holds."""

    entries: int
    size: int
    is_whole: bool
    files: int
    digest: str


def write_pack(
    source: Source,
    out: Path,
    *,
    policy: Policy,
    wanted: Filter,
    documents: Mapping[str, bytes],
    publisher: str = "",
) -> Packed:
    """Write a pack of a log that was verified before.

    Args:
        policy: goes into the pack; documents: by path, in one of `DOCUMENTS`.

    Raises:
        ConfigError: the filter asks for too many entries.
        MalformedMessageError: the log cannot be read.

    Privacy:
        Entries name no subject, and private parts are never packed. Pseudonyms of staff are
        in the entries; their organisation alone can resolve them.
    """
    packer = _Packer(source, policy, wanted)
    files = packer.files(documents, publisher)
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                count = _write(archive, files)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(out)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    digest = sha256(out.read_bytes()).hexdigest()
    return Packed(packer.count, packer.size, wanted.is_empty, count, digest)


class _Packer:
    """One pack of one log."""

    def __init__(self, source: Source, policy: Policy, wanted: Filter) -> None:
        self._source = source
        self._policy = policy
        self._wanted = wanted
        self._note = source.note()
        checkpoint = source.checkpoint()
        self._origin, self.size = checkpoint.origin, checkpoint.size
        self._selected: list[Entry] = []
        self.count = self.size
        if not wanted.is_empty:
            self._selected = self._select()
            self.count = len(self._selected)

    def _select(self) -> list[Entry]:
        found = []
        for entry in self._wanted.select(self._source.entries()):
            found.append(entry)
            if len(found) > MAX_SELECTED:
                raise ConfigError(
                    f"filter: more than {MAX_SELECTED} entries fit; narrow it, or leave it out "
                    "to pack the whole log"
                )
        return found

    def files(self, documents: Mapping[str, bytes], publisher: str) -> Iterator[tuple[str, bytes]]:
        """Yield every file but the sums, in the order of the pack."""
        if any(not path.startswith(DOCUMENTS) for path in documents):
            raise ValueError(f"documents: a path outside of {', '.join(DOCUMENTS)}")
        keys = pack_keys(self._policy, self._origin)
        whole = self._wanted.is_empty
        readme = write_readme(
            origin=self._origin, size=self.size, entries=self.count, is_whole=whole,
            note=self._note, keys=keys,
        )  # fmt: skip
        top = {
            README: readme.encode(),
            CHECKPOINT: self._note.encode(),
            POLICY: self._policy.encode(),
            SELECTION: self._selection(),
            **{item.path: item.pem() for item in keys},
            **documents,
        }
        paths = [*top, SUMS, "tile/"]
        if self._selected:
            paths += ["entries/", "proofs/"]
        metadata = write_metadata(
            origin=self._origin, size=self.size, entries=self.count, at=self._at(),
            publisher=publisher, paths=paths,
        )  # fmt: skip
        yield METADATA, metadata
        for path in sorted(top):
            yield path, top[path]
        yield from self._entries()
        yield from self._tiles()

    def _selection(self) -> bytes:
        return encode_jcs(
            {
                "format": FORMAT,
                "origin": self._origin,
                "size": self.size,
                "entries": self.count,
                "whole": self._wanted.is_empty,
                "filter": self._wanted.fields(),
            }
        )

    def _at(self) -> int:
        """Return when the checkpoint was last witnessed: a pack depends on no clock."""
        times = self._policy.verify(self._note).times.values()
        return max(times, default=0) or self._last_time()

    def _last_time(self) -> int:
        """Return the time of the last entry, for a log that nobody witnesses."""
        if not self.size:
            return 0
        last = bundles_of(self.size)[-1]
        return Entry.decode(decode_bundle(self._read(last), last.width)[-1]).time

    def _entries(self) -> Iterator[tuple[str, bytes]]:
        nodes = _Remembered(TileNodes(self.size, self._tile))
        for entry in self._selected:
            index = entry.sequence
            hashes = tuple(prove_inclusion(index, self.size, nodes))
            yield entry_path(index), entry.encode()
            yield proof_path(index), LogProof(index, hashes, self._note).encode()

    def _tiles(self) -> Iterator[tuple[str, bytes]]:
        for tile in tiles_of(self.size):
            yield tile.path, self._tile(tile)
        if self._wanted.is_empty:
            names = set(self._source.names)
            for bundle in bundles_of(self.size):
                if bundle.path in names:  # those below the minimum index were pruned
                    yield bundle.path, self._read(bundle)

    def _tile(self, tile: Tile) -> bytes:
        return self._source.read(tile.path, tile.width * HASH_SIZE)

    def _read(self, bundle: Bundle) -> bytes:
        return self._source.read(bundle.path, MAX_BUNDLE_SIZE)


class _Remembered:
    """Remembers the hashes of subtrees, which neighbouring proofs share."""

    def __init__(self, nodes: TileNodes) -> None:
        self._nodes = nodes
        self._known: dict[tuple[int, int], bytes] = {}

    def __call__(self, level: int, index: int) -> bytes:
        key = level, index
        if key not in self._known:
            self._known[key] = self._nodes(level, index)
        return self._known[key]


def _write(archive: zipfile.ZipFile, files: Iterator[tuple[str, bytes]]) -> int:
    lines = []
    for path, data in files:
        _add(archive, path, data)
        lines.append(f"{sha256(data).hexdigest()}  {path}\n")
    _add(archive, SUMS, "".join(lines).encode())
    return len(lines) + 1


def _add(archive: zipfile.ZipFile, path: str, data: bytes) -> None:
    info = zipfile.ZipInfo(path, _EPOCH)
    info.create_system, info.external_attr = _UNIX, _MODE
    archive.writestr(info, data)
