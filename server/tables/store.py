"""Publishing tables and reading them: what the hub checks before it serves a version.

The hub cannot read a record. It checks what anybody can check: that the contributor signed
the header, that the version follows the one in force, that the delta applied to it gives
the signed root. A client checks the same again; the hub's check keeps one mistake of a
contributor from reaching everybody.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from compliance.errors import NotPermittedError, UnknownPartnerError
from compliance.shelf import FileShelf
from protocols.epoch.manifest import EpochManifest
from protocols.errors import MalformedMessageError
from protocols.link import check_party
from protocols.lookup.acknowledgement import SignedAcknowledgement, verify_acknowledgement
from protocols.lookup.bucket import bucket_capacity, pad_bucket
from protocols.lookup.delta import Delta, compose, merge
from protocols.lookup.filter import build as build_filter
from protocols.lookup.header import SignedHeader, verify_header
from protocols.lookup.table import bucket_digests, check_table, tag_prefixes
from server.keeping.place import Keeping
from server.tables.acknowledgements import Acknowledgements
from server.tables.errors import NotKeptError, VersionConflictError
from server.tables.folder import Folder, Part, mapped_file
from server.tables.stock import Stock

if TYPE_CHECKING:
    from typing_extensions import Buffer  # in collections.abc from Python 3.12 on

# A composed delta larger than the table saves nothing.
_MAX_COMPOSED = 64 << 20
_REMEMBERED = 64
ACKNOWLEDGED = "acknowledgements"  # the shelf, or the folder of files
Identities = Callable[[str], Ed25519PublicKey | None]


@dataclass(frozen=True, slots=True)
class Published:
    """What came of a delta: the version in force, and whether it is new."""

    signed: SignedHeader
    is_new: bool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One version of one table that can be read."""

    folder: Folder
    signed: SignedHeader

    @property
    def version(self) -> int:
        """The number of the version."""
        return self.signed.header.version

    @property
    def etag(self) -> str:
        """The entity tag of whatever is derived from the records alone."""
        return f'"{self.signed.header.root.hex()}"'

    def path(self, part: Part) -> Path:
        """Return where a part lies; it may be gone by the time it is opened."""
        try:
            return self.folder.here(self.version, part)
        except FileNotFoundError:
            return self.folder.file(self.version, part)


class Tables:
    """All tables of a hub; every method may be called by several threads and processes.

    Args:
        root: one directory for each epoch, in it one for each contributor.
        identities: the pinned identity key of a partner, or None for an unknown name.
        keeping: what the hub keeps; None where these files are all there is.
    """

    def __init__(
        self, root: Path, *, hub: str, identities: Identities, keeping: Keeping | None = None
    ) -> None:
        self._root = root
        self._keeping = keeping
        self._hub = hub
        self._identities = identities
        self._capacities: OrderedDict[tuple[Path, int], int] = OrderedDict()
        self._lock = Lock()

    def current(self, epoch: int, contributor: str) -> Snapshot | None:
        """Return the version in force, or None if none was ever published."""
        folder = self._folder(epoch, contributor)
        version = folder.current()
        return Snapshot(folder, folder.header(version)) if version else None

    def snapshot(self, epoch: int, contributor: str, version: int) -> Snapshot:
        """Return a version that is still kept.

        Raises:
            NotKeptError: there is none, or it is no longer kept.
        """
        folder = self._folder(epoch, contributor)
        return Snapshot(folder, folder.header(version))

    def publish(
        self,
        manifest: EpochManifest,
        contributor: str,
        data: bytes,
        *,
        enter: Callable[[SignedHeader], object] = lambda _: None,
    ) -> Published:
        """Apply a delta to the version in force and put the result in force.

        The same version with the same root again changes nothing.

        Args:
            enter: makes a durable note that a version is put in force. It is called before
                that, once the version was checked, and again when that version is repeated;
                what it raises leaves the former version in force.

        Raises:
            MalformedMessageError: no delta, or its header is of another table.
            InvalidProofError: not signed by the contributor, or it gives another root.
            VersionConflictError: it does not follow the version in force; carries that.
            NotPermittedError: the contributor has no number in this epoch.
        """
        delta = Delta.decode(data)
        self._check_header(manifest, contributor, delta.after)
        folder = self._folder(manifest.epoch, contributor)
        with folder.locked():
            folder.tidy()
            version = folder.current()
            before = folder.header(version) if version else None
            if before is not None and _is_same(before, delta.after):
                enter(before)
                return Published(before, is_new=False)
            _check_succession(before, delta)
            with folder.staging() as staged:
                _store(folder, staged, delta, data, version=version)
                enter(delta.after)
                folder.put_in_force(delta.after.header.version, staged)
            folder.tidy()
        return Published(delta.after, is_new=True)

    def acknowledge(
        self, signed: SignedAcknowledgement, *, enter: Callable[[SignedHeader], object]
    ) -> bool:
        """Keep a reader's word that it applies a version; returns whether it says more.

        Args:
            enter: makes a durable note of it, before it is kept; as in `publish`.

        Raises:
            NotKeptError: there is no such version, or it is no longer kept.
            UnknownPartnerError, InvalidProofError: not signed by the reader.
            MalformedMessageError: it names another table than the one in this place.
        """
        said = signed.statement
        folder = self._folder(said.epoch, said.contributor)
        header = folder.header(said.version)
        public = self._identities(said.reader)
        if public is None:
            raise UnknownPartnerError(f"{said.reader}: no such partner")
        verify_acknowledgement(public, signed)
        if not said.covers(header.header):
            raise MalformedMessageError(
                f"acknowledgement: names another table than version {said.version} here; "
                "compare its header with the contributor's"
            )
        kept = self._acknowledgements(said.epoch, said.contributor)
        return kept.keep(signed, enter=lambda: enter(header))

    def acknowledgements(self, epoch: int, contributor: str) -> list[SignedAcknowledgement]:
        """Return the newest acknowledgement of every reader of a table."""
        return self._acknowledgements(epoch, contributor).all()

    def bucket(self, snapshot: Snapshot, index: int) -> bytes:
        """Return one bucket, padded to the size of all buckets of this version.

        Raises:
            NotKeptError: there is no such bucket, or the version is no longer kept.
        """
        header = snapshot.signed.header
        if not 0 <= index < 1 << header.prefix_bits:
            raise NotKeptError(f"bucket {index}: the table has {1 << header.prefix_bits}")
        with snapshot.folder.mapped(header.version) as data:
            capacity = self._capacity(snapshot, data)
            return pad_bucket(data, header.prefix_bits, index, capacity)

    def delta(self, snapshot: Snapshot, since: int) -> bytes:
        """Return the way from version `since` to this one, in one delta.

        Raises:
            NotKeptError: a step on the way is no longer kept, or the way is so long that
                the whole table is the shorter one.
        """
        if not 0 <= since < snapshot.version:
            raise NotKeptError(f"delta since {since}: not before version {snapshot.version}")
        if since + 1 == snapshot.version:
            return snapshot.folder.read(snapshot.version, Part.DELTA)
        steps: list[Delta] = []
        size = 0
        for version in range(since + 1, snapshot.version + 1):
            step = snapshot.folder.read(version, Part.DELTA)
            size += len(step)
            if size > _MAX_COMPOSED:
                raise NotKeptError(f"delta since {since}: longer than it is worth")
            steps.append(Delta.decode(step))
        return compose(steps).encode()

    def _check_header(
        self, manifest: EpochManifest, contributor: str, signed: SignedHeader
    ) -> None:
        number = manifest.contributors.get(contributor)
        if number is None:
            raise NotPermittedError(f"{contributor}: no contributor in epoch {manifest.epoch}")
        public = self._identities(contributor)
        if public is None:
            raise UnknownPartnerError(f"{contributor}: no such partner")
        header = verify_header(public, signed)
        found = (header.hub, header.epoch, header.contributor, header.number)
        if found != (self._hub, manifest.epoch, contributor, number):
            raise MalformedMessageError(
                "table header: is of another hub, epoch, contributor or number"
            )

    def _capacity(self, snapshot: Snapshot, data: Buffer) -> int:
        """Return how many records a padded bucket holds; found once for each version."""
        key = (snapshot.folder.path, snapshot.version)
        with self._lock:
            if (known := self._capacities.get(key)) is not None:
                self._capacities.move_to_end(key)
                return known
        found = bucket_capacity(data, snapshot.signed.header.prefix_bits)
        with self._lock:
            self._capacities[key] = found
            while len(self._capacities) > _REMEMBERED:
                self._capacities.popitem(last=False)
        return found

    def _folder(self, epoch: int, contributor: str) -> Folder:
        # Both are parts of a path: a number, and a name without dots and slashes.
        check_party(contributor)
        if epoch < 0:
            raise MalformedMessageError("epoch: must not be negative")
        name = f"{int(epoch)}/{contributor}"
        keeping = self._keeping
        if keeping is None or not keeping.is_shared:
            return Folder(self._root / name)
        alone = partial(keeping.locks.holding, f"tables/{name}")
        return Folder(self._root / name, Stock(keeping.documents(f"tables/{name}"), alone))

    def _acknowledgements(self, epoch: int, contributor: str) -> Acknowledgements:
        folder, keeping = self._folder(epoch, contributor), self._keeping
        if keeping is None:
            place = Folder(folder.path / ACKNOWLEDGED)
            name = place.path.relative_to(self._root).as_posix()
            return Acknowledgements(FileShelf(self._root), name, place.locked)
        name = f"{int(epoch)}/{contributor}"
        alone = partial(keeping.locks.holding, f"{ACKNOWLEDGED}/{name}")
        return Acknowledgements(keeping.shelf(ACKNOWLEDGED), name, alone)


def _is_same(before: SignedHeader, after: SignedHeader) -> bool:
    return (before.header.version, before.header.root) == (after.header.version, after.header.root)


def _check_succession(before: SignedHeader | None, delta: Delta) -> None:
    """Refuse a delta that was built on anything but the version in force."""
    current = 0 if before is None else before.header.version
    base = None if delta.before is None else delta.before.header
    if not delta.is_step or base != (None if before is None else before.header):
        raise VersionConflictError(
            f"table: version {current} is in force, the delta leads to "
            f"{delta.after.header.version}; build it on the version in force",
            current=current,
        )


def _store(folder: Folder, staged: Folder, delta: Delta, data: bytes, *, version: int) -> None:
    """Write the next version where it is staged, and check it."""
    header = delta.after.header
    with ExitStack() as stack:
        old = stack.enter_context(folder.mapped(version)) if version else b""
        draft = stack.enter_context(staged.drafted(merge(old, delta)))
        with mapped_file(draft) as new:
            check_table(header, new)
            staged.put(header.version, Part.DIGESTS, bucket_digests(new, header.prefix_bits))
            staged.put(header.version, Part.FILTER, build_filter(tag_prefixes(new)))
        draft.replace(staged.file(header.version, Part.TABLE))
    staged.put(header.version, Part.DELTA, data)
    staged.put(header.version, Part.HEADER, delta.after.encode())
